"""Perturbed test clips of an embedded task: opened and held against the clean ones, and what heads score on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.results.format import FoldPredictions, PerturbedFold, PerturbedResult, ResultRecord
from benchmarks.results.means import aggregate
from benchmarks.results.record import load_predictions
from benchmarks.scoring.fold import ProtocolRun
from hear_delores.errors import DeloresError

__all__ = ["has_results", "kept_results", "open_perturbed", "perturbed_results"]

#: Of perturbed test clips: their embeddings by the name of the perturbation.
Perturbed = Mapping[str, EmbeddingsTask]


def open_perturbed(task: EmbeddingsTask, folders: Mapping[str, str | Path]) -> dict[str, EmbeddingsTask]:
    """The embeddings of the perturbed test clips of ``task``, by the name of the perturbation.

    Raises:
        DeloresError: a folder that is damaged, of another perturbation, model or task, or with other test clips.
    """
    return {name: _opened(task, name, Path(path)) for name, path in folders.items()}


def _opened(task: EmbeddingsTask, name: str, path: Path) -> EmbeddingsTask:
    found = EmbeddingsTask.open(path, perturbed=True)
    said = (found.info.get("perturbation") or {}).get("name")
    if said != name:
        raise DeloresError(f"{path}: expected embeddings of clips perturbed by {name}, got {said or 'clean ones'}")
    for part, key in (("model", "weights_hash"), ("model", "module"), ("model", "options"), ("task", "revision")):
        if (found.info.get(part) or {}).get(key) != (task.info.get(part) or {}).get(key):
            raise DeloresError(f"{path}: another {part} than that of {task.path} ({key}); embed the task again")
    for split, own in found.splits.items():
        clean = task.splits[split]
        if own.files != clean.files or not all(
            np.array_equal(getattr(own, what), getattr(clean, what))
            for what in ("file_index", "targets", "timestamps_ms", "frame_counts")
        ):
            raise DeloresError(f"{path}: {split} has other clips or times than {task.path}; embed the task again")
    return found


def has_results(record: ResultRecord, perturbed: Perturbed) -> bool:
    """Whether a record holds what its heads score on all of these embeddings."""
    known = {each.name: each.embeddings_hash for each in record.perturbed}
    return all(known.get(name) == task.content_hash for name, task in perturbed.items())


def perturbed_results(run: ProtocolRun, perturbed: Perturbed) -> list[PerturbedResult]:
    """What the heads of a run score on perturbed clips, for the record."""
    found = []
    for name, task in perturbed.items():
        tested = [(fold.split_names, fold.perturbed[name]) for fold in run.folds]
        folds = [
            PerturbedFold(test_split="|".join(names["test"]), scores=fold.scores, loss=fold.loss)
            for names, fold in tested
        ]
        means, deviations = aggregate([fold.scores for fold in folds])
        found.append(
            PerturbedResult(
                name=name, embeddings_hash=task.content_hash, scores=means, scores_std=deviations, folds=folds
            )
        )
    return found


def kept_results(
    before: ResultRecord | None, now: Mapping[str, FoldPredictions], perturbed: Perturbed
) -> Iterator[PerturbedResult]:
    """What the record that is being replaced holds of other perturbations, where its heads were those of now.

    They were if they predict the same of every clean test clip, bit for bit.
    """
    others = [each for each in (before.perturbed if before is not None else ()) if each.name not in perturbed]
    if not others or before is None or before.folder is None:
        return
    try:
        then = load_predictions(before.folder)
    except DeloresError:
        return
    if then.keys() == now.keys() and all(np.array_equal(then[s].prediction, now[s].prediction) for s in now):
        yield from others
