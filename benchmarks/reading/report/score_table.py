"""What the page's sortable table and its heatmap say of a cell beside what every form of a table prints."""

from __future__ import annotations

import math

from benchmarks.reading.report.gather import Gathered
from benchmarks.reading.tables.table import Cell, ComparisonTable

__all__ = ["LEVELS", "cell_note", "clips_of", "shade"]

LEVELS = 8


def clips_of(found: Gathered, table: ComparisonTable, column: str) -> str:
    """How many clips a column's results have, "" where nothing was measured."""
    clips = {r.task.n_clips for r in found.of_column(column) if r.protocol.title == table.protocol}
    return " to ".join(f"{count:,}" for count in sorted({min(clips), max(clips)})) if clips else ""


def cell_note(cell: Cell | None) -> str:
    """What the interval and the deviation are over, how many seeds there are, and why a score is not comparable."""
    if cell is None:
        return ""
    about = []
    if cell.low is not None:
        about.append(f"95 % interval over {cell.interval_over}")
    if cell.spread is not None:
        about.append(f"± {cell.spread:.{1 if abs(cell.spread) >= 0.05 else 3}f} over {cell.spread_over}")
    if cell.n_seeds > 1:
        about.append(f"mean of {cell.n_seeds} seeds")
    if cell.subset:
        about.append(f"on a subset: {cell.subset}")
    if cell.at_chance:
        about.append("at chance: guesses score as well")
    return "; ".join(about)


def shade(table: ComparisonTable, task: str, score: float | None) -> int | None:
    """The heatmap's, from 0 (the worst measured of the task) to LEVELS (the best); None without a finite score."""
    if score is None or not math.isfinite(score):
        return None
    scores = [value for value in table.measured(task) if math.isfinite(value)]
    low, high = min(scores), max(scores)
    if low == high:
        return LEVELS // 2
    place = (score - low) / (high - low)
    return round(LEVELS * (place if table.maximise[task] else 1 - place))
