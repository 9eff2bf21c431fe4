"""Scores of a model's layers: the layer that validation chooses, a table, a CSV file and a picture against depth."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reading.tables.plain import markdown_table
from hear_delores.files import atomic_path

__all__ = ["LayerScores", "draw", "to_csv", "to_markdown"]


@dataclass(frozen=True)
class LayerScores:
    """The layers of a model on a task, from the first to the last.

    Attributes:
        layers: their names.
        validation, test: the primary score of each layer, mean over folds.
        indicators: name -> a number for each layer, computed without labels.
    """

    model: str
    task: str
    protocol: str
    metric: str
    maximise: bool
    layers: tuple[str, ...]
    validation: tuple[float, ...]
    test: tuple[float, ...]
    indicators: Mapping[str, tuple[float, ...]]

    @property
    def chosen(self) -> int | None:
        """The index of the layer with the best validation score, the first of equals; None if all are NaN."""
        scores = np.array(self.validation) * (1 if self.maximise else -1)
        return None if np.isnan(scores).all() else int(np.nanargmax(scores))

    def correlation(self, indicator: str) -> float:
        """Spearman's rank correlation of an indicator with the validation score, over layers.

        The score is negated if lower is better. NaN for fewer than three layers, or where either is the same in all.
        """
        from scipy.stats import spearmanr

        goodness = np.array(self.validation) * (1 if self.maximise else -1)
        values = np.array(self.indicators[indicator])
        known = np.isfinite(goodness) & np.isfinite(values)
        if known.sum() < 3 or np.ptp(goodness[known]) == 0 or np.ptp(values[known]) == 0:
            return math.nan
        return float(spearmanr(values[known], goodness[known]).statistic)

    def shown_test(self, every: bool) -> list[float | None]:
        """The test score of the chosen layer, and None for the others; with ``every``, those of all layers."""
        return [value if every or number == self.chosen else None for number, value in enumerate(self.test)]


def to_markdown(tables: Sequence[LayerScores], *, all_tests: bool = False) -> str:
    """Markdown: a table for each task, with a row for each layer, and one with the correlations of the indicators."""
    parts = []
    for scores in tables:
        heads = ["layer", "validation", "test", *scores.indicators]
        tests = scores.shown_test(all_tests)
        rows = []
        for number, layer in enumerate(scores.layers):
            mark = " (chosen)" if number == scores.chosen else ""
            figures = [scores.validation[number], tests[number], *(own[number] for own in scores.indicators.values())]
            rows.append([layer + mark, *map(_figure, figures)])
        rows.append(["Spearman with validation", "", "", *(_figure(scores.correlation(n)) for n in scores.indicators)])
        title = f"{scores.task}: {scores.metric} of {scores.model}, {scores.protocol}"
        parts.append(markdown_table(title, heads, rows, texts=1))
    return "\n".join(parts)


def _figure(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.3f}"


def to_csv(path: Path, tables: Sequence[LayerScores], *, all_tests: bool = False) -> None:
    """Writes a CSV file: a row for each layer of each task, with scores of full precision."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        names = list(tables[0].indicators)
        writer.writerow(["model", "task", "protocol", "metric", "layer", "chosen", "validation", "test", *names])
        for scores in tables:
            about = [scores.model, scores.task, scores.protocol, scores.metric]
            tests = scores.shown_test(all_tests)
            for number, layer in enumerate(scores.layers):
                figures = [
                    scores.validation[number],
                    tests[number],
                    *(scores.indicators[name][number] for name in names),
                ]
                shown = ["" if value is None or math.isnan(value) else value for value in figures]
                writer.writerow([*about, layer, int(number == scores.chosen), *shown])


def draw(path: Path, tables: Sequence[LayerScores]) -> None:
    """Writes a PNG file: for each task the validation score against depth, and the indicators below it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # no pyplot: a run leaves no global state behind

    names = list(tables[0].indicators)
    size = (1 + 3.2 * len(tables), 2.2 + 1.1 * len(names))
    figure = Figure(figsize=size, dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(
        1 + len(names), len(tables), squeeze=False, sharex="col", height_ratios=[2, *[1] * len(names)]
    )
    for column, scores in enumerate(tables):
        depth = range(len(scores.layers))
        top = grid[0, column]
        top.plot(depth, scores.validation, marker="o", markersize=4, color="#1f5f8b")
        if scores.chosen is not None:
            top.plot(
                scores.chosen, scores.validation[scores.chosen], "o", markersize=10, fillstyle="none", color="black"
            )
        top.set_title(scores.task, fontsize=9, parse_math=False)
        top.set_ylabel(f"{scores.metric} (validation)", fontsize=8)
        for row, name in enumerate(names, 1):
            axes = grid[row, column]
            axes.plot(depth, scores.indicators[name], marker=".", color="#8a5a00")
            axes.set_ylabel(name, fontsize=8)
        grid[-1, column].set_xticks(depth, scores.layers, fontsize=8)
        grid[-1, column].set_xlabel("layer", fontsize=8)
        for axes in grid[:, column]:
            _plain(axes)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _plain(axes: Any) -> None:
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
