"""From a head's probabilities on some rows to scores: of clips, or of events with their postprocessing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.embedding.folder import EmbeddingsTask, Split
from benchmarks.metrics.decode import FrameIndex
from benchmarks.metrics.events import EventTable
from benchmarks.metrics.registry import Metric, find_metrics
from benchmarks.scoring.hear.grid import postprocessing_configs

__all__ = ["Evaluator", "EventEvaluator", "SceneEvaluator", "make_evaluator"]


class Evaluator:
    """Scores the probabilities (n, n_labels) of all rows of some splits against ``target``, their truth.

    Attributes:
        postprocessings: the ways from probabilities to what is scored, one of which is chosen by the primary score.
        options: of every metric.
        missing_files: files of the truth that have no row.
    """

    def __init__(
        self, metrics: Sequence[Metric], target: Any, postprocessings: Sequence[Mapping[str, Any]], **options: Any
    ) -> None:
        self.metrics, self.target, self.options = list(metrics), target, options
        self.postprocessings = [dict(item) for item in postprocessings]
        self.missing_files: list[str] = []

    def predicted(self, probabilities: np.ndarray, postprocessing: Mapping[str, Any]) -> Any:
        """What metrics compare with the truth."""
        raise NotImplementedError

    def select(self, probabilities: np.ndarray) -> tuple[float, dict[str, Any]]:
        """The primary score under the best postprocessing, and that postprocessing (empty for clips).

        As in heareval: NaN (no event predicted) ranks as 0, and of equal scores the postprocessing with
        the larger values wins. The score itself is returned as it is, NaN included. Where the primary
        metric is an error rate the smallest wins (heareval would take the largest; no HEAR task has one).
        """
        metric = self.metrics[0]
        sign = 1.0 if metric.maximise else -1.0
        worst = 0.0 if metric.maximise else math.inf
        ranked = []
        for number, postprocessing in enumerate(self.postprocessings):
            predicted = self.predicted(probabilities, postprocessing)
            score = metric.scores(predicted, self.target, **self.options)[metric.name]
            rank = sign * (worst if math.isnan(score) else score)
            ranked.append(((rank, tuple(postprocessing.items())), number, score))
        _, number, score = max(ranked)
        return score, self.postprocessings[number]

    def scores(self, probabilities: np.ndarray, postprocessing: Mapping[str, Any]) -> dict[str, float]:
        """{metric: value}, sub-scores such as ``<metric>_precision`` included."""
        predicted = self.predicted(probabilities, postprocessing)
        found: dict[str, float] = {}
        for metric in self.metrics:
            found.update(metric.scores(predicted, self.target, **self.options))
        return found


class SceneEvaluator(Evaluator):
    """Scores clips: probabilities against the 0/1 targets (n, n_labels), as they are."""

    def __init__(self, metrics: Sequence[Metric], targets: np.ndarray) -> None:
        super().__init__(metrics, targets, [{}])

    def predicted(self, probabilities: np.ndarray, postprocessing: Mapping[str, Any]) -> np.ndarray:
        """The probabilities."""
        return probabilities


class EventEvaluator(Evaluator):
    """Scores events: rows in time order, one ``postprocessing`` dict chosen by the primary score."""

    def __init__(self, task: EmbeddingsTask, splits: Sequence[Split], score_missing_files: bool) -> None:
        truth = {file: events for split in splits for file, events in (split.events or {}).items()}
        target = EventTable.from_events(truth, task.vocabulary)
        metrics = find_metrics(task.metadata["evaluation"], "event")
        postprocessings = postprocessing_configs(task.metadata)
        super().__init__(metrics, target, postprocessings, score_missing_files=score_missing_files)
        files = [file for split in splits for file in split.files]
        offsets = np.cumsum([0, *(len(split.files) for split in splits)])
        index = np.concatenate([split.file_index + offset for split, offset in zip(splits, offsets, strict=False)])
        times = np.concatenate([split.timestamps_ms for split in splits if split.timestamps_ms is not None])
        self.frames = FrameIndex(files, index, times)
        self.missing_files = sorted(set(target.files) - set(self.frames.files))

    def predicted(self, probabilities: np.ndarray, postprocessing: Mapping[str, Any]) -> EventTable:
        """The predicted events of every file."""
        return self.frames.events(probabilities, self.target.labels, **postprocessing)


def make_evaluator(task: EmbeddingsTask, split_names: Sequence[str], score_missing_files: bool = True) -> Evaluator:
    """The evaluator for the rows of some splits of a task, in that order."""
    splits = [task.splits[name] for name in split_names]
    if task.is_event:
        return EventEvaluator(task, splits, score_missing_files)
    metrics = find_metrics(task.metadata["evaluation"], "scene")
    return SceneEvaluator(metrics, np.concatenate([split.targets for split in splits]))
