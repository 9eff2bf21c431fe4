"""One picture of a run: the curves of its log, and the cross-correlation before and after."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from hear_delores.documents import parse_json
from hear_delores.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "read_log"]

BLUE, ORANGE, GREEN, RED, GREY = "#2a6fbb", "#d9722b", "#3d9150", "#b8383d", "#777777"
COLOURS = (BLUE, ORANGE, GREEN, RED, GREY, "#7a5aa6")
SMOOTH_FROM = 60  # points of a curve from which a running mean is drawn over it


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of ``log.jsonl``, those that are no JSON (a half-written last one) left out."""
    lines: list[dict[str, Any]] = []
    for text in path.read_text("utf-8", "replace").splitlines():
        try:
            lines.append(parse_json(text, path, nan=True))
        except ValueError:
            continue
    return lines


def draw(
    path: Path, title: str, lines: list[dict[str, Any]], before: Mapping[str, Tensor], after: Mapping[str, Tensor]
) -> None:
    """Writes the picture (PNG) to ``path``, whole or not at all.

    Args:
        lines: of :func:`read_log`.
        before, after: by name, the same corner of each cross-correlation at the run's start and at its end.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # no pyplot: a run leaves no global state behind

    steps = [line for line in lines if "loss" in line]
    probes = [line for line in lines if line.get("event") == "probe"]
    columns = max(len(after), 1)
    figure = Figure(figsize=(12, 7.2), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    left, right = figure.subfigures(1, 2, width_ratios=[1.25, 0.55 + 0.35 * columns])
    curves = left.subplots(4 if probes else 3, 1, sharex=True)
    _losses(curves[0], steps)
    _correlation(curves[1], steps)
    _ranks(curves[2], steps)
    if probes:
        _probe(curves[3], probes)
    curves[-1].set_xlabel("step")
    for axes in curves:
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    _warnings(curves, lines)
    _matrices(right, before, after)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _curve(axes: Axes, steps: list[dict[str, Any]], key: str, label: str, colour: str) -> None:
    points = [(line["step"], line[key]) for line in steps if math.isfinite(_number(line.get(key)))]
    if not points:
        return
    x, y = [p[0] for p in points], [p[1] for p in points]
    many = len(points) >= SMOOTH_FROM
    axes.plot(x, y, color=colour, alpha=0.3 if many else 1.0, linewidth=1.2, label=None if many else label)
    if many:
        axes.plot(x, _running_mean(y, len(y) // 30), color=colour, linewidth=1.5, label=label)


def _running_mean(values: list[float], width: int) -> list[float]:
    """Over the ``width`` points on either side, fewer at the ends."""
    means: list[float] = []
    for i in range(len(values)):
        window = values[max(0, i - width) : i + width + 1]
        means.append(sum(window) / len(window))
    return means


def _losses(axes: Axes, steps: list[dict[str, Any]]) -> None:
    names = {
        "loss": "loss",
        "on_diagonal": "invariance: sum (1 - C_ii)²",
        "off_diagonal": "redundancy: sum C_ij², before lambda",
        "info_nce": "InfoNCE",
        "layer1": "layer 1",
        "layer2": "layer 2",
        "layer3": "layer 3",
    }
    colours = iter((RED, *COLOURS[:3], GREY, "#7a5aa6", "#2a9d9d"))
    for key, label in names.items():
        if steps and key in steps[0]:
            _curve(axes, steps, key, label, next(colours))
    axes.set_yscale("log")
    axes.set_ylabel("loss and its terms")
    _legend(axes)


def _correlation(axes: Axes, steps: list[dict[str, Any]]) -> None:
    _curve(axes, steps, "mean_diagonal", "mean diagonal", BLUE)
    _curve(axes, steps, "mean_abs_off_diagonal", "mean |off-diagonal|", ORANGE)
    axes.set_ylim(-0.05, 1.05)
    axes.set_ylabel("cross-correlation")
    _legend(axes)


def _ranks(axes: Axes, steps: list[dict[str, Any]]) -> None:
    keys = [key for key in (steps[0] if steps else {}) if key.startswith("rank_")]
    for key, colour in zip(keys, COLOURS, strict=False):
        _curve(axes, steps, key, key.removeprefix("rank_").replace("layer", "layer "), colour)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("effective rank")
    _legend(axes)


def _probe(axes: Axes, probes: list[dict[str, Any]]) -> None:
    scored = [(line["step"], 100 * line["accuracy"]) for line in probes if line["accuracy"] is not None]
    axes.plot([p[0] for p in scored], [p[1] for p in scored], "o-", color=GREEN, markersize=3.5, linewidth=1.3)
    if scored:
        axes.axhline(scored[0][1], color=GREY, linewidth=0.9, linestyle=":")
    axes.set_ylabel(f"probe, %\n{probes[0]['task']}")


def _warnings(curves: Any, lines: list[dict[str, Any]]) -> None:
    """A dashed line through all curves where the run warned."""
    for line in lines:
        if line.get("event") == "warning":
            for axes in curves:
                axes.axvline(line["step"], color=RED, linewidth=1, linestyle="--")


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7.5, frameon=False, ncols=2)


def _matrices(figure: Any, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
    """Two rows of matrices, one column per projector, on one colour scale."""
    names = list(after) or ["projection"]
    grid = figure.subplots(2, len(names), squeeze=False)
    image = None
    for row, (when, matrices) in enumerate((("at the first step", before), ("at the last step", after))):
        for axes, name in zip(grid[row], names, strict=True):
            axes.set_xticks([])
            axes.set_yticks([])
            label = name.replace("layer", "layer ")
            axes.set_title(f"{label}, {when}" if len(names) == 1 else label, fontsize=9)
            if name in matrices:
                image = axes.imshow(matrices[name].numpy(), cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        if len(names) > 1:
            grid[row][0].set_ylabel(when, fontsize=9)
    size = len(after[names[0]]) if after else 0
    figure.suptitle(f"cross-correlation, {size} of its dimensions", fontsize=10)
    if image is not None:
        figure.colorbar(image, ax=grid, shrink=0.5, aspect=30, location="bottom")


def _number(value: Any) -> float:
    """A value of the log: null is one that was not finite."""
    return float(value) if isinstance(value, (int, float)) else math.nan
