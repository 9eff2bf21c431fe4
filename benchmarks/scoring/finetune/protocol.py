"""Protocol ``finetune``: a task folder and a torch HEAR model -> result record, everything trained end to end."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from benchmarks.embedding.foreign_code import contained
from benchmarks.embedding.model import LoadedModel, load_model
from benchmarks.metrics.registry import find_metrics
from benchmarks.results.identity import behaviour_change, behaviours_agree, read_behaviour
from benchmarks.results.record import (
    FORMAT_VERSION,
    FoldPredictions,
    ProtocolInfo,
    ResultRecord,
    TaskInfo,
    clear_unfinished,
    load_record,
    record_folder,
    save_record,
)
from benchmarks.scoring.evaluation import SceneEvaluator, aggregate
from benchmarks.scoring.few_shot import draw_shots, shortfall, shortfall_note
from benchmarks.scoring.finetune.audio import Clips
from benchmarks.scoring.finetune.train import FinetuneFold, FinetuneOptions, train_fold
from benchmarks.scoring.score import (
    fingerprinted,
    fold_result,
    official_scores,
    package_versions,
    scoring_version,
    subset_of,
    variant_of,
)
from benchmarks.scoring.training import (
    Progress,
    ProtocolRun,
    TestedFold,
    TrainedHead,
    WorkFolder,
    activate,
    logit_loss,
    peak_memory_bytes,
)
from benchmarks.tasks.folder import TaskFolder
from hear_delores.documents import read_json
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.files import remove_leftovers, write_json
from pretrain.distributed.world import ALONE, World, world_size
from pretrain.locks import folder_lock

__all__ = ["finetune_task"]


def finetune_task(
    model: LoadedModel,
    task: TaskFolder,
    *,
    results_dir: str | Path,
    seed: int = 42,
    progress: Progress | None = None,
    overwrite: bool = False,
    world: World = ALONE,
    say: Callable[[str], None] = lambda text: None,
    **options: Any,
) -> ResultRecord:
    """The record of ``model`` fine-tuned on each fold of ``task`` and tested once; one that exists is returned.

    Every fold begins from a model that is loaded anew: ``model`` itself, in memory and on disk, is left as it is.
    A run that was killed goes on after the last finished epoch, and ends with the same record but for times,
    memory and date, also on another number of processes, to rounding.

    Args:
        progress: called as progress(epochs done, most epochs there can be, text).
        overwrite: train again although an identical record exists.
        world: of :func:`pretrain.distributed.world.join`; the first of several processes writes, all return the record.
        say: told why a record that is there is not the one that is asked for.
        options: those of :class:`~benchmarks.scoring.finetune.train.FinetuneOptions`; None leaves the default.

    Raises:
        DeloresError: an event task, a model without gradients, audio that cannot be used, an unknown option.
    """
    began = time.perf_counter()
    settings = world.share(lambda: _options(seed, options))
    world.share(lambda: _check(model, task, world))
    draft = world.share(lambda: _draft(model, task, settings))
    if len(set(world.collect(draft.fingerprint))) > 1:
        message = "the processes see different models, tasks or options: give all of them the same"
        world.agree(DeloresError(message))
    folder = record_folder(results_dir, draft)
    existing = world.from_leader(lambda: None if overwrite else _existing(results_dir, draft, say))
    if existing is not None:
        return existing
    world.share(lambda: _fresh(model))  # whether it loads alike again, before anything is written
    with contextlib.ExitStack() as held:
        world.share(lambda: held.enter_context(_alone(folder)) if world.leads else None)
        return _make(model, task, draft, settings, Path(results_dir), progress, world, began)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with folder_lock(folder, "fine-tuning into this folder"):
        remove_leftovers(folder)
        yield


def _make(
    model: LoadedModel,
    task: TaskFolder,
    draft: ResultRecord,
    settings: FinetuneOptions,
    results_dir: Path,
    progress: Progress | None,
    world: World,
    began: float,
) -> ResultRecord:
    """The record, made now; ``began``: the time at which all of it did."""
    folder = record_folder(results_dir, draft)
    work = world.share(lambda: _work_folder(folder / "work" if world.leads else None, draft, model))
    with contained():
        run, predictions = _run(model, task, settings, work, folder / "work", progress, world)
    scores, deviation = aggregate([fold.scores for fold in run.folds])
    record = draft.model_copy(
        update={
            "protocol": draft.protocol.model_copy(update={"deviations": run.deviations}),
            "scores": scores,
            "scores_std": deviation,
            "folds": [fold_result(fold) for fold in run.folds],
            "seconds": {
                "total": time.perf_counter() - began,
                "training": sum(fold.head.seconds for fold in run.folds),
            },
            "peak_memory_bytes": peak_memory_bytes(),
        }
    )

    def write() -> ResultRecord:
        save_record(record, results_dir, predictions, official_scores(record, run.score_mode, task.path))
        work.remove()
        return record

    return world.from_leader(write)


def _existing(results_dir: str | Path, draft: ResultRecord, say: Callable[[str], None]) -> ResultRecord | None:
    """The record of the run, unless the model was another or may have been."""
    try:
        old = load_record(record_folder(results_dir, draft))
    except DeloresError:
        old = None
    before, now = (old.model.behaviour if old else None), draft.model.behaviour
    assert now is not None
    if old is not None and old.fingerprint == draft.fingerprint:
        if before is None:
            say("trained again: the record was made before the behaviour of models was recorded")
        elif not behaviours_agree(before, now):
            say(f"trained again: the model {behaviour_change(before, now) or 'is not deterministic'}")
        else:
            if old.model.source_hash and old.model.source_hash != draft.model.source_hash:
                say(f"the source of {draft.model.module} has changed, but it answers the probe sounds as before")
            clear_unfinished(record_folder(results_dir, draft))
            return old
    return None


def _work_folder(path: Path | None, draft: ResultRecord, model: LoadedModel) -> WorkFolder:
    """Where unfinished folds are kept: emptied unless they are of the same run and of a model that behaves alike."""
    if path is None:
        return WorkFolder(None, draft.fingerprint)
    file = path / "behaviour.json"
    try:
        begun = read_behaviour(read_json(file))
    except (OSError, ValueError):
        begun = None
    if path.exists() and (begun is None or not behaviours_agree(begun, model.behaviour)):
        shutil.rmtree(path)
    work = WorkFolder(path, draft.fingerprint)
    write_json(file, model.behaviour.model_dump())
    return work


def _options(seed: int, options: Mapping[str, Any]) -> FinetuneOptions:
    known = [item.name for item in fields(FinetuneOptions) if item.name != "seed"]
    for name in options:
        if name not in known:
            raise DeloresError(f"unknown option {name!r} of protocol finetune. {did_you_mean(name, known)}")
    return FinetuneOptions(seed=seed, **{name: value for name, value in options.items() if value is not None})


def _check(model: LoadedModel, task: TaskFolder, world: World) -> None:
    if task.embedding_type != "scene":
        raise DeloresError(
            f"protocol finetune is for clips, and {task.folder_name} is an event task: use hear or linear"
        )
    if model.kind != "torch":
        raise DeloresError(
            f"model {model.spec.label}: only torch models can be fine-tuned, but this is a {model.kind} model"
        )
    find_metrics(task.metadata["evaluation"], "scene")
    if world.size != world_size():
        raise DeloresError(
            f"finetune_task: {world_size()} processes were started; pass the world that they have joined"
        )


def _fresh(model: LoadedModel) -> LoadedModel:
    """The model loaded anew, an object of its own with the same weights."""
    fresh = load_model(model.spec, model.device)
    if fresh.weights_hash != model.weights_hash:
        raise DeloresError(
            f"model {model.spec.label}: load_model returns different weights each time, so the folds would not start "
            "alike; give it a seed"
        )
    # A module may hand out one object again and again.
    return replace(fresh, model=copy.deepcopy(fresh.model)) if fresh.model is model.model else fresh


def _run(
    model: LoadedModel,
    task: TaskFolder,
    options: FinetuneOptions,
    work: WorkFolder,
    work_path: Path,
    progress: Progress | None,
    world: World,
) -> tuple[ProtocolRun, dict[str, FoldPredictions]]:
    metrics = find_metrics(task.metadata["evaluation"], "scene")
    splits = task.data_splits()
    tested, predictions, short = [], {}, {}
    for number, names in enumerate(splits):
        key = f"fold-{number:02d}"
        train, valid, test = world.share(partial(_clips, model, task, names, options, number))
        if options.shots is not None:
            short[number] = shortfall(train.targets, options.shots)
        head = world.from_leader(partial(work.load, key))
        if head is None:
            validator = SceneEvaluator(metrics, valid.targets)
            state_file = work_path / f"{key}.state.pt"
            fold = FinetuneFold(
                key, number, train, valid, test, validator, task.prediction_type, metrics[0].maximise, state_file
            )

            def report(epochs: int, text: str, before: int = number * options.max_epochs) -> None:
                if progress is not None:
                    progress(before + epochs, len(splits) * options.max_epochs, text)

            head = train_fold(world.share(lambda: _fresh(model)), fold, options, report, world)
            world.share(partial(work.save, head))
            if world.leads:
                state_file.unlink(missing_ok=True)
        tester = SceneEvaluator(metrics, test.targets)
        tested.append(_tested(head, names, len(train), test, tester, task.prediction_type))
        [name] = names["test"]
        predictions[name] = FoldPredictions(
            prediction=tested[-1].probabilities, target=test.targets, files=np.array(test.files, dtype=np.str_)
        )
    notes = shortfall_note(short, options.shots or 0)
    by_loss = sum(fold.head.validation_score != fold.head.validation_score for fold in tested)
    if by_loss:
        notes.append(f"validation: the primary score was NaN in {by_loss} folds, their epoch has the least loss")
    mode: Literal["max", "min"] = "max" if metrics[0].maximise else "min"
    return ProtocolRun(tested, [], notes, mode), predictions


def _clips(
    model: LoadedModel, task: TaskFolder, names: Mapping[str, list[str]], options: FinetuneOptions, number: int
) -> list[Clips]:
    """The training clips of fold ``number``, as many as are asked for, its validation and its test clips."""
    train, valid, test = (Clips(task, names[role], model.sample_rate) for role in ("train", "valid", "test"))
    if options.shots is not None:
        several = task.prediction_type == "multilabel"
        train = train.subset(draw_shots(train.targets, options.shots, options.seed, number, multilabel=several))
    return [train, valid, test]


def _tested(
    head: TrainedHead,
    names: Mapping[str, list[str]],
    n_train_rows: int,
    test: Clips,
    tester: SceneEvaluator,
    prediction_type: str,
) -> TestedFold:
    logits = head.state["logits"]
    probabilities = activate(logits, prediction_type)
    return TestedFold(
        split_names=names,
        n_train_rows=n_train_rows,
        head=head,
        scores=tester.scores(probabilities, {}),
        loss=float(logit_loss(logits, torch.from_numpy(test.targets), prediction_type)),
        probabilities=probabilities,
        events=None,
        missing_files=(),
    )


def _draft(model: LoadedModel, task: TaskFolder, settings: FinetuneOptions) -> ResultRecord:
    """The record as far as it is known before training."""
    chosen = asdict(settings)
    seed = chosen.pop("seed")
    spec, info = model.spec, model.info()
    content = [
        FORMAT_VERSION,
        scoring_version("finetune"),
        spec.module,
        info.options,
        model.weights_hash,
        task.revision,
        "finetune",
        fingerprinted(settings),
        seed,
        model.device.split(":")[0],
    ]
    return ResultRecord(
        fingerprint=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
        embeddings_hash="",  # made of audio
        model=info,
        task=_task_info(task),
        protocol=ProtocolInfo(name="finetune", options=chosen, variant=variant_of(settings)),
        seed=seed,
        scores={},
        folds=[],
        device=model.device,
        versions=package_versions("finetune"),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _task_info(task: TaskFolder) -> TaskInfo:
    metrics = [str(name) for name in task.metadata["evaluation"]]
    primary = find_metrics(metrics, "scene")[0]
    return TaskInfo(
        name=task.name,
        version=str(task.metadata["version"]),
        mode=str(task.metadata["mode"]),
        revision=task.revision,
        embedding_type="scene",
        prediction_type="multiclass" if task.prediction_type == "multiclass" else "multilabel",
        primary_metric=primary.name,
        metrics=metrics,
        maximise=primary.maximise,
        n_clips=task.n_clips,
        subset=subset_of(task.metadata, None),
    )
