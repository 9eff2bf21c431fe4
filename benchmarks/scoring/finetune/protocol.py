"""Protocol ``finetune``: a task folder and a torch HEAR model -> result record, everything trained end to end."""

from __future__ import annotations

import contextlib
import copy
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.embedding.foreign_code import contained
from benchmarks.embedding.model import LoadedModel, load_model
from benchmarks.metrics.registry import find_metrics
from benchmarks.results.format import FoldPredictions, ResultRecord
from benchmarks.results.identity import behaviour_change, behaviours_agree, read_behaviour
from benchmarks.results.record import WORK_FOLDER, clear_unfinished, identical_record, record_folder
from benchmarks.scoring.evaluation import SceneEvaluator
from benchmarks.scoring.finetune.clips import Clips
from benchmarks.scoring.finetune.train import Finetune, FinetuneFold
from benchmarks.scoring.fold import Folds, Progress, ProtocolRun, run_protocol
from benchmarks.scoring.protocols import make_protocol
from benchmarks.scoring.record_maker import draft_record, finish_record, task_info
from benchmarks.scoring.work import WorkFolder
from benchmarks.tasks.folder import TaskFolder
from hear_delores.documents import read_json
from hear_delores.errors import DeloresError
from hear_delores.files import remove_leftovers, write_json
from pretrain.distributed.world import ALONE, World, world_size
from pretrain.locks import folder_lock
from pretrain.training.precision import ProductTimes, time_products

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
    auto_precision: bool = False,
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
        say: told why a record that is there is not the one that is asked for, and which precision is faster.
        auto_precision: let a timed matrix product decide ``amp``, unless there is a record, or a training begun, with
            either.
        options: those of :class:`~benchmarks.scoring.finetune.train.Finetune`; None leaves the default.

    Raises:
        DeloresError: an event task, a model without gradients, audio that cannot be used, an unknown option.
    """
    began = time.perf_counter()
    settings = world.share(lambda: make_protocol(Finetune, seed, options))
    world.share(lambda: _check(model, task, settings, world))
    if auto_precision:
        settings = replace(settings, amp=world.from_leader(lambda: _decide(model, task, settings, results_dir, say)))
    draft = world.share(lambda: _draft(model, task, settings))
    if len(set(world.collect(draft.fingerprint))) > 1:
        message = "the processes see different models, tasks or options: give all of them the same"
        world.agree(DeloresError(message))
    folder = record_folder(results_dir, draft)
    existing = world.from_leader(lambda: None if overwrite else _existing(folder, draft, say))
    if existing is not None:
        return existing
    world.share(lambda: _fresh(model))  # whether it loads alike again, before anything is written
    if settings.amp and world.leads and not auto_precision:
        times = _times(model, settings)
        if times.bfloat16_is_slower:
            say(f"precision: bfloat16 is slower here than float32: {times.describe()}")
    lock = folder_lock(folder, "fine-tuning into this folder") if world.leads else contextlib.nullcontext()
    with contextlib.ExitStack() as held:
        world.share(lambda: held.enter_context(lock))
        work = world.share(lambda: _work_folder(folder if world.leads else None, draft, model))
        with work.begun(), contained():
            run = run_protocol(_folds(model, task, settings, work, progress, world))
        return world.from_leader(
            lambda: finish_record(
                draft, run, _predictions(model, task, run), results_dir, work, source=task.path, began=began
            )
        )


def _decide(
    model: LoadedModel, task: TaskFolder, settings: Finetune, results_dir: str | Path, say: Callable[[str], None]
) -> bool:
    """Whether to train under autocast: as what is there was trained, else as a product of the task's shape says."""
    for amp in (False, True):
        draft = _draft(model, task, replace(settings, amp=amp))
        folder = record_folder(results_dir, draft)
        if identical_record(folder, draft.fingerprint) is not None or (folder / WORK_FOLDER).exists():
            return amp
    times = _times(model, settings)
    say(f"precision: {times.faster}, since {times.describe()}")
    return times.faster == "bfloat16"


def _times(model: LoadedModel, settings: Finetune) -> ProductTimes:
    size = model.scene_embedding_size
    return time_products(settings.batch_size, size, size, model.device)


def _existing(folder: Path, draft: ResultRecord, say: Callable[[str], None]) -> ResultRecord | None:
    """The record of the run, unless the model was another or may have been."""
    if (old := identical_record(folder, draft.fingerprint)) is None:
        return None
    before, now = old.model.behaviour, draft.model.behaviour
    assert now is not None
    if before is None:
        say("trained again: the record was made before the behaviour of models was recorded")
        return None
    if not behaviours_agree(before, now):
        say(f"trained again: the model {behaviour_change(before, now) or 'is not deterministic'}")
        return None
    if old.model.source_hash and old.model.source_hash != draft.model.source_hash:
        say(f"the source of {draft.model.module} has changed, but it answers the probe sounds as before")
    clear_unfinished(folder)
    return old


def _work_folder(folder: Path | None, draft: ResultRecord, model: LoadedModel) -> WorkFolder:
    """Where unfinished folds are kept: emptied unless they are of the same run and of a model that behaves alike."""
    if folder is None:
        return WorkFolder(None, draft.fingerprint)
    remove_leftovers(folder)
    path = folder / WORK_FOLDER
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


def _check(model: LoadedModel, task: TaskFolder, settings: Finetune, world: World) -> None:
    settings.check(task)
    if model.kind != "torch":
        raise DeloresError(
            f"model {model.spec.label}: only torch models can be fine-tuned, but this is a {model.kind} model"
        )
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


def _folds(
    model: LoadedModel,
    task: TaskFolder,
    settings: Finetune,
    work: WorkFolder,
    progress: Progress | None,
    world: World,
) -> Folds[Clips]:
    splits, metrics = task.data_splits(), find_metrics(task.metadata["evaluation"], "scene")

    def make(number: int) -> FinetuneFold:
        names = splits[number]
        train, valid, test = (Clips(task, names[role], model.sample_rate) for role in ("train", "valid", "test"))

        def report(epochs: int, text: str) -> None:
            if progress is not None:
                progress(number * settings.max_epochs + epochs, len(splits) * settings.max_epochs, text)

        return FinetuneFold(
            number, names, train, valid, test,
            SceneEvaluator(metrics, valid.targets), SceneEvaluator(metrics, test.targets),
            task.prediction_type, torch.device(model.device),
            fresh=partial(_fresh, model),
            state_file=work.unfinished(f"fold-{number:02d}") if work.path is not None else None,
            report=report,
            world=world,
        )  # fmt: skip

    return Folds(task, settings, work, make, world=world)  # every epoch is reported, not every fold


def _predictions(model: LoadedModel, task: TaskFolder, run: ProtocolRun) -> dict[str, FoldPredictions]:
    found = {}
    for fold in run.folds:
        [name] = fold.split_names["test"]
        clips = Clips(task, [name], model.sample_rate)
        files = np.array(clips.files, dtype=np.str_)
        found[name] = FoldPredictions(prediction=fold.probabilities, target=fold.targets, files=files)
    return found


def _draft(model: LoadedModel, task: TaskFolder, settings: Finetune) -> ResultRecord:
    """The record as far as it is known before training."""
    info = model.info()
    inputs = [model.spec.name, info.options, model.weights_hash, task.revision]
    described = task_info(task, task.revision, task.n_clips)
    return draft_record(settings, inputs, info, described, model.device, embeddings_hash="")
