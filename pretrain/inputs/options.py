"""Numbers on the command line: one set of bounds for all commands. A number outside of them is wrong usage, exit 2.

What is above the largest ones is a slip, and much of it overflows, or asks for all memory, somewhere further down.
Needs no torch, which ``--help`` has no time for.
"""

from __future__ import annotations

import math
from typing import Any

import typer

from hear_delores.settings import LARGEST

__all__ = ["LARGEST", "SECONDS_OF_A_DAY", "finite", "whole"]

SECONDS_OF_A_DAY = 86_400.0


def whole(low: int = 0, high: int = LARGEST) -> dict[str, Any]:
    """What ``typer.Option`` takes for a whole number from ``low`` to ``high``."""
    return {"min": low, "max": high}


def finite(low: float, high: float) -> dict[str, Any]:
    """What ``typer.Option`` takes for a finite number from ``low`` to ``high``; NaN is refused, too."""
    return {"min": low, "max": high, "callback": _no_nan}


def _no_nan(value: float | None) -> float | None:
    if value is not None and math.isnan(value):
        raise typer.BadParameter("expected a number, got nan.")
    return value
