"""One split of a task -> its rows on disk, in heareval's order and layout, resumable after any kill.

Rows are only ever appended, in their final order, and a journal says how many of them are complete: what
a killed run had written beyond it is cut off, and the rest is computed exactly as it would have been.
"""

from __future__ import annotations

import json
import os
import pickle
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.embedding.layout import FRAME_COUNTS, ROW_FILES
from benchmarks.embedding.model import LoadedModel, NotFinite, OutOfMemory
from benchmarks.perturbing.perturbation import Perturbation
from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.mono_audio import read_audio, resample
from hear_delores.documents import parse_json
from hear_delores.errors import DeloresError
from hear_delores.files import atomic_path, write_json
from pretrain.data.ahead import ahead

__all__ = ["BatchBound", "EmbeddedClip", "SplitJob", "embed_split", "labels_at_timestamps"]

#: Audio that is held at once, in batches: enough that clips of unequal length find others of theirs. One
#: for timestamps, whose embeddings are many times larger.
WINDOW_BATCHES = {"scene": 4, "timestamps": 1}
PROGRESS_DIR = ".progress"  # in the folder of the embeddings: journals, and what a run that is taken up must know
READERS = 2  # threads that decode and resample while the model computes
MAX_READ_AHEAD = 64  # clips
GUESSED_CLIP_SECONDS = 30.0  # where the task does not say how long its clips are

#: A clip's embeddings (n, dimensions) float32, and for timestamp embeddings the time of each in ms.
Rows = tuple[np.ndarray, list[float] | None]


@dataclass(frozen=True)
class EmbeddedClip:
    """A clip that is on disk: its file, its number of rows, and for events the timestamp of each in ms."""

    file: str
    rows: int
    timestamps: list[float] | None = None


@dataclass
class BatchBound:
    """How much audio a batch may hold, in seconds: less after a batch that was too large for the memory."""

    seconds: float


@dataclass(frozen=True)
class SplitJob:
    """What to embed: the clips of one split in the order of their rows.

    Attributes:
        folder: where the layout's files are written.
        bound: seconds of audio per batch; one for all splits of a task.
        on_clips: called with a number of clips that were just done.
        needs: ``timestamps`` writes the timestamp embeddings of a scene task.
        perturbation: of every clip, at the rate at which it is stored: models of every rate hear the same.
    """

    model: LoadedModel
    task: TaskFolder
    split: str
    files: Sequence[str]
    folder: Path
    bound: BatchBound
    on_clips: Callable[[int], None]
    needs: str = "scene"
    perturbation: Perturbation | None = None

    @property
    def rows(self) -> str:
        """What a row is: the embedding of a ``scene``, or one of its ``timestamps``."""
        return "timestamps" if self.task.embedding_type == "event" else self.needs

    @property
    def dimensions(self) -> int:
        """Size of one row."""
        return self.model.timestamp_embedding_size if self.rows == "timestamps" else self.model.scene_embedding_size


def embed_split(job: SplitJob) -> float:
    """Writes the split's files; returns the seconds that embedding took, earlier runs included.

    ``<split>.embeddings.npy`` (raw float32), ``.embedding-dimensions.json``, ``.target-labels.pkl``, and the clip of
    each row: ``.files.json`` for scenes, which is ours (and ``.frames.json``, the rows of each clip, where rows are
    timestamps of scenes), and ``.filename-timestamps.json`` for events. The dimensions come last: where they are,
    the split is finished and only its seconds are read.

    Raises:
        DeloresError: an unusable audio file, or a fault of the model; naming clip or model.
    """
    journal = _Journal(job)
    dimensions_file = job.folder / f"{job.split}.embedding-dimensions.json"
    if dimensions_file.exists():
        job.on_clips(len(job.files))
        return journal.seconds
    journal.cut_rows()
    job.on_clips(len(journal.clips))
    with open(journal.rows_file, "ab") as rows:
        for window in _windows(job, job.files[len(journal.clips) :]):
            started = time.perf_counter()
            clips = []
            for file, (embeddings, timestamps) in zip(window, _embed_window(job, window), strict=True):
                rows.write(embeddings.tobytes())
                clips.append(EmbeddedClip(file, len(embeddings), timestamps))
            rows.flush()
            os.fsync(rows.fileno())
            journal.append(clips, time.perf_counter() - started)
    _write_labels(job, journal.clips)
    write_json(dimensions_file, [journal.n_rows, job.dimensions])
    return journal.seconds


def labels_at_timestamps(events: Iterable[dict[str, Any]], timestamps: Sequence[float] | np.ndarray) -> list[list[Any]]:
    """The labels that are active at each timestamp: of the events whose [start, end + 0.0001) ms holds it.

    As heareval (with the numpy of its time, whose comparisons were in double precision); a label is
    listed once, in the order of the events.

    Args:
        events: ``{"label", "start", "end"}``, milliseconds.
        timestamps: increasing, milliseconds.
    """
    times = np.asarray(timestamps, dtype=np.float64)
    active: list[list[Any]] = [[] for _ in times]
    for event in events:
        first, stop = np.searchsorted(times, [event["start"], event["end"] + 0.0001], side="left")
        for index in range(first, stop):
            if event["label"] not in active[index]:
                active[index].append(event["label"])
    return active


class _Journal:
    """Which clips of a split have all their rows on disk: one JSON line per window, written after them."""

    def __init__(self, job: SplitJob) -> None:
        self.job = job
        self.path = job.folder / PROGRESS_DIR / f"{job.split}.jsonl"
        self.rows_file = job.folder / f"{job.split}.embeddings.npy"
        self.clips: list[EmbeddedClip] = []
        self.seconds = 0.0
        kept = 0
        for line in self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []:
            if not line.endswith(b"\n"):
                break  # the line that was being written
            entry = parse_json(line, self.path, advice="remove this file")
            self.clips += [EmbeddedClip(*clip) for clip in entry["clips"]]
            self.seconds += entry["seconds"]
            kept += len(line)
        if self.path.exists():
            os.truncate(self.path, kept)

    @property
    def n_rows(self) -> int:
        return sum(clip.rows for clip in self.clips)

    def cut_rows(self) -> None:
        """Cuts off the rows that the journal does not know; starts anew if rows that it knows are missing."""
        expected = 4 * self.job.dimensions * self.n_rows
        known = [clip.file for clip in self.clips] == list(self.job.files[: len(self.clips)])
        present = self.rows_file.stat().st_size if self.rows_file.exists() else 0
        if not known or present < expected:
            self.clips, self.seconds, expected = [], 0.0, 0
            self.path.unlink(missing_ok=True)
        if self.rows_file.exists():
            os.truncate(self.rows_file, expected)

    def append(self, clips: list[EmbeddedClip], seconds: float) -> None:
        entry = {"clips": [[clip.file, clip.rows, clip.timestamps] for clip in clips], "seconds": seconds}
        with open(self.path, "ab") as stream:
            stream.write(json.dumps(entry).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        self.clips += clips
        self.seconds += seconds


def _windows(job: SplitJob, files: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
    """The clips' audio by file, in order, in portions of a few batches."""
    limit = WINDOW_BATCHES[job.rows] * job.bound.seconds * job.model.sample_rate
    window: dict[str, np.ndarray] = {}
    samples = 0
    for file, audio in zip(files, _read_ahead(job, files), strict=True):
        window[file] = audio
        samples += len(audio)
        if samples >= limit:
            yield window
            window, samples = {}, 0
    if window:
        yield window


def _read_ahead(job: SplitJob, files: Sequence[str]) -> Iterator[np.ndarray]:
    """The clips' audio at the model's rate, decoded by threads ahead of its use, in order."""
    rate = job.task.nearest_rate(job.model.sample_rate)
    seconds = job.task.info.sample_duration or GUESSED_CLIP_SECONDS
    depth = int(min(MAX_READ_AHEAD, max(READERS, job.bound.seconds / seconds))) + 1

    def read(file: str) -> np.ndarray:
        path = job.task.audio_file(job.split, file, rate)
        if job.perturbation is None:
            return read_audio(path, job.model.sample_rate)[0]
        samples, own_rate = read_audio(path)
        return resample(job.perturbation.apply(samples, own_rate, file), own_rate, job.model.sample_rate)

    return ahead(read, files, READERS, depth)


def _embed_window(job: SplitJob, window: dict[str, np.ndarray]) -> list[Rows]:
    """The rows of each clip, from batches of clips of one length."""
    by_length: dict[int, list[str]] = defaultdict(list)
    for file, audio in window.items():
        by_length[len(audio)].append(file)
    embedded: dict[str, Rows] = {}
    for length, files in by_length.items():
        most = max(1, int(job.bound.seconds * job.model.sample_rate / length))
        n_batches = -(-len(files) // most)
        for number in range(n_batches):  # batches of even size, rather than full ones and a small rest
            batch = files[len(files) * number // n_batches : len(files) * (number + 1) // n_batches]
            embedded.update(zip(batch, _embed_batch(job, batch, window), strict=True))
            job.on_clips(len(batch))
    return [embedded[file] for file in window]


def _embed_batch(job: SplitJob, batch: Sequence[str], window: dict[str, np.ndarray]) -> list[Rows]:
    """Each clip's rows; a batch that does not fit the memory is halved until it does."""
    audio = np.stack([window[file] for file in batch])
    try:
        if job.rows == "scene":
            return [(row[np.newaxis], None) for row in job.model.scene(audio)]
        embeddings, timestamps = job.model.timestamps(audio)
        if job.task.embedding_type == "scene":
            return [(rows, None) for rows in embeddings]  # the protocols ask for the order of frames, not their times
        return [(rows, times.tolist()) for rows, times in zip(embeddings, timestamps, strict=True)]
    except OutOfMemory as error:
        if len(batch) == 1:
            raise _located(error, job, batch) from None
    except NotFinite as error:
        raise _located(error, job, [batch[row] for row in error.rows]) from None
    except DeloresError as error:
        raise _located(error, job, batch) from error.__cause__
    half = len(batch) // 2
    job.bound.seconds = min(job.bound.seconds, audio.size / job.model.sample_rate / 2)
    return _embed_batch(job, batch[:half], window) + _embed_batch(job, batch[half:], window)


def _located(error: DeloresError, job: SplitJob, clips: Sequence[str]) -> DeloresError:
    where = clips[0] if len(clips) == 1 else f"{clips[0]} and {len(clips) - 1} more"
    return DeloresError(f"{error} (task {job.task.folder_name}, {job.split}: {where})")


def _write_labels(job: SplitJob, clips: Sequence[EmbeddedClip]) -> None:
    raw = job.task.raw_labels(job.split)
    if job.task.embedding_type == "scene":
        labels = [raw[clip.file] for clip in clips]
        write_json(job.folder / f"{job.split}{ROW_FILES}", [clip.file for clip in clips])
        if job.rows == "timestamps":
            write_json(job.folder / f"{job.split}{FRAME_COUNTS}", [clip.rows for clip in clips])
    else:
        labels = []
        pairs: list[list[Any]] = []
        for clip in clips:
            labels += labels_at_timestamps(raw[clip.file], clip.timestamps or [])
            # heareval writes the path of a working file here and reads back its last part.
            pairs += [[f"{job.split}/{clip.file}", timestamp] for timestamp in clip.timestamps or []]
        with atomic_path(job.folder / f"{job.split}.filename-timestamps.json") as temporary:
            temporary.write_text(json.dumps(pairs) + "\n", encoding="utf-8")
    with atomic_path(job.folder / f"{job.split}.target-labels.pkl") as temporary:
        temporary.write_bytes(pickle.dumps(labels, protocol=4))
