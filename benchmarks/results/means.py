"""Means of scores over folds: what a record says, and what it is checked against."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["aggregate"]


def aggregate(folds: Sequence[Mapping[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and standard deviation (ddof 1) of each score over folds; no deviation for a single fold.

    A NaN fold is left out of both, as pandas does in heareval; so is an infinite one out of neither.
    """
    means: dict[str, float] = {}
    deviations: dict[str, float] = {}
    for name in folds[0]:
        values = np.array([fold[name] for fold in folds], dtype=np.float64)
        values = values[~np.isnan(values)]
        means[name] = float(values.mean()) if len(values) else math.nan
        if len(folds) > 1:
            finite = len(values) > 1 and bool(np.isfinite(values).all())
            deviations[name] = float(values.std(ddof=1)) if finite else math.nan
    return means, deviations
