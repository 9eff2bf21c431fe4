"""One number for a model over tasks, as papers and the leaderboard give it: s(m), the mean rank, the normalised score.

s(m) is the overall score of papers of 2024 to 2026: each task min-max normalised over the models that are compared,
averaged over tasks, in per cent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.reading.statistics.intervals import Interval, fold_interval

__all__ = ["Overall", "leaderboard_scores", "mean_ranks", "min_max_intervals", "min_max_scores", "overall_of"]


@dataclass(frozen=True)
class Overall:
    """A model's overall figures; None where one is not defined.

    Attributes:
        min_max: s(m), per cent; ``min_max_interval`` is Student's t over tasks.
        normalised: the leaderboard's normalised score, from -1 to 1.
        rank: the mean over tasks of the model's rank (1 is best); ``rank_interval`` is Student's t over tasks.
    """

    min_max: float | None = None
    normalised: float | None = None
    rank: float | None = None
    rank_interval: Interval | None = None
    min_max_interval: Interval | None = None


def min_max_scores(scores: np.ndarray, maximise: Sequence[bool] | None = None) -> np.ndarray:
    """s(m) of each model, (n_models,) in per cent; NaN for a model without a score on every task.

    The least and the largest score of a task are over the other models alone. A task on which all models score the
    same is left out, for it does not tell them apart.

    Args:
        scores: (n_models, n_tasks), NaN where there is none.
        maximise: (n_tasks,) whether more is better; None: more is better on all tasks.

    >>> min_max_scores(np.array([[50.0, 10.0], [75.0, 40.0], [100.0, 30.0]])).round(1).tolist()
    [0.0, 75.0, 83.3]
    """
    normalised = _normalised(scores, maximise)
    return normalised.mean(axis=1) if normalised.shape[1] else np.full(len(normalised), np.nan)


def min_max_intervals(scores: np.ndarray, maximise: Sequence[bool] | None = None) -> list[Interval | None]:
    """The 95 % interval of s(m) of each model: Student's t over tasks; None where it is not defined.

    The least and the largest score of each task are taken as they are. Arguments are those of :func:`min_max_scores`.

    >>> found = min_max_intervals(np.array([[50.0, 10.0, 1.0], [75.0, 40.0, 3.0], [100.0, 30.0, 5.0]]))
    >>> round(found[2].low, 1), found[2].high
    (41.1, 100.0)
    """
    return [fold_interval(own.tolist(), (0.0, 100.0)) for own in _normalised(scores, maximise)]


def _normalised(scores: np.ndarray, maximise: Sequence[bool] | None) -> np.ndarray:
    """(n_models, n_telling_tasks) in per cent, min-max normalised; NaN in the rows of models that lack a score."""
    signed, whole = _signed(scores, maximise)
    if not whole.any():
        return np.full((len(signed), 0), np.nan)
    least, span = signed[whole].min(axis=0), np.ptp(signed[whole], axis=0)
    telling = span > 0
    found = np.full((len(signed), int(telling.sum())), np.nan)
    found[whole] = 100.0 * ((signed[whole] - least) / np.where(telling, span, 1.0))[:, telling]
    return found


def mean_ranks(
    scores: np.ndarray, maximise: Sequence[bool] | None = None
) -> list[tuple[float, Interval | None] | None]:
    """The mean rank over tasks of each model, and its 95 % interval: Student's t over tasks.

    Equal scores share the mean of their ranks. None for a model without a score on every task, which is not ranked.
    Arguments are those of :func:`min_max_scores`.

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
    """The scores, negated where lower is better; and (n_models,) bool, which models have one on every task."""
    scores = np.asarray(scores, dtype=np.float64)
    signs = np.where(np.ones(scores.shape[1], bool) if maximise is None else np.asarray(maximise, bool), 1.0, -1.0)
    return scores * signs, np.isfinite(scores).all(axis=1) & (scores.shape[1] > 0)


def leaderboard_scores(by_column: Mapping[str, Mapping[str, float]], published: bool = False) -> dict[str, float]:
    """The normalised score that each model would have on the leaderboard if it alone were added (see ``standings``).

    Args:
        by_column: model -> leaderboard column -> score from 0 to 1; a model without scores is left out.
        published: return the scores of the leaderboard's own models, too.
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
    """The figures of each model, which is a row of ``scores``; ``normalised`` has leaderboard scores where known."""
    found = []
    shares, intervals = min_max_scores(scores, maximise), min_max_intervals(scores, maximise)
    for model, share, interval, rank in zip(models, shares, intervals, mean_ranks(scores, maximise), strict=True):
        mean, of_rank = rank or (None, None)
        value = None if np.isnan(share) else float(share)
        found.append(Overall(value, normalised.get(model), mean, of_rank, interval))
    return found
