"""Models over tasks: overall scores, mean ranks with the critical difference, and every pair tested."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from benchmarks.reading.report.bars import BarCard, BarRow
from benchmarks.reading.report.gather import Gathered
from benchmarks.reading.report.svg import Axis
from benchmarks.reading.statistics.critical_difference import RankTest, rank_test
from benchmarks.reading.statistics.matrix import Matrix, compare_all
from benchmarks.reading.statistics.overall import Overall
from benchmarks.reading.tables.table import ComparisonTable, with_overall
from hear_delores.errors import DeloresError

__all__ = ["OverTasks", "PairCell", "over_tasks"]

#: Paired tests, pairs of models times tasks, that a page waits for; ``delores compare --all`` does more of them.
MOST_TESTS = 300
SURE = 0.05


@dataclass(frozen=True)
class PairCell:
    """The row's model less the column's, averaged over tasks; ``sure`` where Holm's p is below 0.05."""

    text: str
    detail: str
    sure: bool


@dataclass(frozen=True)
class OverTasks:
    """One protocol with two models and two tasks or more.

    Attributes:
        overall: the rows' figures, best mean rank first; those without a score on every task have no rank.
        ranks: the rank test over the tasks that all ranked models share; None where fewer than two models are ranked.
        card: the mean ranks as a drawing, None without a test.
        order, pairs: the models of the matrix, and its cells by row; empty where pairs were not tested.
        untested: why they were not.
    """

    protocol: str
    overall: tuple[tuple[str, Overall], ...]
    ranks: RankTest | None = None
    card: BarCard | None = None
    order: tuple[str, ...] = ()
    pairs: tuple[tuple[PairCell | None, ...], ...] = ()
    n_pairs: int = 0
    untested: str = ""

    @property
    def has_leaderboard(self) -> bool:
        """Whether any of the tasks is one of the leaderboard's."""
        return any(each.normalised is not None for _, each in self.overall)


def over_tasks(found: Gathered) -> list[OverTasks]:
    """One for each protocol under which two models have scores on two tasks."""
    return [_of_table(found, table) for table in found.tables if len(table.models) > 1 and len(_tasks(table)) > 1]


def _tasks(table: ComparisonTable) -> list[str]:
    return [task for task in table.tasks if table.measured(task)]


def _of_table(found: Gathered, table: ComparisonTable) -> OverTasks:
    records, tasks = found.of_protocol(table.protocol), _tasks(table)
    names = {id(record): found.name(record) for record in records}
    own = with_overall(replace(table, published=(), tasks=tuple(tasks)), records, names)
    rows = sorted(
        zip(own.models, own.overall, strict=True), key=lambda row: np.inf if row[1].rank is None else row[1].rank
    )
    ranked = [model for model, each in rows if each.rank is not None]
    result = OverTasks(table.protocol, tuple(rows))
    if len(ranked) > 1:
        scores = np.array([[table.cells[model, task].score for model in ranked] for task in tasks])
        test = rank_test(scores, ranked, maximise=[table.maximise[task] for task in tasks])
        result = replace(result, ranks=test, card=_rank_card(test))
    n_pairs = len(table.models) * (len(table.models) - 1) // 2
    if n_pairs * len(tasks) > MOST_TESTS:
        return replace(result, untested=f"{n_pairs:,} pairs on {len(tasks)} tasks: 'delores compare --all' tests them")
    try:
        matrix = compare_all(records, protocol=table.protocol)
    except DeloresError as error:
        return replace(result, untested=str(error))
    cells = tuple(_cells(matrix, model) for model in matrix.models)
    return replace(result, order=matrix.models, pairs=cells, n_pairs=len(matrix.pairs))


def _rank_card(test: RankTest) -> BarCard:
    """Each mean rank with half of the critical difference to both sides: what does not overlap is told apart."""
    half, last = test.critical_difference / 2, float(len(test.models))
    rows = [
        BarRow(model, f"{rank:.2f}", points=(rank,), ends=(max(rank - half, 0.5), min(rank + half, last + 0.5)))
        for model, rank in zip(test.models, test.average_ranks, strict=True)
    ]
    about = f"over {test.n_tasks} tasks; 1 is best. Critical difference {test.critical_difference:.2f}"
    return BarCard("Mean rank", about, Axis(0.5, last + 0.5), (("", rows),))


def _cells(matrix: Matrix, model: str) -> tuple[PairCell | None, ...]:
    return tuple(None if other == model else _cell(matrix, model, other) for other in matrix.models)


def _cell(matrix: Matrix, model: str, other: str) -> PairCell:
    pair, sign = matrix.pair(model, other)
    about = pair.comparison
    sure = [sign * (1 if row.maximise else -1) * row.difference for row in about.tasks if row.p_holm < SURE]
    counts = f"{sum(value > 0 for value in sure)} : {sum(value < 0 for value in sure)} tasks"
    if len(about.left_out) == len(about.tasks):
        return PairCell(counts, "", bool(sure))
    points = round(100 * sign * about.difference, 1)
    return PairCell(
        f"{points:+.1f}" if points else "0.0", f"p {pair.p_clips_holm:.3f}; {counts}", pair.p_clips_holm < SURE
    )
