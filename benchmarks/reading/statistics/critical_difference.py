"""Ranks of many models over tasks: Friedman's test, Iman and Davenport's test, and Nemenyi's critical difference.

Follows Demsar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7 (2006), section 3.2.2. Ranks
need no common unit, so tasks of any metric count alike. Friedman's statistic is not corrected for ties, as in the
paper: ties make it smaller, so the test errs towards finding nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hear_delores.errors import DeloresError

__all__ = ["RankTest", "critical_difference", "rank_test"]


@dataclass(frozen=True)
class RankTest:
    """The models, best first, with the means of their ranks over tasks (1 is best), and the tests of the ranks.

    ``chi2`` (k - 1 degrees of freedom) and ``f`` (k - 1 and (k - 1)(n - 1)) test the hypothesis that all k models are
    alike over n tasks. Two models whose average ranks differ by ``critical_difference`` or more are told apart at level
    ``alpha``; each of ``groups`` is a maximal run of models of which no two are.
    """

    models: tuple[str, ...]
    average_ranks: tuple[float, ...]
    n_tasks: int
    chi2: float
    p_chi2: float
    f: float
    p_f: float
    alpha: float
    critical_difference: float
    groups: tuple[tuple[str, ...], ...]


def critical_difference(n_models: int, n_tasks: int, alpha: float = 0.05) -> float:
    """Nemenyi's critical difference of average ranks: q sqrt(k (k + 1) / (6 n)) for k models on n tasks.

    q is the 1 - ``alpha`` quantile of the Studentised range of k groups, divided by sqrt(2).
    """
    from scipy.stats import studentized_range

    q = studentized_range.ppf(1 - alpha, n_models, math.inf) / math.sqrt(2)
    return float(q * math.sqrt(n_models * (n_models + 1) / (6 * n_tasks)))


def rank_test(
    scores: np.ndarray, models: Sequence[str], *, maximise: Sequence[bool] | None = None, alpha: float = 0.05
) -> RankTest:
    """The models' average ranks over tasks, and the tests of them.

    Args:
        scores: (n_tasks, n_models), each row in the unit of its task.
        models: (n_models,) names.
        maximise: (n_tasks,) whether more is better; None: more is better on all tasks.
        alpha: the level of the critical difference.

    Raises:
        DeloresError: fewer than two models or tasks, a score that is not a number, or a level outside (0, 1).
    """
    from scipy.stats import rankdata

    scores = np.asarray(scores, dtype=np.float64)
    n, k = scores.shape
    if n < 2 or k < 2:
        raise DeloresError(f"expected at least two tasks and two models to rank, got {n} and {k}; score more")
    if not np.isfinite(scores).all():
        raise DeloresError("expected a score of every model on every task, got one that is not a finite number")
    if not 0 < alpha < 1:
        raise DeloresError(f"expected a level between 0 and 1, got {alpha}")
    signs = np.where([True] * n if maximise is None else list(maximise), -1.0, 1.0)
    ranks = rankdata(scores * signs[:, None], axis=1).mean(axis=0)
    order = np.argsort(ranks, kind="stable")
    ranks, names = ranks[order], [models[number] for number in order]
    distance = critical_difference(k, n, alpha)
    return RankTest(
        tuple(names), tuple(map(float, ranks)), n, *_friedman(ranks, n), alpha, distance,
        tuple(tuple(names[start:end]) for start, end in _runs(ranks, distance)),
    )  # fmt: skip


def _friedman(ranks: np.ndarray, n: int) -> tuple[float, float, float, float]:
    """Friedman's chi-square and its p, Iman and Davenport's F and its p, of k average ranks over n tasks."""
    from scipy.stats import chi2, f

    k = len(ranks)
    statistic = float(12 * n / (k * (k + 1)) * (np.sum(ranks**2) - k * (k + 1) ** 2 / 4))
    p = float(chi2.sf(statistic, k - 1))
    rest = n * (k - 1) - statistic
    if rest < 1e-9:
        # All tasks agree on one order: F is infinite, and its p-value is the probability of that, k!^(1 - n).
        return statistic, p, math.inf, float(math.exp((1 - n) * math.lgamma(k + 1)))
    ratio = (n - 1) * statistic / rest
    return statistic, p, ratio, float(f.sf(ratio, k - 1, (k - 1) * (n - 1)))


def _runs(ranks: np.ndarray, distance: float) -> list[tuple[int, int]]:
    """(start, end) of the maximal runs of two or more sorted ranks whose ends differ by less than ``distance``."""
    found: list[tuple[int, int]] = []
    for start, rank in enumerate(ranks):
        end = int(np.searchsorted(ranks - rank, distance - 1e-12))
        if end - start > 1 and (not found or end > found[-1][1]):
            found.append((start, end))
    return found
