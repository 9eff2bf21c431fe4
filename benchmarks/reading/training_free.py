"""Measures of stored embeddings without training, and the similarity of models (linear CKA): ``delores geometry``."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.embedding.layout import read_info
from benchmarks.metrics import geometry as measures_of
from benchmarks.reading.tables.plain import markdown_table
from hear_delores.errors import DeloresError

__all__ = ["MEASURES", "Geometry", "Likeness", "Measured", "geometry", "likenesses", "measure", "open_embeddings"]

#: At most so many clips are measured, spread evenly over the task in the order of their names.
MAX_CLIPS = 4000
MEASURES = (
    "precision_at_1", "precision_at_5", "silhouette", "separation", "separation_z", "separation_p", "effective_rank",
    "uniformity", "alignment",
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """The measures of one model's embeddings of a task.

    Attributes:
        rows: what was measured, "scene" or "timestamps" (the mean of a clip's frames).
        clips, dimensions: the shape of the measured embeddings.
        values: the name of each of :data:`MEASURES` -> its value; NaN where it does not apply.
    """

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


@dataclass(frozen=True)
class Geometry:
    """The measures of stored embeddings, and the linear CKA of their models. Printed, it is Markdown."""

    measures: tuple[Measured, ...]
    linear_cka: tuple[Likeness, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """A table of the measures, and one of linear CKA where a task has two models."""
        rows = [
            [item.task, item.model, str(item.clips), str(item.dimensions), *(_figure(item.values[n]) for n in MEASURES)]
            for item in self.measures
        ]
        heads = ["task", "model", "clips", "dimensions", *(name.replace("_", " ") for name in MEASURES)]
        text = markdown_table("Geometry of embeddings (no score of a task)", heads, rows, texts=2)
        if self.linear_cka:
            pairs = [[item.task, *item.models, str(item.clips), _figure(item.linear_cka)] for item in self.linear_cka]
            text += "\n" + markdown_table("Linear CKA", ["task", "model", "other", "clips", "CKA"], pairs, texts=3)
        return text


def geometry(embeddings: str | Path | Sequence[str | Path], *, permutations: int = 999) -> Geometry:
    """Measures of stored embeddings for which nothing is trained. They are not scores of a task.

    Args:
        embeddings: folders of embeddings, or folders that hold some.
        permutations: the number of shuffles of the labels that the separation of classes is compared with.

    Raises:
        DeloresError: there are no embeddings of clips, or a folder is damaged.
    """
    tasks = open_embeddings([embeddings] if isinstance(embeddings, (str, os.PathLike)) else embeddings)
    return Geometry(tuple(measure(task, permutations) for task in tasks), tuple(likenesses(tasks)))


def _figure(value: float) -> str:
    """The value to four digits; "" for NaN."""
    return "" if value != value else f"{value:.4g}"


def open_embeddings(paths: Sequence[str | Path]) -> list[EmbeddingsTask]:
    """The embeddings of clips in and below the folders ``paths``, in order; not those of events or perturbed clips.

    Raises:
        DeloresError: there are none, or a folder is damaged.
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
            "found none (events and perturbed clips are not measured)"
        )
    return clips


def measure(task: EmbeddingsTask, permutations: int = 999) -> Measured:
    """The measures of a task's embeddings, all splits together.

    In a folder of timestamp embeddings, the mean of its frames stands for a clip, and ``alignment`` compares the means
    of its two halves. Silhouette and separation are of tasks with one label per clip.
    """
    _, rows, targets, halves = _clips(task)
    values = dict.fromkeys(MEASURES, math.nan)
    if len(rows) > 5:
        found = measures_of.precision_at(rows, targets)
        values |= {f"precision_at_{k}": share for k, share in found.items()}
    if task.prediction_type == "multiclass":
        values["silhouette"] = measures_of.silhouette(rows, targets)
        tested = measures_of.separation_test(rows, targets, permutations)
        values |= dict(zip(("separation", "separation_z", "separation_p"), tested, strict=True))
    values["effective_rank"] = measures_of.effective_rank(rows)
    values["uniformity"] = measures_of.uniformity(rows)
    if halves is not None:
        values["alignment"] = measures_of.alignment(*halves)
    kind = "timestamps" if task.has_frames else "scene"
    return Measured(_model(task), task.folder_name, kind, len(rows), rows.shape[1], values)


def likenesses(tasks: Sequence[EmbeddingsTask]) -> list[Likeness]:
    """Linear CKA of every two models on each task of which both have the same clips and labels."""
    found = []
    for truth in dict.fromkeys(task.truth_hash for task in tasks):
        read = [(task, *_clips(task)[:2]) for task in tasks if task.truth_hash == truth]
        for (one, names, rows), (other, others, other_rows) in itertools.combinations(read, 2):
            if names == others:
                alike = measures_of.linear_cka(rows, other_rows)
                found.append(Likeness(one.folder_name, (_model(one), _model(other)), len(rows), alike))
    return found


def _model(task: EmbeddingsTask) -> str:
    return task.path.resolve().parent.name + (" (mean of timestamps)" if task.has_frames else "")


def _clips(
    task: EmbeddingsTask,
) -> tuple[list[str], np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
    """At most :data:`MAX_CLIPS` clips, chosen by name, so that they are the same for every model.

    Returns their names, embeddings (n, d), targets (n, n_labels), and the means of both halves of their frames, each
    (m, d) over the clips with two frames or more; None for scene embeddings.
    """
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
