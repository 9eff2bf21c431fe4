"""A task folder and a model -> embeddings on disk in heareval's layout, cached, resumable, never stale."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch

import hear_delores
from benchmarks.scoring.audio import read_audio
from benchmarks.scoring.embed_split import BatchBound, SplitJob, embed_split, row_order
from benchmarks.scoring.models import LoadedModel
from benchmarks.tasks.folder import METADATA_FILE, VOCABULARY_FILE, TaskFolder
from hear_delores.documents import read_json
from hear_delores.errors import DeloresError
from hear_delores.files import atomic_path, write_json

__all__ = ["BATCH_SECONDS", "DONE_FILE", "FORMAT_VERSION", "INFO_FILE", "EmbedSummary", "embed_task"]

#: Of the folder that :func:`embed_task` writes. Embeddings of another version are made again.
FORMAT_VERSION = 1
#: Audio in one call of the model, in seconds, all clips of the call together.
BATCH_SECONDS = 120.0
INFO_FILE = "embedding-info.json"
DONE_FILE = ".done.embeddings"  # heareval's mark of a complete folder
PROGRESS_DIR = ".progress"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class EmbedSummary:
    """What :func:`embed_task` did.

    Attributes:
        path: the folder of embeddings.
        seconds: that embedding took, when it was done.
        cached: whether everything was there before.
        skipped: "split/file: reason" of each clip that was left out.
    """

    path: Path
    seconds: float
    cached: bool
    skipped: list[str]


def embed_task(
    model: LoadedModel,
    task: TaskFolder,
    embeddings_dir: str | Path,
    *,
    batch_seconds: float = BATCH_SECONDS,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> EmbedSummary:
    """Embeds every clip of ``task`` into ``<embeddings_dir>/<model folder>/<task folder>/``.

    heareval 2021.1.3's layout and order of rows, without its second copy in one file per clip, and an
    ``embedding-info.json`` that says what was embedded by what. Embeddings that are there are kept when
    model, options, weights, task revision and format are all the same. Built in a hidden folder
    beside and renamed when complete; a killed run is taken up where it stopped, and ends in the same bytes.

    Args:
        batch_seconds: bounds the audio of one call of the model (a longer clip comes alone). A call that runs out of
            memory halves it.
        skip_bad: leave out clips whose audio cannot be used, and list them, instead of stopping. The
            rows are then those of a task without these clips.
        progress: called with the number of clips done and their total.

    Raises:
        DeloresError: an unusable audio file, or a fault of the model; naming clip or model.
    """
    if not batch_seconds > 0:
        raise DeloresError(f"batch_seconds must be positive, got {batch_seconds}")
    target = Path(embeddings_dir) / model.folder_name / task.folder_name
    key = _key(model, task)
    if (summary := _cached(target, key, skip_bad)) is not None:
        return summary
    work = target.with_name(f".{target.name}.partial")
    with _locked(work):
        # Another process may have finished while this one came here.
        if (summary := _cached(target, key, skip_bad)) is not None:
            shutil.rmtree(work)
            return summary
        _start_or_resume(work, {**key, "batch_seconds": float(batch_seconds), "skip_bad": skip_bad})
        skipped = _unusable_clips(work, model, task) if skip_bad else []
        seconds = _embed_splits(model, task, work, skipped, batch_seconds, progress)
        _finish(work, model, task, key, skipped, seconds)
        _replace(work, target)
    return EmbedSummary(target, seconds, False, _lines(skipped))


def _key(model: LoadedModel, task: TaskFolder) -> dict[str, Any]:
    """What the embeddings depend on. Anything different here, and they are made again."""
    options = dict(sorted(model.spec.options.items()))
    return {
        "format_version": FORMAT_VERSION,
        "module": model.spec.module,
        "options": json.loads(json.dumps(options, default=str)),
        "weights_hash": model.weights_hash,
        "sample_rate": model.sample_rate,
        "task": task.folder_name,
        "revision": task.revision,
    }


def _cached(target: Path, key: dict[str, Any], skip_bad: bool) -> EmbedSummary | None:
    info_file = target / INFO_FILE
    if not (target / DONE_FILE).exists() or not info_file.exists():
        return None
    try:
        info = read_json(info_file, nan=True)
        model, task = info["model"], info["task"]
        found = {
            "format_version": info["format_version"],
            "module": model["module"],
            "options": model["options"],
            "weights_hash": model["weights_hash"],
            "sample_rate": model["sample_rate"],
            "task": task["name"],
            "revision": task["revision"],
        }
        skipped, seconds = info["skipped"], float(info["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # damaged: embedded again
    if found != key or (skipped and not skip_bad):
        return None
    shutil.rmtree(target / PROGRESS_DIR, ignore_errors=True)  # of a run killed right after its rename
    return EmbedSummary(target, seconds, True, _lines(skipped))


@contextlib.contextmanager
def _locked(work: Path) -> Iterator[None]:
    """Holds ``work`` against other processes; the lock ends with the process, however it ends."""
    work.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows: no lock
        yield
        return
    descriptor = os.open(work, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DeloresError(f"{work}: another process is embedding this; wait for it, or end it") from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)


def _start_or_resume(work: Path, key: dict[str, Any]) -> None:
    """Empties ``work`` unless it was begun with the same key; removes what a killed atomic write left."""
    for left in (*work.glob(".*.tmp"), *work.glob(f"{PROGRESS_DIR}/.*.tmp")):
        left.unlink()
    key_file = work / PROGRESS_DIR / "key.json"
    try:
        same = read_json(key_file, nan=True) == key
    except (OSError, ValueError):
        same = False
    if not same:
        for path in work.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        write_json(key_file, key)


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
                skipped.append({"split": split, "file": file, "reason": str(error).removeprefix(f"{path}: ")})
    write_json(remembered, skipped)
    return skipped


def _embed_splits(
    model: LoadedModel,
    task: TaskFolder,
    work: Path,
    skipped: list[dict[str, str]],
    batch_seconds: float,
    progress: Progress | None,
) -> float:
    usable = {split: list(_usable_labels(task, split, skipped)) for split in task.splits}
    total, done, seconds = sum(map(len, usable.values())), 0, 0.0

    def count(clips: int) -> None:
        nonlocal done
        done += clips
        if progress is not None:
            progress(done, total)

    bound = BatchBound(batch_seconds)
    for split, files in row_order(usable).items():
        job = SplitJob(model, task, split, files, work, work / PROGRESS_DIR, bound, count)
        seconds += embed_split(job)
    return seconds


def _usable_labels(task: TaskFolder, split: str, skipped: list[dict[str, str]]) -> dict[str, list[Any]]:
    left_out = {entry["file"] for entry in skipped if entry["split"] == split}
    labels = {file: value for file, value in task.raw_labels(split).items() if file not in left_out}
    if not labels:
        raise DeloresError(f"{task.path}: no clip of split {split!r} has usable audio")
    return labels


def _finish(
    work: Path,
    model: LoadedModel,
    task: TaskFolder,
    key: dict[str, Any],
    skipped: list[dict[str, str]],
    seconds: float,
) -> None:
    """Adds to the embeddings what scoring needs beside them, and the mark that they are complete."""
    for name in (METADATA_FILE, VOCABULARY_FILE, *(f"{split}.json" for split in task.splits)):
        with atomic_path(work / name) as temporary:
            shutil.copyfile(task.path / name, temporary)
    for split in {entry["split"] for entry in skipped}:
        write_json(work / f"{split}.json", _usable_labels(task, split, skipped))
    info = {
        "format_version": FORMAT_VERSION,
        "model": {
            "module": model.spec.module,
            "label": model.spec.label,
            "options": key["options"],
            "file": Path(model.spec.path).name,
            "weights_hash": model.weights_hash,
            "sample_rate": model.sample_rate,
            "n_parameters": model.n_parameters,
            "sizes": {"scene": model.scene_embedding_size, "timestamp": model.timestamp_embedding_size},
        },
        "task": {
            "name": task.folder_name,
            "revision": task.revision,
            "audio_sample_rate": task.nearest_rate(model.sample_rate),
        },
        "seconds": seconds,
        "device": model.device,
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


def _replace(work: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    work.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(target / PROGRESS_DIR)


def _lines(skipped: list[dict[str, str]]) -> list[str]:
    return [f"{entry['split']}/{entry['file']}: {entry['reason']}" for entry in skipped]
