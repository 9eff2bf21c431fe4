"""Embeds a task folder with a model, in heareval's layout on disk: cached, resumable, never stale."""

from __future__ import annotations

import contextlib
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch

import hear_delores
from benchmarks.embedding.layout import INFO_FILE, embeddings_folder, row_order
from benchmarks.embedding.model import LoadedModel
from benchmarks.embedding.split import PROGRESS_DIR, BatchBound, SplitJob, embed_split
from benchmarks.embedding.stored import DONE_FILE, Stored, key_of, stored_embeddings
from benchmarks.perturbing.perturbation import Perturbation
from benchmarks.results.identity import behaviours_agree, read_behaviour
from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.metadata import METADATA_FILE, tested_splits
from benchmarks.tasks.mono_audio import read_audio
from benchmarks.tasks.vocabulary import VOCABULARY_FILE
from hear_delores.documents import read_json
from hear_delores.errors import DeloresError, shown
from hear_delores.files import (
    atomic_path,
    check_replaceable,
    remove_leftovers,
    remove_tree,
    replace_folder,
    settle_folder,
    write_json,
    writing,
)
from hear_delores.settings import require_number
from hear_delores.temporary import beside
from pretrain.locks import folder_lock

__all__ = ["BATCH_SECONDS", "EMBEDDINGS_FORMAT", "MARKS", "EmbedSummary", "describe", "embed_task"]

#: Of the folder that :func:`embed_task` writes. Embeddings of another version are made again.
EMBEDDINGS_FORMAT = 1
#: Audio in one call of the model, in seconds, all clips of the call together.
BATCH_SECONDS = 120.0
#: A folder of embeddings, ours or heareval's, has one of these; no other folder is ever replaced.
MARKS = (INFO_FILE, DONE_FILE)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class EmbedSummary:
    """What :func:`embed_task` did.

    Attributes:
        path: the folder of embeddings.
        seconds: that embedding took, when it was done.
        cached: whether everything was there before.
        skipped: "split/file: reason" of each clip that was left out.
        notes: lines that say why embeddings that were there were made again, or kept although something changed.
    """

    path: Path
    seconds: float
    cached: bool
    skipped: list[str]
    notes: list[str] = field(default_factory=list)


def embed_task(
    model: LoadedModel,
    task: TaskFolder,
    embeddings_dir: str | Path,
    *,
    batch_seconds: float = BATCH_SECONDS,
    needs: str = "scene",
    skip_bad: bool = False,
    force: bool = False,
    perturbation: Perturbation | None = None,
    progress: Progress | None = None,
    wait: bool = False,
    on_wait: Callable[[], None] | None = None,
) -> EmbedSummary:
    """Embeds every clip of ``task`` into ``<embeddings_dir>/<model folder>/<task folder>/``.

    heareval 2021.1.3's layout and order of rows, without its second copy in one file per clip, and an
    ``embedding-info.json`` that says what was embedded by what. Embeddings that are there are kept when
    module, options, weights, behaviour, task revision and format are all the same. Built in a hidden folder
    beside and renamed when complete; a killed run is taken up where it stopped, and ends in the same bytes.

    Args:
        batch_seconds: bounds the audio of one call of the model (a longer clip comes alone). A call that runs out of
            memory halves it.
        needs: ``timestamps`` writes all timestamp embeddings of the clips of a scene task, ragged, into
            ``<task folder>.timestamps/`` beside the scene embeddings. An event task has no other rows.
        skip_bad: leave out clips whose audio cannot be used, and list them, instead of stopping. The
            rows are then those of a task without these clips.
        force: embed again whatever is there.
        perturbation: of every clip. Only the splits that some fold is tested on are embedded then: heads are trained on
            the embeddings of clean clips, which are in another ``embeddings_dir``.
        progress: called with the number of clips done and their total.
        wait: while another process embeds the same, wait for it rather than fail.
        on_wait: called before waiting.

    Raises:
        DeloresError: another process is at it; a folder there that no embedding has made; an unusable audio file or
            a fault of the model, naming clip or model.
    """
    require_number("embed", "batch_seconds", batch_seconds, 0.01, maximum=86_400.0)
    name = embeddings_folder(task.folder_name, task.embedding_type, needs)
    target = Path(embeddings_dir) / model.folder_name / name
    described = describe(model, task)
    if perturbation is not None:
        described["perturbation"] = perturbation.info()
    key = key_of(described)
    before = stored_embeddings(target, key, model, skip_bad, force)
    if before.usable:
        return _summary(target, before)
    with folder_lock(target, "embedding this", whole=True, wait=wait, on_wait=on_wait), writing(target):
        real = settle_folder(target)
        # Another process may have finished while this one came here.
        if not force and (now := stored_embeddings(target, key, model, skip_bad)).usable:
            remove_tree(beside(real, ".partial"))
            return _summary(target, now)
        check_replaceable(real, MARKS)
        work = _start_or_resume(real, {**key, "batch_seconds": float(batch_seconds), "skip_bad": skip_bad}, model)
        skipped = _unusable_clips(work, model, task) if skip_bad else []
        seconds = _embed_splits(model, task, work, skipped, batch_seconds, progress, needs, perturbation)
        _finish(work, described, task, skipped, seconds)
        replace_folder(work, real, MARKS)
        _remove_progress(real)
    return EmbedSummary(target, seconds, False, _lines(skipped), before.notes)


def _summary(target: Path, stored: Stored) -> EmbedSummary:
    _remove_progress(target)  # of a run killed right after its rename
    return EmbedSummary(target, stored.seconds, True, _lines(stored.skipped), stored.notes)


def _remove_progress(target: Path) -> None:
    with contextlib.suppress(OSError):  # another process is at it, or nothing may be written here: it does no harm
        remove_tree(target / PROGRESS_DIR)


def describe(model: LoadedModel, task: TaskFolder) -> dict[str, Any]:
    """What ``embedding-info.json`` says of model, task and device."""
    return {
        "format_version": EMBEDDINGS_FORMAT,
        "model": model.info().model_dump(),
        "task": {
            "name": task.folder_name,
            "revision": task.revision,
            "audio_sample_rate": task.nearest_rate(model.sample_rate),
        },
        "device": model.device,
    }


def _start_or_resume(target: Path, key: dict[str, Any], model: LoadedModel) -> Path:
    """The folder in which ``target`` is built: emptied, unless it was begun by the same model with the same key."""
    work = beside(target, ".partial")
    for folder in (work, work / PROGRESS_DIR):
        remove_leftovers(folder)
    key_file = work / PROGRESS_DIR / "key.json"
    try:
        begun = read_json(key_file, nan=True)
        behaviour = read_behaviour(begun.pop("behaviour", None))
        same = begun == key and behaviour is not None and behaviours_agree(behaviour, model.behaviour)
    except (OSError, ValueError, AttributeError):
        same = False
    if not same:
        remove_tree(work)
        write_json(key_file, {**key, "behaviour": model.behaviour.model_dump()})
    return work


def _unusable_clips(work: Path, model: LoadedModel, task: TaskFolder) -> list[dict[str, str]]:
    """The clips whose audio cannot be read, found by reading all of it once; remembered for resuming.

    Known before the first row is written, so that the order of rows is heareval's without these clips.
    """
    remembered = work / PROGRESS_DIR / "skipped.json"
    if remembered.exists():
        return read_json(remembered, list)
    rate = task.nearest_rate(model.sample_rate)
    skipped = []
    for split in task.splits:
        for file in task.raw_labels(split):
            path = task.audio_file(split, file, rate)
            try:
                read_audio(path)
            except DeloresError as error:
                skipped.append({"split": split, "file": file, "reason": str(error).removeprefix(f"{shown(path)}: ")})
    write_json(remembered, skipped)
    return skipped


def _embed_splits(
    model: LoadedModel,
    task: TaskFolder,
    work: Path,
    skipped: list[dict[str, str]],
    batch_seconds: float,
    progress: Progress | None,
    needs: str,
    perturbation: Perturbation | None,
) -> float:
    usable = {split: list(_usable_labels(task, split, skipped)) for split in task.splits}
    ordered = row_order(usable)  # of all splits: the order of one depends on the clips of the others
    if perturbation is not None:
        ordered = {split: ordered[split] for split in tested_splits(task.data_splits())}
    total, done, seconds = sum(map(len, ordered.values())), 0, 0.0

    def count(clips: int) -> None:
        nonlocal done
        done += clips
        if progress is not None:
            progress(done, total)

    bound = BatchBound(batch_seconds)
    for split, files in ordered.items():
        seconds += embed_split(SplitJob(model, task, split, files, work, bound, count, needs, perturbation))
    return seconds


def _usable_labels(task: TaskFolder, split: str, skipped: list[dict[str, str]]) -> dict[str, list[Any]]:
    left_out = {entry["file"] for entry in skipped if entry["split"] == split}
    labels = {file: value for file, value in task.raw_labels(split).items() if file not in left_out}
    if not labels:
        raise DeloresError(f"{task.path}: no clip of split {split!r} has usable audio")
    return labels


def _finish(
    work: Path, described: dict[str, Any], task: TaskFolder, skipped: list[dict[str, str]], seconds: float
) -> None:
    """Adds to the embeddings what scoring needs beside them, and the mark that they are complete."""
    for name in (METADATA_FILE, VOCABULARY_FILE, *(f"{split}.json" for split in task.splits)):
        with atomic_path(work / name) as temporary:
            shutil.copyfile(task.path / name, temporary)
    for split in {entry["split"] for entry in skipped}:
        write_json(work / f"{split}.json", _usable_labels(task, split, skipped))
    info = {
        **described,
        "seconds": seconds,
        "skipped": skipped,
        "versions": {
            "hear_delores": hear_delores.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "soundfile": soundfile.__version__,
            "soxr": soxr.__version__,
        },
    }
    write_json(work / INFO_FILE, info)
    (work / DONE_FILE).touch()


def _lines(skipped: list[dict[str, str]]) -> list[str]:
    return [f"{entry['split']}/{entry['file']}: {entry['reason']}" for entry in skipped]
