"""Other people's HEAR results as figures to compare with: heareval's result folders, and JSON files of scores.

A folder is searched for heareval's ``<model>/<task folder>/test.predicted-scores.json``, at any depth. A JSON file has
scores from 0 to 1 by task folder, for one model or below the name of each, with groups of tasks between them or not:
``{"my_model": {"speech": {"tfds_crema_d-1.0.0-full": 0.59, ...}}}``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.metrics.registry import metric_bounds, metric_scale
from benchmarks.reading.figure import PublishedFigure
from benchmarks.results.record import OFFICIAL_FILE, RECORD_FILE
from benchmarks.tasks.registry import TaskSpec, join_columns, list_tasks
from hear_delores.documents import read_json
from hear_delores.errors import DeloresError

__all__ = ["foreign_figures"]


def foreign_figures(path: str | Path) -> list[PublishedFigure]:
    """The primary scores of each model in a folder or JSON file, by leaderboard column, or by task where it has none.

    Tasks that the registry does not know, and averages that stand between the tasks, are left out.

    Raises:
        DeloresError: nothing of a known task is there, a score is no number of the metric's range, or the folder holds
            records of this project, which are results and no figures of others.
    """
    path = Path(path)
    of_model: dict[str, dict[str, float]] = {}
    if path.is_dir():
        protocol = "hear (heareval's results)"
        for model, task, score in _of_folder(path):
            of_model.setdefault(model, {})[task] = score
    else:
        protocol = "hear (results of others)"
        of_model = _of_json(read_json(path, nan=True), path)
    figures = [figure for model, scores in of_model.items() for figure in _figures(model, scores, protocol, path)]
    if not figures:
        what = f"<model>/<task folder>/{OFFICIAL_FILE}" if path.is_dir() else "scores by task folder"
        raise DeloresError(
            f"{path}: expected {what} of a known task, such as esc50-v2.0.0-full; see `delores tasks` for their names"
        )
    return figures


def _specs() -> dict[str, TaskSpec]:
    return {spec.folder_name: spec for spec in list_tasks()}


def _figures(model: str, scores: Mapping[str, float], protocol: str, path: Path) -> Iterator[PublishedFigure]:
    specs, joined = _specs(), join_columns(scores)
    for task, score in scores.items():
        spec = specs[task]
        column, metric = spec.leaderboard, spec.evaluation[0]
        name = spec.name if column is None else column.name
        if column is not None and column.join == "mean":
            if name not in joined:
                continue
            score = joined.pop(name)
        shown = None if math.isnan(score) else metric_scale(metric) * score
        yield PublishedFigure(model, name, metric, shown, protocol, "official", f"results of others, {path.name}")


def _of_folder(root: Path) -> Iterator[tuple[str, str, float]]:
    """Model, task folder and score of each of heareval's files below ``root``."""
    known = _specs()
    for place, folders, names in os.walk(root):
        folders.sort()
        folder = Path(place)
        if OFFICIAL_FILE not in names:
            continue
        if RECORD_FILE in names:
            raise DeloresError(
                f"{folder}: a result record of this project; give its folder as RESULTS, not to --overlay"
            )
        task = folder.resolve().name
        if task in known:
            parts = folder.resolve().parent.relative_to(root.resolve()).parts if folder != root else ()
            model = "/".join(parts) or (root.resolve().parent if folder == root else root.resolve()).name
            values = read_json(folder / OFFICIAL_FILE, nan=True)
            yield model, task, _score(values, known[task], folder / OFFICIAL_FILE)


def _of_json(values: Mapping[str, Any], path: Path) -> dict[str, dict[str, float]]:
    """{model: {task folder: score}}; a file of one model is named after itself."""
    known = _specs()
    if known.keys() & values.keys():
        values = {path.stem: values}
    found = {model: dict(_tasks(content, known, path)) for model, content in values.items()}
    return {model: scores for model, scores in found.items() if scores}


def _tasks(content: Any, known: Mapping[str, TaskSpec], path: Path) -> Iterator[tuple[str, float]]:
    """The tasks in an object, at any depth, with their scores."""
    for key, value in content.items() if isinstance(content, Mapping) else ():
        if key in known:
            yield key, _score(value, known[key], path)
        else:
            yield from _tasks(value, known, path)


def _score(value: Any, spec: TaskSpec, path: Path) -> float:
    """A score as it stands, or of heareval's result of one task: of its test split, or the mean over folds."""
    if isinstance(value, Mapping):
        folds, test = value.get("aggregated_scores"), value.get("test")
        if isinstance(folds, Mapping):
            value = folds.get("test_score_mean")
        else:
            value = test.get("test_score") if isinstance(test, Mapping) else value.get("test_score")
    low, high = metric_bounds(spec.evaluation[0])
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < low or value > high:
        raise DeloresError(
            f"{path}: expected the {spec.evaluation[0]} of {spec.folder_name} from {low:g} to {high:g}, got {value!r}"
        )
    return float(value)
