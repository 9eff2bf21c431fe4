"""The files of an embeddings folder, in heareval's layout, each read in one place: scoring and the report use these.

Reads what ``delores embed`` writes and what heareval 2021.1.3 writes. Embeddings stay memory-mapped.
"""

from __future__ import annotations

import itertools
import pickle
import random
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from benchmarks.metrics.events import check_label
from benchmarks.metrics.limits import MAX_CLIP_MS
from benchmarks.tasks.metadata import validated
from hear_delores.documents import read_json
from hear_delores.errors import DeloresError, did_you_mean

__all__ = [
    "AGAIN",
    "FRAMES_SUFFIX",
    "FRAME_COUNTS",
    "INFO_FILE",
    "NEEDS",
    "ROW_FILES",
    "embeddings_folder",
    "open_rows",
    "read_frame_counts",
    "read_info",
    "read_row_files",
    "read_row_labels",
    "read_timestamps",
    "row_order",
]

INFO_FILE = "embedding-info.json"
#: Ends the name of the file that says which clip each row of a scene split is. Ours: heareval has none.
ROW_FILES = ".files.json"
#: Ends the name of the file that says how many rows each clip has, where rows are frames of clips. Ours, too.
FRAME_COUNTS = ".frames.json"
#: What a protocol may need of the clips of a scene task: a scene embedding of each, or all its timestamp embeddings.
NEEDS = ("scene", "timestamps")
#: Ends the name of a folder of timestamp embeddings of a scene task; that without it holds its scene embeddings.
FRAMES_SUFFIX = ".timestamps"
#: What to do about a damaged folder.
AGAIN = "embed the task again"


class _Described(BaseModel):
    """What an ``embedding-info.json`` says of the model, as far as a result record takes it over."""

    model_config = ConfigDict(extra="allow", strict=True, protected_namespaces=())

    label: str | None = Field(default=None, min_length=1)
    module: str | None = None
    file: str | None = None
    weights_hash: str | None = None
    options: dict[str, Any] | None = None
    sample_rate: int | None = None
    sizes: dict[str, int] | None = None
    n_parameters: int | None = None
    n_trainable: int | None = None


class _Task(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    name: str | None = None
    revision: str | None = None


class _Info(BaseModel):
    """``embedding-info.json``; fields that are not named here are kept as they are."""

    model_config = ConfigDict(extra="allow", strict=True, protected_namespaces=(), allow_inf_nan=False)

    model: _Described | None = None
    task: _Task | None = None
    seconds: float | None = Field(default=None, ge=0)
    skipped: list[Any] | dict[str, list[Any]] | None = None


def read_info(folder: Path) -> dict[str, Any]:
    """The ``embedding-info.json`` of ``delores embed``, {} for a folder of heareval's.

    Raises:
        DeloresError: it is damaged, or a field is not what it must be.
    """
    path = folder / INFO_FILE
    if not path.exists():
        return {}
    info: dict[str, Any] = read_json(path, nan=True, advice=AGAIN)
    validated(_Info, info, path, AGAIN)
    return info


def row_order(files_by_split: dict[str, list[str]]) -> dict[str, list[str]]:
    """The order of clips on disk: one ``random.Random(0)`` shuffles split after split, as heareval does."""
    prng = random.Random(0)
    ordered = {split: list(files) for split, files in files_by_split.items()}
    for files in ordered.values():
        prng.shuffle(files)
    return ordered


def embeddings_folder(task_name: str, embedding_type: str, needs: str) -> str:
    """The name of the folder with what a protocol needs of a task; rows of an event task are timestamps anyway.

    Raises:
        DeloresError: ``needs`` is not one of :data:`NEEDS`.
    """
    if needs not in NEEDS:
        raise DeloresError(f"embeddings: expected {' or '.join(NEEDS)}, got {needs!r}. {did_you_mean(needs, NEEDS)}")
    return task_name + FRAMES_SUFFIX if needs == "timestamps" and embedding_type == "scene" else task_name


def open_rows(folder: Path, split: str) -> np.ndarray:
    """The embeddings of a split, (n, d) float32, as a memory map.

    Raises:
        DeloresError: the split is not embedded, or its two files disagree.
    """
    size_file, file = folder / f"{split}.embedding-dimensions.json", folder / f"{split}.embeddings.npy"
    if not size_file.exists() or not file.exists():
        missing = (file if size_file.exists() else size_file).name
        raise DeloresError(f"{folder}: split {split!r} is not embedded ({missing} is missing); {AGAIN}")
    shape = read_json(size_file, list, advice=AGAIN)
    if len(shape) != 2 or not all(type(n) is int and 0 < n < 1 << 40 for n in shape):
        raise DeloresError(f"{size_file}: expected [rows, dimensions], both positive, got {str(shape)[:60]}; {AGAIN}")
    rows, size = shape
    if not file.is_file() or file.stat().st_size != 4 * rows * size:
        found = f"{file.stat().st_size}" if file.is_file() else "no regular file"
        raise DeloresError(
            f"{file}: expected {4 * rows * size} bytes for {rows} x {size} float32, got {found}; {AGAIN}"
        )
    try:
        return np.memmap(file, dtype=np.float32, mode="r", shape=(rows, size))
    except OSError as error:
        raise DeloresError(f"{file}: cannot be read ({error.strerror or error})") from None


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists, strings and numbers, nothing else: a pickle cannot run code here."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it loads {module}.{name}, but only lists of labels are allowed")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it loads an object, but only lists of labels are allowed")


def read_row_labels(folder: Path, split: str) -> list[list[Any]]:
    """The labels of each row of a split: a list of lists of strings, numbers or None.

    Raises:
        DeloresError: the pickle is missing, damaged, or holds anything else.
    """
    path = folder / f"{split}.target-labels.pkl"
    if not path.is_file():
        raise DeloresError(f"{path}: missing; {AGAIN}")
    try:
        with open(path, "rb") as stream:
            labels = _PlainUnpickler(stream).load()
    # A damaged pickle can raise nearly anything, all of it meaning the same.
    except Exception as error:
        reason = " ".join((str(error) or type(error).__name__).split())[:200]
        raise DeloresError(f"{path}: not a list of labels: {reason}; {AGAIN}") from None
    if not isinstance(labels, list) or not all(isinstance(row, list) for row in labels):
        raise DeloresError(f"{path}: expected a list with a list of labels for each row; {AGAIN}")
    try:
        for label in itertools.chain.from_iterable(labels):
            if label is not None:
                check_label(label)
    except DeloresError as error:
        raise DeloresError(f"{path}: {error}; {AGAIN}") from None
    return labels


def read_row_files(folder: Path, split: str, labels: list[list[Any]], truth: dict[str, list[Any]]) -> list[str] | None:
    """The clip of each row of a scene split; None in a folder of heareval's, or of ours from before it was written.

    Raises:
        DeloresError: not the clips of ``truth``, each once, with the ``labels`` of the rows.
    """
    path = folder / f"{split}{ROW_FILES}"
    if not path.exists():
        return None
    files = read_json(path, list, advice=AGAIN)
    if not all(isinstance(file, str) for file in files) or len(files) != len(labels) or len(set(files)) != len(files):
        raise DeloresError(f"{path}: expected the names of {len(labels)} different clips, one for each row; {AGAIN}")
    for row, (file, own) in enumerate(zip(files, labels, strict=True)):
        if file not in truth:
            raise DeloresError(f"{path}: row {row} is of {file!r}, which is not in {split}.json; {AGAIN}")
        if sorted(map(str, own)) != sorted(map(str, truth[file])):
            raise DeloresError(
                f"{path}: row {row} is of {file!r}, whose labels in {split}.json are not those of the row; {AGAIN}"
            )
    return files


def read_frame_counts(folder: Path, split: str, n_rows: int) -> np.ndarray | None:
    """How many rows each clip has, (n_clips,) int64, in the order of rows; None where each row is a clip or is timed.

    Raises:
        DeloresError: not whole positive numbers whose sum is ``n_rows``.
    """
    path = folder / f"{split}{FRAME_COUNTS}"
    if not path.exists():
        return None
    counts = read_json(path, list, advice=AGAIN)
    if not all(type(count) is int and count > 0 for count in counts) or sum(counts) != n_rows:
        raise DeloresError(f"{path}: expected the numbers of frames of clips, {n_rows} in all; {AGAIN}")
    return np.array(counts, dtype=np.int64)


def read_timestamps(folder: Path, split: str, n_rows: int) -> tuple[list[str], np.ndarray]:
    """The clip and the time of each row of an event split: names without folders, and (n,) float64 milliseconds.

    Raises:
        DeloresError: not ``n_rows`` pairs of a name and a number, a time before the clip or after a day, or times of
            a clip that do not increase: each row of a clip is of another time, and later than the one before.
    """
    path = folder / f"{split}.filename-timestamps.json"
    pairs = read_json(path, list, advice=AGAIN)
    if len(pairs) != n_rows:
        raise DeloresError(f"{path}: expected {n_rows} [file, timestamp] pairs, got {len(pairs)}; {AGAIN}")
    for row, pair in enumerate(pairs):
        if not (type(pair) is list and len(pair) == 2 and type(pair[0]) is str and type(pair[1]) in (int, float)):
            raise DeloresError(f"{path}: expected [file, timestamp in ms] in row {row}, got {str(pair)[:60]}; {AGAIN}")
    # heareval writes the whole path of the clip.
    files = [file.replace("\\", "/").rsplit("/", 1)[-1] for file, _ in pairs]
    times = np.array([time for _, time in pairs], dtype=np.float64)
    odd = ~((times >= 0) & (times <= MAX_CLIP_MS))
    if odd.any():
        row = int(np.argmax(odd))
        raise DeloresError(f"{path}: {files[row]}: expected a time in its clip in ms, got {times[row]:g}; {AGAIN}")
    latest: dict[str, float] = {}
    for row, (file, time) in enumerate(zip(files, times.tolist(), strict=True)):
        if time <= latest.get(file, -1.0):
            raise DeloresError(
                f"{path}: {file}: expected times that increase, got {time:g} ms after {latest[file]:g} ms in "
                f"row {row}; {AGAIN}"
            )
        latest[file] = time
    return files, times
