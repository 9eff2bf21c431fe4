"""Checks shared by the configuration classes: known keys, exact types, one-line errors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["from_dict", "require_integer", "require_number"]

Config = TypeVar("Config")


def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """The configuration ``cls(**values)``. Keys left out keep their defaults.

    Raises:
        DeloresError: ``values`` is no mapping, or has a key that ``cls`` does not know.
    """
    if not isinstance(values, Mapping):
        raise DeloresError(f"Expected the settings of {cls.__name__} as a mapping, but got {type(values).__name__}.")
    known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise DeloresError(f"{cls.__name__} has no setting {key!r}. {did_you_mean(str(key), known)}")
    return cls(**values)


def require_integer(owner: str, name: str, value: Any, minimum: int = 1) -> None:
    """Raises DeloresError unless ``value`` is an int (bool excluded) of at least ``minimum``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise DeloresError(f"{owner}: expected `{name}` to be an integer >= {minimum}, but got {value!r}.")


def require_number(owner: str, name: str, value: Any, minimum: float = -math.inf, above: bool = False) -> None:
    """Raises DeloresError unless ``value`` is a finite number >= ``minimum`` (``above``: > ``minimum``)."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < minimum or (above and value == minimum):
        bound = "" if minimum == -math.inf else f" {'>' if above else '>='} {minimum:g}"
        raise DeloresError(f"{owner}: expected `{name}` to be a finite number{bound}, but got {value!r}.")
