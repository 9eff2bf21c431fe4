"""Events, checked and as arrays, and their scores, which are sed_eval 0.2.1's to 1e-12.

Times are milliseconds in every interface, as in HEAR task folders, and are divided by 1000 before a
comparison, as heareval does before it calls sed_eval: that way an event exactly on the collar falls on
the same side. Scores are overall, that is micro-averaged: ratios of sums over files. What is summed is counted once,
by file (:func:`event_counts`, :func:`segment_counts`), so that intervals and paired tests can weigh files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.metrics.limits import MAX_CLIP_MS
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.settings import shown

__all__ = [
    "EventTable",
    "check_event",
    "check_label",
    "error_rate_terms",
    "event_based_scores",
    "event_counts",
    "f_measure_terms",
    "segment_based_scores",
    "segment_counts",
]

MAX_NUMBER = 10**18
#: Segments times labels that the segment-based score holds in memory at once, for as many files as fit.
SEGMENTS_AT_ONCE = 1 << 24
Event = Mapping[str, Any]  # {"label": str, "start": ms, "end": ms}


def check_label(label: Any) -> None:
    """Raises DeloresError for a label that is no text or number: its name would not be one name."""
    if isinstance(label, bool) or not isinstance(label, (str, int, float)) or label != label:
        raise DeloresError(f"expected a label as a string or number, got {shown(label)}")
    if isinstance(label, int) and abs(label) > MAX_NUMBER:
        raise DeloresError("expected a label as a string or number, got a number of more than 18 digits")
    if isinstance(label, str) and not label.isascii():
        try:
            label.encode("utf-8")
        except UnicodeEncodeError:
            raise DeloresError(f"the label {shown(label)} holds a lone surrogate") from None


def check_event(event: Any) -> None:
    """Raises DeloresError unless it is ``{"label", "start", "end"}``, 0 <= start <= end, in milliseconds."""
    if not isinstance(event, Mapping) or not {"label", "start", "end"} <= event.keys():
        raise DeloresError(f"expected events with label, start and end (ms), got {shown(event)}")
    check_label(event["label"])
    start, end = event["start"], event["end"]
    for value in (start, end):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise DeloresError(f"an event's start and end are milliseconds, got {shown(value)}")
    name = shown(event["label"])
    if start < 0:
        raise DeloresError(f"the event {name} starts before the clip ({start} ms)")
    if end < start:
        raise DeloresError(f"the event {name} ends ({end} ms) before it starts ({start} ms)")
    if end > MAX_CLIP_MS:
        raise DeloresError(f"the event {name} ends at {end:g} ms, later than a day: start and end are milliseconds")


@dataclass(frozen=True)
class EventTable:
    """The events of many files as arrays; ``files`` also lists files without events.

    ``file`` and ``label`` (m,) int64 index ``files`` and ``labels``; ``start_ms``, ``end_ms`` (m,) float64.
    """

    files: tuple[str, ...]
    labels: tuple[str, ...]
    file: np.ndarray
    label: np.ndarray
    start_ms: np.ndarray
    end_ms: np.ndarray

    @classmethod
    def from_events(cls, events: Mapping[str, Sequence[Event]], labels: Sequence[str]) -> EventTable:
        """The table of {file: [{"label", "start", "end"}]}; labels are compared as strings.

        Raises DeloresError for a label outside ``labels``, and for what :func:`check_event` does not let through.
        """
        index = {label: i for i, label in enumerate(labels)}
        rows = []
        for number, (file, items) in enumerate(events.items()):
            for event in items:
                try:
                    check_event(event)
                    label = str(event["label"])
                    if label not in index:
                        hint = did_you_mean(label, labels)
                        raise DeloresError(f"event label {label!r} is not in the vocabulary. {hint}")
                except DeloresError as error:
                    raise DeloresError(f"{file}: {error}") from None
                rows.append((number, index[label], float(event["start"]), float(event["end"])))
        return cls.from_rows(np.array(rows), list(events), labels)

    @classmethod
    def from_rows(cls, rows: np.ndarray, files: Sequence[str], labels: Sequence[str]) -> EventTable:
        """The table of ``rows`` (m, 4) float64: file, label, start and end (ms), as result records hold events."""
        file, label, start_ms, end_ms = np.asarray(rows, dtype=np.float64).reshape(-1, 4).T
        return cls(tuple(files), tuple(labels), file.astype(np.int64), label.astype(np.int64), start_ms, end_ms)

    def to_events(self) -> dict[str, list[dict[str, Any]]]:
        """{file: [{"label", "start", "end"}]}, every file present, events in the table's order."""
        events: dict[str, list[dict[str, Any]]] = {file: [] for file in self.files}
        for file, label, start, end in zip(
            self.file.tolist(), self.label.tolist(), self.start_ms.tolist(), self.end_ms.tolist(), strict=True
        ):
            events[self.files[file]].append({"label": self.labels[label], "start": start, "end": end})
        return events


# --- scores

Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # file, label, onset and offset in seconds


def _in_seconds(predicted: EventTable, target: EventTable, score_missing_files: bool) -> tuple[int, Columns, Columns]:
    """Number of scored files, and the reference and the estimated events of these."""
    if predicted.labels != target.labels:
        raise DeloresError(
            "expected predicted and target events with the same vocabulary in the same order; pass the task's"
        )
    index = {file: i for i, file in enumerate(predicted.files)}
    if score_missing_files:
        for file in target.files:
            index.setdefault(file, len(index))
    file = np.array([index.get(file, -1) for file in target.files], dtype=np.int64)[target.file]
    kept = file >= 0
    ref = (file[kept], target.label[kept], target.start_ms[kept] / 1000.0, target.end_ms[kept] / 1000.0)
    return len(index), ref, (predicted.file, predicted.label, predicted.start_ms / 1000.0, predicted.end_ms / 1000.0)


def event_counts(
    predicted: EventTable,
    target: EventTable,
    *,
    t_collar: float = 0.2,
    evaluate_offset: bool = False,
    percentage_of_length: float = 0.5,
    score_missing_files: bool = True,
) -> np.ndarray:
    """(n_files, 3) int64: matched, reference and estimated events of each file.

    An estimated event may be matched to a reference event of its file and label when the onsets differ
    by at most ``t_collar`` seconds and, with ``evaluate_offset``, the offsets by at most
    max(t_collar, percentage_of_length * reference length). The matching is of maximum cardinality.

    Args:
        score_missing_files: count the events of target files that have no prediction as missed.
            False is heareval's behaviour: such a file costs nothing, and is not counted.

    Returns:
        Rows in the order of ``predicted.files``, and after them the target's other files.
    """
    n_files, ref, est = _in_seconds(predicted, target, score_missing_files)
    matched = _matched(ref, est, len(target.labels), t_collar, percentage_of_length if evaluate_offset else None)
    counted = (ref[0][matched], ref[0], est[0])
    return np.stack([np.bincount(file, minlength=n_files) for file in counted], axis=1)


def _matched(ref: Columns, est: Columns, n_labels: int, t_collar: float, percentage: float | None) -> np.ndarray:
    """(n_ref,) bool: which references a maximum matching pairs; ``percentage`` None: offsets do not count."""
    # Complex numbers are ordered by real part, then imaginary: here by file and label, then onset.
    own, other = (file * n_labels + label + 1j * onset for file, label, onset, _ in (ref, est))
    order = np.argsort(other, kind="stable")
    other, onset, offset = other[order], est[2][order], est[3][order]
    # Candidates lie in a window that is a little wider than the collar; whether they fit is asked of each.
    first = np.searchsorted(other, own - 1j * (t_collar + 1e-6), "left")
    count = np.searchsorted(other, own + 1j * (t_collar + 1e-6), "right") - first
    row = np.repeat(np.arange(len(own)), count)
    column = np.arange(len(row)) + np.repeat(first - np.cumsum(count) + count, count)
    fits = np.abs(ref[2][row] - onset[column]) <= t_collar
    if percentage is not None:
        limit = np.maximum(t_collar, percentage * (ref[3] - ref[2]))
        fits &= np.abs(ref[3][row] - offset[column]) <= limit[row]
    row, column = row[fits], column[fits]
    if not len(row):
        return np.zeros(len(own), dtype=bool)
    from scipy.sparse import csr_matrix  # a quarter of a second to import: not where nothing is scored
    from scipy.sparse.csgraph import maximum_bipartite_matching

    graph = csr_matrix((np.ones(len(row), dtype=np.int8), (row, column)), shape=(len(own), len(other)))
    return np.asarray(maximum_bipartite_matching(graph, perm_type="column") >= 0)


def event_based_scores(predicted: EventTable, target: EventTable, **options: Any) -> dict[str, float]:
    """``f_measure``, ``precision`` and ``recall`` over all events: sed_eval's ``EventBasedMetrics``, overall.

    No estimated event at all gives a NaN precision and F-measure, as in sed_eval. ``options`` are those of
    :func:`event_counts`.
    """
    hits, n_ref, n_est = event_counts(predicted, target, **options).sum(axis=0).tolist()
    precision = hits / n_est if n_est else math.nan
    recall = hits / n_ref if n_ref else math.nan
    f_measure = 0.0 if precision == recall == 0 else 2.0 * precision * recall / (precision + recall)
    return {"f_measure": f_measure, "precision": precision, "recall": recall}


def f_measure_terms(predicted: EventTable, target: EventTable, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator (n_files,) of the F-measure: 2 hits over reference and estimated events."""
    hits, n_ref, n_est = event_counts(predicted, target, **options).T
    return 2 * hits, n_ref + n_est


def segment_counts(
    predicted: EventTable, target: EventTable, *, time_resolution: float = 1.0, score_missing_files: bool = True
) -> np.ndarray:
    """(n_files, 4) int64: active reference segments, and substituted, deleted and inserted ones of each file.

    An event is active in every segment of ``time_resolution`` seconds that it touches; a file is as long
    as its last offset, reference or estimate. Per segment S = min(ref, est) - hits, D = max(0, ref - est),
    I = max(0, est - ref). Rows are ordered as those of :func:`event_counts`.
    """
    n_files, ref, est = _in_seconds(predicted, target, score_missing_files)
    n_labels = len(target.labels)
    longest = np.zeros(n_files)
    for file, _, _, offset in (ref, est):
        np.maximum.at(longest, file, offset)
    # One spare row a file takes the end of an event in the file's last segment.
    lengths = np.ceil(longest / time_resolution).astype(np.int64) + 1
    counts = np.zeros((n_files, 4), dtype=np.int64)
    for first, stop in _parts(lengths, max(1, SEGMENTS_AT_ONCE // max(n_labels, 1))):
        base = np.concatenate([[0], np.cumsum(lengths[first:stop])])
        roll_ref, roll_est = (
            _roll(_of_files(part, first, stop), base, n_labels, time_resolution) for part in (ref, est)
        )
        hits = (roll_ref & roll_est).sum(axis=1)
        n_ref, n_est = roll_ref.sum(axis=1), roll_est.sum(axis=1)
        missed, added = np.maximum(0, n_ref - n_est), np.maximum(0, n_est - n_ref)
        by_segment = np.stack([n_ref, np.minimum(n_ref, n_est) - hits, missed, added])
        counts[first:stop] = np.add.reduceat(by_segment, base[:-1], axis=1).T
    return counts


def segment_based_scores(predicted: EventTable, target: EventTable, **options: Any) -> dict[str, float]:
    """``error_rate`` and its three parts: sed_eval's ``SegmentBasedMetrics``, overall.

    Each sum of :func:`segment_counts`, whose ``options`` these are, is divided by the active reference segments
    plus 2.2e-16.
    """
    active, *errors = segment_counts(predicted, target, **options).sum(axis=0).tolist()
    total = float(active) + float(np.spacing(1))
    names = ("substitution_rate", "deletion_rate", "insertion_rate")
    parts = {name: float(count) / total for name, count in zip(names, errors, strict=True)}
    return {"error_rate": sum(parts.values()), **parts}


def error_rate_terms(predicted: EventTable, target: EventTable, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator (n_files,) of the error rate: errors over active reference segments."""
    counts = segment_counts(predicted, target, **options)
    return counts[:, 1:].sum(axis=1), counts[:, 0]


def _parts(lengths: np.ndarray, limit: int) -> Iterator[tuple[int, int]]:
    """Runs of files, [first, stop), of at most ``limit`` segments each, or of one file."""
    first, segments = 0, 0
    for file, length in enumerate(lengths.tolist()):
        if segments and segments + length > limit:
            yield first, file
            first, segments = file, 0
        segments += length
    if len(lengths):
        yield first, len(lengths)


def _of_files(events: Columns, first: int, stop: int) -> Columns:
    file, label, onset, offset = events
    chosen = (file >= first) & (file < stop)
    return file[chosen] - first, label[chosen], onset[chosen], offset[chosen]


def _roll(events: Columns, base: np.ndarray, n_labels: int, time_resolution: float) -> np.ndarray:
    """(segments of all files, n_labels) bool: where an event is active."""
    file, label, onset, offset = events
    first = np.maximum(0, np.floor(onset / time_resolution)).astype(np.int64)
    stop = np.ceil(offset / time_resolution).astype(np.int64)
    lasting = stop > first
    file, label, first, stop = file[lasting], label[lasting], first[lasting], stop[lasting]
    steps = np.zeros((base[-1], n_labels), dtype=np.int32)
    np.add.at(steps, (base[file] + first, label), 1)
    np.add.at(steps, (base[file] + stop, label), -1)
    return np.cumsum(steps, axis=0) > 0
