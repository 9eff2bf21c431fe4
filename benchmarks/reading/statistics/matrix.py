"""Every model against every other, on the tasks that all were scored on, and their ranks over these tasks.

Each pair is compared as by :mod:`benchmarks.reading.statistics.compare`. Holm's method corrects for all that is tested:
the p-values over clips and over tasks for the number of pairs, those of single tasks for pairs times tasks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from benchmarks.reading.statistics.compare import DRAWS, Comparison, common_protocol, compare_records
from benchmarks.reading.statistics.critical_difference import RankTest, rank_test
from benchmarks.reading.statistics.permutation import SWAPS, holm
from benchmarks.results.format import ResultRecord
from benchmarks.results.record import refuse_repeats
from hear_delores.errors import DeloresError

__all__ = ["Matrix", "PairOfModels", "compare_all"]


@dataclass(frozen=True)
class PairOfModels:
    """Two models' names in the matrix, their comparison, and its two p-values corrected for the number of pairs.

    ``p_holm`` of the comparison's tasks is corrected for all tasks of all pairs.
    """

    models: tuple[str, str]
    comparison: Comparison
    p_clips_holm: float
    p_tasks_holm: float


@dataclass(frozen=True)
class Matrix:
    """``models`` best average rank first; ``ranks`` is None with fewer than two tasks that all models share.

    ``left_out`` are tasks on which a model has no score, ``models_left_out`` models without one under the protocol.
    """

    protocol: str
    models: tuple[str, ...]
    tasks: tuple[str, ...]
    scores: dict[str, dict[str, float]]
    pairs: tuple[PairOfModels, ...]
    ranks: RankTest | None
    left_out: tuple[str, ...]
    models_left_out: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def pair(self, first: str, second: str) -> tuple[PairOfModels, int]:
        """The pair of two models, and 1 if its differences are first - second, -1 if second - first."""
        for pair in self.pairs:
            if {first, second} == set(pair.models):
                return pair, 1 if pair.models[0] == first else -1
        raise KeyError((first, second))


def compare_all(
    records: Iterable[ResultRecord],
    *,
    protocol: str | None = None,
    alpha: float = 0.05,
    draws: int = DRAWS,
    swaps: int = SWAPS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Matrix:
    """All pairs of the models of some records, and the test of their ranks; several seeds of one model are averaged.

    Args:
        protocol: the protocol's title; models without results of it are left out. None takes the only one that all
            share.
        alpha: the level of the critical difference.
        progress: called with the pairs done and their number.

    Raises:
        DeloresError: fewer than two models, no protocol or task that all share, or what ``compare_records`` refuses.
    """
    records = list(records)
    named = _by_model(records)
    by_model = {name: own for name, own in named.items() if protocol in (None, *(r.protocol.title for r in own))}
    if len(by_model) < 2:
        known = ", ".join(dict.fromkeys(record.protocol.title for record in records))
        raise DeloresError(f"fewer than two models have results of the protocol {protocol!r}; there are: {known}")
    title = common_protocol(list(by_model.values()), list(by_model), protocol)
    chosen = {name: [r for r in own if r.protocol.title == title] for name, own in by_model.items()}
    tasks = [{record.task.folder_name for record in own} for own in chosen.values()]
    shared, every = set.intersection(*tasks), set.union(*tasks)
    if not shared:
        raise DeloresError(f"the {len(chosen)} models share no task under {title}; score all on one, or name fewer")
    chosen = {name: [r for r in own if r.task.folder_name in shared] for name, own in chosen.items()}
    couples = list(itertools.combinations(chosen, 2))
    found = []
    for number, (first, second) in enumerate(couples, 1):
        found.append(
            compare_records(chosen[first], chosen[second], protocol=title, draws=draws, swaps=swaps, seed=seed)
        )
        if progress is not None:
            progress(number, len(couples))
    names = [row.task for row in found[0].tasks]
    better = {record.task.folder_name: record.task.maximise for record in records}
    scores = {name: _scores(own, names) for name, own in chosen.items()}
    ranks = None
    if len(names) > 1:
        table = np.array([[scores[name][task] for name in chosen] for task in names])
        ranks = rank_test(table, list(chosen), maximise=[better[task] for task in names], alpha=alpha)
    order = ranks.models if ranks is not None else tuple(_by_score(scores, names[0], better[names[0]]))
    return Matrix(
        title, order, tuple(names), scores, _corrected(couples, found), ranks, tuple(sorted(every - shared)),
        tuple(name for name in named if name not in by_model),
    )  # fmt: skip


def _by_model(records: list[ResultRecord]) -> dict[str, list[ResultRecord]]:
    """{name in tables: its records}, in the order of the records."""
    models = refuse_repeats(records)
    found: dict[str, list[ResultRecord]] = {}
    for record in records:
        found.setdefault(str(models.name(record.model)), []).append(record)
    if len(found) < 2:
        known = next(iter(found), "none")
        raise DeloresError(f"expected results of at least two models to compare, got {known}; name more folders")
    return found


def _scores(records: list[ResultRecord], tasks: list[str]) -> dict[str, float]:
    return {task: float(np.mean([r.primary_score for r in records if r.task.folder_name == task])) for task in tasks}


def _by_score(scores: dict[str, dict[str, float]], task: str, maximise: bool) -> list[str]:
    return sorted(scores, key=lambda name: scores[name][task], reverse=maximise)


def _corrected(couples: list[tuple[str, str]], found: list[Comparison]) -> tuple[PairOfModels, ...]:
    """Holm's correction over all pairs, and for single tasks over all tasks of all pairs."""
    of_tasks = iter(holm([row.p for comparison in found for row in comparison.tasks]))
    whole = [
        replace(comparison, tasks=tuple(replace(row, p_holm=next(of_tasks)) for row in comparison.tasks))
        for comparison in found
    ]
    averaged = [comparison for comparison in whole if comparison.p_clips == comparison.p_clips]
    # Without a task that averages there is no p over tasks, for any pair: all share the same tasks.
    clips, over_tasks = (
        holm([getattr(comparison, name) for comparison in whole]) if averaged else [float("nan")] * len(whole)
        for name in ("p_clips", "p_tasks")
    )
    return tuple(PairOfModels(*each) for each in zip(couples, whole, clips, over_tasks, strict=True))
