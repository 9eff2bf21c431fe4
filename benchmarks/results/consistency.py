"""A result record against itself: whether its scores are those of its folds, and its predictions what was scored.

Scores are read years later, by other programs and after other people's edits: a record that contradicts itself is
refused by name, and never stands in a table.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from benchmarks.metrics.registry import METRICS, metric_bounds
from benchmarks.results.format import FoldResult, GridPoint, PerturbedResult, ResultRecord
from benchmarks.results.means import aggregate
from hear_delores.errors import DeloresError
from hear_delores.memory import available_bytes
from hear_delores.settings import LARGEST, shown

__all__ = ["check_archive", "check_arrays", "check_record"]

ROUNDING = 1e-6  # relative, of a mean that another program computed from rounded folds
WITHOUT_EMBEDDINGS = ("finetune",)  # protocols that go from audio to scores
HASH = re.compile(r"[0-9a-f]{1,128}")
LAST_MS = 7 * 86_400_000.0  # an event's end: a week; scores of segments take memory by it


def check_record(record: ResultRecord) -> None:
    """Raises DeloresError with the first thing in which ``record`` contradicts itself, or cannot be."""
    _check_names(record)
    _check_numbers(record)
    _check_folds(record)
    _check_means(record)
    _check_perturbed(record)


def _check_names(record: ResultRecord) -> None:
    task, model = record.task, record.model
    if task.primary_metric not in task.metrics[:1]:
        raise DeloresError(f"the primary metric is {task.primary_metric!r}, but the metrics are {task.metrics}")
    facts = METRICS.get(task.primary_metric)
    if facts is not None and (facts.maximise != task.maximise or facts.kind != task.embedding_type):
        raise DeloresError(
            f"{task.primary_metric} is of {facts.kind} tasks and {'larger' if facts.maximise else 'smaller'} is "
            f"better, but the record says {task.embedding_type} and {'larger' if task.maximise else 'smaller'}"
        )
    hashes = {"model.weights_hash": model.weights_hash or "0"}
    if record.protocol.name not in WITHOUT_EMBEDDINGS or record.embeddings_hash:
        hashes["embeddings_hash"] = record.embeddings_hash
    for name, value in {**hashes, "fingerprint": record.fingerprint}.items():
        if not HASH.fullmatch(value):
            raise DeloresError(f"expected {name} to be hexadecimal digits, got {shown(value)}")
    try:
        datetime.fromisoformat(record.created)
    except ValueError:
        raise DeloresError(f"expected created to be a date, got {shown(record.created)}") from None


def _check_numbers(record: ResultRecord) -> None:
    """Counts, seeds and seconds, which are never negative."""
    for name, value in _numbers(record):
        if name.rpartition(".")[2] == "seconds" or name.startswith("seconds."):
            if not 0 <= value < math.inf:
                raise DeloresError(f"expected {name} to be seconds from 0, got {value}")
        elif not 0 <= value <= (LARGEST if name == "model.sample_rate" else 2**63 - 1):
            raise DeloresError(f"expected {name} to be a whole number from 0, got {shown(value)}")
    parts: dict[str, Sequence[FoldResult | GridPoint]] = {"folds": record.folds, "grid": record.grid}
    for part, items in parts.items():
        for number, item in enumerate(items):
            if item.epoch > item.epochs_run:
                raise DeloresError(f"{part}.{number}: epoch {item.epoch} of {item.epochs_run} epochs")


def _numbers(part: BaseModel, where: str = "") -> Iterator[tuple[str, Any]]:
    """The whole numbers and the seconds of a record by their names, as ``folds.0.epoch``."""
    for name, value in part:
        if isinstance(value, BaseModel):
            yield from _numbers(value, f"{where}{name}.")
        elif name in ("folds", "grid"):
            for number, item in enumerate(value):
                yield from _numbers(item, f"{where}{name}.{number}.")
        elif isinstance(value, int) or (name == "seconds" and isinstance(value, float)):
            yield f"{where}{name}", value
        elif name in ("seconds", "sizes"):
            yield from ((f"{where}{name}.{key}", each) for key, each in value.items())


def _check_folds(record: ResultRecord) -> None:
    """One fold for each test split, all with the task's metrics, each within its range."""
    if not record.folds:
        raise DeloresError("it has no folds")
    splits = [fold.test_split for fold in record.folds]
    if twice := [split for number, split in enumerate(splits) if split in splits[:number]]:
        raise DeloresError(f"two of its folds have the test split {twice[0]!r}")
    if len(splits) == 1 and splits != ["test"]:
        raise DeloresError(f"a task with one fold has the split 'test', but this fold's is {splits[0]!r}")
    if "test" in splits and len(splits) > 1:
        raise DeloresError(f"a task with the split 'test' has one fold, but there are {len(splits)}: {splits}")
    first = record.folds[0]
    if missing := [metric for metric in record.task.metrics if metric not in first.scores]:
        raise DeloresError(f"{missing[0]} of fold {first.test_split!r} is missing")
    metrics = record.task.metrics
    if extra := [name for name in first.scores if not any(f"{name}_".startswith(f"{metric}_") for metric in metrics)]:
        raise DeloresError(f"{extra[0]} is scored, but the task's metrics are {', '.join(metrics)}")
    tested, clips = sum(fold.n_test_rows for fold in record.folds), record.task.n_clips
    if record.task.embedding_type == "scene" and tested > clips:
        raise DeloresError(f"its folds test {tested} clips, but the task has {clips}")
    for fold in record.folds:
        if fold.scores.keys() != first.scores.keys():
            raise DeloresError(
                f"its folds have different metrics: {first.test_split!r} {sorted(first.scores)}, "
                f"{fold.test_split!r} {sorted(fold.scores)}"
            )
        for name, value in fold.scores.items():
            _check_range(f"{name} of fold {fold.test_split!r}", name, value)


def _check_range(what: str, metric: str, value: float) -> None:
    """NaN is a score: that of a class in no row, of a file without events."""
    low, high = metric_bounds(metric)
    if value < low or value > high:
        raise DeloresError(f"{what} is {value:g}, outside of the metric's range from {low:g} to {high:g}")


def _check_means(record: ResultRecord) -> None:
    """``scores`` are the means of the folds, ``scores_std`` their deviations, as the scorer computes them."""
    _check_scores("", record, [fold.scores for fold in record.folds])


def _check_scores(name: str, of: ResultRecord | PerturbedResult, folds: Sequence[Mapping[str, float]]) -> None:
    """The means and deviations of ``of`` are those of the folds; ``name`` is its own in an error."""
    means, deviations = aggregate(folds)
    for part, found, wanted, how in (
        ("scores", of.scores, means, "mean"),
        ("scores_std", of.scores_std, deviations, "standard deviation"),
    ):
        what = f"{name}: {part}" if name else part
        if differ := sorted(found.keys() ^ wanted.keys()):
            raise DeloresError(f"{what} and the folds' metrics differ in {differ[0]!r}")
        for name, value in wanted.items():
            _check_agrees(f"{what}.{name}", found[name], value, how)


def _check_perturbed(record: ResultRecord) -> None:
    """Each perturbation once, with the folds and the metrics of the record, and the means of its own folds."""
    names = [each.name for each in record.perturbed]
    if twice := [name for number, name in enumerate(names) if name in names[:number]]:
        raise DeloresError(f"it holds the perturbation {twice[0]!r} twice")
    splits, metrics = [fold.test_split for fold in record.folds], record.folds[0].scores.keys()
    for each in record.perturbed:
        if not HASH.fullmatch(each.embeddings_hash):
            raise DeloresError(f"{each.name}: expected embeddings_hash to be hexadecimal digits")
        if [fold.test_split for fold in each.folds] != splits:
            raise DeloresError(f"{each.name}: its folds are not those of the record")
        for fold in each.folds:
            if fold.scores.keys() != metrics:
                raise DeloresError(f"{each.name}: its metrics are not those of the record")
            for name, value in fold.scores.items():
                _check_range(f"{each.name}: {name} of fold {fold.test_split!r}", name, value)
        _check_scores(each.name, each, [fold.scores for fold in each.folds])


def _check_agrees(what: str, said: float, computed: float, how: str) -> None:
    if not np.isclose(said, computed, rtol=ROUNDING, atol=1e-9, equal_nan=True):
        raise DeloresError(f"{what} is {said:.6f}, but the {how} of its folds is {computed:.6f}")


# --- predictions

#: dtype kinds and dimensions of the arrays of a fold.
_ARRAYS: dict[str, tuple[str, int]] = {
    "prediction": ("f", 2), "target": ("fiub", 2), "files": ("U", 1), "timestamps_ms": ("f", 1),
    "event_files": ("U", 1), "predicted_events": ("f", 2), "target_events": ("f", 2),
}  # fmt: skip
_REQUIRED = ("prediction", "target", "files")
_OF_EVENTS = ("event_files", "predicted_events", "target_events")


def check_archive(file: Path) -> None:
    """What an archive of predictions claims to hold, before any of it is unpacked.

    Raises DeloresError for a member that is no such array, or twice there, for more than fits into memory, and for what
    would be read without end, such as a device or FIFO.
    """
    if not file.is_file():
        raise DeloresError("expected a file, got a folder, a device or a FIFO")
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        if twice := [name for number, name in enumerate(names) if name in names[:number]]:
            raise DeloresError(f"{twice[0]} is in the file twice")
        total, most = 0, available_bytes()
        for member in members:
            kind = member.filename.removesuffix(".npy").rpartition("/")[2]
            if kind not in _ARRAYS or not member.filename.endswith(".npy"):
                raise DeloresError(f"unexpected member {shown(member.filename)}")
            with archive.open(member) as stream:
                read = np.lib.format.read_array_header_1_0
                read = read if np.lib.format.read_magic(stream) == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(stream)
            claimed = math.prod(shape) * dtype.itemsize
            kinds, dimensions = _ARRAYS[kind]
            if dtype.kind not in kinds or len(shape) != dimensions:
                raise DeloresError(f"{member.filename} is of type {dtype} and shape {shape}")
            if not 0 <= member.file_size - claimed <= 2**16:
                raise DeloresError(f"{member.filename} claims {claimed:,} bytes and has {member.file_size:,}")
            total += claimed
        if most is not None and total > most:
            raise DeloresError(f"it unpacks to {total / 1e9:,.2f} GB, and {most / 1e9:,.2f} GB are free")


def check_arrays(split: str, arrays: Mapping[str, Any]) -> None:
    """Raises DeloresError unless a fold's arrays are whole, fit each other, and hold values that can be."""
    if missing := [name for name in _REQUIRED if name not in arrays]:
        raise DeloresError(f"{missing[0]} of {split!r} is missing")
    prediction, target, files = (arrays[name] for name in _REQUIRED)
    if prediction.shape != target.shape or len(files) != len(prediction) or not prediction.size:
        raise DeloresError(
            f"{split!r} has predictions of shape {prediction.shape}, targets {target.shape} and {len(files)} files"
        )
    if not np.isfinite(prediction).all():
        raise DeloresError(f"the predictions of {split!r} hold NaN or infinity")
    if not ((target == 0) | (target == 1)).all():
        raise DeloresError(f"the targets of {split!r} are not all 0 or 1")
    times = arrays.get("timestamps_ms")
    if times is not None and (times.shape != files.shape or not (np.isfinite(times) & (times >= 0)).all()):
        raise DeloresError(f"the timestamps of {split!r} are not one from 0 on for each row")
    present = [name for name in _OF_EVENTS if name in arrays]
    if present and len(present) < len(_OF_EVENTS):
        raise DeloresError(f"{split!r} has {present[0]}, but not all of {', '.join(_OF_EVENTS)}")
    for name in _OF_EVENTS[1:] if present else ():
        _check_events(f"{name} of {split!r}", arrays[name], len(arrays["event_files"]), prediction.shape[1])


def _check_events(what: str, events: np.ndarray, n_files: int, n_labels: int) -> None:
    """(m, 4): whole numbers of a file and a label that there are, then start and end."""
    if events.shape[1] != 4 or not np.isfinite(events).all():
        raise DeloresError(f"expected {what} to be (m, 4) finite numbers, got shape {events.shape}")
    for column, size in ((0, n_files), (1, n_labels)):
        index = events[:, column]
        if ((index < 0) | (index >= size) | (index != np.floor(index))).any():
            raise DeloresError(f"{what}: expected {'labels' if column else 'files'} by a number below {size}")
    if ((events[:, 2] < 0) | (events[:, 3] < events[:, 2]) | (events[:, 3] > LAST_MS)).any():
        raise DeloresError(f"{what}: expected 0 <= start <= end <= a week, in ms")
