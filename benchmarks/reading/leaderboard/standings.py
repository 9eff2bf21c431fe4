"""The HEAR benchmark's own summary of its leaderboard, with another model among the published ones.

Blanks are filled with scikit-learn's IterativeImputer (max_iter 10, random_state 0), each task is standardised over
models (deviation with ddof 0), clamped to [-1, 1] and averaged over tasks: the normalised score. The heatmap and
the two correlations (Pearson's) are drawn from the standardised, clamped scores.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.reading.leaderboard.submission import leaderboard_header
from benchmarks.reading.published import published_text
from hear_delores.errors import DeloresError
from hear_delores.files import atomic_path
from pretrain.inputs.csv_table import read_number, read_rows

__all__ = ["Standings", "compute_standings", "read_leaderboard", "write_standings"]


@dataclass(frozen=True)
class Standings:
    """Models (rows, best first) by tasks (columns), float64; ``raw`` holds NaN for blanks, which ``filled`` imputes.

    ``ours`` is the row of the model that was added, None without one.
    """

    raw: pd.DataFrame
    filled: pd.DataFrame
    normalised: pd.DataFrame
    ours: int | None

    @property
    def models(self) -> list[str]:
        """The models' names, best first."""
        return list(self.raw.index)

    @property
    def score(self) -> pd.Series:
        """The normalised score of each model."""
        return self.normalised.mean(axis="columns")

    @property
    def plain_sum(self) -> pd.Series:
        """The sum of each model's scores, which the leaderboard's page ranks by: a blank counts as 0."""
        return self.raw.sum(axis="columns", skipna=True)

    @property
    def page_rank(self) -> list[int]:
        """The rank of each model on the leaderboard's page, from 1; equal sums share one."""
        return [int(rank) for rank in self.plain_sum.rank(ascending=False, method="min")]

    @property
    def blanks(self) -> pd.Series:
        """How many tasks of each model were imputed."""
        return self.raw.isna().sum(axis="columns")

    def task_correlation(self) -> pd.DataFrame:
        """(tasks, tasks) Pearson's r of two tasks' standardised, clamped scores over models."""
        return self.normalised.corr()

    def model_correlation(self) -> pd.DataFrame:
        """(models, models) Pearson's r of two models' standardised, clamped scores over tasks."""
        return self.normalised.T.corr()


def read_leaderboard(text: str, name: str = "the leaderboard CSV") -> pd.DataFrame:
    """Scores (models, tasks) float64, NaN for blanks.

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
    return pd.DataFrame(rows, index=models, columns=list(header[3:]), dtype=np.float64)


def compute_standings(leaderboard: str | None = None, ours: tuple[str, Mapping[str, float]] | None = None) -> Standings:
    """The normalised scores of a leaderboard's models.

    Args:
        leaderboard: the CSV's text; None takes the copy that comes with this package.
        ours: the name of a model to add, and its scores by column; columns without one are imputed.

    Raises:
        DeloresError: a damaged CSV, a name that is taken, an unknown column, or no score at all.
    """
    raw = read_leaderboard(published_text("leaderboard.csv") if leaderboard is None else leaderboard)
    if ours is not None:
        name, scores = ours
        unknown = sorted(set(scores) - set(raw.columns))
        if name in raw.index:
            raise DeloresError(f"the leaderboard has a model called {name!r} already; choose another name")
        if unknown or not scores:
            raise DeloresError(f"expected scores of leaderboard tasks, got {unknown[0] if unknown else 'none'}")
        raw = pd.concat([raw, pd.DataFrame([scores], index=[name], columns=raw.columns, dtype=np.float64)])
    filled = pd.DataFrame(_impute(raw), index=raw.index, columns=raw.columns)
    deviation = filled.std(ddof=0)
    normalised = ((filled - filled.mean()) / deviation.where(deviation > 0, 1.0)).clip(-1.0, 1.0)
    order = np.argsort(-normalised.mean(axis="columns").to_numpy(), kind="stable")
    place = int(np.flatnonzero(order == len(raw) - 1)[0]) if ours is not None else None
    return Standings(raw.iloc[order], filled.iloc[order], normalised.iloc[order], place)


def _impute(raw: pd.DataFrame) -> np.ndarray:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    if len(empty := raw.columns[raw.isna().all()]):
        raise DeloresError(f"no model has a score on {empty[0]}, so it cannot be imputed")
    with warnings.catch_warnings():
        # Ten rounds is the benchmark's recipe, converged or not.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(IterativeImputer(max_iter=10, random_state=0).fit_transform(raw.to_numpy()))


# --- files


def write_standings(standings: Standings, out: str | Path) -> list[Path]:
    """Writes ``standings.csv``, the heatmap and the two correlations (PNG) into ``out``."""
    folder = Path(out)
    with atomic_path(folder / "standings.csv") as temporary:
        _table(standings).to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")
    scores = standings.normalised.set_axis(
        [f"{i}. {name}{' (ours)' if i - 1 == standings.ours else ''}" for i, name in enumerate(standings.models, 1)]
    )
    pictures: list[tuple[str, str, pd.DataFrame, Any]] = [
        ("heatmap.png", "Standardised, clamped scores (dots: imputed)", scores, standings.raw.isna().to_numpy()),
        ("task_correlation.png", "Correlation of tasks over models", standings.task_correlation(), None),
        ("model_correlation.png", "Correlation of models over tasks", standings.model_correlation(), None),
    ]
    for name, title, values, dots in pictures:
        _draw(folder / name, title, values, dots)
    return [folder / "standings.csv", *(folder / picture[0] for picture in pictures)]


def _table(standings: Standings) -> pd.DataFrame:
    about = {
        "rank": range(1, len(standings.models) + 1), "model": standings.models,
        "normalised_score": standings.score, "imputed_tasks": standings.blanks,
        "page_rank": standings.page_rank, "sum": standings.plain_sum,
    }  # fmt: skip
    return pd.concat([pd.DataFrame(about, index=standings.normalised.index), standings.normalised], axis="columns")


def _draw(path: Path, title: str, values: pd.DataFrame, dots: np.ndarray | None) -> None:
    # Figure without pyplot: no display, no global state; it draws with Agg.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = (list(map(str, axis)) for axis in (values.index, values.columns))
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
