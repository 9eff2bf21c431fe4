"""The units of a pool: each is one package, folder or language of a source, and yields sounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Fault", "Notice", "Sound", "Unit"]


class Sound(NamedTuple):
    """A clip: ``samples`` (n,) int16 at the recipe's rate.

    Attributes:
        original: the file that it was cut from, or what was rendered.
        start: where it begins in that file, in seconds.
        licence: of the file, as a short name such as CC0-1.0.
        group: sounds of one group are renditions of the same content; "" is no group.
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
    """The sounds of one package, folder or language; they are made together, or not at all.

    Attributes:
        source, name: the unit's folder in the pool is audio/<source>/<name>.
        package, version: for the table.
        key: everything that decides the sounds, as JSON values: the sounds are made again when it changes.
        sounds: takes an empty folder in which it may unpack files, and yields the sounds in order.
        hours: rendering stops after so many hours; None for recordings, which end by themselves.
    """

    source: str
    name: str
    package: str
    version: str
    key: dict[str, Any]
    sounds: Callable[[Path], Iterator[Sound | Fault | Notice]]
    hours: float | None = None
