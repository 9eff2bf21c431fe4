"""The metrics of HEAR 2021, pure: predictions and targets in, a number out.

Scene metrics take ``prediction`` (n, n_labels) float, larger meaning likelier, and ``target``
(n, n_labels) of 0 and 1, and equal heareval's (scikit-learn's) to 1e-12, its NaN cases included. Event
metrics take two :class:`~benchmarks.metrics.events.EventTable`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from benchmarks.metrics.events import event_based_scores, segment_based_scores
from benchmarks.metrics.facts import metric_bounds
from hear_delores.errors import DeloresError, did_you_mean

__all__ = [
    "METRICS",
    "Metric",
    "aucroc",
    "chroma_acc",
    "d_prime",
    "find_metrics",
    "mean_average_precision",
    "top1_acc",
]


def _check(prediction: np.ndarray, target: np.ndarray) -> None:
    if prediction.ndim != 2 or prediction.shape != target.shape or len(target) == 0:
        raise DeloresError(
            f"expected prediction and target of one shape (n > 0, n_labels), got {prediction.shape} and {target.shape}"
        )


def top1_acc(prediction: np.ndarray, target: np.ndarray) -> float:
    """Share of rows whose largest prediction is at the (first) target; also ``pitch_acc``.

    >>> top1_acc(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([[1, 0], [0, 1]]))
    0.5
    """
    _check(prediction, target)
    return int(np.count_nonzero(prediction.argmax(axis=1) == target.argmax(axis=1))) / len(target)


def chroma_acc(prediction: np.ndarray, target: np.ndarray) -> float:
    """Share of rows whose predicted pitch is right, octaves aside: class indices modulo 12 agree."""
    _check(prediction, target)
    same = prediction.argmax(axis=1) % 12 == target.argmax(axis=1) % 12
    return int(np.count_nonzero(same)) / len(target)


def average_precisions(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Average precision of each class, (n_labels,) float64: the sum of (R_k - R_{k-1}) P_k over thresholds.

    Rows with one prediction share one threshold. A class without a positive row counts 0, as in
    scikit-learn; NaN predictions give NaN.
    """
    _check(prediction, target)
    order = np.argsort(-prediction, axis=0, kind="stable")
    score = np.take_along_axis(prediction, order, axis=0)
    positive = np.take_along_axis(target, order, axis=0) > 0
    rank = np.arange(1, len(target) + 1)[:, None]
    precision = np.cumsum(positive, axis=0) / rank
    # A row's threshold is that of the last row with the same prediction.
    last = np.ones(score.shape, dtype=bool)
    last[:-1] = score[1:] != score[:-1]
    end = np.where(last, rank - 1, len(target))
    end = np.minimum.accumulate(end[::-1], axis=0)[::-1]
    total = (np.take_along_axis(precision, end, axis=0) * positive).sum(axis=0)
    result = total / np.maximum(positive.sum(axis=0), 1)
    return np.where(np.isnan(prediction).any(axis=0), np.nan, result)


def mean_average_precision(prediction: np.ndarray, target: np.ndarray) -> float:
    """Average precision, averaged over classes ("macro"); ``mAP``.

    >>> float(mean_average_precision(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([[1, 0], [0, 1]])))
    1.0
    """
    return float(average_precisions(prediction, target).mean())


def roc_aucs(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each class, (n_labels,) float64, by ranks (Mann-Whitney).

    NaN where a class is in no row or in all, and everywhere when a prediction is not finite.
    """
    from scipy.stats import rankdata  # half a second to import: not where nothing is scored

    _check(prediction, target)
    if not np.isfinite(prediction).all():
        return np.full(target.shape[1], np.nan)
    positive = target > 0
    n_positive = positive.sum(axis=0).astype(np.float64)
    n_negative = len(target) - n_positive
    ranks = (rankdata(prediction, axis=0) * positive).sum(axis=0)
    pairs = np.where(n_positive * n_negative > 0, n_positive * n_negative, np.nan)
    return (ranks - n_positive * (n_positive + 1) / 2) / pairs


def aucroc(prediction: np.ndarray, target: np.ndarray) -> float:
    """Area under the ROC curve, averaged over classes; NaN when a class is in no row or in all."""
    return float(roc_aucs(prediction, target).mean())


def d_prime(prediction: np.ndarray, target: np.ndarray) -> float:
    """sqrt(2) times the normal quantile of a class's ROC AUC, averaged over classes.

    Infinite when a class is ranked perfectly, NaN when a class has no positive or no negative row.
    """
    with np.errstate(invalid="ignore"):  # inf - inf, of a perfect and a perfectly wrong class, is NaN
        from scipy.special import ndtri  # slow to import: not where nothing is scored

        return float((ndtri(roc_aucs(prediction, target)) * np.sqrt(2.0)).mean())


@dataclass(frozen=True)
class Metric:
    """One metric by name.

    ``function(prediction, target)`` returns a float for a scene metric and a dict for an event metric,
    of which ``parts`` are reported, the first being the metric's value.
    """

    name: str
    function: Callable[..., Any]
    maximise: bool = True
    kind: Literal["scene", "event"] = "scene"
    parts: tuple[str, ...] = ()

    @property
    def bounds(self) -> tuple[float, float]:
        """The ends of its range."""
        return metric_bounds(self.name)

    def scores(self, prediction: Any, target: Any, **options: Any) -> dict[str, float]:
        """{name: value} and, for event metrics, {name_part: value} for each part, as heareval names them."""
        value = self.function(prediction, target, **options)
        if self.kind == "scene":
            return {self.name: float(value)}
        named = {f"{self.name}_{part}": float(value[part]) for part in self.parts}
        return {self.name: float(value[self.parts[0]]), **named}


def _event(name: str, **options: Any) -> Metric:
    parts = ("f_measure", "precision", "recall")
    return Metric(name, partial(event_based_scores, **options), kind="event", parts=parts)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("top1_acc", top1_acc),
        Metric("pitch_acc", top1_acc),
        Metric("chroma_acc", chroma_acc),
        Metric("mAP", mean_average_precision),
        Metric("aucroc", aucroc),
        Metric("d_prime", d_prime),
        _event("event_onset_200ms_fms", t_collar=0.2),
        _event("event_onset_50ms_fms", t_collar=0.05),
        _event(
            "event_onset_offset_50ms_20perc_fms",
            t_collar=0.05,
            evaluate_offset=True,
            percentage_of_length=0.2,
        ),
        Metric(
            "segment_1s_er",
            partial(segment_based_scores, time_resolution=1.0),
            maximise=False,
            kind="event",
            parts=("error_rate",),
        ),
    )
}


def find_metrics(names: Sequence[str], kind: str) -> list[Metric]:
    """The metrics of a task, its primary one first.

    Raises DeloresError for an unknown name, no name, and a metric of the other ``kind`` of task.
    """
    if not names:
        raise DeloresError(f"expected at least one metric under 'evaluation'. {did_you_mean('', METRICS)}")
    found = []
    for name in names:
        if name not in METRICS:
            raise DeloresError(f"unknown metric {name!r}. {did_you_mean(name, METRICS)}")
        if METRICS[name].kind != kind:
            raise DeloresError(f"metric {name!r} is for {METRICS[name].kind} tasks, but this is a {kind} task")
        found.append(METRICS[name])
    return found
