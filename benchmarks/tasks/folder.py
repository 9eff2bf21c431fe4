"""A HEAR task folder on disk, read and checked as the official tools write it.

``<task>-<version>-<mode>/`` holds ``task_metadata.json``, ``labelvocabulary.csv``, one ``<split>.json``
per split and the audio as ``<sample rate>/<split>/<file>``.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import itertools
import json
import math
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmarks.tasks import metadata as rules
from benchmarks.tasks.metadata import TaskMetadata
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.files import file_hash
from pretrain.audio import file_length
from pretrain.content import content_hashes

__all__ = [
    "METADATA_FILE",
    "VOCABULARY_FILE",
    "TaskFolder",
    "check_file_name",
    "read_json",
    "read_vocabulary",
]

METADATA_FILE = "task_metadata.json"
VOCABULARY_FILE = "labelvocabulary.csv"
#: So many files of a split are asked whether event times are milliseconds.
UNIT_FILES = 50


class TaskFolder:
    """A validated task folder. Made by :meth:`open`.

    Attributes:
        path: where it is.
        metadata: the content of ``task_metadata.json``.
        info: the same, validated and with attributes.
        vocabulary: the labels by index, as strings ("NA" stays "NA").
        sample_rates: the rates that the audio is there at, ascending, in Hz.
    """

    def __init__(
        self,
        path: Path,
        metadata: dict[str, Any],
        info: TaskMetadata,
        vocabulary: list[str],
        raw_labels: dict[str, dict[str, list[Any]]],
        sample_rates: list[int],
    ) -> None:
        self.path = path
        self.metadata = metadata
        self.info = info
        self.vocabulary = vocabulary
        self.sample_rates = sample_rates
        self._raw_labels = raw_labels

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> TaskFolder:
        """The task folder at ``path``, checked whole.

        Raises:
            DeloresError: anything that would fail, or score wrongly, later: a missing file, split or clip,
                a label that is not in the vocabulary, an event that ends before it starts, an unknown
                metric, splits that would never be used.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise DeloresError(f"{folder}: no such task folder")
        metadata, info = _read_metadata(folder / METADATA_FILE)
        vocabulary = read_vocabulary(folder / VOCABULARY_FILE)
        _check_no_unlisted_split(folder, info)
        raw_labels = {split: _read_split(folder / f"{split}.json", split, info, vocabulary) for split in info.splits}
        if info.embedding_type == "event":
            _check_files_once(folder, raw_labels)
        task = cls(folder, metadata, info, vocabulary, raw_labels, _find_sample_rates(folder))
        task._check_audio()
        if info.embedding_type == "event":
            task._check_unit()
        return task

    @property
    def name(self) -> str:
        """The task's name, such as ``esc50``."""
        return self.info.task_name

    @property
    def folder_name(self) -> str:
        """``<name>-<version>-<mode>`` by the metadata, whatever the folder on disk is called."""
        return self.info.folder_name

    @property
    def embedding_type(self) -> str:
        """``scene`` or ``event``."""
        return self.info.embedding_type

    @property
    def prediction_type(self) -> str:
        """``multiclass`` or ``multilabel``."""
        return self.info.prediction_type

    @property
    def splits(self) -> list[str]:
        """The splits in the metadata's order, which the order of embedded rows depends on."""
        return list(self.info.splits)

    @property
    def n_clips(self) -> int:
        """The number of clips of all splits."""
        return sum(len(self._raw_labels[split]) for split in self.splits)

    def raw_labels(self, split: str) -> dict[str, list[Any]]:
        """``<split>.json`` as it stands: labels may be numbers."""
        self._check_split(split)
        return self._raw_labels[split]

    def labels(self, split: str) -> dict[str, list[Any]]:
        """By file, in the order of ``<split>.json``: labels, or events ``{"label", "start", "end"}`` in ms.

        Labels are strings, as in :attr:`vocabulary`.
        """
        raw = self.raw_labels(split)
        if self.embedding_type == "scene":
            return {file: [str(label) for label in labels] for file, labels in raw.items()}
        return {file: [{**event, "label": str(event["label"])} for event in events] for file, events in raw.items()}

    def audio_file(self, split: str, file: str, sample_rate: int) -> Path:
        """Where a clip's audio is at one of :attr:`sample_rates`."""
        self._check_split(split)
        return self.path / str(sample_rate) / split / file

    def nearest_rate(self, wanted: int) -> int:
        """The rate to read for a model of ``wanted`` Hz: that one, else the next higher, else the highest."""
        higher = [rate for rate in self.sample_rates if rate >= wanted]
        return higher[0] if higher else self.sample_rates[-1]

    def data_splits(self) -> list[dict[str, list[str]]]:
        """The rounds of training and testing, as heareval makes them."""
        return rules.data_splits(self.info.split_mode, self.splits)

    @functools.cached_property
    def revision(self) -> str:
        """SHA-256 over metadata, vocabulary, labels and audio (names and content), as 64 hexadecimal digits.

        What the audio files hold is remembered (:mod:`pretrain.content`): a second look reads none of them.
        """
        digest = hashlib.sha256()
        for name in (METADATA_FILE, VOCABULARY_FILE, *(f"{split}.json" for split in self.splits)):
            digest.update(f"{name}\0{file_hash(self.path / name)}\n".encode())
        audio = [
            (f"{rate}/{split}/{file}", self.audio_file(split, file, rate))
            for rate in self.sample_rates
            for split in self.splits
            for file in sorted(self._raw_labels[split])
        ]
        for (name, _), content in zip(audio, content_hashes([path for _, path in audio]), strict=True):
            # a clip that cannot be read is part of the task all the same: embedding names it, or leaves it out
            digest.update(
                f"{name}\0{'unreadable' if content is None else content.hex()}\n".encode("utf-8", "surrogatepass")
            )
        return digest.hexdigest()

    def _check_split(self, split: str) -> None:
        if split not in self._raw_labels:
            raise DeloresError(f"{self.path}: no split {split!r}. {did_you_mean(split, self.splits)}")

    def _check_audio(self) -> None:
        for rate in self.sample_rates:
            for split in self.splits:
                directory = self.path / str(rate) / split
                if not directory.is_dir():
                    raise DeloresError(
                        f"{self.path}: the audio of split {split!r} is missing: no folder {rate}/{split}"
                    )
                missing = self._raw_labels[split].keys() - set(os.listdir(directory))
                if missing:
                    raise DeloresError(
                        f"{self.path}: {len(missing)} audio file(s) of {split}.json missing, "
                        f"such as {rate}/{split}/{min(missing)}"
                    )

    def _check_unit(self) -> None:
        """No file whose events all end within its seconds, read as milliseconds, speaks for milliseconds."""
        rate = self.sample_rates[0]
        lengths = []
        for split in self.splits:
            for file, events in itertools.islice(self._raw_labels[split].items(), UNIT_FILES):
                latest = max((event["end"] for event in events), default=0)
                duration = 0.0
                if latest:
                    try:
                        frames, frames_per_s = file_length(self.audio_file(split, file, rate))
                    except DeloresError:  # for whoever reads the audio to say
                        continue
                    duration = frames / frames_per_s
                if latest > duration:
                    return
                lengths.append((latest, duration))
        latest, duration = max(lengths, default=(0, 0))
        if latest:
            raise DeloresError(
                f"{self.path}: no event ends later than {latest:g} ms, in audio of {duration:g} s: its times look like "
                "seconds; start and end are milliseconds"
            )


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises DeloresError naming the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DeloresError(f"{path.parent}: {path.name} is missing; is this a HEAR task folder?") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DeloresError(f"{path}: cannot be read as JSON: {error}") from None


def read_vocabulary(path: Path) -> list[str]:
    """The labels of a ``labelvocabulary.csv`` (``idx,label``) by index, as strings.

    Raises:
        DeloresError: wrong columns, indices that are not 0 .. n-1, or a label that stands twice.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            columns, rows = list(reader.fieldnames or []), list(reader)
    except FileNotFoundError:
        raise DeloresError(f"{path.parent}: {path.name} is missing; is this a HEAR task folder?") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DeloresError(f"{path}: cannot be read as CSV: {error}") from None
    if not {"idx", "label"} <= set(columns):
        raise DeloresError(f"{path}: expected the columns idx,label; got {','.join(columns) or 'nothing'}")
    labels: dict[int, str] = {}
    for row in rows:
        if row["label"] is None or not str(row["idx"]).isdecimal() or int(row["idx"]) in labels:
            raise DeloresError(f"{path}: expected each line as a new index and a label; got {dict(row)}")
        labels[int(row["idx"])] = row["label"]
    if not labels or sorted(labels) != list(range(len(labels))):
        raise DeloresError(
            f"{path}: expected the indices 0 .. n-1; got {len(labels)} of them, {sorted(labels)[:3]} ..."
        )
    vocabulary = [labels[index] for index in range(len(labels))]
    if len(set(vocabulary)) != len(vocabulary):
        doubled = next(label for label in vocabulary if vocabulary.count(label) > 1)
        raise DeloresError(f"{path}: the label {doubled!r} stands twice")
    return vocabulary


def check_file_name(file: str) -> None:
    """Raises DeloresError for a clip name that is no plain file name (it could point out of the folder)."""
    if not file or file != os.path.basename(file) or "\\" in file or "\0" in file or file in (".", ".."):
        raise DeloresError(f"a clip is called {file!r}; expected a plain file name")


def _read_metadata(path: Path) -> tuple[dict[str, Any], TaskMetadata]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise DeloresError(f"{path}: expected an object, got {type(content).__name__}")
    try:
        return content, TaskMetadata.model_validate(content)
    except ValidationError as error:
        raise DeloresError(f"{path}: {explain_metadata(error)}") from None


def explain_metadata(error: ValidationError) -> str:
    """The first fault of a ``task_metadata.json``, in one line."""
    return rules.explain(error, list(TaskMetadata.model_fields))


def _check_no_unlisted_split(folder: Path, info: TaskMetadata) -> None:
    for path in sorted(folder.glob("*.json")):
        is_split = path.stem in rules.TVT_SPLITS or (path.stem.startswith("fold") and path.stem[4:].isdecimal())
        if is_split and path.stem not in info.splits:
            raise DeloresError(
                f"{folder}: {path.name} is an extra split that 'splits' in {METADATA_FILE} does not list; "
                f"list it or remove the file"
            )


def _read_split(path: Path, split: str, info: TaskMetadata, vocabulary: list[str]) -> dict[str, list[Any]]:
    if not path.exists():
        raise DeloresError(f"{path.parent}: split {split!r} is missing: no {path.name}")
    content = read_json(path)
    if not isinstance(content, dict) or not content:
        raise DeloresError(f"{path}: expected a non-empty object of file -> labels")
    known = set(vocabulary)
    for file, labels in content.items():
        try:
            check_file_name(file)
            _check_labels(labels, info, known)
        except DeloresError as error:
            raise DeloresError(f"{path}: {file}: {error}") from None
    return content


def _check_labels(labels: Any, info: TaskMetadata, known: set[str]) -> None:
    if not isinstance(labels, list):
        raise DeloresError(f"expected a list, got {type(labels).__name__}")
    if info.embedding_type == "event":
        for event in labels:
            _check_event(event)
    elif info.prediction_type == "multiclass" and len(labels) != 1:
        raise DeloresError(f"a multiclass clip has one label, this one has {len(labels)}")
    for label in labels:
        text = str(label["label"] if info.embedding_type == "event" else label)
        if text not in known:
            raise DeloresError(f"the label {text!r} is not in {VOCABULARY_FILE}. {_near(text, known)}")


def _near(label: str, known: set[str]) -> str:
    # A vocabulary can have hundreds of labels: only the suggestion, or a few of them.
    return did_you_mean(label, known if len(known) <= 12 else sorted(known)[:12])


def _check_event(event: Any) -> None:
    if not isinstance(event, dict) or not {"label", "start", "end"} <= event.keys():
        raise DeloresError(f"expected events with label, start and end (ms), got {event!r}")
    start, end = event["start"], event["end"]
    for value in (start, end):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise DeloresError(f"an event's start and end are milliseconds, got {value!r}")
    if start < 0:
        raise DeloresError(f"the event {event['label']!r} starts before the clip ({start} ms)")
    if end < start:
        raise DeloresError(f"the event {event['label']!r} ends ({end} ms) before it starts ({start} ms)")


def _check_files_once(folder: Path, raw_labels: dict[str, dict[str, list[Any]]]) -> None:
    # Events are scored by file name over several splits at once: one name in two splits would be one clip.
    seen: dict[str, str] = {}
    for split, labels in raw_labels.items():
        for file in labels:
            if file in seen:
                raise DeloresError(
                    f"{folder}: the file {file} stands in the splits {seen[file]} and {split}; rename one"
                )
            seen[file] = split


def _find_sample_rates(folder: Path) -> list[int]:
    rates = sorted(int(path.name) for path in folder.iterdir() if path.is_dir() and path.name.isdecimal())
    if not rates:
        raise DeloresError(f"{folder}: no audio; expected a folder named by its sample rate, such as 16000/")
    return rates
