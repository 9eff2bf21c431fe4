"""Which tasks of the leaderboard carry the same information, and how few of them keep its ranking of models.

The likeness of two tasks is Spearman's correlation of their scores over the models that have both; imputed scores are
left out, for they are correlated by construction. A subset of tasks ranks models by the mean of their standardised,
clamped scores; over all tasks, that is the normalised score of :mod:`benchmarks.reading.leaderboard.standings`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from benchmarks.reading.leaderboard.standings import Standings, draw_heatmap
from hear_delores.errors import DeloresError
from hear_delores.files import atomic_path

__all__ = ["Redundancy", "Subset", "find_redundancy", "rank_correlations", "smallest_subset", "write_redundancy"]

Correlation = Literal["spearman", "kendall"]
#: The search is exhaustive up to so many subsets, and greedy from there: 19 tasks have 2^19 = 524,288.
EXACT = 600_000
BLOCK = 4096


@dataclass(frozen=True)
class Subset:
    """Tasks, and the rank correlation of the ranking by them with the ranking by all tasks.

    All subsets of fewer than ``at_least`` tasks were tried, and their correlations are too low. If ``at_least`` is the
    number of tasks here, no smaller subset does, and none of this size has a higher correlation.
    """

    tasks: tuple[str, ...]
    correlation: float
    at_least: int

    @property
    def is_smallest(self) -> bool:
        """Whether it is proved that no smaller subset does."""
        return self.at_least == len(self.tasks)


@dataclass(frozen=True)
class Redundancy:
    """The redundancy of tasks.

    Attributes:
        correlation: (tasks, tasks) Spearman's correlation of scores, NaN where it is not defined.
        groups: groups of tasks of which any two correlate at ``alike`` or more.
        subset: the smallest subset of tasks found whose ranking correlates (``kind``) at ``keep`` or more with that of
            all tasks.
        curve: the best subset found of each size, from 1 to that of ``subset``.
    """

    correlation: pd.DataFrame
    alike: float
    groups: tuple[tuple[str, ...], ...]
    kind: Correlation
    keep: float
    subset: Subset
    curve: tuple[Subset, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON; a correlation that is not defined is null."""
        rows = self.correlation.astype(object).where(self.correlation.notna(), None)
        return {
            "correlation": {str(task): dict(row) for task, row in rows.iterrows()}, "alike": self.alike,
            "groups": self.groups, "kind": self.kind, "keep": self.keep, "subset": asdict(self.subset),
            "curve": [asdict(subset) for subset in self.curve],
        }  # fmt: skip


def find_redundancy(
    standings: Standings, *, keep: float = 0.95, alike: float = 0.9, kind: Correlation = "spearman", exact: int = EXACT
) -> Redundancy:
    """The correlation of tasks, the groups of tasks that are alike, and the smallest subset that keeps the ranking.

    Args:
        keep: the correlation with the ranking by all tasks that the subset must reach, above 0, at most 1.
        alike: the correlation from which tasks carry the same information.
        kind: of the correlation of rankings, Spearman's or Kendall's tau-b.
        exact: the search is exhaustive up to so many subsets; from there, tasks are added one by one.

    Raises:
        DeloresError: ``keep`` or ``alike`` is out of bounds, or there are fewer than three models.
    """
    for name, value in (("keep", keep), ("alike", alike)):
        if not 0 < value <= 1:
            raise DeloresError(f"{name}: expected a correlation above 0 and at most 1, got {value}")
    if len(standings.models) < 3:
        raise DeloresError(f"expected at least three models to correlate tasks over, got {len(standings.models)}")
    # In alphabetical order: of equally good subsets, the choice does not depend on the order of the columns.
    tasks = sorted(standings.raw.columns)
    correlation = standings.raw[tasks].corr("spearman", min_periods=3)
    subset, curve = smallest_subset(standings.normalised[tasks], keep, kind, exact)
    return Redundancy(correlation, alike, _groups(correlation, alike), kind, keep, subset, curve)


def _groups(correlation: pd.DataFrame, alike: float) -> tuple[tuple[str, ...], ...]:
    """Groups by complete linkage, the largest first: any two tasks of one correlate at ``alike`` or more."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if len(correlation) < 2:
        return ()
    # Correlations that are not defined count as 0.
    distance = 1 - correlation.fillna(0.0).to_numpy(copy=True)
    np.fill_diagonal(distance, 0.0)
    labels = fcluster(linkage(squareform(distance, checks=False), "complete"), 1 - alike + 1e-12, "distance")
    groups = [tuple(str(task) for task in correlation.columns[labels == label]) for label in dict.fromkeys(labels)]
    return tuple(sorted((group for group in groups if len(group) > 1), key=len, reverse=True))


def smallest_subset(
    scores: pd.DataFrame, keep: float, kind: Correlation = "spearman", exact: int = EXACT
) -> tuple[Subset, tuple[Subset, ...]]:
    """The smallest subset of tasks that keeps the ranking by all, and the best subset of each size up to it.

    All subsets of 1, 2, ... tasks are tried, up to ``exact`` of them. From there, the task that raises the correlation
    most is added to the best subset, again and again. A smaller subset may then exist; it has at least ``at_least``
    tasks.

    Args:
        scores: (models, tasks) on one scale, without gaps.
        keep: the correlation to reach.
    """
    values, tasks = scores.to_numpy(dtype=np.float64), [str(name) for name in scores.columns]
    whole, tried = values.mean(axis=1), 0
    curve: list[Subset] = []
    chosen: tuple[int, ...] = ()
    at_least = 1
    for size in range(1, len(tasks) + 1):
        tried += math.comb(len(tasks), size)
        if exhaustive := tried <= exact and at_least == size:
            candidates: Iterator[tuple[int, ...]] = itertools.combinations(range(len(tasks)), size)
        else:
            candidates = (tuple(sorted((*chosen, task))) for task in range(len(tasks)) if task not in chosen)
        chosen, best = _best(candidates, values, whole, kind)
        curve.append(Subset(tuple(tasks[task] for task in chosen), best, at_least))
        if best >= keep - 1e-12:
            break
        at_least += exhaustive
    return curve[-1], tuple(curve)


def _best(
    candidates: Iterator[tuple[int, ...]], values: np.ndarray, whole: np.ndarray, kind: Correlation
) -> tuple[tuple[int, ...], float]:
    """The candidate with the highest correlation, the first of equals; and the correlation."""
    chosen: tuple[int, ...] = ()
    best = -math.inf
    while block := list(itertools.islice(candidates, BLOCK)):
        found = rank_correlations(values[:, np.array(block)].mean(axis=2), whole, kind)
        place = int(np.argmax(found))
        if found[place] > best + 1e-12:
            chosen, best = block[place], float(found[place])
    return chosen, best


def rank_correlations(columns: np.ndarray, other: np.ndarray, kind: Correlation = "spearman") -> np.ndarray:
    """(n,) rank correlation of each column of (models, n) with ``other`` (models,): Spearman's, or Kendall's tau-b.

    It is 0 for a column of equal values. Values that differ by rounding errors alone count as equal.
    """
    from scipy.stats import rankdata

    columns, other = np.round(columns, 12), np.round(other, 12)
    if kind == "spearman":
        first, second = rankdata(columns, axis=0), rankdata(other)
        first, second = first - first.mean(axis=0), second - second.mean()
    else:
        one, two = np.triu_indices(len(other), 1)
        first, second = np.sign(columns[one] - columns[two]), np.sign(other[one] - other[two])
    spread = np.sqrt((first**2).sum(axis=0) * (second**2).sum())
    return np.asarray(np.divide(second @ first, spread, out=np.zeros(columns.shape[1]), where=spread > 0))


# --- files


def write_redundancy(found: Redundancy, out: str | Path) -> list[Path]:
    """Writes the tasks' rank correlations into ``out``, as ``task_rank_correlation.csv`` and ``.png``."""
    table, picture = (Path(out) / f"task_rank_correlation.{kind}" for kind in ("csv", "png"))
    with atomic_path(table) as temporary:
        found.correlation.to_csv(temporary, index_label="task", lineterminator="\n", encoding="utf-8")
    draw_heatmap(picture, "Spearman's correlation of tasks over models", found.correlation)
    return [table, picture]
