"""A comparison table as the page's sortable table and as its heatmap: the same cells, with the values to sort by."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.reading.report.gather import Gathered
from benchmarks.reading.tables.shown import Line, ShownCell, lines, notes
from benchmarks.reading.tables.table import ComparisonTable, PublishedRow

__all__ = ["Column", "Entry", "Grid", "Row", "grid_of"]

LEVELS = 8


@dataclass(frozen=True)
class Column:
    """A task: what its heading says."""

    task: str
    metric: str
    split: str
    maximise: bool
    clips: str


@dataclass(frozen=True)
class Entry:
    """One cell: what is printed, the number to sort by, and why it is not comparable.

    ``level`` is the shade of the heatmap, 0 (the worst measured of the task) to 8 (the best); None without a score.
    """

    shown: ShownCell
    value: float | None = None
    level: int | None = None
    subset: str = ""
    title: str = ""


@dataclass(frozen=True)
class Row:
    """A model's row: its names and mean are those of the printed ``line``."""

    line: Line
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Grid:
    """One protocol's table: measured rows, published rows, and what a reader has to know of them."""

    protocol: str
    number: int
    columns: tuple[Column, ...]
    measured: tuple[Row, ...]
    published: tuple[Row, ...]
    notes: tuple[str, ...]
    deviations: tuple[str, ...]

    @property
    def has_mean(self) -> bool:
        """Whether the column of means holds anything worth a column."""
        return len(self.columns) > 1

    @property
    def has_subset(self) -> bool:
        """Whether a score is of a part of its task."""
        return any(entry.subset for row in self.measured for entry in row.entries)


def grid_of(found: Gathered, number: int) -> Grid:
    """The grid of the ``number``-th table."""
    table = found.tables[number]
    own = [record for record in found.records if record.protocol.title == table.protocol]
    clips: dict[str, set[int]] = {}
    column_of = {folder: column for column, folders in found.columns.items() for folder in folders}
    for record in own:
        clips.setdefault(column_of[record.task.folder_name], set()).add(record.task.n_clips)
    shown = lines(table)
    measured = [_measured(table, line) for line in shown if not line.published]
    published = [
        _published(table, line, row)
        for line, row in zip((line for line in shown if line.published), table.published, strict=True)
    ]
    return Grid(
        protocol=table.protocol,
        number=number,
        columns=tuple(_column(table, task, clips.get(task, set())) for task in table.tasks),
        measured=tuple(measured),
        published=tuple(published),
        notes=tuple(notes(table)),
        deviations=tuple(dict.fromkeys(text for record in own for text in record.protocol.deviations)),
    )


def _column(table: ComparisonTable, task: str, clips: set[int]) -> Column:
    count = f"{min(clips):,}" if len(clips) == 1 else f"{min(clips):,} to {max(clips):,}" if clips else ""
    return Column(task, table.metrics[task], table.splits.get(task, ""), table.maximise[task], count)


def _measured(table: ComparisonTable, line: Line) -> Row:
    return Row(line, tuple(_entry(table, line.model, *pair) for pair in zip(table.tasks, line.cells, strict=True)))


def _entry(table: ComparisonTable, model: str, task: str, shown: ShownCell) -> Entry:
    cell = table.cells.get((model, task))
    if cell is None:
        return Entry(shown)
    about = []
    if cell.low is not None:
        about.append(f"95 % interval over {cell.interval_over}")
    if cell.spread is not None:
        about.append(f"± {cell.spread:.{1 if abs(cell.spread) >= 0.05 else 3}f} over {cell.spread_over}")
    if cell.n_seeds > 1:
        about.append(f"mean of {cell.n_seeds} seeds")
    if cell.subset:
        about.append(f"on a subset: {cell.subset}")
    value = None if math.isnan(cell.score) else cell.score
    return Entry(shown, value, _level(table, task, cell.score), cell.subset, "; ".join(about))


def _level(table: ComparisonTable, task: str, score: float) -> int | None:
    scores = [table.cells[model, task].score for model in table.models if (model, task) in table.cells]
    scores = [value for value in scores if math.isfinite(value)]
    if not math.isfinite(score):
        return None
    low, high = min(scores), max(scores)
    if low == high:
        return LEVELS // 2
    place = (score - low) / (high - low)
    return round(LEVELS * (place if table.maximise[task] else 1 - place))


def _published(table: ComparisonTable, line: Line, row: PublishedRow) -> Row:
    cells = zip(table.tasks, line.cells, strict=True)
    return Row(line, tuple(Entry(shown, row.scores.get(task)) for task, shown in cells))
