"""Scores on perturbed test clips as bars: a card for the mean over tasks and one for each task, grouped by model."""

from __future__ import annotations

import math

from benchmarks.metrics.registry import metric_scale
from benchmarks.reading.report.bars import BarCard, BarRow
from benchmarks.reading.report.gather import Gathered
from benchmarks.reading.report.svg import Axis
from benchmarks.reading.statistics.robustness import Robustness, Tested, robustness_of

__all__ = ["perturbed_bars"]


def perturbed_bars(found: Gathered) -> list[BarCard]:
    """The cards of every protocol under which test clips were perturbed; an empty list without such records."""
    cards = []
    for each in robustness_of(found.records):
        if each.means:
            cards.append(_card(each, f"mean over {', '.join(each.averaged)}", each.protocol, each.means, 1))
        for task in each.tasks:
            cells = {(model, name): cell for (model, of, name), cell in each.cells.items() if of == task}
            metric, less = each.metrics[task], "" if each.maximise[task] else ", lower is better"
            digits = 1 if metric_scale(metric) == 100.0 else 3
            cards.append(_card(each, task, f"{each.protocol}, {metric}{less}", cells, digits, task))
    return cards


def _card(
    found: Robustness, title: str, about: str, cells: dict[tuple[str, str], Tested], digits: int, task: str = ""
) -> BarCard:
    names = ("", *found.perturbations)
    rows = {m: [_row(cells, m, name, digits) for name in names if (m, name) in cells] for m in found.models}
    groups = tuple((model, own) for model, own in rows.items() if own)
    finite = [cell.score for cell in cells.values() if math.isfinite(cell.score)]
    high = 100.0 if digits == 1 else max([1.0, *finite])
    return BarCard(title, about, Axis(min([0.0, *finite]), high), groups, task)


def _row(cells: dict[tuple[str, str], Tested], model: str, name: str, digits: int) -> BarRow:
    cell, clean = cells[model, name], cells[model, ""].score
    ends = "" if cell.low is None else f"[{cell.low:+.{digits}f}, {cell.high:+.{digits}f}]"
    known = math.isfinite(cell.score)
    return BarRow(
        name or "clean", f"{cell.score:.{digits}f}" if known else "n/a", ends, best=not name,
        score=cell.score if known else None, reference=clean if name and math.isfinite(clean) else None,
    )  # fmt: skip
