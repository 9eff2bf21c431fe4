"""A comparison table as it is printed: the rows, headings and notes that every form and the report share."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.metrics.registry import metric_scale
from benchmarks.reading.tables.table import Cell, ComparisonTable, PublishedRow

__all__ = [
    "Line",
    "ShownCell",
    "ShownMean",
    "about",
    "heading",
    "label_heads",
    "lines",
    "notes",
    "subset_notes",
]

#: Behind a score that is of a part of the task alone.
SUBSET = "†"


@dataclass(frozen=True)
class ShownCell:
    """A score as printed; all of it is empty where there is none.

    ``detail`` is the interval or the deviation, ``mark`` the sign of a score that is of a part of the task alone.
    ``value`` is the score as a number, None where there is none or NaN, and ``cell`` what was measured.
    """

    score: str = ""
    detail: str = ""
    mark: str = ""
    best: bool = False
    value: float | None = None
    cell: Cell | None = None

    @property
    def text(self) -> str:
        """The whole cell."""
        return f"{self.score}{self.mark} {self.detail}".rstrip()


@dataclass(frozen=True)
class ShownMean:
    """The mean over tasks; ``over`` says of how many tasks, "" where of all, and ``score`` is "" without any."""

    value: float | None
    over: str

    @property
    def score(self) -> str:
        """The mean alone."""
        return "" if self.value is None else f"{self.value:.1f}"

    @property
    def text(self) -> str:
        """The whole cell."""
        return f"{self.score} ({self.over})" if self.over else self.score


@dataclass(frozen=True)
class Line:
    """One row: a cell for each task, and their mean. ``labels`` are what stands before them, the model first."""

    labels: tuple[str, ...]
    cells: tuple[ShownCell, ...]
    mean: ShownMean
    published: bool = False

    @property
    def model(self) -> str:
        """The name of the row."""
        return self.labels[0]


def label_heads(table: ComparisonTable) -> list[str]:
    """What stands above the labels of the rows: published rows have protocols of their own."""
    return ["model", "protocol"] if table.published else ["model"]


def lines(table: ComparisonTable) -> list[Line]:
    """The rows of a table, measured first. Best of a column: among measured rows, and apart among published ones."""
    found = []
    for model in table.models:
        cells = tuple(_measured(table, table.cells.get((model, task)), task) for task in table.tasks)
        labels = (model, table.protocol) if table.published else (model,)
        found.append(Line(labels, cells, _mean(table, *table.average(model))))
    for row in table.published:
        cells = tuple(_published(table, row, task) for task in table.tasks)
        found.append(Line((row.model, row.protocol), cells, _mean(table, *table.mean_of(row.scores)), True))
    return found


def about(table: ComparisonTable, task: str) -> str:
    """What a column's heading says beside the task: its metric, its split, and whether less is better."""
    found = [table.metrics[task], *([table.splits[task]] if task in table.splits else [])]
    return ", ".join(found if table.maximise[task] else [*found, "lower is better"])


def heading(table: ComparisonTable, task: str) -> str:
    """A column's heading in one line."""
    return f"{task} ({about(table, task)})"


def notes(table: ComparisonTable) -> list[str]:
    """What a reader has to know: scores of subsets; sources of published rows, and splits that differ from ours."""
    return subset_notes(table) + _source_notes(table)


def subset_notes(table: ComparisonTable) -> list[str]:
    """The scores that are of a part of a task alone."""
    return [f"{SUBSET} {model} on a subset of {task}: {cell.subset}." for (model, task), cell in table.cells.items()
            if cell.subset]  # fmt: skip


def _source_notes(table: ComparisonTable) -> list[str]:
    """Where the published rows come from, and their splits where these are not the official ones."""
    if not table.published:
        return []
    sources: dict[str, list[str]] = {}
    for row in table.published:
        if not row.source.startswith("HEAR leaderboard"):
            sources.setdefault(row.source, []).append(row.model)
    found = [f"{', '.join(models)}: {source}." for source, models in sources.items()]
    if not found:
        found = ["Published rows: the HEAR leaderboard, which links each model."]
    by_protocol: dict[str, dict[str, list[str]]] = {}
    for (protocol, task), split in table.published_splits.items():
        if split != "official":
            by_protocol.setdefault(protocol, {}).setdefault(split, []).append(task)
    for protocol, tasks in by_protocol.items():
        splits = "; ".join(f"{split} ({', '.join(names)})" for split, names in tasks.items())
        found.append(f"Splits of {protocol}: {splits}.")
    return found


def _measured(table: ComparisonTable, cell: Cell | None, task: str) -> ShownCell:
    if cell is None:
        return ShownCell()
    if math.isnan(cell.score):
        return ShownCell("n/a", cell=cell)
    digits = 1 if metric_scale(table.metrics[task]) == 100.0 else 3
    detail = ""
    if cell.low is not None and cell.high is not None:
        detail = f"[{cell.low:.{digits}f}, {cell.high:.{digits}f}]"
    elif cell.spread is not None:
        detail = f"± {cell.spread:.{digits}f}"
    text, best = f"{cell.score:.{digits}f}", table.best(task)
    # Ties as printed share the mark: a reader cannot tell them apart.
    is_best = best is not None and text == f"{best:.{digits}f}"
    return ShownCell(text, detail, SUBSET if cell.subset else "", is_best, cell.score, cell)


def _published(table: ComparisonTable, row: PublishedRow, task: str) -> ShownCell:
    if task not in row.scores:
        return ShownCell()
    text, best = f"{row.scores[task]:.1f}", table.best_published(task)
    return ShownCell(text, best=best is not None and text == f"{best:.1f}", value=row.scores[task])


def _mean(table: ComparisonTable, mean: float | None, count: int) -> ShownMean:
    return ShownMean(mean, "" if mean is None or count == len(table.tasks) else f"of {count}")
