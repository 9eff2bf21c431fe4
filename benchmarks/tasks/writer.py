"""The one writer of HEAR task folders: whole or absent, never half-written."""

from __future__ import annotations

import csv
import functools
import io
import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.metrics.events import check_event
from benchmarks.tasks.clip_end import trim_events
from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.metadata import METADATA_FILE, TaskMetadata, validated
from benchmarks.tasks.mono_audio import read_audio, resample
from benchmarks.tasks.vocabulary import VOCABULARY_FILE
from hear_delores.errors import DeloresError, shown
from hear_delores.files import atomic_folder, check_name, settle_folder
from hear_delores.settings import require_integer
from pretrain.locks import folder_lock

__all__ = ["KEPT", "Clip", "Progress", "sorted_labels", "to_pcm16", "write_task_folder", "write_wav"]

#: Called with the number of clips that are done and their total (0 when it is not known).
Progress = Callable[[int, int], None]


#: What a user is told of a task that was kept.
KEPT = "it was there from before, of the same clips and labels; --overwrite makes it anew"


@dataclass(frozen=True)
class Clip:
    """One clip to write.

    Attributes:
        file: the name in the task folder, ending in ``.wav``.
        labels: strings, or events ``{"label", "start", "end"}`` in milliseconds.
        audio: (n_samples,) floats in [-1, 1], or the file to read them from.
        sample_rate: of ``audio`` in Hz when it is an array.
        slice_s: (start, length) in seconds of the part of the file that is the clip; None for all of it.
    """

    file: str
    labels: Sequence[Any]
    audio: np.ndarray | Path
    sample_rate: int = 16000
    slice_s: tuple[float, float] | None = None


def write_task_folder(
    out_dir: str | Path,
    metadata: Mapping[str, Any],
    splits: Mapping[str, Iterable[Clip]],
    sample_rate: int = 16000,
    *,
    vocabulary: Sequence[str] | None = None,
    overwrite: bool = False,
    on_bad: Callable[[str, Clip, DeloresError], None] | None = None,
    on_kept: Callable[[], None] | None = None,
    progress: Progress | None = None,
    total: int = 0,
) -> TaskFolder:
    """Writes ``<out_dir>/<task>-<version>-<mode>/`` and returns it, opened and checked.

    It is built in a hidden folder beside and renamed when complete. Audio becomes mono 16-bit PCM WAV. A
    ``sample_duration`` in the metadata cuts or zero-pads every clip to it; without one each clip keeps its
    length, and the common length is stated if they all have the same (the official tools then batch).

    Args:
        out_dir: where the task folder goes.
        metadata: ``task_metadata.json``; ``splits`` is filled in where it is missing.
        splits: the clips of each split, taken one by one.
        sample_rate: of the written audio, in Hz.
        vocabulary: labels by index; by default all labels that occur, sorted.
        overwrite: replace an existing folder of that name; otherwise it is an error.
        on_bad: called with (split, clip, error) for a clip whose audio cannot be used, which is then left
            out; without it the error is raised.
        on_kept: called when the same task, of these clips, is there already: it is kept, and no error. (Who runs a
            command again that was killed at its very end wants just that.)
        progress: called after each clip with the number done and ``total``.

    Raises:
        DeloresError: for anything that would make a faulty task folder; nothing is left behind.
    """
    require_integer("task folder", "sample_rate", sample_rate, 100, 1_000_000)
    content = {"splits": list(splits), "sample_duration": None, **metadata}
    info = validated(TaskMetadata, content, content.get("task_name", "task"))
    if set(info.splits) != set(splits):
        raise DeloresError(f"{info.folder_name}: clips came for the splits {sorted(splits)}, expected {info.splits}")
    writer = _Writer(content, info, splits, sample_rate, vocabulary, on_bad, progress, total)
    target = Path(out_dir) / info.folder_name
    with folder_lock(target, "preparing this task", whole=True):
        if settle_folder(target).exists() and not overwrite:
            if on_kept is None or not writer.is_written(target):
                raise DeloresError(f"{target} exists; remove it, or replace it with --overwrite")
            on_kept()
            return TaskFolder.open(target)
        with atomic_folder(target, [METADATA_FILE]) as partial:
            writer.write(partial)
            TaskFolder.open(partial)
    return TaskFolder.open(target)


@dataclass
class _Writer:
    """Writes one task folder, or says that it is there. ``content`` is its metadata, ``info`` the same, validated."""

    content: dict[str, Any]
    info: TaskMetadata
    splits: Mapping[str, Iterable[Clip]]
    sample_rate: int
    vocabulary: Sequence[str] | None
    on_bad: Callable[[str, Clip, DeloresError], None] | None
    progress: Progress | None
    total: int
    lengths: set[int] = field(default_factory=set)
    skipped: list[dict[str, str]] = field(default_factory=list)
    done: int = 0

    def is_written(self, target: Path) -> bool:
        """Whether the task folder there is what would be written, with audio no older than what it is made of."""
        try:
            task = TaskFolder.open(target)
        except DeloresError:
            return False
        found = {key: value for key, value in task.metadata.items() if key != "skipped_files"}
        if self.content["sample_duration"] is None:
            found["sample_duration"] = None
        skipped = {(entry["split"], entry["file"]) for entry in task.metadata.get("skipped_files", ())}
        same = found == json.loads(json.dumps(self.content)) and self.sample_rate in task.sample_rates
        if not same or (skipped and self.on_bad is None) or list(self.vocabulary or task.vocabulary) != task.vocabulary:
            return False
        made = (target / METADATA_FILE).stat().st_mtime_ns
        for split in task.splits:
            labels: dict[str, list[Any]] = {}
            for clip in self.splits[split]:
                if (split, clip.file) in skipped and self.on_bad is not None:
                    self.on_bad(split, clip, DeloresError("left out when the task was made"))
                    continue
                if isinstance(clip.audio, Path) and not (
                    clip.audio.is_file() and clip.audio.stat().st_mtime_ns <= made
                ):
                    return False
                labels[clip.file] = list(clip.labels)
            if json.loads(json.dumps(labels)) != task.raw_labels(split):
                return False
        return True

    def write(self, folder: Path) -> None:
        labels: set[str] = set()
        for split in self.info.splits:
            items = self._write_split(folder, split)
            labels.update(str(item["label"] if isinstance(item, Mapping) else item) for own in items for item in own)
        content = dict(self.content)
        if self.info.sample_duration is None and len(self.lengths) == 1:
            content["sample_duration"] = self.lengths.pop() / self.sample_rate
        if self.skipped:
            content["skipped_files"] = self.skipped
        _write_json(folder / METADATA_FILE, content)
        with open(folder / VOCABULARY_FILE, "w", encoding="utf-8", newline="") as stream:
            rows = csv.writer(stream, lineterminator="\n")
            rows.writerow(["idx", "label"])
            rows.writerows(enumerate(sorted_labels(labels) if self.vocabulary is None else self.vocabulary))

    def _write_split(self, folder: Path, split: str) -> Iterable[list[Any]]:
        directory = folder / str(self.sample_rate) / split
        directory.mkdir(parents=True)
        labels: dict[str, list[Any]] = {}
        for clip in self.splits[split]:
            check_name(clip.file, f"a clip of split {split!r}", hidden=True)
            if clip.file in labels:
                raise DeloresError(f"two clips of split {split!r} are called {clip.file}; rename one")
            try:
                audio = self._audio(clip)
            except DeloresError as error:
                if self.on_bad is None:
                    raise
                self.on_bad(split, clip, error)
                self.skipped.append({"split": split, "file": clip.file})
            else:
                write_wav(directory / clip.file, audio, self.sample_rate)
                labels[clip.file] = self._items(clip)
                self.lengths.add(len(audio))
            self.done += 1
            if self.progress is not None:
                self.progress(self.done, self.total)
        if not labels:
            raise DeloresError(f"{self.info.folder_name}: no clip is left in split {split!r}")
        _write_json(folder / f"{split}.json", labels)
        return labels.values()

    def _items(self, clip: Clip) -> list[Any]:
        """The clip's labels or events, checked; events are cut where the audio is."""
        if self.info.embedding_type == "scene":
            return list(clip.labels)
        try:
            for event in clip.labels:
                check_event(event)
        except DeloresError as error:
            raise DeloresError(f"{clip.file}: {error}") from None
        length = self.info.sample_duration
        return list(clip.labels) if length is None else trim_events(clip.labels, 1000 * length)

    def _audio(self, clip: Clip) -> np.ndarray:
        if isinstance(clip.audio, Path):
            audio = self._file(clip.audio, clip.slice_s)
        else:
            audio = np.asarray(clip.audio)
            if audio.ndim != 1 or len(audio) == 0 or not np.isfinite(audio).all():
                raise DeloresError(f"{clip.file}: expected finite samples (n,), n > 0; got {audio.shape}")
            audio = resample(audio, clip.sample_rate, self.sample_rate)
        if self.info.sample_duration is None:
            return audio
        length = round(self.info.sample_duration * self.sample_rate)
        return np.pad(audio[:length], (0, max(0, length - len(audio))))

    def _file(self, path: Path, slice_s: tuple[float, float] | None) -> np.ndarray:
        if slice_s is None:
            return read_audio(path, self.sample_rate)[0]
        samples, rate = _whole_file(path)
        start, length = (round(seconds * rate) for seconds in slice_s)
        part = samples[start : start + length]
        if len(part) == 0:
            raise DeloresError(
                f"{shown(path)}: no samples from {slice_s[0]:g} s on, the file has {len(samples) / rate:g} s"
            )
        return resample(part, rate, self.sample_rate)


_whole_file = functools.lru_cache(maxsize=1)(read_audio)  # the slices of one file come one after the other


def write_wav(path: Path, audio: np.ndarray, sample_rate: int) -> None:
    """Writes samples in [-1, 1] as mono 16-bit PCM WAV."""
    content = io.BytesIO()  # libsndfile does not say what is wrong with a disk
    soundfile.write(content, to_pcm16(audio), sample_rate, "PCM_16", format="WAV")
    path.write_bytes(content.getbuffer())


def to_pcm16(audio: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1] as 16-bit integers: rounded to the nearest, clipped at full scale."""
    return np.clip(np.rint(np.asarray(audio, dtype=np.float64) * 32768), -32768, 32767).astype(np.int16)


def sorted_labels(labels: Iterable[str]) -> list[str]:
    """Labels in the order of a vocabulary: numbers by value (chroma needs it), anything else by text.

    >>> sorted_labels(["10", "001", "2", "1", "01"])
    ['1', '01', '001', '2', '10']
    """
    found = set(labels)
    return sorted(found, key=_by_value) if all(label.isdecimal() for label in found) else sorted(found)


def _by_value(label: str) -> tuple[int, str, int, str]:
    # By the digits, however many there are; of one value ("1", "01") the shorter text first.
    digits = "".join(str(unicodedata.decimal(mark)) for mark in label).lstrip("0")
    return len(digits), digits, len(label), label


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
