"""Measures of stored embeddings for which nothing is trained, and how alike models are: ``delores geometry``."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.embedding.layout import read_info
from benchmarks.metrics import geometry
from hear_delores.errors import DeloresError

__all__ = ["MEASURES", "Likeness", "Measured", "likenesses", "measure", "open_embeddings"]

#: Clips that are measured at most, spread evenly over the task in the order of their names.
MAX_CLIPS = 4000
MEASURES = (
    "precision_at_1", "precision_at_5", "silhouette", "separation", "separation_z", "separation_p", "effective_rank",
    "uniformity", "alignment",
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """One model's embeddings of a task. ``values`` is by :data:`MEASURES`; NaN where one does not apply."""

    model: str
    task: str
    rows: str
    clips: int
    dimensions: int
    values: dict[str, float]


@dataclass(frozen=True)
class Likeness:
    """Linear CKA of two models' embeddings of the same clips of a task."""

    task: str
    models: tuple[str, str]
    clips: int
    linear_cka: float


def open_embeddings(paths: Sequence[str | Path]) -> list[EmbeddingsTask]:
    """The embeddings of clips under ``paths`` (each may be one itself), in order.

    Those of events, and those of perturbed clips, are passed over.

    Raises DeloresError when there are none, or for a damaged folder.
    """
    found: dict[Path, EmbeddingsTask] = {}
    for path in map(Path, paths):
        folders = {file.parent for file in path.rglob("*.embedding-dimensions.json")}
        for folder in sorted(folders):
            being_made = any(part.startswith(".") for part in folder.relative_to(path).parts)
            if not being_made and "perturbation" not in read_info(folder):
                found[folder.resolve()] = EmbeddingsTask.open(folder)
    clips = [task for task in found.values() if not task.is_event]
    if not clips:
        raise DeloresError(
            f"expected embeddings of clips, as 'delores embed' writes them, under {', '.join(map(str, paths))}; "
            "found none (events are not measured)"
        )
    return clips


def measure(task: EmbeddingsTask, permutations: int = 999) -> Measured:
    """Every measure of a task's embeddings, all splits together.

    Where a folder holds frames, a clip is their mean, and ``alignment`` is that of the means of its two halves.
    Measures of clusters are of tasks with one label per clip.
    """
    _, rows, targets, halves = _clips(task)
    values = dict.fromkeys(MEASURES, math.nan)
    if len(rows) > 5:
        found = geometry.precision_at(rows, targets)
        values |= {f"precision_at_{k}": share for k, share in found.items()}
    if task.prediction_type == "multiclass":
        values["silhouette"] = geometry.silhouette(rows, targets)
        tested = geometry.separation_test(rows, targets, permutations)
        values |= dict(zip(("separation", "separation_z", "separation_p"), tested, strict=True))
    values["effective_rank"] = geometry.effective_rank(rows)
    values["uniformity"] = geometry.uniformity(rows)
    if halves is not None:
        values["alignment"] = geometry.alignment(*halves)
    kind = "timestamps" if task.has_frames else "scene"
    return Measured(_model(task), task.folder_name, kind, len(rows), rows.shape[1], values)


def likenesses(tasks: Sequence[EmbeddingsTask]) -> list[Likeness]:
    """Linear CKA of every two models on each task that both have embedded with the same clips and labels."""
    found = []
    for truth in dict.fromkeys(task.truth_hash for task in tasks):
        read = [(task, *_clips(task)[:2]) for task in tasks if task.truth_hash == truth]
        for (one, names, rows), (other, others, other_rows) in itertools.combinations(read, 2):
            if names == others:
                alike = geometry.linear_cka(rows, other_rows)
                found.append(Likeness(one.folder_name, (_model(one), _model(other)), len(rows), alike))
    return found


def _model(task: EmbeddingsTask) -> str:
    return task.path.resolve().parent.name + (" (mean of timestamps)" if task.has_frames else "")


def _clips(
    task: EmbeddingsTask,
) -> tuple[list[str], np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
    """The same clips of every model, by name: names, (n, d) rows, targets, and the means of both halves of frames."""
    places = sorted((file, name, row) for name, split in task.splits.items() for row, file in enumerate(split.files))
    if len(places) > MAX_CLIPS:
        places = [places[index] for index in np.linspace(0, len(places) - 1, MAX_CLIPS).astype(int)]
    names = [f"{name}/{file}" for file, name, _ in places]
    targets = np.stack([task.splits[name].targets[row] for _, name, row in places])
    if not task.has_frames:
        return names, np.stack([task.splits[name].embeddings[row] for _, name, row in places]), targets, None
    counts = {name: split.frame_counts for name, split in task.splits.items() if split.frame_counts is not None}
    ends = {name: np.cumsum(count) for name, count in counts.items()}
    rows, first, second = [], [], []
    for _, name, row in places:
        stop = int(ends[name][row])
        frames = np.asarray(task.splits[name].embeddings[stop - int(counts[name][row]) : stop], dtype=np.float64)
        middle = len(frames) // 2
        rows.append(frames.mean(axis=0))
        if middle:
            first.append(frames[:middle].mean(axis=0))
            second.append(frames[middle:].mean(axis=0))
    return names, np.stack(rows), targets, (np.stack(first), np.stack(second)) if first else None
