"""Every layer of a model on every task: scores on validation, the layer that they choose, and label-free indicators."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.embedding.layered import LayeredModel, embed_layers, load_layers
from benchmarks.reading.indicators import INDICATORS, indicators_of
from benchmarks.reading.tables.layer_table import LayerScores
from benchmarks.results.format import ResultRecord
from benchmarks.scoring.score import score_embeddings
from benchmarks.tasks.find import load_task
from benchmarks.tasks.folder import TaskFolder

__all__ = ["layers", "score_layers"]


def layers(
    model: str,
    tasks: Sequence[TaskFolder | str | Path],
    out: str | Path = "runs",
    *,
    protocol: str = "linear",
    seed: int = 42,
    device: str = "auto",
    batch_seconds: float | None = None,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[LayerScores]:
    """The scores of every layer of a model on some tasks of clips: one for each task, whose ``chosen`` is the layer.

    Args:
        model: ``hf:ORG/NAME``, ``torchaudio:BUNDLE`` or a DeLoRes encoder, as on the command line.
        tasks: task folders, or the names of some in the folder ``tasks``.
        out: embeddings and records are written there, and found there by ``run``.
        progress: called with the number of clips that are embedded and their total, task by task.

    Raises:
        DeloresError: the model's layers are not known, or see :func:`score_layers`.
    """
    loaded = load_layers(model, device=device)
    return [
        score_layers(
            loaded, task if isinstance(task, TaskFolder) else load_task(task), out, protocol=protocol, seed=seed,
            device=loaded.whole.device, batch_seconds=batch_seconds, skip_bad=skip_bad, progress=progress,
        )
        for task in tasks
    ]  # fmt: skip


def score_layers(
    model: LayeredModel,
    task: TaskFolder,
    out: str | Path,
    *,
    protocol: str = "linear",
    seed: int = 42,
    device: str = "cpu",
    batch_seconds: float | None = None,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> LayerScores:
    """The scores of every layer on a task, and the indicators of its embeddings.

    Embeddings and records are those that ``delores run`` of each layer would write to ``out``, and are used by it.

    Raises:
        DeloresError: as :func:`benchmarks.embedding.layered.embed_layers` and ``score_embeddings``.
    """
    folders = embed_layers(
        model, task, Path(out) / "embeddings", batch_seconds=batch_seconds, skip_bad=skip_bad, progress=progress
    )
    records = [
        score_embeddings(
            folder, protocol=protocol, seed=seed, device=device, results_dir=Path(out) / "results", **options
        )
        for folder in folders.values()
    ]
    found = [indicators_of(folder) for folder in folders.values()]
    first = records[0]
    return LayerScores(
        model=model.label,
        task=task.folder_name,
        protocol=protocol,
        metric=first.task.primary_metric,
        maximise=first.task.maximise,
        layers=tuple(folders),
        validation=tuple(map(_validation, records)),
        test=tuple(record.primary_score for record in records),
        indicators={name: tuple(each[name] for each in found) for name in INDICATORS},
    )


def _validation(record: ResultRecord) -> float:
    """The mean over folds; NaN where the score is not defined on one of them."""
    return float(np.mean([fold.validation_score for fold in record.folds])) if record.folds else math.nan
