"""The critical-difference diagram: average ranks on an axis, and bars that join models that are not told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.reading.statistics.critical_difference import RankTest
from hear_delores.files import atomic_path

__all__ = ["draw_ranks"]


def draw_ranks(test: RankTest, path: str | Path) -> Path:
    """Draws the diagram into a PNG file, as Demsar (2006), figure 1(a), with the best models at the right."""
    # Figure without pyplot: no display, no global state; it draws with Agg.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    k, bars = len(test.models), len(test.groups)
    right = (k + 1) // 2  # the better half is named at the right
    first_row = 0.7 + 0.25 * bars
    depth = first_row + 0.5 * right
    figure = Figure(figsize=(9, 1.2 + 0.45 * (depth + 1)), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_axis_off()
    margin = max(0.35 * (k - 1), 0.35)
    axes.set_xlim(k + margin, 1 - margin)  # turned: rank 1 at the right
    axes.set_ylim(depth, -1.6)
    line: dict[str, Any] = {"color": "black", "solid_capstyle": "butt"}
    axes.plot([1, k], [0, 0], linewidth=1, **line)
    for tick in range(1, k + 1):
        axes.plot([tick, tick], [0, -0.15], linewidth=1, **line)
        if (tick - 1) % (1 + k // 16) == 0:  # more would run into each other
            axes.text(tick, -0.25, str(tick), ha="center", va="bottom", fontsize=8)
    _draw_distance(axes, test, line)
    for number, group in enumerate(test.groups):
        ends = [test.average_ranks[test.models.index(model)] for model in (group[0], group[-1])]
        height = 0.35 + 0.25 * number
        axes.plot([ends[0] - 0.015 * k, ends[1] + 0.015 * k], [height, height], linewidth=3.5, **line)
    for place, (model, rank) in enumerate(zip(test.models, test.average_ranks, strict=True)):
        at_right = place < right
        row = first_row + 0.5 * (place if at_right else k - 1 - place)
        edge = 1 - 0.15 * margin if at_right else k + 0.15 * margin
        axes.plot([rank, rank, edge], [0, row, row], linewidth=0.8, **line)
        text, side = (f" {rank:.2f}  {model}", "left") if at_right else (f"{model}  {rank:.2f} ", "right")
        axes.text(edge, row, text, ha=side, va="center", fontsize=8, parse_math=False)  # a $ in a name is a $
    path = Path(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight")
    return path


def _draw_distance(axes: Any, test: RankTest, line: dict[str, Any]) -> None:
    """The critical difference as a length above the axis, from the worst rank."""
    k, distance = len(test.models), test.critical_difference
    text = f"CD = {distance:.2f} (Nemenyi, level {test.alpha:g}, {test.n_tasks} tasks)"
    if distance <= k - 1:  # a distance longer than the axis tells no models apart, and is not drawn
        axes.plot([k, k - distance], [-1.0, -1.0], linewidth=1.5, **line)
        for end in (k, k - distance):
            axes.plot([end, end], [-0.88, -1.12], linewidth=1.5, **line)
    axes.text(k, -1.2, text, ha="left", va="bottom", fontsize=8)
