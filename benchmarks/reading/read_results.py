"""Compare and tabulate results from Python: the functions behind the commands of the same names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks.reading.statistics import matrix
from benchmarks.reading.statistics.compare import Comparison, compare_records
from benchmarks.reading.statistics.robustness import Robustness, robustness_of
from benchmarks.reading.tables.result_tables import ResultTables
from benchmarks.results.format import ResultRecord
from benchmarks.results.record import load_records

__all__ = ["compare", "compare_all", "robustness", "tables"]

#: Folders of result records (or one), or the records themselves.
Results = str | Path | ResultRecord | Iterable[str | Path | ResultRecord]


def compare(a: Results, b: Results, *, protocol: str | None = None) -> Comparison:
    """The paired difference of two models on the tasks that both were scored on, with intervals and p-values.

    Args:
        a, b: folders of one model's results, or records.
        protocol: its title, where the two share several.

    Raises:
        DeloresError: see :func:`~benchmarks.reading.statistics.compare.compare_records`.
    """
    return compare_records(_records(a), _records(b), protocol=protocol)


def compare_all(
    results: Results,
    *,
    protocol: str | None = None,
    level: float = 0.05,
    progress: Callable[[int, int], None] | None = None,
) -> matrix.Matrix:
    """Every pair of models on the tasks that all were scored on, corrected for their number, and ranks over tasks.

    Args:
        results: folders of result records, or records, of two models or more.
        protocol: its title, where they share several.
        level: of the critical difference of ranks.
        progress: called with the pairs done and their number.

    Raises:
        DeloresError: see :func:`~benchmarks.reading.statistics.matrix.compare_all`.
    """
    return matrix.compare_all(_records(results), protocol=protocol, alpha=level, progress=progress)


def robustness(results: Results) -> list[Robustness]:
    """What perturbed test clips cost each model, for each protocol under which ``run(..., perturb=...)`` tested some.

    Args:
        results: folders of result records, or records.

    Raises:
        DeloresError: no such folder, or two results of one model, task, protocol and seed.
    """
    return robustness_of(_records(results))


def tables(
    results: Results,
    tasks: Sequence[str] | None = None,
    *,
    paper: str | None = None,
    overlay: str | Path | None = None,
    intervals: bool = False,
    over_seeds: bool = False,
) -> ResultTables:
    """One table for each protocol, models by tasks, in percent. Printed, they are Markdown; a notebook shows HTML.

    Args:
        results: folders of result records, or records.
        tasks: those to show, in this order. Default: all.
        paper: ``delores`` or ``hear``: that paper's tasks, with its published figures.
        overlay: a CSV of further published figures.
        intervals: 95 % intervals in place of standard deviations over folds or seeds.
        over_seeds: 95 % intervals over seeds, and the overall scores that papers report.

    Raises:
        DeloresError: see :func:`~benchmarks.reading.tables.table.comparison_tables`.
    """
    return ResultTables.of(
        _records(results), tasks, paper=paper, overlay=overlay, intervals=intervals, over_seeds=over_seeds
    )


def _records(results: Results) -> list[ResultRecord]:
    """The records among ``results``, and those in its folders."""
    items = [results] if isinstance(results, (str, Path, ResultRecord)) else list(results)
    found: list[ResultRecord] = []
    for item in items:
        found += [item] if isinstance(item, ResultRecord) else load_records([item])
    return found
