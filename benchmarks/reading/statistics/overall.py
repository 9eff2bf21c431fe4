"""One number for a model over tasks, as papers and the leaderboard have it: s(m), the mean rank, the normalised score.

s(m) is the overall score of papers of 2024 to 2026: each task min-max normalised over the models that are compared,
averaged over tasks, in per cent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.reading.statistics.intervals import Interval, fold_interval

__all__ = ["Overall", "leaderboard_scores", "mean_ranks", "min_max_scores", "overall_of"]


@dataclass(frozen=True)
class Overall:
    """A model's overall figures; None where one is not defined.

    Attributes:
        min_max: s(m), per cent.
        normalised: the leaderboard's normalised score, from -1 to 1.
        rank: the mean over tasks of its rank, 1 the best; ``rank_interval`` is Student's t over tasks.
    """

    min_max: float | None = None
    normalised: float | None = None
    rank: float | None = None
    rank_interval: Interval | None = None


def min_max_scores(scores: np.ndarray, maximise: Sequence[bool] | None = None) -> np.ndarray:
    """s(m) of each model, (n_models,) in per cent; NaN for a model without a score on every task.

    Such a model does not count for the least and the largest score of a task either. A task on which all models
    score the same tells them apart by nothing, and is left out.

    Args:
        scores: (n_models, n_tasks), NaN where there is none.
        maximise: of each task, whether more is better; None: of all.

    >>> min_max_scores(np.array([[50.0, 10.0], [75.0, 40.0], [100.0, 30.0]])).round(1).tolist()
    [0.0, 75.0, 83.3]
    """
    signed, whole = _signed(scores, maximise)
    found = np.full(len(signed), np.nan)
    least, span = signed[whole].min(axis=0, initial=np.inf), np.ptp(signed[whole], axis=0) if whole.any() else 0.0
    telling = np.asarray(span > 0)
    if telling.any():
        found[whole] = 100.0 * ((signed[whole] - least) / np.where(telling, span, 1.0))[:, telling].mean(axis=1)
    return found


def mean_ranks(
    scores: np.ndarray, maximise: Sequence[bool] | None = None
) -> list[tuple[float, Interval | None] | None]:
    """The mean rank over tasks of each model, and its 95 % interval: Student's t over tasks. Ties share their mean.

    None for a model without a score on every task; such a model is not ranked. Arguments are those of
    :func:`min_max_scores`.

    >>> [found[0] for found in mean_ranks(np.array([[50.0, 10.0], [75.0, 40.0], [100.0, 30.0]]))]
    [3.0, 1.5, 1.5]
    """
    from scipy.stats import rankdata

    signed, whole = _signed(scores, maximise)
    if not whole.any():
        return [None] * len(signed)
    ranks = iter(rankdata(-signed[whole], axis=0))
    n = int(whole.sum())
    of_whole = [next(ranks) if is_whole else None for is_whole in whole.tolist()]
    return [
        None if own is None else (float(own.mean()), fold_interval(own.tolist(), (1.0, float(n)))) for own in of_whole
    ]


def _signed(scores: np.ndarray, maximise: Sequence[bool] | None) -> tuple[np.ndarray, np.ndarray]:
    """Scores of which more is better, and which models have one on every task."""
    scores = np.asarray(scores, dtype=np.float64)
    signs = np.where(np.ones(scores.shape[1], bool) if maximise is None else np.asarray(maximise, bool), 1.0, -1.0)
    return scores * signs, np.isfinite(scores).all(axis=1) & (scores.shape[1] > 0)


def leaderboard_scores(by_column: Mapping[str, Mapping[str, float]], published: bool = False) -> dict[str, float]:
    """The normalised score that each model would have on the leaderboard, added to it alone, as ``standings`` has it.

    Args:
        by_column: of each model, its scores from 0 to 1 by leaderboard column; one without any is left out.
        published: the leaderboard's own models, too.
    """
    from benchmarks.reading.leaderboard.standings import compute_standings

    found: dict[str, float] = dict(compute_standings().score) if published else {}
    for model, scores in by_column.items():
        if scores:
            standings = compute_standings(None, (f"{model} (measured)", scores))
            assert standings.ours is not None
            found[model] = float(standings.score.iloc[standings.ours])
    return found


def overall_of(
    models: Sequence[str], scores: np.ndarray, maximise: Sequence[bool], normalised: Mapping[str, float]
) -> list[Overall]:
    """The figures of each model (a row of ``scores``); ``normalised`` holds the leaderboard's where they are known."""
    found = []
    for model, share, rank in zip(models, min_max_scores(scores, maximise), mean_ranks(scores, maximise), strict=True):
        mean, interval = rank or (None, None)
        value = None if np.isnan(share) else float(share)
        found.append(Overall(value, normalised.get(model), mean, interval))
    return found
