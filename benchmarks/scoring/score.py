"""Embeddings folder in, result record out: ``score_embeddings``, the one entry to the protocols on embeddings."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.metrics.events import EventTable
from benchmarks.metrics.registry import find_metrics
from benchmarks.results.identity import read_behaviour
from benchmarks.results.record import (
    FORMAT_VERSION,
    WORK_FOLDER,
    FoldPredictions,
    FoldResult,
    GridPoint,
    ModelInfo,
    ProtocolInfo,
    ResultRecord,
    TaskInfo,
    existing_record,
    record_folder,
    save_record,
)
from benchmarks.scoring.evaluation import aggregate
from benchmarks.scoring.few_shot import check_shots
from benchmarks.scoring.hear.grid import grid_configs, postprocessing_configs
from benchmarks.scoring.hear.protocol import HearOptions, run_hear
from benchmarks.scoring.knn import KnnOptions, run_knn
from benchmarks.scoring.linear.protocol import LinearOptions, run_linear
from benchmarks.scoring.training import (
    Progress,
    ProtocolRun,
    TestedFold,
    TrainedHead,
    WorkFolder,
    as_device,
    peak_memory_bytes,
)
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.files import remove_leftovers
from pretrain.locks import folder_lock

__all__ = ["PROTOCOLS", "score_embeddings"]

# Raised with every change of code that changes the scores of a protocol; 1 where none is named.
SCORING_VERSIONS = {"hear": 2}  # 2: dropout from raw words, heads side by side
PROTOCOLS = {"hear": HearOptions, "linear": LinearOptions, "knn": KnnOptions}
Options = HearOptions | LinearOptions | KnnOptions


def score_embeddings(
    embeddings_task_dir: str | Path,
    *,
    protocol: str = "hear",
    results_dir: str | Path,
    seed: int = 42,
    device: str = "cpu",
    progress: Progress | None = None,
    overwrite: bool = False,
    on_wait: Callable[[], None] | None = None,
    **options: Any,
) -> ResultRecord:
    """The result record of one embedded task, saved under ``results_dir``; a record that exists is returned.

    Every finished head is kept until the record is written, so that the same call after an interruption
    goes on where it was, and ends with the same record but for times, memory and date.

    Args:
        embeddings_task_dir: a folder written by ``delores embed`` or by heareval.
        protocol: ``hear``, ``linear`` or ``knn``.
        seed: of initialisation, dropout and shuffling.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        progress: called as progress(done, total, text) after each head.
        overwrite: score again although an identical record exists.
        on_wait: called when another process is making this record, before waiting for it.
        options: those of :class:`~benchmarks.scoring.hear.protocol.HearOptions` (``grid``, ``grid_points``, ...)
            or of :class:`~benchmarks.scoring.linear.protocol.LinearOptions` or
            :class:`~benchmarks.scoring.knn.KnnOptions` (``shots``, ...); None leaves the default.

    Raises:
        DeloresError: for a folder that cannot be scored, or an unknown protocol or option.
    """
    began = time.perf_counter()
    settings = _options(protocol, seed, options)
    where = as_device(device)
    task = EmbeddingsTask.open(embeddings_task_dir)
    _check_task(task, settings)
    draft = _draft(task, protocol, settings, str(where))
    folder = record_folder(results_dir, draft)
    if not overwrite:
        existing = existing_record(results_dir, draft)
        if existing is not None:
            return existing
    with folder_lock(folder, "making this record", wait=True, on_wait=on_wait):
        if not overwrite and (existing := existing_record(results_dir, draft)) is not None:
            return existing  # another process has made it meanwhile
        remove_leftovers(folder)
        work = WorkFolder(folder / WORK_FOLDER, draft.fingerprint)
        if isinstance(settings, HearOptions):
            run = run_hear(task, settings, work, device=str(where), progress=progress)
        elif isinstance(settings, KnnOptions):
            run = run_knn(task, settings, work, progress=progress)
        else:
            run = run_linear(task, settings, work, device=str(where), progress=progress)
        record = _complete(draft, run, task, time.perf_counter() - began)
        save_record(record, results_dir, _predictions(task, run), official_scores(record, run.score_mode, task.path))
        work.remove()
    return record


def scoring_version(protocol: str) -> int:
    """Which version of the scoring code a record of this protocol is from."""
    return SCORING_VERSIONS.get(protocol, 1)


def _options(protocol: str, seed: int, options: Mapping[str, Any]) -> Options:
    if protocol not in PROTOCOLS:
        raise DeloresError(f"unknown protocol {protocol!r}. {did_you_mean(protocol, PROTOCOLS)}")
    kind = PROTOCOLS[protocol]
    known = [item.name for item in fields(kind) if item.name != "seed"]
    for name in options:
        if name not in known:
            raise DeloresError(f"unknown option {name!r} of protocol {protocol}. {did_you_mean(name, known)}")
    given = {name: value for name, value in options.items() if value is not None}
    return kind(seed=seed, **given)


def _check_task(task: EmbeddingsTask, settings: Options) -> None:
    """Finds what is wrong with metrics and grids before anything is trained."""
    find_metrics(task.metadata["evaluation"], "event" if task.is_event else "scene")
    if task.is_event and isinstance(settings, KnnOptions):
        raise DeloresError(f"protocol knn is for clips, and {task.folder_name} is an event task: use hear or linear")
    check_shots(getattr(settings, "shots", None), is_event=task.is_event)
    if isinstance(settings, HearOptions):
        grid_configs(task.metadata, settings.grid, settings.grid_points)
    if task.is_event:
        postprocessing_configs(task.metadata)


def _draft(task: EmbeddingsTask, protocol: str, settings: Options, device: str) -> ResultRecord:
    """The record as far as it is known before training."""
    chosen = asdict(settings)
    seed = chosen.pop("seed")
    info = ProtocolInfo(name=protocol, options=chosen, variant=variant_of(settings))
    model, described = _model_info(task), _task_info(task)
    content = [
        FORMAT_VERSION,
        scoring_version(protocol),
        task.content_hash,
        model.weights_hash,
        described.revision,
        protocol,
        fingerprinted(settings),
        seed,
        device.split(":")[0],
    ]
    return ResultRecord(
        fingerprint=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
        embeddings_hash=task.content_hash,
        model=model,
        task=described,
        protocol=info,
        seed=seed,
        scores={},
        folds=[],
        device=device,
        versions=package_versions(protocol),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def variant_of(settings: Any) -> str:
    """What differs from the protocol's defaults, in a word for each: ``5-shot``, ``logistic``, ``lr=0.01``."""
    defaults = asdict(type(settings)())
    changed = {name: value for name, value in asdict(settings).items() if value != defaults[name] and name != "seed"}
    names = {"grid": "{}", "grid_points": "{}points", "shots": "{}-shot", "solver": "{}", "amp": "amp"}
    return "-".join(names.get(name, f"{name}={{}}").format(value) for name, value in changed.items())


def fingerprinted(settings: Any) -> dict[str, Any]:
    """The options that a fingerprint holds, the seed apart.

    An option that was added to a protocol after records had been written (``added`` in its field's metadata)
    counts only when it is not at its default: those records are still what a run with the defaults gives.
    """
    return {
        item.name: getattr(settings, item.name)
        for item in fields(settings)
        if item.name != "seed" and not (item.metadata.get("added") and getattr(settings, item.name) == item.default)
    }


def _model_info(task: EmbeddingsTask) -> ModelInfo:
    """The model as ``delores embed`` described it; of a heareval folder only its name is known."""
    info = task.info.get("model") or {}
    name = task.path.resolve().parent.name
    known = {key: info[key] for key in ModelInfo.model_fields if info.get(key) is not None}
    known["behaviour"] = read_behaviour(known.get("behaviour"))
    return ModelInfo(**{"label": known.get("module", name), "module": name, **known})


def _task_info(task: EmbeddingsTask) -> TaskInfo:
    metrics = [str(name) for name in task.metadata["evaluation"]]
    primary = find_metrics(metrics, "event" if task.is_event else "scene")[0]
    revision = (task.info.get("task") or {}).get("revision")
    return TaskInfo(
        name=str(task.metadata["task_name"]),
        version=str(task.metadata["version"]),
        mode=str(task.metadata["mode"]),
        # A heareval folder says nothing of the audio: a hash of its metadata and labels stands in.
        revision=str(revision or task.truth_hash),
        embedding_type="event" if task.is_event else "scene",
        prediction_type="multiclass" if task.prediction_type == "multiclass" else "multilabel",
        primary_metric=primary.name,
        metrics=metrics,
        maximise=primary.maximise,
        n_clips=sum(len(split.files) for split in task.splits.values()),
        subset=subset_of(task.metadata, task.info.get("skipped")),
    )


def subset_of(metadata: Mapping[str, Any], skipped: Any) -> str | None:
    """How clips of the task were left out, when it was made or (``skipped``) embedded; None when none were."""
    found = [str(metadata["subset"])] if metadata.get("subset") else []
    for what, files in (("prepare", metadata.get("skipped_files")), ("embed", skipped)):
        if files:
            found.append(f"{len(files)} unusable clips skipped by {what}")
    return "; ".join(found) or None


def package_versions(protocol: str) -> dict[str, str]:
    """Of Python, of the scoring code and of the packages that scores depend on."""
    found = {"python": platform.python_version(), "scoring": str(scoring_version(protocol))}
    for name in ("hear-delores", "torch", "numpy", "scipy", "scikit-learn"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a checkout that is not installed
            found[name] = "not installed"
    return found


def _complete(draft: ResultRecord, run: ProtocolRun, task: EmbeddingsTask, seconds: float) -> ResultRecord:
    scores, deviation = aggregate([fold.scores for fold in run.folds])
    grid = [
        GridPoint(
            hyperparameters=head.hyperparameters,
            validation_score=head.validation_score,
            epoch=head.epoch,
            epochs_run=head.epochs_run,
            postprocessing=head.postprocessing,
            trace=head.trace,
            seconds=head.seconds,
        )
        for head in run.grid
    ]
    trained = sum(head.seconds for head in _heads(run))
    times = {"total": seconds, "training": trained}
    if isinstance(task.info.get("seconds"), (int, float)):
        times["embedding"] = float(task.info["seconds"])
    return draft.model_copy(
        update={
            "protocol": draft.protocol.model_copy(update={"deviations": run.deviations}),
            "scores": scores,
            "scores_std": deviation,
            "folds": [fold_result(fold) for fold in run.folds],
            "grid": grid,
            "seconds": times,
            "peak_memory_bytes": peak_memory_bytes(),
        }
    )


def _heads(run: ProtocolRun) -> list[TrainedHead]:
    """Every head that was trained, the grid's best (fold 0) once."""
    return [*run.grid, *(fold.head for fold in run.folds[1 if run.grid else 0 :])]


def fold_result(fold: TestedFold) -> FoldResult:
    """A fold as the record holds it."""
    return FoldResult(
        test_split="|".join(fold.split_names["test"]),
        scores=fold.scores,
        loss=fold.loss,
        validation_score=fold.head.validation_score,
        epoch=fold.head.epoch,
        epochs_run=fold.head.epochs_run,
        hyperparameters=fold.head.hyperparameters,
        postprocessing=fold.head.postprocessing,
        n_train_rows=fold.n_train_rows,
        n_test_rows=len(fold.probabilities),
        seconds=fold.head.seconds,
    )


def _predictions(task: EmbeddingsTask, run: ProtocolRun) -> dict[str, FoldPredictions]:
    """What intervals, paired tests and error analysis need, by test split."""
    found = {}
    for fold in run.folds:
        [name] = fold.split_names["test"]
        split = task.splits[name]
        files = np.array(split.files, dtype=np.str_)[split.file_index]
        values: dict[str, Any] = {"prediction": fold.probabilities, "target": split.targets, "files": files}
        if fold.events is not None:
            target = EventTable.from_events(split.events or {}, task.vocabulary)
            order = list(dict.fromkeys([*fold.events.files, *target.files]))
            values["timestamps_ms"] = split.timestamps_ms
            values["event_files"] = np.array(order, dtype=np.str_)
            values["predicted_events"] = _event_rows(fold.events, order)
            values["target_events"] = _event_rows(target, order)
        found[name] = FoldPredictions(**values)
    return found


def _event_rows(table: EventTable, files: list[str]) -> np.ndarray:
    number = {file: i for i, file in enumerate(files)}
    own = np.array([number[file] for file in table.files], dtype=np.float64)
    return np.stack([own[table.file], table.label.astype(np.float64), table.start_ms, table.end_ms], axis=1)


def official_scores(record: ResultRecord, score_mode: str, path: Path) -> dict[str, Any]:
    """heareval's ``test.predicted-scores.json``."""
    results: dict[str, dict[str, float]] = {}
    for fold in record.folds:
        results[fold.test_split] = {
            "test_loss": fold.loss,
            "test_score": fold.scores[record.task.primary_metric],
            **{f"test_{name}": value for name, value in fold.scores.items()},
            "validation_score": fold.validation_score,
            "epoch": fold.epoch,
            "time_in_min": fold.seconds / 60,
        }
    whole: dict[str, Any] = dict(results)
    if len(results) > 1:
        means, deviations = aggregate(list(results.values()))
        whole["aggregated_scores"] = {
            key: value
            for name in means
            for key, value in ((f"{name}_mean", means[name]), (f"{name}_std", deviations[name]))
        }
    first = record.folds[0]
    return {
        **whole,
        "hparams": first.hyperparameters,
        "postprocessing": [list(item) for item in first.postprocessing.items()],
        "score_mode": score_mode,
        "embedding_path": str(path),
    }
