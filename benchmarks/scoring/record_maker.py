"""From a protocol's run to the record of it: the one place where records of scores are made."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.results.format import (
    RECORD_FORMAT,
    ChanceInfo,
    FoldPredictions,
    FoldResult,
    GridPoint,
    ModelInfo,
    PerturbedResult,
    ProtocolInfo,
    ResultRecord,
    TaskInfo,
)
from benchmarks.results.means import aggregate
from benchmarks.results.record import save_record
from benchmarks.scoring.fold import ProtocolRun, TestedFold
from benchmarks.scoring.protocol import Protocol, is_event, primary_metric
from benchmarks.scoring.work import Fitted, WorkFolder
from hear_delores.memory import peak_bytes

__all__ = ["draft_record", "fingerprinted", "finish_record", "package_version", "task_info"]


def draft_record(
    protocol: Protocol[Any], inputs: list[Any], model: ModelInfo, task: TaskInfo, device: str, embeddings_hash: str
) -> ResultRecord:
    """The record as far as it is known before training.

    ``inputs`` are what scores depend on besides the protocol, its options and the kind of device: hashes of what is
    scored. ``embeddings_hash`` is "" for a protocol on audio.
    """
    chosen: dict[str, Any] = asdict(protocol)  # type: ignore[call-overload]
    seed = chosen.pop("seed")
    kind = device.split(":")[0]
    content = [RECORD_FORMAT, protocol.version, *inputs, protocol.name, fingerprinted(protocol), seed, kind]
    if protocol.control is not None:
        content.append("test labels shuffled")  # once, the test kept its labels
    return ResultRecord(
        fingerprint=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
        embeddings_hash=embeddings_hash,
        model=model,
        task=task,
        protocol=ProtocolInfo(name=protocol.name, options=chosen, variant=variant_of(protocol)),
        seed=seed,
        scores={},
        folds=[],
        device=device,
        versions=_package_versions(protocol),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def finish_record(
    draft: ResultRecord,
    run: ProtocolRun,
    predictions: dict[str, FoldPredictions],
    results_dir: str | Path,
    work: WorkFolder,
    *,
    source: Path,
    began: float,
    embedding: Any = None,
    perturbed: Sequence[PerturbedResult] = (),
    perturbed_predictions: Mapping[str, Mapping[str, FoldPredictions]] | None = None,
) -> ResultRecord:
    """The draft with what the run found, saved; the work folder is no longer needed.

    Args:
        source: the folder that was scored.
        began: the run, by ``time.perf_counter``.
        embedding: seconds that it took, where they are known.
        perturbed: what the heads score on perturbed test clips; ``perturbed_predictions`` are those to be saved.
    """
    scores, deviation = aggregate([fold.scores for fold in run.folds])
    heads = [*run.grid, *(fold.head for fold in run.folds[1 if run.grid else 0 :])]  # the grid's best is fold 0's
    times = {"total": time.perf_counter() - began, "training": sum(head.seconds for head in heads)}
    if isinstance(embedding, (int, float)):
        times["embedding"] = float(embedding)
    record = draft.model_copy(
        update={
            "protocol": draft.protocol.model_copy(update={"deviations": run.deviations}),
            "scores": scores,
            "scores_std": deviation,
            "folds": [_fold_result(fold) for fold in run.folds],
            "untrained": run.untrained,
            "perturbed": list(perturbed),
            "grid": [GridPoint(**_found(head), trace=head.trace) for head in run.grid],
            "seconds": times,
            "peak_memory_bytes": peak_bytes(),
        }
    )
    official = _official_scores(record, run.score_mode, source)
    save_record(record, results_dir, predictions, official, perturbed_predictions)
    work.remove()
    return record


def variant_of(protocol: Any) -> str:
    """What differs from the protocol's defaults, in a word for each: ``5-shot``, ``logistic``, ``lr=0.01``."""
    defaults = asdict(type(protocol)())
    changed = {name: value for name, value in asdict(protocol).items() if value != defaults[name] and name != "seed"}
    names = {"grid": "{}", "grid_points": "{}points", "shots": "{}-shot", "solver": "{}", "amp": "amp"}
    names |= {"control": "{} labels", "grid_seed": "grid of seed {}"}
    return "-".join(names.get(name, f"{name}={{}}").format(value) for name, value in changed.items())


def fingerprinted(protocol: Any) -> dict[str, Any]:
    """The options that a fingerprint holds, the seed apart.

    An option that was added to a protocol after records had been written (``added`` in its field's metadata)
    counts only when it is not at its default: those records are still what a run with the defaults gives.
    """
    return {
        item.name: getattr(protocol, item.name)
        for item in fields(protocol)
        if item.name != "seed" and not (item.metadata.get("added") and getattr(protocol, item.name) == item.default)
    }


def task_info(task: Any, revision: str, n_clips: int, skipped: Any = None) -> TaskInfo:
    """The task, as folder or as embeddings, as the record names it; ``skipped`` clips were not embedded."""
    primary = primary_metric(task)
    how = [str(task.metadata["subset"])] if task.metadata.get("subset") else []
    for what, files in (("prepare", task.metadata.get("skipped_files")), ("embed", skipped)):
        if files:
            how.append(f"{len(files)} unusable clips skipped by {what}")
    return TaskInfo(
        name=str(task.metadata["task_name"]),
        version=str(task.metadata["version"]),
        mode=str(task.metadata["mode"]),
        revision=revision,
        embedding_type="event" if is_event(task) else "scene",
        prediction_type="multiclass" if task.prediction_type == "multiclass" else "multilabel",
        primary_metric=primary.name,
        metrics=[str(name) for name in task.metadata["evaluation"]],
        maximise=primary.maximise,
        n_clips=n_clips,
        subset="; ".join(how) or None,
    )


def _package_versions(protocol: Protocol[Any]) -> dict[str, str]:
    """Of Python, of the scoring code and of the packages that scores depend on."""
    packages = ("hear-delores", "torch", "numpy", "scipy", "scikit-learn")
    own = {"python": platform.python_version(), "scoring": str(protocol.version)}
    return own | {name: package_version(name) for name in packages}


@functools.cache  # reading the metadata of five packages took a fifth of a small task's time
def package_version(name: str) -> str:
    """The version of a package; "not installed" for one that is missing, and for a checkout that is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _fold_result(fold: TestedFold) -> FoldResult:
    return FoldResult(
        test_split="|".join(fold.split_names["test"]),
        scores=fold.scores,
        loss=fold.loss,
        n_train_rows=fold.n_train_rows,
        n_test_rows=len(fold.probabilities),
        chance={name: ChanceInfo(**asdict(chance)) for name, chance in fold.chance.items()},
        **_found(fold.head),
    )


def _found(head: Fitted) -> dict[str, Any]:
    """What a record says of a head."""
    names = ("hyperparameters", "validation_score", "epoch", "epochs_run", "postprocessing", "seconds")
    return {name: getattr(head, name) for name in names}


def _official_scores(record: ResultRecord, score_mode: str, path: Path) -> dict[str, Any]:
    """heareval's ``test.predicted-scores.json``."""
    results = {
        fold.test_split: {
            "test_loss": fold.loss,
            "test_score": fold.scores[record.task.primary_metric],
            **{f"test_{name}": value for name, value in fold.scores.items()},
            "validation_score": fold.validation_score,
            "epoch": fold.epoch,
            "time_in_min": fold.seconds / 60,
        }
        for fold in record.folds
    }
    whole: dict[str, Any] = dict(results)
    if len(results) > 1:
        whole["aggregated_scores"] = aggregated = {}
        means, deviations = aggregate(list(results.values()))
        for name in means:
            aggregated[f"{name}_mean"], aggregated[f"{name}_std"] = means[name], deviations[name]
    first = record.folds[0]
    return {
        **whole,
        "hparams": first.hyperparameters,
        "postprocessing": [list(item) for item in first.postprocessing.items()],
        "score_mode": score_mode,
        "embedding_path": str(path),
    }
