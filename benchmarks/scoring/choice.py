"""Choice among the points of a small grid on the validation split of each fold: knn and logistic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.scoring.work import Fitted

__all__ = ["best_of", "best_point", "tried_points"]


def best_point(scores: Sequence[float], losses: Sequence[float], maximise: bool) -> int:
    """The number of the point with the best validation score, the first of equals; NaN is the worst.

    Where every score is NaN (a class that no validation row has), the least loss decides.
    """
    if all(math.isnan(score) for score in scores):
        return min(range(len(losses)), key=lambda number: (losses[number], number))
    sign = 1.0 if maximise else -1.0
    ranks = [-math.inf if math.isnan(score) else sign * score for score in scores]
    return max(range(len(ranks)), key=lambda number: (ranks[number], -number))


def best_of(points: Sequence[Fitted], losses: Sequence[float], maximise: bool) -> Fitted:
    """The point of a grid that :func:`best_point` names; its trace is [(number in grid, score)] of all of them."""
    scores = [point.validation_score for point in points]
    return replace(points[best_point(scores, losses, maximise)], trace=list(enumerate(scores)))


def tried_points(head: Fitted, grid: Sequence[Mapping[str, Any]]) -> list[Fitted]:
    """Every point that ``head`` was chosen from, for the record: ``head.trace`` is [(number in grid, score)].

    The points share work (one search for neighbours serves every k), so each has an equal share of the seconds.
    """
    share = head.seconds / len(head.trace)
    return [
        replace(
            head,
            key=f"grid-{number:02d}",
            hyperparameters=dict(grid[number]),
            validation_score=score,
            trace=[],
            seconds=share,
            state={},
        )
        for number, score in head.trace
    ]
