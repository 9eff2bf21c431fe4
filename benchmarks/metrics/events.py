"""Events from frame probabilities, and the event scores of sed_eval 0.2.1, on arrays.

Times are milliseconds in every interface, as in HEAR task folders, and are divided by 1000 before a
comparison, as heareval does before it calls sed_eval: that way an event exactly on the collar falls on
the same side. The scores equal sed_eval's to 1e-12 (overall, that is micro-averaged, optimal matching).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.tasks.events import check_event
from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["EventTable", "FrameIndex", "event_based_scores", "events_from_frames", "segment_based_scores"]

#: Segments times labels that the segment-based score holds in memory at once, for as many files as fit.
SEGMENTS_AT_ONCE = 1 << 24
Event = Mapping[str, Any]  # {"label": str, "start": ms, "end": ms}


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

        Raises DeloresError for a label outside ``labels``, and for an event that is none: see
        :func:`benchmarks.tasks.events.check_event`.
        """
        index = {label: i for i, label in enumerate(labels)}
        rows: list[tuple[int, int, float, float]] = []
        for number, (file, items) in enumerate(events.items()):
            for event in items:
                _check(file, event)
                label = str(event["label"])
                if label not in index:
                    raise DeloresError(
                        f"{file}: event label {label!r} is not in the vocabulary. {did_you_mean(label, labels)}"
                    )
                rows.append((number, index[label], float(event["start"]), float(event["end"])))
        columns = np.array(rows, dtype=np.float64).reshape(-1, 4)
        file_label = columns[:, :2].astype(np.int64)
        return cls(tuple(events), tuple(labels), file_label[:, 0], file_label[:, 1], columns[:, 2], columns[:, 3])

    def to_events(self) -> dict[str, list[dict[str, Any]]]:
        """{file: [{"label", "start", "end"}]}, every file present, events in the table's order."""
        events: dict[str, list[dict[str, Any]]] = {file: [] for file in self.files}
        for file, label, start, end in zip(
            self.file.tolist(), self.label.tolist(), self.start_ms.tolist(), self.end_ms.tolist(), strict=True
        ):
            events[self.files[file]].append({"label": self.labels[label], "start": start, "end": end})
        return events


def _check(file: str, event: Event) -> None:
    try:
        check_event(event)
    except DeloresError as error:
        raise DeloresError(f"{file}: {error}") from None


# --- from frames to events


class FrameIndex:
    """The rows of many files, put in order of file and time once, so that every validation is array work.

    Args:
        files: the distinct file names.
        file_index: (n,) int, the file of each row.
        timestamps_ms: (n,) float64. Of two rows of a file with one timestamp the later row counts.
    """

    def __init__(self, files: Sequence[str], file_index: np.ndarray, timestamps_ms: np.ndarray) -> None:
        rows = np.arange(len(file_index))
        order = np.lexsort((rows, timestamps_ms, file_index))
        file, time = np.asarray(file_index)[order], np.asarray(timestamps_ms, dtype=np.float64)[order]
        last = np.ones(len(order), dtype=bool)
        last[:-1] = (file[1:] != file[:-1]) | (time[1:] != time[:-1])
        self.order, self.time = order[last], time[last]
        present, starts = np.unique(file[last], return_index=True)
        self.bounds = np.append(starts, len(self.order))
        self.files = tuple(files[int(i)] for i in present)
        self.hop_ms = [
            float(np.mean(np.diff(self.time[a:b]))) if b - a > 1 else float("nan")
            for a, b in zip(self.bounds[:-1], self.bounds[1:], strict=True)
        ]

    def events(
        self,
        probabilities: np.ndarray,
        labels: Sequence[str],
        *,
        threshold: float = 0.5,
        median_filter_ms: float = 150.0,
        min_duration: float = 60.0,
    ) -> EventTable:
        """The events of every file, from ``probabilities`` (n, n_labels) in the rows' first order.

        Parameters as in :func:`events_from_frames`.
        """
        active = probabilities[self.order] > threshold
        parts = []
        for number, (a, b) in enumerate(zip(self.bounds[:-1], self.bounds[1:], strict=True)):
            width = _filter_width(median_filter_ms, self.hop_ms[number])
            label, start, end = _runs(_median_active(active[a:b], width))
            start_ms, end_ms = self.time[a:b][start], self.time[a:b][end]
            kept = np.nonzero(end_ms - start_ms >= min_duration)[0]
            kept = kept[np.argsort(start_ms[kept], kind="stable")]
            parts.append((np.full(len(kept), number), label[kept], start_ms[kept], end_ms[kept]))
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)] if parts else [np.zeros(0)] * 4
        return EventTable(
            self.files,
            tuple(labels),
            columns[0].astype(np.int64),
            columns[1].astype(np.int64),
            columns[2],
            columns[3],
        )


def events_from_frames(
    probabilities: np.ndarray,
    timestamps_ms: np.ndarray,
    labels: Sequence[str],
    *,
    threshold: float = 0.5,
    median_filter_ms: float = 150.0,
    min_duration: float = 60.0,
) -> list[dict[str, Any]]:
    """The events of one file, sorted by start: equals heareval's ``create_events_from_prediction``.

    A frame is active where p > threshold, strictly, after a median filter of
    round(median_filter_ms / mean hop) frames. A run of active frames is an event from its first to its
    last timestamp (no hop is added), kept when end - start >= min_duration.

    Args:
        probabilities: (n_frames, n_labels) float32.
        timestamps_ms: (n_frames,) float64, in any order.
        labels: the vocabulary, by index.
        median_filter_ms, min_duration: milliseconds.
    """
    index = FrameIndex(["file"], np.zeros(len(timestamps_ms), dtype=np.int64), timestamps_ms)
    table = index.events(
        probabilities,
        labels,
        threshold=threshold,
        median_filter_ms=median_filter_ms,
        min_duration=min_duration,
    )
    return table.to_events().get("file", [])


def _filter_width(median_filter_ms: float, hop_ms: float) -> int:
    """The median filter's width in frames; 0 or 1 leaves the frames as they are. One frame has no hop."""
    return round(median_filter_ms / hop_ms) if median_filter_ms and hop_ms == hop_ms else 0


def _median_active(active: np.ndarray, width: int) -> np.ndarray:
    """(t, c) bool: where the median over ``width`` frames of the probabilities exceeds the threshold.

    Thresholding commutes with the median, so counting active frames in the window is enough. The
    window of an even width, the rank taken (width // 2) and the mirrored ends are scipy's. (scipy 1.17
    mirrors wrongly where the window is 8 times longer than the clip; that is not followed.)
    """
    if width <= 1:
        return active
    # The mirrored clip repeats every 2 t frames: whole repetitions are counted once, whatever the window's width.
    period = np.concatenate([active, active[::-1]])
    repetitions, rest = divmod(width, len(period))
    counts = np.zeros((2 * len(period) + 1, active.shape[1]), dtype=np.int64)
    np.cumsum(np.concatenate([period, period]), axis=0, out=counts[1:])
    first = (np.arange(len(active)) - width // 2) % len(period)
    found = repetitions * counts[len(period)] + counts[first + rest] - counts[first]
    return np.asarray(found >= width - width // 2)


def _runs(active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label, first and last frame of each run of active frames, in order of label, then time."""
    edges = np.zeros((active.shape[1], active.shape[0] + 1), dtype=np.int8)
    edges[:, :-1] = active.T
    edges[:, 1:] -= active.T
    label, start = np.nonzero(edges == 1)
    return label, start, np.nonzero(edges == -1)[1] - 1


# --- scores


def _common_files(
    predicted: EventTable, target: EventTable, score_missing_files: bool
) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Number of scored files; file of each predicted and of each kept target event; which are kept."""
    if predicted.labels != target.labels:
        raise DeloresError(
            "expected predicted and target events with the same vocabulary in the same order; pass the task's"
        )
    index = {file: i for i, file in enumerate(predicted.files)}
    if score_missing_files:
        for file in target.files:
            index.setdefault(file, len(index))
    to_common = np.array([index.get(file, -1) for file in target.files], dtype=np.int64)
    target_file = to_common[target.file]
    kept = target_file >= 0
    return len(index), predicted.file, target_file[kept], kept


def event_based_scores(
    predicted: EventTable,
    target: EventTable,
    *,
    t_collar: float = 0.2,
    evaluate_offset: bool = False,
    percentage_of_length: float = 0.5,
    score_missing_files: bool = True,
) -> dict[str, float]:
    """``f_measure``, ``precision`` and ``recall`` over all events: sed_eval's ``EventBasedMetrics``, overall.

    An estimated event may be matched to a reference event of its file and label when the onsets differ
    by at most ``t_collar`` seconds and, with ``evaluate_offset``, the offsets by at most
    max(t_collar, percentage_of_length * reference length). The matching is of maximum cardinality.
    No estimated event at all gives a NaN precision and F-measure, as in sed_eval.

    Args:
        score_missing_files: count the events of target files that have no prediction as missed.
            False is heareval's behaviour: such a file costs nothing.
    """
    _, est_file, ref_file, kept = _common_files(predicted, target, score_missing_files)
    n_labels = max(len(target.labels), 1)
    ref = _sorted_groups(
        ref_file * n_labels + target.label[kept], target.start_ms[kept] / 1000.0, target.end_ms[kept] / 1000.0
    )
    est = _sorted_groups(est_file * n_labels + predicted.label, predicted.start_ms / 1000.0, predicted.end_ms / 1000.0)
    if evaluate_offset:
        hits = _match_on_offset(ref, est, t_collar, percentage_of_length)
    else:
        hits = _match_onsets(ref, est, t_collar)
    precision = hits / len(est[0]) if len(est[0]) else float("nan")
    recall = hits / len(ref[0]) if len(ref[0]) else float("nan")
    if precision == 0 and recall == 0:
        f_measure = 0.0
    else:
        f_measure = 2.0 * precision * recall / (precision + recall)
    return {"f_measure": f_measure, "precision": precision, "recall": recall}


def _sorted_groups(
    group: np.ndarray, onset: np.ndarray, offset: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    order = np.lexsort((onset, group))
    return group[order], onset[order], offset[order]


def _match_onsets(ref: tuple[np.ndarray, ...], est: tuple[np.ndarray, ...], t_collar: float) -> int:
    """Size of the maximum matching when only onsets count.

    All collars being equal, the earliest reference and the earliest estimate that fit can always be
    paired without loss, so one sweep over both sorted lists is optimal.
    """
    ref_group, ref_onset = ref[0].tolist(), ref[1].tolist()
    est_group, est_onset = est[0].tolist(), est[1].tolist()
    i = j = hits = 0
    while i < len(ref_group) and j < len(est_group):
        if ref_group[i] != est_group[j]:
            if ref_group[i] < est_group[j]:
                i += 1
            else:
                j += 1
        elif abs(ref_onset[i] - est_onset[j]) <= t_collar:
            hits, i, j = hits + 1, i + 1, j + 1
        elif ref_onset[i] < est_onset[j]:
            i += 1
        else:
            j += 1
    return hits


def _match_on_offset(
    ref: tuple[np.ndarray, ...], est: tuple[np.ndarray, ...], t_collar: float, percentage: float
) -> int:
    """Size of the maximum matching when onsets and offsets count: Hopcroft-Karp over all groups at once."""
    groups, ref_start, ref_count = np.unique(ref[0], return_index=True, return_counts=True)
    est_start = np.searchsorted(est[0], groups, side="left")
    est_stop = np.searchsorted(est[0], groups, side="right")
    rows, columns = [], []
    for a, n, c, d in zip(ref_start, ref_count, est_start, est_stop, strict=True):
        if c == d:
            continue
        onset, offset = ref[1][a : a + n, None], ref[2][a : a + n, None]
        fits = np.abs(onset - est[1][c:d]) <= t_collar
        fits &= np.abs(offset - est[2][c:d]) <= np.maximum(t_collar, percentage * (offset - onset))
        row, column = np.nonzero(fits)
        rows.append(row + a)
        columns.append(column + c)
    if not rows:
        return 0
    from scipy.sparse import csr_matrix  # a quarter of a second to import: not where nothing is scored
    from scipy.sparse.csgraph import maximum_bipartite_matching

    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = csr_matrix((np.ones(len(row), dtype=np.int8), (row, column)), shape=(len(ref[0]), len(est[0])))
    return int(np.count_nonzero(maximum_bipartite_matching(graph, perm_type="column") >= 0))


def segment_based_scores(
    predicted: EventTable,
    target: EventTable,
    *,
    time_resolution: float = 1.0,
    score_missing_files: bool = True,
) -> dict[str, float]:
    """``error_rate`` and its three parts: sed_eval's ``SegmentBasedMetrics``, overall.

    An event is active in every segment of ``time_resolution`` seconds that it touches; a file is as long
    as its last offset, reference or estimate. Per segment S = min(ref, est) - hits, D = max(0, ref - est),
    I = max(0, est - ref); each sum is divided by the active reference segments plus 2.2e-16.
    """
    n_files, est_file, ref_file, kept = _common_files(predicted, target, score_missing_files)
    ref = (ref_file, target.label[kept], target.start_ms[kept] / 1000.0, target.end_ms[kept] / 1000.0)
    est = (est_file, predicted.label, predicted.start_ms / 1000.0, predicted.end_ms / 1000.0)
    longest = np.zeros(n_files)
    for file, _, _, offset in (ref, est):
        np.maximum.at(longest, file, offset)
    # One spare row a file takes the end of an event in the file's last segment.
    lengths = np.ceil(longest / time_resolution).astype(np.int64) + 1
    sums = np.zeros(4, dtype=np.int64)  # reference, substituted, deleted, inserted
    for first, stop in _parts(lengths, max(1, SEGMENTS_AT_ONCE // max(len(target.labels), 1))):
        base = np.concatenate([[0], np.cumsum(lengths[first:stop])])
        roll_ref, roll_est = (
            _roll(_of_files(part, first, stop), base, len(target.labels), time_resolution) for part in (ref, est)
        )
        hits = (roll_ref & roll_est).sum(axis=1)
        n_ref, n_est = roll_ref.sum(axis=1), roll_est.sum(axis=1)
        sums += [
            n_ref.sum(),
            (np.minimum(n_ref, n_est) - hits).sum(),
            np.maximum(0, n_ref - n_est).sum(),
            np.maximum(0, n_est - n_ref).sum(),
        ]
    total = float(sums[0]) + float(np.spacing(1))
    parts = {
        name: float(count) / total
        for name, count in zip(("substitution_rate", "deletion_rate", "insertion_rate"), sums[1:], strict=True)
    }
    return {"error_rate": sum(parts.values()), **parts}


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


def _of_files(events: tuple[np.ndarray, ...], first: int, stop: int) -> tuple[np.ndarray, ...]:
    file, *columns = events
    chosen = (file >= first) & (file < stop)
    return (file[chosen] - first, *(column[chosen] for column in columns))


def _roll(events: tuple[np.ndarray, ...], base: np.ndarray, n_labels: int, time_resolution: float) -> np.ndarray:
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
