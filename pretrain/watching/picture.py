"""One picture of a run: the curves of its log, and the cross-correlation before and after."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from hear_delores.documents import parse_json
from hear_delores.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "read_log"]

BLUE, ORANGE, GREEN, RED, GREY = "#2a6fbb", "#d9722b", "#3d9150", "#b8383d", "#777777"
COLOURS = (BLUE, ORANGE, GREEN, RED, GREY, "#7a5aa6")
LOSS_COLOURS = (RED, *COLOURS[:3], GREY, "#7a5aa6", "#2a9d9d")
LOSSES = {
    "loss": "loss",
    "on_diagonal": "invariance: sum (1 - C_ii)²",
    "off_diagonal": "redundancy: sum C_ij², before lambda",
    "info_nce": "InfoNCE",
    "layer1": "layer 1",
    "layer2": "layer 2",
    "layer3": "layer 3",
}
CORRELATIONS = {"mean_diagonal": "mean diagonal", "mean_abs_off_diagonal": "mean |off-diagonal|"}
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
    _curves(curves[:3], steps)
    if probes:
        _probe(curves[3], probes)
    curves[-1].set_xlabel("step")
    for axes in curves:
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        for line in lines:
            if line.get("event") == "warning":
                axes.axvline(line["step"], color=RED, linewidth=1, linestyle="--")
    _matrices(right, before, after)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _curves(panels: Any, steps: list[dict[str, Any]]) -> None:
    first = steps[0] if steps else {}
    ranks = {key: key.removeprefix("rank_").replace("layer", "layer ") for key in first if key.startswith("rank_")}
    losses = {key: label for key, label in LOSSES.items() if key in first}
    contents = (("loss and its terms", losses), ("cross-correlation", CORRELATIONS), ("effective rank", ranks))
    for axes, (title, keys) in zip(panels, contents, strict=True):
        for (key, label), colour in zip(keys.items(), LOSS_COLOURS if keys is losses else COLOURS, strict=False):
            _curve(axes, steps, key, label, colour)
        axes.set_ylabel(title)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7.5, frameon=False, ncols=2)
    panels[0].set_yscale("log")
    panels[1].set_ylim(-0.05, 1.05)
    panels[2].set_ylim(bottom=0)


def _curve(axes: Axes, steps: list[dict[str, Any]], key: str, label: str, colour: str) -> None:
    values = [(line["step"], line.get(key)) for line in steps]
    # null and "Infinity" stand for what was not finite
    points = [(x, y) for x, y in values if isinstance(y, (int, float)) and math.isfinite(y)]
    if not points:
        return
    x, y = zip(*points, strict=True)
    many = len(points) >= SMOOTH_FROM
    axes.plot(x, y, color=colour, alpha=0.3 if many else 1.0, linewidth=1.2, label=None if many else label)
    if many:
        window = np.ones(2 * (len(y) // 30) + 1)
        means = np.convolve(y, window, "same") / np.convolve(np.ones(len(y)), window, "same")  # of fewer at the ends
        axes.plot(x, means, color=colour, linewidth=1.5, label=label)


def _probe(axes: Axes, probes: list[dict[str, Any]]) -> None:
    scored = [(line["step"], 100 * line["accuracy"]) for line in probes if line["accuracy"] is not None]
    axes.plot([p[0] for p in scored], [p[1] for p in scored], "o-", color=GREEN, markersize=3.5, linewidth=1.3)
    if scored:
        axes.axhline(scored[0][1], color=GREY, linewidth=0.9, linestyle=":")
    axes.set_ylabel(f"probe, %\n{probes[0]['task']}")


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
