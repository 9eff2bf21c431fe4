"""Bars of one task: each model's score with its 95 % interval, and where published figures lie.

The bars stand in a table, so that name and value are text at any width; only the bar itself is drawn, by the page's
template, in per cent of its cell's width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.metrics.registry import metric_scale
from benchmarks.reading.report.gather import Gathered
from benchmarks.reading.report.svg import Axis
from benchmarks.reading.tables.table import ComparisonTable

__all__ = ["BarCard", "BarRow", "TaskBars", "task_bars"]

#: Published models with a row of their own; where there are more, the rest share one row.
PUBLISHED_ROWS = 6


@dataclass(frozen=True)
class BarRow:
    """One row: its name, the score as text with its interval, and the numbers that are drawn.

    Attributes:
        score: of the bar, None without one.
        ends: of the whisker, if any.
        points: published figures.
        reference: the best published figure, a line beside measured ones.
    """

    name: str
    text: str
    detail: str = ""
    best: bool = False
    published: bool = False
    score: float | None = None
    ends: tuple[float, ...] = ()
    points: tuple[float, ...] = ()
    reference: float | None = None


@dataclass(frozen=True)
class BarCard:
    """Bars on one axis under a title; ``groups`` are rows under a name, "" for none. ``task`` is a column, or "".

    ``figures`` are the rows of a table below the bars, the first its heads; empty for none.
    """

    title: str
    about: str
    axis: Axis
    groups: tuple[tuple[str, list[BarRow]], ...]
    task: str = ""
    figures: tuple[tuple[str, ...], ...] = ()

    @property
    def ticks(self) -> list[float]:
        """Quarters of an axis in per cent, else round numbers."""
        return _ticks(self.axis)


@dataclass(frozen=True)
class TaskBars:
    """One task's bars on one axis: ``groups`` are the rows of each protocol, measured or published, best first."""

    task: str
    table: ComparisonTable
    axis: Axis
    groups: tuple[tuple[str, list[BarRow]], ...]
    summary: str

    @property
    def ticks(self) -> list[float]:
        """Quarters of an axis in per cent, else round numbers."""
        return _ticks(self.axis)


def _ticks(axis: Axis) -> list[float]:
    return [0.0, 25.0, 50.0, 75.0, 100.0] if (axis.low, axis.high) == (0.0, 100.0) else axis.ticks(4)


def task_bars(found: Gathered, column: str) -> TaskBars:
    """All protocols' bars of a column, models best first."""
    tables = [table for table in found.tables if table.measured(column)]
    groups = []
    for table in tables:
        groups.append((table.protocol, _rows(found, table, column)))
        for protocol in dict.fromkeys(row.protocol for row in table.published if column in row.scores):
            groups.append((f"published: {protocol}", _published_rows(table, column, protocol)))
    main = found.main_table(column) or tables[0]
    best = found.ranked(main, column)[0]
    text = found.shown[main.protocol, best, column].text
    summary = f"{best} {text} ({main.protocol})" if text else ""
    return TaskBars(column, tables[0], _axis(tables, column), tuple(groups), summary)


def _axis(tables: list[ComparisonTable], column: str) -> Axis:
    """0 to 100 for a metric in per cent, else from 0 (or below) to the largest score or interval end."""
    values = [0.0]
    for table in tables:
        cells = [cell for (_, task), cell in table.cells.items() if task == column]
        values += [value for cell in cells for value in (cell.score, cell.low, cell.high) if value is not None]
        values += [row.scores[column] for row in table.published if column in row.scores]
    finite = [value for value in values if math.isfinite(value)]
    high = 100.0 if metric_scale(tables[0].metrics[column]) == 100.0 else 1.0
    return Axis(min(finite), max(high, *finite))


def _rows(found: Gathered, table: ComparisonTable, column: str) -> list[BarRow]:
    rows = []
    for model in found.ranked(table, column):
        cell, shown = table.cells[model, column], found.shown[table.protocol, model, column]
        ends = () if cell.low is None or cell.high is None else (cell.low, cell.high)
        score = cell.score if math.isfinite(cell.score) else None
        rows.append(
            BarRow(
                model, shown.score + shown.mark, shown.detail, shown.best,
                score=score, ends=ends, reference=table.best_published(column),
            )
        )  # fmt: skip
    return rows


def _published_rows(table: ComparisonTable, column: str, protocol: str) -> list[BarRow]:
    sign = -1.0 if table.maximise[column] else 1.0
    own = (row for row in table.published if row.protocol == protocol and column in row.scores)
    having = sorted(own, key=lambda row: sign * row.scores[column])
    alone = having if len(having) <= PUBLISHED_ROWS + 1 else having[:PUBLISHED_ROWS]
    rows = []
    for row in alone:
        score = row.scores[column]
        best = score == table.best_published(column)
        rows.append(BarRow(row.model, f"{score:.1f}", best=best, published=True, score=score, points=(score,)))
    if rest := tuple(row.scores[column] for row in having[len(alone) :]):
        text = f"{min(rest):.1f} to {max(rest):.1f}"
        rows.append(BarRow(f"{len(rest)} more published", text, published=True, points=rest))
    return rows
