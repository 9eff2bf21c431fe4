"""From a head's probabilities on some rows to scores: of clips, or of events with their postprocessing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from benchmarks.embedding.folder import EmbeddingsTask, Split
from benchmarks.metrics.decode import FrameIndex
from benchmarks.metrics.events import EventTable
from benchmarks.metrics.registry import Metric, find_metrics
from benchmarks.scoring.hear.grid import postprocessing_configs

__all__ = ["Evaluator", "EventEvaluator", "SceneEvaluator", "aggregate", "make_evaluator"]


class Evaluator(Protocol):
    """Scores the probabilities (n, n_labels) of all rows of some splits against their truth."""

    def select(self, probabilities: np.ndarray) -> tuple[float, dict[str, Any]]:
        """The primary score and the postprocessing that gave it (empty for clips), for model selection."""

    def scores(self, probabilities: np.ndarray, postprocessing: Mapping[str, Any]) -> dict[str, float]:
        """{metric: value}, sub-scores such as ``<metric>_precision`` included."""


class SceneEvaluator:
    """Scores clips: probabilities against the 0/1 targets (n, n_labels)."""

    def __init__(self, metrics: Sequence[Metric], targets: np.ndarray) -> None:
        self.metrics, self.targets = list(metrics), targets

    def select(self, probabilities: np.ndarray) -> tuple[float, dict[str, Any]]:
        """The primary score; there is nothing to postprocess."""
        return self.metrics[0].scores(probabilities, self.targets)[self.metrics[0].name], {}

    def scores(self, probabilities: np.ndarray, postprocessing: Mapping[str, Any]) -> dict[str, float]:
        """{metric: value}."""
        found: dict[str, float] = {}
        for metric in self.metrics:
            found.update(metric.scores(probabilities, self.targets))
        return found


class EventEvaluator:
    """Scores events: rows in time order, one ``postprocessing`` dict chosen by the primary score."""

    def __init__(
        self,
        metrics: Sequence[Metric],
        splits: Sequence[Split],
        vocabulary: Sequence[str],
        postprocessings: Sequence[Mapping[str, float]],
        score_missing_files: bool = True,
    ) -> None:
        self.metrics, self.vocabulary = list(metrics), tuple(vocabulary)
        self.postprocessings = [dict(item) for item in postprocessings]
        self.options = {"score_missing_files": score_missing_files}
        files: list[str] = []
        offset, parts = 0, []
        truth: dict[str, Any] = {}
        for split in splits:
            files.extend(split.files)
            parts.append(split.file_index + offset)
            offset += len(split.files)
            truth.update(split.events or {})
        times = np.concatenate([split.timestamps_ms for split in splits if split.timestamps_ms is not None])
        self.frames = FrameIndex(files, np.concatenate(parts), times)
        self.target = EventTable.from_events(truth, self.vocabulary)
        self.missing_files = sorted(set(self.target.files) - set(self.frames.files))

    def events(self, probabilities: np.ndarray, postprocessing: Mapping[str, float]) -> EventTable:
        """The predicted events of every file."""
        return self.frames.events(probabilities, self.vocabulary, **postprocessing)

    def select(self, probabilities: np.ndarray) -> tuple[float, dict[str, Any]]:
        """The primary score under the best postprocessing of the grid.

        As in heareval: NaN (no event predicted) ranks as 0, and of equal scores the postprocessing with
        the larger values wins. The score itself is returned as it is, NaN included. Where the primary
        metric is an error rate the smallest wins (heareval would take the largest; no HEAR task has one).
        """
        metric = self.metrics[0]
        sign = 1.0 if metric.maximise else -1.0
        worst = 0.0 if metric.maximise else math.inf
        ranked = []
        for number, postprocessing in enumerate(self.postprocessings):
            predicted = self.events(probabilities, postprocessing)
            score = metric.scores(predicted, self.target, **self.options)[metric.name]
            rank = sign * (worst if math.isnan(score) else score)
            ranked.append(((rank, tuple(postprocessing.items())), number, score))
        _, number, score = max(ranked)
        return score, self.postprocessings[number]

    def scores(self, probabilities: np.ndarray, postprocessing: Mapping[str, Any]) -> dict[str, float]:
        """{metric: value}, {metric_part: value}."""
        predicted = self.events(probabilities, postprocessing)
        found: dict[str, float] = {}
        for metric in self.metrics:
            found.update(metric.scores(predicted, self.target, **self.options))
        return found


def make_evaluator(
    task: EmbeddingsTask, split_names: Sequence[str], score_missing_files: bool = True
) -> SceneEvaluator | EventEvaluator:
    """The evaluator for the rows of some splits of a task, in that order."""
    metrics = find_metrics(task.metadata["evaluation"], "event" if task.is_event else "scene")
    splits = [task.splits[name] for name in split_names]
    if not task.is_event:
        return SceneEvaluator(metrics, np.concatenate([split.targets for split in splits]))
    postprocessings = postprocessing_configs(task.metadata)
    return EventEvaluator(metrics, splits, task.vocabulary, postprocessings, score_missing_files)


def aggregate(folds: Sequence[Mapping[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and standard deviation (ddof 1) of each score over folds; no deviation for a single fold.

    A NaN fold is left out of both, as pandas does in heareval; so is an infinite one out of neither.
    """
    means: dict[str, float] = {}
    deviations: dict[str, float] = {}
    for name in folds[0]:
        values = np.array([fold[name] for fold in folds], dtype=np.float64)
        values = values[~np.isnan(values)]
        means[name] = float(values.mean()) if len(values) else math.nan
        if len(folds) > 1:
            finite = len(values) > 1 and bool(np.isfinite(values).all())
            deviations[name] = float(values.std(ddof=1)) if finite else math.nan
    return means, deviations
