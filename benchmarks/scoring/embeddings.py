"""A task's embeddings on disk, in heareval's layout, read back and checked: ``EmbeddingsTask.open(folder)``.

Reads what ``delores embed`` writes and what heareval 2021.1.3 writes. Embeddings stay memory-mapped.
"""

from __future__ import annotations

import csv
import hashlib
import json
import pickle
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.files import check_name

__all__ = ["EmbeddingsTask", "Split", "data_splits"]

BLOCK_ROWS = 1 << 14  # rows checked at a time


@dataclass(frozen=True)
class Split:
    """One split: ``embeddings`` (n, d) float32 memory map, ``targets`` (n, n_labels) float32 of 0 and 1.

    ``files[file_index[row]]`` is the clip of a row. Event tasks have ``timestamps_ms`` (n,) float64 and
    ``events`` {file: [{"label", "start", "end"}]}, milliseconds, all files of the split included.
    """

    name: str
    embeddings: np.ndarray
    targets: np.ndarray
    files: tuple[str, ...]
    file_index: np.ndarray
    timestamps_ms: np.ndarray | None
    events: dict[str, list[dict[str, Any]]] | None


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
    def open(cls, path: str | Path) -> EmbeddingsTask:
        """Reads and checks a folder.

        Raises DeloresError, naming file, split and clip, for a missing or damaged file, a label outside
        the vocabulary, sizes that disagree, and embeddings that are not finite.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise DeloresError(f"{folder}: no such folder of embeddings; make it with 'delores embed'")
        metadata = _read_json(folder / "task_metadata.json", dict)
        _check_metadata(folder, metadata)
        vocabulary = _read_vocabulary(folder / "labelvocabulary.csv")
        info_file = folder / "embedding-info.json"
        info = _read_json(info_file, dict) if info_file.exists() else {}
        names = sorted({name for part in data_splits(metadata) for role in part.values() for name in role})
        digest = hashlib.sha256(json.dumps([metadata, vocabulary], sort_keys=True).encode())
        reader = _SplitReader(folder, metadata, vocabulary, info, digest.update)
        splits = {name: reader.read(name) for name in names}
        sizes = {name: split.embeddings.shape[1] for name, split in splits.items()}
        if len(set(sizes.values())) != 1:
            raise DeloresError(
                f"{folder}: expected one embedding size in all splits, got {sizes}; embed the task again"
            )
        truth = [metadata, vocabulary, {name: _read_json(folder / f"{name}.json", dict) for name in names}]
        truth_hash = hashlib.sha256(json.dumps(truth, sort_keys=True).encode()).hexdigest()
        return cls(folder, metadata, vocabulary, splits, info, digest.hexdigest(), truth_hash)

    @property
    def folder_name(self) -> str:
        """``<task_name>-<version>-<mode>``."""
        return "-".join(str(self.metadata[key]) for key in ("task_name", "version", "mode"))

    @property
    def is_event(self) -> bool:
        """Whether the task is scored on events rather than on whole clips."""
        return bool(self.metadata["embedding_type"] == "event")

    @property
    def prediction_type(self) -> str:
        """``multiclass`` or ``multilabel``."""
        return str(self.metadata["prediction_type"])

    @property
    def embedding_size(self) -> int:
        """Dimension of one embedding."""
        return int(next(iter(self.splits.values())).embeddings.shape[1])

    def data_splits(self) -> list[dict[str, list[str]]]:
        """The train/valid/test combinations, one a fold."""
        return data_splits(self.metadata)


def data_splits(metadata: Mapping[str, Any]) -> list[dict[str, list[str]]]:
    """What to train, validate and test on, one entry a fold, as heareval does it.

    trainvaltest: the three splits of that name. k folds, sorted: test = fold i, valid = fold i + 1
    (the last fold's is the first), train = the others in order.
    """
    mode, names = metadata["split_mode"], [str(name) for name in metadata["splits"]]
    if mode == "trainvaltest":
        missing = [name for name in ("train", "valid", "test") if name not in names]
        if missing:
            raise DeloresError(f"task_metadata.json: expected the splits train, valid and test, got {names}")
        return [{"train": ["train"], "valid": ["valid"], "test": ["test"]}]
    if mode not in ("new_split_kfold", "presplit_kfold"):
        raise DeloresError(
            f"task_metadata.json: expected split_mode trainvaltest, new_split_kfold or presplit_kfold, got {mode!r}"
        )
    folds = sorted(names)
    if len(set(folds)) != len(folds) or len(folds) < 3:
        raise DeloresError(f"task_metadata.json: k-fold scoring needs three or more different folds, got {names}")
    parts = []
    for i, test in enumerate(folds):
        valid = folds[(i + 1) % len(folds)]
        train = [fold for fold in folds if fold not in (test, valid)]
        parts.append({"train": train, "valid": [valid], "test": [test]})
    return parts


# --- reading one split


class _SplitReader:
    """Reads the splits of one folder and feeds everything it reads to ``update``, the content hash."""

    def __init__(
        self,
        folder: Path,
        metadata: dict[str, Any],
        vocabulary: tuple[str, ...],
        info: dict[str, Any],
        update: Callable[[Any], None],
    ) -> None:
        self.folder, self.vocabulary, self.update = folder, vocabulary, update
        self.is_event = metadata["embedding_type"] == "event"
        self.multiclass = metadata["prediction_type"] == "multiclass"
        self.metadata = metadata
        self.skipped = _skipped_files(info)
        self._order: dict[str, list[list[str]]] | None = None

    def read(self, name: str) -> Split:
        """One split, checked."""
        embeddings = self._embeddings(name)
        labels = _read_labels(self.folder / f"{name}.target-labels.pkl")
        if len(labels) != len(embeddings):
            raise DeloresError(
                f"{self.folder}: {name} has {len(embeddings)} embeddings but {len(labels)} rows of labels; "
                "embed the task again"
            )
        truth = _read_json(self.folder / f"{name}.json", dict)
        timestamps: np.ndarray | None = None
        events: dict[str, list[dict[str, Any]]] | None = None
        if self.is_event:
            files, file_index, timestamps = self._timestamps(name, len(labels))
            events = self._events(name, truth)
        else:
            files = self._row_files(name, labels)
            file_index = np.arange(len(labels))
        targets = self._targets(name, labels, files, file_index)
        self._check_finite(name, embeddings, files, file_index)
        self.update(json.dumps([name, truth, labels, files], sort_keys=True).encode())
        if timestamps is not None:
            self.update(np.ascontiguousarray(timestamps))
            self.update(np.ascontiguousarray(file_index))
        return Split(name, embeddings, targets, files, file_index, timestamps, events)

    def _embeddings(self, name: str) -> np.ndarray:
        size_file = self.folder / f"{name}.embedding-dimensions.json"
        file = self.folder / f"{name}.embeddings.npy"
        if not size_file.exists() or not file.exists():
            raise DeloresError(
                f"{self.folder}: split {name!r} is not embedded "
                f"({(file if size_file.exists() else size_file).name} is missing); embed the task again"
            )
        shape = _read_json(size_file, list)
        if len(shape) != 2 or not all(isinstance(n, int) and n > 0 for n in shape):
            raise DeloresError(f"{size_file}: expected [rows, dimensions], both positive, got {shape}")
        if file.stat().st_size != 4 * shape[0] * shape[1]:
            raise DeloresError(
                f"{file}: expected {4 * shape[0] * shape[1]} bytes for {shape[0]} x {shape[1]} float32, "
                f"got {file.stat().st_size}; embed the task again"
            )
        return np.memmap(file, dtype=np.float32, mode="r", shape=(shape[0], shape[1]))

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
                    "is NaN or infinite; mend the model or the audio, and embed the task again"
                )

    def _timestamps(self, name: str, n_rows: int) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
        path = self.folder / f"{name}.filename-timestamps.json"
        pairs = _read_json(path, list)
        if len(pairs) != n_rows:
            raise DeloresError(f"{path}: expected {n_rows} [file, timestamp] pairs, got {len(pairs)}")
        try:
            # heareval writes the whole path of the clip.
            slugs = [str(file).replace("\\", "/").rsplit("/", 1)[-1] for file, _ in pairs]
            times = np.array([time for _, time in pairs], dtype=np.float64)
        except (TypeError, ValueError):
            raise DeloresError(f"{path}: expected a list of [file, timestamp in ms] pairs") from None
        if not np.isfinite(times).all():
            bad = slugs[int(np.argmin(np.isfinite(times)))]
            raise DeloresError(f"{path}: a timestamp of {bad} is NaN or infinite")
        index = {file: i for i, file in enumerate(dict.fromkeys(slugs))}
        return tuple(index), np.array([index[slug] for slug in slugs], dtype=np.int64), times

    def _events(self, name: str, truth: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
        known = set(self.vocabulary)
        for file, items in truth.items():
            for event in items:
                if not isinstance(event, dict) or not {"label", "start", "end"} <= set(event):
                    raise DeloresError(
                        f"{self.folder / name}.json: {file}: expected events with label, start and end, got {event!r}"
                    )
                if str(event["label"]) not in known:
                    self._unknown_label(name, file, str(event["label"]))
                if not 0 <= event["start"] <= event["end"]:
                    raise DeloresError(
                        f"{self.folder / name}.json: {file}: event {event['label']!r} ends "
                        f"({event['end']} ms) before it starts ({event['start']} ms), or starts before 0"
                    )
        return truth

    def _unknown_label(self, name: str, file: str, label: str) -> NoReturn:
        raise DeloresError(
            f"{self.folder}: label {label!r} of {file} (split {name!r}) is not in labelvocabulary.csv. "
            f"{did_you_mean(label, self.vocabulary)}"
        )

    def _targets(
        self, name: str, labels: list[list[Any]], files: tuple[str, ...], file_index: np.ndarray
    ) -> np.ndarray:
        index = {label: i for i, label in enumerate(self.vocabulary)}
        rows: list[int] = []
        columns: list[int] = []
        for row, row_labels in enumerate(labels):
            names = {str(label) for label in row_labels}
            if self.multiclass and len(names) != 1:
                raise DeloresError(
                    f"{self.folder}: {files[file_index[row]]} (split {name!r}) has {len(names)} labels, but "
                    "a multiclass task needs exactly one; is the task multilabel?"
                )
            for label in names:
                if label not in index:
                    self._unknown_label(name, files[file_index[row]], label)
                rows.append(row)
                columns.append(index[label])
        targets = np.zeros((len(labels), len(self.vocabulary)), dtype=np.float32)
        targets[rows, columns] = 1.0
        return targets

    def _row_files(self, name: str, labels: list[list[Any]]) -> tuple[str, ...]:
        """The clip of each row of a scene split.

        The layout does not store it: it follows from the order of shuffling. An order counts only when
        its labels are those on disk; else rows get the name ``<split>[<row>]``.
        """
        if self._order is None:
            self._order = self._possible_orders()
        truth = _read_json(self.folder / f"{name}.json", dict)
        want = [sorted(str(label) for label in row) for row in labels]
        for order in self._order.get(name, []):
            if [sorted(str(label) for label in truth[file]) for file in order] == want:
                return tuple(order)
        return tuple(f"{name}[{row}]" for row in range(len(labels)))

    def _possible_orders(self) -> dict[str, list[list[str]]]:
        """heareval's order of rows: one Random(0), split after split; skipped clips left out."""
        orders: dict[str, list[list[str]]] = {}
        for skip_first in (False, True):
            prng = random.Random(0)
            for split in self.metadata["splits"]:
                path = self.folder / f"{split}.json"
                if not path.exists():
                    continue
                skipped = self.skipped.get(split, set()) | self.skipped.get("", set())
                files = list(_read_json(path, dict))
                if skip_first:
                    files = [file for file in files if file not in skipped]
                prng.shuffle(files)
                orders.setdefault(split, []).append([file for file in files if file not in skipped])
        return orders


# --- files


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists, strings and numbers, nothing else: a pickle cannot run code here."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it wants {module}.{name}, but only lists of labels are allowed")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it wants an object from elsewhere, but only lists of labels are allowed")


def _read_labels(path: Path) -> list[list[Any]]:
    """The labels of each row: a list of lists of plain values."""
    if not path.exists():
        raise DeloresError(f"{path}: missing; embed the task again")
    try:
        with open(path, "rb") as stream:
            labels = _PlainUnpickler(stream).load()
    # A damaged pickle can raise nearly anything, all of it meaning the same.
    except Exception as error:
        raise DeloresError(f"{path}: not a list of labels: {str(error) or type(error).__name__}") from None
    if not isinstance(labels, list) or not all(
        isinstance(row, list) and all(label is None or isinstance(label, (str, int, float)) for label in row)
        for row in labels
    ):
        raise DeloresError(f"{path}: expected a list with a list of labels for each row; embed the task again")
    return labels


def _read_json(path: Path, kind: type) -> Any:
    if not path.exists():
        raise DeloresError(f"{path}: missing; embed the task again")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DeloresError(f"{path}: not valid JSON ({error}); embed the task again") from None
    if not isinstance(value, kind):
        raise DeloresError(f"{path}: expected a JSON {kind.__name__}, got {type(value).__name__}")
    return value


def _check_metadata(folder: Path, metadata: dict[str, Any]) -> None:
    needed = ("task_name", "version", "mode", "embedding_type", "prediction_type", "split_mode", "splits")
    missing = [key for key in (*needed, "evaluation") if key not in metadata]
    if missing:
        raise DeloresError(f"{folder}/task_metadata.json: expected {', '.join(missing)}; prepare the task again")
    for key in ("task_name", "version", "mode"):
        check_name(metadata[key], f"{folder}/task_metadata.json: {key}")
    splits = metadata["splits"] if isinstance(metadata["splits"], list) else [metadata["splits"]]
    for split in splits:
        check_name(split, f"{folder}/task_metadata.json: splits")
    for key, known in (
        ("embedding_type", ("scene", "event")),
        ("prediction_type", ("multiclass", "multilabel")),
    ):
        if metadata[key] not in known:
            raise DeloresError(
                f"{folder}/task_metadata.json: expected {key} to be one of {known}, got {metadata[key]!r}"
            )


def _read_vocabulary(path: Path) -> tuple[str, ...]:
    """Labels by index, all as strings: a label "NA" or "None" stays one (pandas would read it as NaN)."""
    if not path.exists():
        raise DeloresError(f"{path}: missing; embed the task again")
    with open(path, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    try:
        pairs = sorted((int(row["idx"]), row["label"]) for row in rows)
    except (KeyError, TypeError, ValueError):
        raise DeloresError(f"{path}: expected the columns idx (a number) and label") from None
    labels = tuple(label for _, label in pairs)
    if not pairs or [number for number, _ in pairs] != list(range(len(pairs))) or len(set(labels)) != len(labels):
        raise DeloresError(f"{path}: expected idx 0, 1, 2, ... once each, and no label twice")
    return labels


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
