"""Scores on clean and on perturbed test clips: a table of means over tasks, a table for each task, and a picture."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.metrics.registry import metric_scale
from benchmarks.reading.statistics.robustness import Robustness, Tested
from benchmarks.reading.tables.text_table import TextTable
from hear_delores.files import atomic_path

__all__ = ["draw_robustness", "robustness_blocks", "robustness_tables"]

CLEAN = "clean"
#: The level at the end of a perturbation's name; what is left names the kind, and the codec.
LEVEL = re.compile(r"[-0-9.k]+$")
NOTE = (
    "The heads are trained and chosen on clean clips. In brackets: the 95 % interval of the difference to clean, over "
    "the same test clips."
)


@dataclass(frozen=True)
class _Part:
    """One table of a protocol: means over tasks, or one task. ``cells`` are by (model, perturbation); "" is clean."""

    title: str
    unit: str
    digits: int
    cells: dict[tuple[str, str], Tested]


def _parts(found: Robustness) -> list[_Part]:
    parts = []
    if found.means:
        title = f"mean over {', '.join(found.averaged)}"
        parts.append(_Part(title, "mean score in per cent", 1, found.means))
    for task in found.tasks:
        metric = found.metrics[task]
        cells = {(model, name): cell for (model, of, name), cell in found.cells.items() if of == task}
        unit = metric if found.maximise[task] else f"{metric}, lower is better"
        parts.append(_Part(f"{task} ({unit})", unit, 1 if metric_scale(metric) == 100.0 else 3, cells))
    return parts


def robustness_tables(robustness: Sequence[Robustness]) -> list[TextTable]:
    """For each protocol, the table of means over tasks if there are several, and a table for each task."""
    found = []
    for each in robustness:
        for number, part in enumerate(_parts(each)):
            rows = [
                [model, *(_text(part.cells.get((model, name)), part.digits) for name in ("", *each.perturbations))]
                for model in each.models
            ]
            heads = ["model", CLEAN, *each.perturbations]
            notes = _notes(each) if number == 0 else []
            found.append(TextTable(f"Robustness: {each.protocol}, {part.title}", heads, rows, notes))
    return found


def _notes(found: Robustness) -> list[str]:
    notes = [NOTE]
    if len(found.cells) < len(found.models) * len(found.tasks) * (1 + len(found.perturbations)):
        notes.append("Blank: not tested.")
    if found.left_out:
        notes.append(f"Not in the mean, not tested under all of these for all models: {', '.join(found.left_out)}.")
    return notes


def _text(cell: Tested | None, digits: int) -> str:
    if cell is None:
        return ""
    score = "n/a" if cell.score != cell.score else f"{cell.score:.{digits}f}"
    return score if cell.low is None else f"{score} [{cell.low:+.{digits}f}, {cell.high:+.{digits}f}]"


def robustness_blocks(table: TextTable, console: Console) -> list[RichTable]:
    """The table for a terminal, cut into blocks of as many columns as fit its width, one below the other."""
    blocks, columns = [], list(range(1, len(table.heads)))
    unbounded = console.options.update(max_width=10_000)
    while columns:
        fits = 1
        while (
            fits < len(columns)
            and console.measure(_rich(table, columns[: fits + 1]), options=unbounded).maximum <= console.width
        ):
            fits += 1
        blocks.append(_rich(table, columns[:fits]))
        columns = columns[fits:]
    return blocks


def _rich(table: TextTable, columns: Sequence[int]) -> RichTable:
    shown = RichTable(title=table.title, title_justify="left", title_style="bold", pad_edge=False)
    shown.add_column(table.heads[0], no_wrap=True)
    for number in columns:
        shown.add_column(table.heads[number], justify="right")
    for row in table.rows:
        shown.add_row(row[0], *(row[number].replace(" [", "\n[") for number in columns))
    return shown


def draw_robustness(path: str | Path, robustness: Sequence[Robustness]) -> Path:
    """Draws scores against the perturbations into a PNG file, with a panel for each task and protocol."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # no pyplot: a run leaves no global state behind

    parts = [[part for part in _parts(each) if part.cells is not each.means] for each in robustness]
    columns = max(len(own) for own in parts)
    most = max(len(each.perturbations) for each in robustness)
    figure = Figure(
        figsize=(1.6 + columns * (1.4 + 0.36 * most), 0.9 + 2.9 * len(parts)), dpi=110, layout="constrained"
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(parts), columns, squeeze=False)
    for row, (each, own) in enumerate(zip(robustness, parts, strict=True)):
        for column in range(columns):
            axes = grid[row, column]
            if column < len(own):
                _panel(axes, each, own[column])
            else:
                axes.set_axis_off()
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    path = Path(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
    return path


def _panel(axes: Any, found: Robustness, part: _Part) -> None:
    """Draws one task: a line joins the levels of a kind, and a dotted line marks each model's clean score."""
    names = ["", *found.perturbations]
    kinds = [LEVEL.sub("", name.partition(" (")[0]) for name in names]
    marks = "os^Dv<>P*X"
    for number, model in enumerate(found.models):
        cells, colour = [part.cells.get((model, name)) for name in names], f"C{number % 10}"
        values = [math.nan if cell is None else cell.score for cell in cells]
        axes.axhline(values[0], color=colour, linewidth=0.8, linestyle=":", alpha=0.7)
        for kind in dict.fromkeys(kinds):
            places = [place for place, each in enumerate(kinds) if each == kind]
            label = None if kind else model.replace("$", r"\$")
            axes.plot(
                places, [values[place] for place in places], color=colour, label=label,
                marker=marks[number % len(marks)], markersize=4, linewidth=1.2,
            )  # fmt: skip
    axes.set_xticks(range(len(names)), [CLEAN, *found.perturbations], rotation=60, ha="right", fontsize=7)
    axes.set_title(f"{part.title}\n{found.protocol}", fontsize=8, parse_math=False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.tick_params(axis="y", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
