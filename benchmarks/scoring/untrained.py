"""Whether any head of a run has learnt anything: what scores at chance, or answers alike for every clip, has not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.metrics.registry import METRICS

if TYPE_CHECKING:
    from benchmarks.scoring.fold import TestedFold
    from benchmarks.scoring.work import Fitted

__all__ = ["untrained_line"]

#: Probabilities that differ by less between clips are one answer: a few steps of float32 below 1.
ALIKE = 1e-6


def untrained_line(tested: Sequence[TestedFold], tried: Sequence[Fitted]) -> str:
    """One line that says that no head of a run has learnt anything, "" where one has.

    That is so where the head of every fold gives every test row one answer, or where every head (those of the grid's
    points on the first fold, and the chosen one on the others) scores no better on validation than guesses may.
    """
    if all(len(fold.probabilities) > 1 and np.ptp(fold.probabilities, axis=0).max() < ALIKE for fold in tested):
        return "not trained: every head gives all test clips the same answer"
    if any(fold.validation_chance is None or math.isnan(fold.validation_chance.level) for fold in tested):
        return ""
    metric = next(iter(tested[0].chance), "")
    if metric not in METRICS:
        return ""
    maximise = METRICS[metric].maximise
    heads = [(head, tested[0]) for head in tried] + [(fold.head, fold) for fold in tested[1 if tried else 0 :]]
    reached = [
        not math.isfinite(head.validation_score) or _chance(fold).holds(head.validation_score, maximise)
        for head, fold in heads
    ]
    if not all(reached):
        return ""
    ends = [_chance(fold).high if maximise else _chance(fold).low for fold in tested]
    scores = [head.validation_score for head, _ in heads if math.isfinite(head.validation_score)]
    best = f"the best has {(max if maximise else min)(scores):.3f}" if scores else "none has a score"
    reach = f"guesses reach {(max if maximise else min)(ends):.3f}"
    return f"not trained: every head ({len(heads)}) is at chance on validation in {metric}; {best}, {reach}"


def _chance(fold: TestedFold):  # type: ignore[no-untyped-def]
    assert fold.validation_chance is not None
    return fold.validation_chance
