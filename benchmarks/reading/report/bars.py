"""Bars of one task: each model's score with its 95 % interval, and where published figures lie.

The bars stand in a table, so that name and value are text at any width; only the bar itself is drawn, in per cent of
its cell's width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup

from benchmarks.metrics.registry import metric_scale
from benchmarks.reading.report.gather import Gathered
from benchmarks.reading.report.svg import Axis, element, fixed, tick_texts
from benchmarks.reading.tables.table import ComparisonTable

__all__ = ["BarGroup", "BarRow", "TaskBars", "task_bars"]

#: Published models with a row of their own; where there are more, the rest share one row.
PUBLISHED_ROWS = 6
HEIGHT = 22


@dataclass(frozen=True)
class BarRow:
    """One row: the name, the score as text with its interval, the drawing."""

    name: str
    text: str
    detail: str
    best: bool
    published: bool
    drawing: Markup


@dataclass(frozen=True)
class BarGroup:
    """The rows of one protocol, measured or published, best first."""

    protocol: str
    rows: tuple[BarRow, ...]


@dataclass(frozen=True)
class TaskBars:
    """One task's bars under every protocol, on one axis."""

    task: str
    metric: str
    split: str
    maximise: bool
    scale: Markup
    groups: tuple[BarGroup, ...]
    summary: str


def task_bars(found: Gathered, column: str) -> TaskBars:
    """All protocols' bars of a column, models best first."""
    tables = [table for table in found.tables if any((model, column) in table.cells for model in table.models)]
    axis = _axis(tables, column)
    groups = []
    for table in tables:
        groups.append(BarGroup(table.protocol, tuple(_rows(found, table, column, axis))))
        for protocol in dict.fromkeys(row.protocol for row in table.published if column in row.scores):
            rows = tuple(_published_rows(table, column, protocol, axis))
            groups.append(BarGroup(f"published: {protocol}", rows))
    first = tables[0]
    main = found.main_table(column) or first
    best = found.ranked(main, column)[0]
    text = found.shown[main.protocol, best, column].text
    return TaskBars(
        task=column,
        metric=first.metrics[column],
        split=first.splits.get(column, ""),
        maximise=first.maximise[column],
        scale=_scale(axis),
        groups=tuple(groups),
        summary=f"{best} {text} ({main.protocol})" if text else "",
    )


def _axis(tables: list[ComparisonTable], column: str) -> Axis:
    """0 to 100 for a metric in per cent, else from 0 (or below) to the largest score or interval end."""
    values = [0.0]
    for table in tables:
        for model in table.models:
            cell = table.cells.get((model, column))
            if cell is not None:
                values += [value for value in (cell.score, cell.low, cell.high) if value is not None]
        values += [row.scores[column] for row in table.published if column in row.scores]
    finite = [value for value in values if math.isfinite(value)]
    high = 100.0 if metric_scale(tables[0].metrics[column]) == 100.0 else max(max(finite), 1.0)
    return Axis(min(finite), max(high, max(finite)))


def _rows(found: Gathered, table: ComparisonTable, column: str, axis: Axis) -> list[BarRow]:
    top = table.best_published(column)
    rows = []
    for model in found.ranked(table, column):
        cell = table.cells[model, column]
        shown = found.shown[table.protocol, model, column]
        parts = _frame(axis)
        if math.isfinite(cell.score):
            parts.append(_bar(axis, cell.score, "bar best" if shown.best else "bar"))
        if top is not None:
            parts.append(_line(axis, top, "ref", 0, HEIGHT))
        if cell.low is not None and cell.high is not None:
            parts += _whisker(axis, cell.low, cell.high)
        rows.append(BarRow(model, shown.score + shown.mark, shown.detail, shown.best, False, _drawing(parts)))
    return rows


def _published_rows(table: ComparisonTable, column: str, protocol: str, axis: Axis) -> list[BarRow]:
    sign = -1.0 if table.maximise[column] else 1.0
    own = (row for row in table.published if row.protocol == protocol and column in row.scores)
    having = sorted(own, key=lambda row: sign * row.scores[column])
    top = table.best_published(column)
    alone = having if len(having) <= PUBLISHED_ROWS + 1 else having[:PUBLISHED_ROWS]
    rows = []
    for row in alone:
        score = row.scores[column]
        parts = [*_frame(axis), _bar(axis, score, "bar published"), _diamond(axis, score)]
        rows.append(BarRow(row.model, f"{score:.1f}", "", score == top, True, _drawing(parts)))
    rest = [row.scores[column] for row in having[len(alone) :]]
    if rest:
        parts = [*_frame(axis), *(_diamond(axis, score) for score in rest)]
        name = f"{len(rest)} more published"
        rows.append(BarRow(name, f"{min(rest):.1f} to {max(rest):.1f}", "", False, True, _drawing(parts)))
    return rows


# --- drawings: x in per cent of the width, y in pixels


def _percent(axis: Axis, value: float) -> str:
    return fixed(100 * axis.at(value)) + "%"


def _frame(axis: Axis) -> list[Markup]:
    return [_line(axis, tick, "grid", 0, HEIGHT) for tick in _ticks(axis)]


def _ticks(axis: Axis) -> list[float]:
    """Quarters of an axis in per cent, else round numbers."""
    return [0.0, 25.0, 50.0, 75.0, 100.0] if (axis.low, axis.high) == (0.0, 100.0) else axis.ticks(4)


def _line(axis: Axis, value: float, kind: str, top: float, bottom: float) -> Markup:
    x = _percent(axis, value)
    return element("line", class_=kind, x1=x, x2=x, y1=top, y2=bottom)


def _bar(axis: Axis, value: float, kind: str) -> Markup:
    start, end = sorted((axis.at(0.0), axis.at(value)))
    width = fixed(100 * (end - start)) + "%"
    return element("rect", class_=kind, x=fixed(100 * start) + "%", y=4, width=width, height=HEIGHT - 8)


def _whisker(axis: Axis, low: float, high: float) -> list[Markup]:
    middle = HEIGHT / 2
    across = element(
        "line", class_="whisker", x1=_percent(axis, low), x2=_percent(axis, high), y1=middle, y2=middle
    )  # fmt: skip
    return [across, *(_line(axis, end, "whisker", middle - 4, middle + 4) for end in (low, high))]


def _diamond(axis: Axis, value: float) -> Markup:
    return element("svg", element("use", href="#diamond"), class_="at", x=_percent(axis, value), y=HEIGHT // 2)


def _drawing(parts: list[Markup]) -> Markup:
    return element("svg", *parts, class_="strip", height=HEIGHT, aria_hidden="true")


def _scale(axis: Axis) -> Markup:
    """The numbers of the axis, as the first row's drawing."""
    texts = []
    for tick, text in zip(_ticks(axis), tick_texts(_ticks(axis)), strict=True):
        place = axis.at(tick)
        anchor = "start" if place < 0.02 else "end" if place > 0.98 else "middle"
        texts.append(element("text", text, class_="tick", x=_percent(axis, tick), y=12, text_anchor=anchor))
    return element("svg", *texts, class_="strip", height=16, aria_hidden="true")
