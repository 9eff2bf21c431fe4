"""Limits of what an event task may state. What reads tasks imports this, and numpy only when a score is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.settings import shown

__all__ = ["MAX_CLIP_MS", "POSTPROCESSING", "check_postprocessing"]

#: A day. No clip of an event task is as long; a time beyond it is a mistake of unit, and would exhaust memory.
MAX_CLIP_MS = 86_400_000.0
#: The ways from frames to events, each with its range: what :func:`check_postprocessing` lets through.
POSTPROCESSING: Mapping[str, tuple[float, float]] = {
    "median_filter_ms": (0.0, MAX_CLIP_MS),
    "min_duration": (0.0, MAX_CLIP_MS),
    "threshold": (0.0, 1.0),
}


def check_postprocessing(grid: Any) -> None:
    """Raises DeloresError unless an ``event_postprocessing_grid`` holds known parameters with values in their range."""
    what = "event_postprocessing_grid"
    if not isinstance(grid, Mapping):
        raise DeloresError(f"{what}: expected an object of parameters and lists of values, got {shown(grid)}")
    for name, values in grid.items():
        if name not in POSTPROCESSING:
            raise DeloresError(f"{what}: unknown parameter {name!r}. {did_you_mean(str(name), POSTPROCESSING)}")
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise DeloresError(f"{what}: expected a list of values of {name}, got {shown(values)}")
        lowest, highest = POSTPROCESSING[name]
        for value in values:
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not lowest <= value <= highest:
                raise DeloresError(
                    f"{what}: expected {name} to be a number from {lowest:g} to {highest:g}, got {shown(value)}"
                )
    if math.prod(len(values) for values in grid.values()) > 1000:
        raise DeloresError(f"{what}: expected at most 1,000 combinations; list fewer values")
