"""A task's embeddings on disk, in heareval's layout, read back and checked: ``EmbeddingsTask.open(folder)``.

Reads what ``delores embed`` writes and what heareval 2021.1.3 writes. Embeddings stay memory-mapped.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.embedding.layout import (
    AGAIN,
    open_rows,
    read_frame_counts,
    read_info,
    read_row_files,
    read_row_labels,
    read_timestamps,
    row_order,
)
from benchmarks.tasks import metadata as rules
from benchmarks.tasks.clip_end import check_clip_end
from benchmarks.tasks.metadata import METADATA_FILE, TaskMetadata, read_metadata
from benchmarks.tasks.split_file import check_files_once, read_split
from benchmarks.tasks.vocabulary import VOCABULARY_FILE, read_vocabulary
from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["EmbeddingsTask", "Split", "data_splits"]

BLOCK_ROWS = 1 << 14  # rows checked at a time


@dataclass(frozen=True)
class Split:
    """One split: ``embeddings`` (n, d) float32 memory map, ``targets`` (n, n_labels) float32 of 0 and 1.

    ``files[file_index[row]]`` is the clip of a row. Event tasks have ``timestamps_ms`` (n,) float64 and
    ``events`` {file: [{"label", "start", "end"}]}, milliseconds, all files of the split included.

    Timestamp embeddings of a scene task have ``frame_counts`` (n,) int64: the rows of targets, files and
    ``file_index`` are clips, whose frames are that many rows of ``embeddings``, one clip after another.
    """

    name: str
    embeddings: np.ndarray
    targets: np.ndarray
    files: tuple[str, ...]
    file_index: np.ndarray
    timestamps_ms: np.ndarray | None
    events: dict[str, list[dict[str, Any]]] | None
    frame_counts: np.ndarray | None = None


@dataclass(frozen=True)
class EmbeddingsTask:
    """One task embedded by one model: everything that scoring needs, checked.

    ``metadata`` is the task's ``task_metadata.json``, ``vocabulary`` its labels by index, ``info`` the
    ``embedding-info.json`` of ``delores embed`` ({} for a folder of heareval's), ``content_hash`` a
    SHA-256 over everything a score depends on, ``truth_hash`` one over the task alone, the same for every model.
    """

    path: Path
    metadata: dict[str, Any]
    vocabulary: tuple[str, ...]
    splits: dict[str, Split]
    info: dict[str, Any]
    content_hash: str
    truth_hash: str

    @classmethod
    def open(cls, path: str | Path, *, perturbed: bool = False) -> EmbeddingsTask:
        """Reads and checks a folder: of all splits, or of ``perturbed`` clips, which are of the tested splits alone.

        Raises DeloresError, naming file, split and clip, for a missing or damaged file, a label outside
        the vocabulary, sizes that disagree, and embeddings that are not finite.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise DeloresError(f"{folder}: no such folder of embeddings; make it with 'delores embed'")
        metadata, details = read_metadata(folder / METADATA_FILE, AGAIN)
        vocabulary = tuple(read_vocabulary(folder / VOCABULARY_FILE, AGAIN))
        info = read_info(folder)
        if "perturbation" in info and not perturbed:
            raise DeloresError(
                f"{folder}: these embeddings are of perturbed test clips, on which nothing is trained; score the "
                "embeddings of the clean clips, or use 'delores run --perturb'"
            )
        folds = rules.data_splits(details.split_mode, details.splits)
        splits = rules.tested_splits(folds) if perturbed else details.splits
        truth = {name: read_split(folder / f"{name}.json", details, vocabulary, AGAIN) for name in splits}
        if details.embedding_type == "event":
            check_files_once(folder, truth)
        names = sorted(splits)
        digest = hashlib.sha256(json.dumps([metadata, vocabulary], sort_keys=True).encode())
        reader = _SplitReader(folder, details, vocabulary, truth, info, digest.update)
        read = {name: reader.read(name) for name in names}
        sizes = {name: split.embeddings.shape[1] for name, split in read.items()}
        if len(set(sizes.values())) != 1:
            raise DeloresError(
                f"{folder}: expected one embedding size in all splits, got {sizes}; embed the task again"
            )
        everything = [metadata, vocabulary, {name: truth[name] for name in names}]
        truth_hash = hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()
        return cls(folder, metadata, vocabulary, read, info, digest.hexdigest(), truth_hash)

    @property
    def folder_name(self) -> str:
        """``<task_name>-<version>-<mode>``."""
        return "-".join(str(self.metadata[key]) for key in ("task_name", "version", "mode"))

    @property
    def is_event(self) -> bool:
        """Whether the task is scored on events rather than on whole clips."""
        return bool(self.metadata["embedding_type"] == "event")

    @property
    def has_frames(self) -> bool:
        """Whether this holds the timestamp embeddings of clips of a scene task."""
        return all(split.frame_counts is not None for split in self.splits.values())

    @property
    def prediction_type(self) -> str:
        """``multiclass`` or ``multilabel``."""
        return str(self.metadata["prediction_type"])

    @property
    def embedding_size(self) -> int:
        """Dimension of one embedding."""
        return int(next(iter(self.splits.values())).embeddings.shape[1])

    def data_splits(self) -> list[dict[str, list[str]]]:
        """The train/valid/test combinations, one per fold."""
        return data_splits(self.metadata)


def data_splits(metadata: Mapping[str, Any]) -> list[dict[str, list[str]]]:
    """What to train, validate and test on, one entry per fold, as heareval does it.

    trainvaltest: the three splits of that name. k folds, sorted: test = fold i, valid = fold i + 1
    (the last fold's is the first), train = the others in order.
    """
    return rules.data_splits(str(metadata["split_mode"]), [str(name) for name in metadata["splits"]])


# --- reading one split


@dataclass(frozen=True)
class _SplitReader:
    """Reads the splits of one folder and feeds everything it reads to ``update``, the content hash."""

    folder: Path
    details: TaskMetadata
    vocabulary: tuple[str, ...]
    truth: dict[str, dict[str, list[Any]]]
    info: dict[str, Any]
    update: Callable[[Any], None]

    def read(self, name: str) -> Split:
        """One split, checked."""
        embeddings = open_rows(self.folder, name)
        labels = read_row_labels(self.folder, name)
        is_event = self.details.embedding_type == "event"
        counts = None if is_event else read_frame_counts(self.folder, name, len(embeddings))
        n_rows = len(embeddings) if counts is None else len(counts)
        if len(labels) != n_rows:
            raise DeloresError(
                f"{self.folder}: {name} has {n_rows} embeddings but {len(labels)} rows of labels; embed the task again"
            )
        files: tuple[str, ...]
        timestamps: np.ndarray | None
        if is_event:
            files, file_index, timestamps = self._timestamps(name, len(labels))
            self._check_ends(name, files, file_index, timestamps)
        else:
            files, file_index, timestamps = self._row_files(name, labels), np.arange(len(labels)), None
        targets = self._targets(name, labels, files, file_index)
        if not is_event:
            self._check_labels(name, labels)
        of_row = file_index if counts is None else np.repeat(file_index, counts)
        self._check_finite(name, embeddings, files, of_row)
        truth = self.truth[name]
        self.update(json.dumps([name, truth, labels, files], sort_keys=True).encode())
        if timestamps is not None:
            self.update(np.ascontiguousarray(timestamps))
            self.update(np.ascontiguousarray(file_index))
        if counts is not None:
            self.update(np.ascontiguousarray(counts))
        return Split(name, embeddings, targets, files, file_index, timestamps, truth if is_event else None, counts)

    def _check_finite(self, name: str, embeddings: np.ndarray, files: tuple[str, ...], file_index: np.ndarray) -> None:
        """Raises for the first row with a NaN or infinity, naming its clip; hashes the rows on the way."""
        for start in range(0, len(embeddings), BLOCK_ROWS):
            block = np.ascontiguousarray(embeddings[start : start + BLOCK_ROWS])
            self.update(block)
            finite = np.isfinite(block).all(axis=1)
            if not finite.all():
                row = start + int(np.argmin(finite))
                raise DeloresError(
                    f"{self.folder}: the embedding of {files[file_index[row]]} (split {name!r}, row {row}) "
                    "is NaN or infinite; correct the model or the audio, and embed the task again"
                )

    def _timestamps(self, name: str, n_rows: int) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
        slugs, times = read_timestamps(self.folder, name, n_rows)
        index = {file: i for i, file in enumerate(dict.fromkeys(slugs))}
        if strange := [file for file in index if file not in self.truth[name]]:
            raise DeloresError(
                f"{self.folder}: {name}.filename-timestamps.json has rows of {strange[0]!r}, which is not in "
                f"{name}.json; {AGAIN}"
            )
        return tuple(index), np.array([index[slug] for slug in slugs], dtype=np.int64), times

    def _check_ends(self, name: str, files: tuple[str, ...], file_index: np.ndarray, times: np.ndarray) -> None:
        """No event is far past its clip.

        The layout does not hold the clips' lengths. Where the task does not state one, the clip's last timestamp
        stands for it, with half as much again and ten seconds for a model whose last window is wide or early.
        """
        last = np.zeros(len(files))
        np.maximum.at(last, file_index, times)
        stated = 1000 * self.details.sample_duration if self.details.sample_duration is not None else 0.0
        guessed = last if stated else 1.5 * last + 10_000
        ends = dict(zip(files, np.maximum(stated, guessed).tolist(), strict=True))
        longest = max(ends.values(), default=stated)
        for file, events in self.truth[name].items():
            check_clip_end(events, ends.get(file, longest), f"{self.folder / name}.json: {file}")

    def _targets(
        self, name: str, labels: list[list[Any]], files: tuple[str, ...], file_index: np.ndarray
    ) -> np.ndarray:
        index = {label: i for i, label in enumerate(self.vocabulary)}
        targets = np.zeros((len(labels), len(index)), dtype=np.float32)
        for row, row_labels in enumerate(labels):
            names = {str(label) for label in row_labels}
            if self.details.prediction_type == "multiclass" and len(names) != 1:
                raise DeloresError(
                    f"{self.folder}: {files[file_index[row]]} (split {name!r}) has {len(names)} labels, but "
                    "a multiclass task needs exactly one; is the task multilabel?"
                )
            for label in names:
                if label not in index:
                    raise DeloresError(
                        f"{self.folder}: label {label!r} of {files[file_index[row]]} (split {name!r}) is not in "
                        f"labelvocabulary.csv. {did_you_mean(label, self.vocabulary)}"
                    )
                targets[row, index[label]] = 1.0
        return targets

    def _row_files(self, name: str, labels: list[list[Any]]) -> tuple[str, ...]:
        """The clip of each row of a scene split.

        ``delores embed`` writes it. heareval does not: there it follows from the order of shuffling, which counts
        only when its labels are those on disk; else rows get the name ``<split>[<row>]``.
        """
        if (written := read_row_files(self.folder, name, labels, self.truth[name])) is not None:
            return tuple(written)
        truth = self.truth[name]
        want = [sorted(map(str, row)) for row in labels]
        for order in self._possible_orders[name]:
            if [sorted(map(str, truth[file])) for file in order] == want:
                return tuple(order)
        return tuple(f"{name}[{row}]" for row in range(len(labels)))

    def _check_labels(self, name: str, labels: list[list[Any]]) -> None:
        """The rows have the labels of the split's clips, in whatever order; clips may have been left out."""
        truth = Counter(tuple(sorted(map(str, clip))) for clip in self.truth[name].values())
        rows = Counter(tuple(sorted(map(str, row))) for row in labels)
        if odd := rows - truth:
            labels_of = ", ".join(min(odd)) or "no label"
            raise DeloresError(
                f"{self.folder}: {name}.target-labels.pkl has {rows[min(odd)]} rows labelled {labels_of}, but "
                f"{name}.json has {truth[min(odd)]} such clips; {AGAIN}"
            )

    @cached_property
    def _possible_orders(self) -> dict[str, list[list[str]]]:
        """heareval's order of rows for each split; skipped clips left out after shuffling, or before."""
        skipped = _skipped_files(self.info)
        left_out = {split: skipped.get(split, set()) | skipped.get("", set()) for split in self.details.splits}
        kept = {split: [file for file in self.truth[split] if file not in left_out[split]] for split in left_out}
        after, before = row_order({split: list(self.truth[split]) for split in left_out}), row_order(kept)
        return {
            split: [[file for file in after[split] if file not in left_out[split]], before[split]] for split in left_out
        }


# --- files


def _skipped_files(info: Mapping[str, Any]) -> dict[str, set[str]]:
    """The clips that ``delores embed --skip-bad`` left out, by split ("" where the split is not said)."""
    skipped: dict[str, set[str]] = {}
    entries: Sequence[Any] | Mapping[str, Any] = info.get("skipped") or []
    if isinstance(entries, Mapping):
        entries = [{"split": split, "file": file} for split, files in entries.items() for file in files]
    for entry in entries:
        if isinstance(entry, Mapping):
            split, file = str(entry.get("split", "")), str(entry.get("file", ""))
        else:
            text = str(entry[0] if isinstance(entry, (list, tuple)) and entry else entry)
            split, _, file = text.rpartition("/")
        skipped.setdefault(split.rsplit("/", 1)[-1], set()).add(file.rsplit("/", 1)[-1])
    return skipped
