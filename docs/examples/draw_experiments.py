"""The picture of docs/experiments.md, drawn from that page's table of trainings.

python docs/examples/draw_experiments.py docs/_static/experiments.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt

PAGE = Path(__file__).parents[1] / "experiments.md"
MEANS = {"ridge": "#0072b2", "knn": "#d55e00", "5-shot": "#009e73"}
CLIPS, HOURS = "clips seen", "hours"


def trainings(page: str) -> list[dict[str, str]]:
    """The rows of the table whose first column is "training"."""
    lines = page.splitlines()
    [head] = [number for number, line in enumerate(lines) if line.startswith("| training |")]
    names = cells(lines[head])
    rows: list[dict[str, str]] = []
    for line in lines[head + 2 :]:
        if not line.startswith("|"):
            return rows
        rows.append(dict(zip(names, cells(line), strict=True)))
    return rows


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def draw(rows: list[dict[str, str]], target: Path) -> None:
    """Two panels: the means against clips seen, and against hours of audio, of the shipped recipe."""
    learnt = [row for row in rows if row["training"] == "shipped recipe"]
    recorded = [row for row in learnt if row["audio"] == "recordings" and row[HOURS] == "6.9"]
    pool = [row for row in rows if row["audio"] == "free pool" and "renditions" in row["training"]]
    maps = [row for row in rows if row["training"] == "maps alone" and row["audio"] == "recordings"]
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True, layout="constrained")
    for mean, colour in MEANS.items():
        level = sum(float(row[mean]) for row in maps) / len(maps)
        for panel in (left, right):
            panel.axhline(level, color=colour, linestyle=":", linewidth=1)
        for panel, axis, group, mark in (
            (left, CLIPS, recorded, "o"), (left, CLIPS, pool, "s"),
            (right, HOURS, [row for row in learnt if row[CLIPS] == "64,000" and "endless" not in row[HOURS]], "o"),
        ):  # fmt: skip
            values = [(float(row[axis].replace(",", "")), float(row[mean])) for row in group]
            panel.scatter(*zip(*values, strict=True), color=colour, marker=mark, s=18, zorder=3)
        right.annotate(mean, (1.01, level), xycoords=("axes fraction", "data"), color=colour, va="center")
    left.set(xscale="log", xlabel="clips seen (squares: free pool, renditions)")
    left.set(ylabel="mean accuracy over six tasks (%)")
    right.set(xscale="log", xlabel="hours of audio, 64,000 clips seen")
    for panel in (left, right):
        values = sorted({x for points in panel.collections for x, _ in points.get_offsets()})
        shown = [x for number, x in enumerate(values) if not number or x > 1.3 * values[number - 1]]
        panel.set_xticks(shown, [f"{x:,g}" if x < 1000 else f"{x:,.0f}" for x in shown])
        panel.minorticks_off()
    left.set_title("dotted: untrained, maps alone", fontsize=9, loc="left")
    figure.savefig(target, dpi=160)


if __name__ == "__main__":
    draw(trainings(PAGE.read_text(encoding="utf-8")), Path(sys.argv[1]))
