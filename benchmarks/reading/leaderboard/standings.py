"""The HEAR benchmark's own summary of its leaderboard, with another model among the published ones.

Blanks are filled with scikit-learn's IterativeImputer (max_iter 10, random_state 0), each task is standardised over
models (deviation with ddof 0), clamped to [-1, 1] and averaged over tasks: the normalised score. The heatmap and
the two correlations (Pearson's) are drawn from the standardised, clamped scores.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reading.leaderboard.submission import leaderboard_header
from benchmarks.reading.published import published_text
from hear_delores.errors import DeloresError
from hear_delores.files import atomic_path
from pretrain.inputs.csv_table import read_number, read_rows

__all__ = ["Standings", "compute_standings", "read_leaderboard", "write_standings"]


@dataclass(frozen=True)
class Standings:
    """Models best first. ``raw``, ``filled`` and ``normalised`` are (models, tasks) float64; raw holds NaN for blanks.

    ``score`` (models,) is the normalised score, ``ours`` the row of the model that was added, None without one.
    """

    models: tuple[str, ...]
    tasks: tuple[str, ...]
    raw: np.ndarray
    filled: np.ndarray
    normalised: np.ndarray
    score: np.ndarray
    ours: int | None

    @property
    def blanks(self) -> np.ndarray:
        """(models,) int: how many tasks of each model were imputed."""
        return np.isnan(self.raw).sum(axis=1)

    def task_correlation(self) -> np.ndarray:
        """(tasks, tasks) float64: Pearson's r of two tasks' standardised, clamped scores over models."""
        return _correlation(self.normalised.T)

    def model_correlation(self) -> np.ndarray:
        """(models, models) float64: Pearson's r of two models' standardised, clamped scores over tasks."""
        return _correlation(self.normalised)


def _correlation(rows: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):  # a row without variation has none: NaN
        return np.corrcoef(rows)


def read_leaderboard(text: str, name: str = "the leaderboard CSV") -> tuple[list[str], list[str], np.ndarray]:
    """Model names, task columns and scores (models, tasks) float64, NaN for blanks.

    Raises DeloresError naming the row of a cell that is not a number, or that has too many or too few cells.
    """
    header = leaderboard_header(text, name)
    models, rows = [], []
    for number, row in itertools.islice(read_rows(text, name), 1, None):
        if len(row) != len(header):
            raise DeloresError(f"{name}, line {number}: expected {len(header)} cells, got {len(row)}; a comma in one?")
        values = [read_number(cell) for cell in row[3:]]
        if odd := [cell for cell, value in zip(row[3:], values, strict=True) if cell.strip() and not 0 <= value <= 1]:
            raise DeloresError(f"{name}, line {number}: expected scores from 0 to 1, got {odd[0]}")
        models.append(row[0])
        rows.append(values)
    if len(rows) < 2:
        raise DeloresError(f"{name}: expected at least two models, got {len(rows)}")
    return models, list(header[3:]), np.array(rows, dtype=np.float64)


def compute_standings(leaderboard: str | None = None, ours: tuple[str, Mapping[str, float]] | None = None) -> Standings:
    """The normalised scores of a leaderboard's models.

    Args:
        leaderboard: the CSV's text; None takes the copy that comes with this package.
        ours: the name of a model to add, and its scores by column; columns without one are imputed.

    Raises:
        DeloresError: a damaged CSV, a name that is taken, an unknown column, or no score at all.
    """
    models, tasks, raw = read_leaderboard(published_text("leaderboard.csv") if leaderboard is None else leaderboard)
    if ours is not None:
        name, scores = ours
        unknown = sorted(set(scores) - set(tasks))
        if name in models:
            raise DeloresError(f"the leaderboard has a model called {name!r} already; choose another name")
        if unknown or not scores:
            raise DeloresError(f"expected scores of leaderboard tasks, got {unknown[0] if unknown else 'none'}")
        models.append(name)
        raw = np.vstack([raw, [scores.get(task, math.nan) for task in tasks]])
    filled = _impute(raw, tasks)
    deviation = filled.std(axis=0)
    normalised = np.clip((filled - filled.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0), -1.0, 1.0)
    score = normalised.mean(axis=1)
    order = np.argsort(-score, kind="stable")
    place = int(np.flatnonzero(order == len(models) - 1)[0]) if ours is not None else None
    return Standings(
        tuple(models[i] for i in order), tuple(tasks), raw[order], filled[order], normalised[order], score[order], place
    )


def _impute(raw: np.ndarray, tasks: list[str]) -> np.ndarray:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    empty = np.isnan(raw).all(axis=0)
    if empty.any():
        raise DeloresError(f"no model has a score on {tasks[int(np.argmax(empty))]}, so it cannot be imputed")
    with warnings.catch_warnings():
        # Ten rounds is the benchmark's recipe, converged or not.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return IterativeImputer(max_iter=10, random_state=0).fit_transform(raw)


# --- files


def write_standings(standings: Standings, out: str | Path) -> list[Path]:
    """Writes ``standings.csv``, the heatmap and the two correlations (PNG) into ``out``."""
    folder = Path(out)
    with atomic_path(folder / "standings.csv") as temporary:
        temporary.write_text(_table(standings), encoding="utf-8")
    models = [
        f"{i}. {name}{' (ours)' if i - 1 == standings.ours else ''}" for i, name in enumerate(standings.models, 1)
    ]
    tasks = list(standings.tasks)
    bare = list(standings.models)
    blank = np.isnan(standings.raw)
    pictures: list[tuple[str, str, np.ndarray, list[str], list[str], Any]] = [
        ("heatmap.png", "Standardised, clamped scores (dots: imputed)", standings.normalised, models, tasks, blank),
        ("task_correlation.png", "Correlation of tasks over models", standings.task_correlation(), tasks, tasks, None),
        ("model_correlation.png", "Correlation of models over tasks", standings.model_correlation(), bare, bare, None),
    ]
    for name, title, values, rows, columns, dots in pictures:
        _draw(folder / name, title, values, rows, columns, dots)
    return [folder / "standings.csv", *(folder / picture[0] for picture in pictures)]


def _table(standings: Standings) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["rank", "model", "normalised_score", "imputed_tasks", *standings.tasks])
    for i, model in enumerate(standings.models):
        cells = [repr(float(value)) for value in standings.normalised[i]]
        writer.writerow([i + 1, model, repr(float(standings.score[i])), int(standings.blanks[i]), *cells])
    return stream.getvalue()


def _draw(path: Path, title: str, values: np.ndarray, rows: list[str], columns: list[str], dots: Any) -> None:
    # Figure without pyplot: no display, no global state; it draws with Agg.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 + 0.28 * len(columns), 2.6 + 0.24 * len(rows)), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    # From dark to light through every lightness: read without colour as well.
    image = axes.imshow(values, cmap="cividis", vmin=-1, vmax=1, aspect="auto")
    plain: dict[str, Any] = {"fontsize": 8, "parse_math": False}  # a $ in a name is a $
    axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", rotation_mode="anchor", **plain)
    axes.set_yticks(range(len(rows)), rows, **plain)
    if dots is not None:
        places = np.argwhere(dots)
        axes.scatter(places[:, 1], places[:, 0], s=9, color="white", edgecolors="black", linewidths=0.6)
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.7)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
