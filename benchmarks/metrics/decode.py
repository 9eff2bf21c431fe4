"""From frame probabilities to events: threshold, median filter and shortest duration, as heareval does it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.metrics.events import EventTable

__all__ = ["FrameIndex", "events_from_frames"]


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
        # One frame has no hop.
        times = [self.time[a:b] for a, b in itertools.pairwise(self.bounds)]
        self.hop_ms = [float(np.mean(np.diff(own))) if len(own) > 1 else math.inf for own in times]

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

        A frame is active where p > threshold, strictly, after a median filter of
        round(median_filter_ms / mean hop) frames. A run of active frames is an event from its first to its
        last timestamp (no hop is added), kept when end - start >= min_duration (ms, as ``median_filter_ms``).
        """
        active = probabilities[self.order] > threshold
        parts = []
        for number, (a, b) in enumerate(itertools.pairwise(self.bounds)):
            label, start, end = _runs(_median_active(active[a:b], round(median_filter_ms / self.hop_ms[number])))
            start_ms, end_ms = self.time[a:b][start], self.time[a:b][end]
            kept = np.nonzero(end_ms - start_ms >= min_duration)[0]
            kept = kept[np.argsort(start_ms[kept], kind="stable")]
            parts.append(np.stack([np.full(len(kept), number), label[kept], start_ms[kept], end_ms[kept]], axis=1))
        return EventTable.from_rows(np.concatenate([np.zeros((0, 4)), *parts]), self.files, labels)


def events_from_frames(
    probabilities: np.ndarray,
    timestamps_ms: np.ndarray,
    labels: Sequence[str],
    **postprocessing: float,
) -> list[dict[str, Any]]:
    """The events of one file, sorted by start: equals heareval's ``create_events_from_prediction``.

    Args:
        probabilities: (n_frames, n_labels) float32.
        timestamps_ms: (n_frames,) float64, in any order.
        labels: the vocabulary, by index.
        postprocessing: threshold, median_filter_ms and min_duration, as :meth:`FrameIndex.events` takes them.
    """
    index = FrameIndex(["file"], np.zeros(len(timestamps_ms), dtype=np.int64), timestamps_ms)
    return index.events(probabilities, labels, **postprocessing).to_events().get("file", [])


def _median_active(active: np.ndarray, width: int) -> np.ndarray:
    """(t, c) bool: where the median over ``width`` frames of the probabilities exceeds the threshold.

    A width of 0 or 1 leaves the frames as they are. Thresholding commutes with the median, so counting active
    frames in the window is enough. The window of an even width, the rank taken (width // 2) and the mirrored ends
    are scipy's. (From 8 times the clip's length on, scipy 1.17 reads memory that is not its own; that is not followed.)
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
