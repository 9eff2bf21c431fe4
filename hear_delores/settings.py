"""Checks shared by the configuration classes: known keys, exact types, one-line errors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["LARGEST", "from_dict", "require_integer", "require_number", "shown"]

Config = TypeVar("Config")
LARGEST = 2**31 - 1
"""The largest integer of any setting: what lies above is a slip, and much of it overflows somewhere further down."""


def from_dict(cls: type[Config], values: Mapping[str, Any], *, complete: bool = False) -> Config:
    """The configuration ``cls(**values)``. Keys left out keep their defaults, unless it is to be ``complete``.

    Raises:
        DeloresError: ``values`` is no mapping, has a key that ``cls`` does not know or, if it is to be
            ``complete``, lacks one.
    """
    if not isinstance(values, Mapping):
        raise DeloresError(f"Expected the settings of {cls.__name__} as a mapping, but got {type(values).__name__}.")
    known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise DeloresError(f"{cls.__name__} has no setting {shown(key)}. {did_you_mean(str(key), known)}")
    missing = [name for name in known if name not in values]
    if complete and missing:
        raise DeloresError(f"{cls.__name__}: expected every setting, but {', '.join(missing)} is missing.")
    return cls(**values)


def shown(value: Any, length: int = 60) -> str:
    """``value`` as an error shows it: its repr, cut short where it is long.

    >>> shown("a" * 100, 10)
    "'aaaaaaaaa..."
    """
    if isinstance(value, int) and abs(value) >= 10**18:  # Python refuses to print the longest ones
        return f"an integer of {value.bit_length()} bits"
    try:
        text = repr(value)
    except RecursionError:
        return f"a {type(value).__name__} of more levels than can be shown"
    return text if len(text) <= length else f"{text[:length]}..."


def require_integer(owner: str, name: str, value: Any, minimum: int = 1, maximum: int = LARGEST) -> None:
    """Raises DeloresError unless ``value`` is an int (bool excluded) from ``minimum`` to ``maximum``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise DeloresError(f"{owner}: expected `{name}` to be an integer >= {minimum}, but got {shown(value)}.")
    if value > maximum:
        raise DeloresError(f"{owner}: expected `{name}` to be at most {maximum}, but got {shown(value)}.")


def require_number(
    owner: str, name: str, value: Any, minimum: float = -math.inf, above: bool = False, maximum: float = 1e30
) -> None:
    """Raises DeloresError unless ``value`` is a finite number >= ``minimum`` (``above``: > ``minimum``).

    Above ``maximum``, which by default float32 can still square, it is refused, too.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf
    if not number or value < minimum or (above and value == minimum):
        bound = "" if minimum == -math.inf else f" {'>' if above else '>='} {minimum:g}"
        raise DeloresError(f"{owner}: expected `{name}` to be a finite number{bound}, but got {shown(value)}.")
    if abs(value) > maximum:
        raise DeloresError(f"{owner}: expected `{name}` to be at most {maximum:g}, but got {shown(value)}.")
