"""A HEAR task folder on disk, read and checked as the official tools write it.

``<task>-<version>-<mode>/`` holds ``task_metadata.json``, ``labelvocabulary.csv``, one ``<split>.json``
per split and the audio as ``<sample rate>/<split>/<file>``.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.tasks import metadata as rules
from benchmarks.tasks.clip_end import check_clip_end
from benchmarks.tasks.metadata import METADATA_FILE, TaskMetadata
from benchmarks.tasks.split_file import check_files_once, read_split
from benchmarks.tasks.vocabulary import VOCABULARY_FILE, read_vocabulary
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.files import file_hash
from pretrain.data.audio import file_length, sample_rate_folders
from pretrain.data.content import content_hashes

__all__ = ["TaskFolder"]

#: So many files of a split are asked whether event times are milliseconds.
UNIT_FILES = 50


@dataclass(frozen=True, eq=False)
class TaskFolder:
    """A validated task folder. Made by :meth:`open`.

    Attributes:
        path: where it is.
        metadata: the content of ``task_metadata.json``.
        info: the same, validated and with attributes.
        vocabulary: the labels by index, as strings ("NA" stays "NA").
        sample_rates: the rates that the audio is there at, ascending, in Hz.
    """

    path: Path
    metadata: dict[str, Any]
    info: TaskMetadata
    vocabulary: list[str]
    sample_rates: list[int]
    _raw_labels: dict[str, dict[str, list[Any]]]

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
        metadata, info = rules.read_metadata(folder / METADATA_FILE)
        vocabulary = read_vocabulary(folder / VOCABULARY_FILE)
        _check_no_unlisted_split(folder, info)
        raw_labels = {split: read_split(folder / f"{split}.json", info, vocabulary) for split in info.splits}
        if info.embedding_type == "event":
            check_files_once(folder, raw_labels)
        task = cls(folder, metadata, info, vocabulary, sample_rate_folders(folder), raw_labels)
        task._check_audio()
        if info.embedding_type == "event":
            task._check_unit()
            task._check_ends()
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

    def label_counts(self, split: str) -> Counter[str]:
        """The number of clips of each label that occurs in a split."""
        counts: Counter[str] = Counter()
        for items in self.labels(split).values():
            counts.update({item["label"] if isinstance(item, dict) else item for item in items})
        return counts

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

        What the audio files hold is remembered (:mod:`pretrain.data.content`): a second look reads none of them.
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

    def _length_s(self, split: str, file: str) -> float | None:
        """The length of a clip; None where it cannot be read, which is for whoever reads the audio to say."""
        try:
            frames, rate = file_length(self.audio_file(split, file, self.sample_rates[0]))
        except DeloresError:
            return None
        return frames / rate

    def _check_ends(self) -> None:
        """No event is far past its clip: it would count as missed, second for second."""
        for split in self.splits:
            for file, events in self._raw_labels[split].items():
                if events and (length := self._length_s(split, file)) is not None:
                    check_clip_end(events, 1000 * length, f"{self.path / split}.json: {file}")

    def _check_unit(self) -> None:
        """No file whose events all end within its seconds, read as milliseconds, speaks for milliseconds."""
        ends = [(0.0, 0.0)]
        for split in self.splits:
            for file, events in itertools.islice(self._raw_labels[split].items(), UNIT_FILES):
                latest = max((event["end"] for event in events), default=0)
                length = self._length_s(split, file) if latest else 0.0
                if length is None:
                    continue
                if latest > length:
                    return
                ends.append((latest, length))
        latest, length = max(ends)
        if latest:
            raise DeloresError(
                f"{self.path}: no event ends later than {latest:g} ms, in audio of {length:g} s: its times look like "
                "seconds; start and end are milliseconds"
            )


def _check_no_unlisted_split(folder: Path, info: TaskMetadata) -> None:
    for path in sorted(folder.glob("*.json")):
        is_split = path.stem in rules.TVT_SPLITS or (path.stem.startswith("fold") and path.stem[4:].isdecimal())
        if is_split and path.stem not in info.splits:
            raise DeloresError(
                f"{folder}: {path.name} is an extra split that 'splits' in {METADATA_FILE} does not list; "
                f"list it or remove the file"
            )
