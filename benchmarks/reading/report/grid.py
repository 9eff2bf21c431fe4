"""A comparison table as the page's sortable table and as its heatmap: the same cells, with the values to sort by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.reading.report.gather import Gathered
from benchmarks.reading.tables.plain import SUBSET, Line, lines, notes
from benchmarks.reading.tables.table import Cell, ComparisonTable, PublishedRow

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
    """One cell: the text, its second line (interval or deviation), the number to sort by, and marks.

    ``level`` is the shade of the heatmap, 0 (the worst measured of the task) to 8 (the best); None without a score.
    """

    text: str = ""
    detail: str = ""
    value: str = ""
    best: bool = False
    level: int | None = None
    subset: str = ""
    title: str = ""


@dataclass(frozen=True)
class Row:
    """A model's row; ``mean`` is empty where there is none, ``over`` says over how many tasks where not all."""

    model: str
    protocol: str
    entries: tuple[Entry, ...]
    mean: str
    over: str
    mean_value: str


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
    has_subset: bool

    @property
    def has_mean(self) -> bool:
        """Whether the column of means holds anything worth a column."""
        return len(self.columns) > 1


def grid_of(found: Gathered, number: int) -> Grid:
    """The grid of the ``number``-th table."""
    table = found.tables[number]
    own = [record for record in found.records if record.protocol.title == table.protocol]
    subsets: dict[tuple[str, str], str] = {}
    clips: dict[str, set[int]] = {}
    column_of = {folder: column for column, folders in found.columns.items() for folder in folders}
    for record in own:
        column = column_of[record.task.folder_name]
        clips.setdefault(column, set()).add(record.task.n_clips)
        if record.task.subset:
            subsets[found.name(record), column] = record.task.subset
    shown = lines(table)
    measured = [_measured(table, line, subsets) for line in shown if not line.published]
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
        has_subset=bool(subsets),
    )


def _column(table: ComparisonTable, task: str, clips: set[int]) -> Column:
    count = f"{min(clips):,}" if len(clips) == 1 else f"{min(clips):,} to {max(clips):,}" if clips else ""
    return Column(task, table.metrics[task], table.splits.get(task, ""), table.maximise[task], count)


def _measured(table: ComparisonTable, line: Line, subsets: Mapping[tuple[str, str], str]) -> Row:
    entries = []
    for task, (text, best) in zip(table.tasks, line.cells, strict=True):
        cell = table.cells.get((line.model, task))
        subset = subsets.get((line.model, task), "")
        entries.append(Entry() if cell is None else _entry(table, task, cell, text, best, subset))
    mean, _ = table.average(line.model)
    return _row(line, tuple(entries), mean)


def _entry(table: ComparisonTable, task: str, cell: Cell, text: str, best: bool, subset: str) -> Entry:
    score, _, detail = text.replace(SUBSET, "").partition(" ")  # the page has its own mark
    about = []
    if cell.low is not None:
        about.append(f"95 % interval over {cell.interval_over}")
    if cell.spread is not None:
        about.append(f"± {cell.spread:.{1 if abs(cell.spread) >= 0.05 else 3}f} over {cell.spread_over}")
    if cell.n_seeds > 1:
        about.append(f"mean of {cell.n_seeds} seeds")
    if subset:
        about.append(f"on a subset: {subset}")
    value = "" if math.isnan(cell.score) else repr(cell.score)
    return Entry(score, detail, value, best, _level(table, task, cell.score), subset, "; ".join(about))


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
    entries = tuple(
        Entry(text, value=repr(row.scores[task]), best=best) if text else Entry()
        for task, (text, best) in zip(table.tasks, line.cells, strict=True)
    )
    return _row(line, entries, table.mean_of(row.scores)[0])


def _row(line: Line, entries: tuple[Entry, ...], mean: float | None) -> Row:
    text, _, over = line.mean.partition(" ")
    return Row(line.model, line.protocol, entries, text, over.strip("()"), "" if mean is None else repr(mean))
