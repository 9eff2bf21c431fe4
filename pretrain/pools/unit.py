"""What every source of a pool gives: units, one for each package, folder or language, that give sounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Fault", "Notice", "Sound", "Unit"]


class Sound(NamedTuple):
    """A clip: ``samples`` (n,) int16 at the recipe's rate.

    ``original``: the file it is from, or what was rendered; ``start``: the second in it. Sounds of one ``group`` are
    renditions of the same content; "" is none.
    """

    samples: NDArray[np.int16]
    original: str
    start: float
    licence: str
    group: str = ""


class Fault(NamedTuple):
    """A file that gives no sound, and why."""

    original: str
    reason: str


class Notice(NamedTuple):
    """The text of a package's copyright file."""

    text: str


class Unit(NamedTuple):
    """What is made as a whole: the sounds of one package, folder or language.

    Attributes:
        source, name: its folder in the pool.
        package, version: for the table.
        key: JSON values of all that decides the sounds.
        sounds: given an empty folder for what it unpacks, the sounds in order.
        hours: what is rendered ends when there is so much; None for recordings, which end by themselves.
    """

    source: str
    name: str
    package: str
    version: str
    key: dict[str, Any]
    sounds: Callable[[Path], Iterator[Sound | Fault | Notice]]
    hours: float | None = None
