"""What each metric is, said once: scoring, records, statistics, tables and the report ask here.

A new metric is a file with a pure function in this folder, and one line in ``METRICS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["METRICS", "Metric", "find_metrics", "metric_bounds", "metric_scale", "whole_metric"]


class _Later:
    """A module whose functions are imported when they are called: who reads a task does without numpy."""

    def __init__(self, module: str) -> None:
        self.module = module

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(_call, self.module, name)


def _call(module: str, name: str, *arguments: Any, **options: Any) -> Any:
    from benchmarks.metrics import events, scene

    return getattr({"events": events, "scene": scene}[module], name)(*arguments, **options)


if TYPE_CHECKING:
    import numpy as np

    from benchmarks.metrics import events, scene
else:
    events, scene = _Later("events"), _Later("scene")


@dataclass(frozen=True)
class Metric:
    """One metric by name.

    Attributes:
        function: ``function(prediction, target)`` returns a float for a scene metric and a dict for an event
            metric, of which ``parts`` are reported, the first being the metric's value.
        kind: the kind of task that it scores.
        maximise: whether more is better.
        bounds: the ends of its range.
        in_percent: whether tables show 100 times the score.
        terms: ``terms(prediction, target)`` returns a numerator and a denominator for each clip, (n_clips,) both, of
            whose sums the score is the ratio. Intervals and paired tests are made of them.
        by_class: the score of a class, of which the metric is the mean over classes; intervals know these three.
    """

    name: str
    function: Callable[..., Any]
    kind: Literal["scene", "event"] = "scene"
    maximise: bool = True
    bounds: tuple[float, float] = (0.0, 1.0)
    in_percent: bool = True
    parts: tuple[str, ...] = ()
    terms: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None
    by_class: Literal["average_precision", "roc_auc", "d_prime"] | None = None

    def scores(self, prediction: Any, target: Any, **options: Any) -> dict[str, float]:
        """{name: value} and, for event metrics, {name_part: value} for each part, as heareval names them."""
        value = self.function(prediction, target, **options)
        if self.kind == "scene":
            return {self.name: float(value)}
        named = {f"{self.name}_{part}": float(value[part]) for part in self.parts}
        return {self.name: float(value[self.parts[0]]), **named}


def _share(name: str, right: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Metric:
    """The share of clips of which ``right(prediction, target)``, (n,) bool, is true."""
    return Metric(name, partial(scene.share, right), terms=partial(scene.share_terms, right))


def _f_measure(name: str, **collars: Any) -> Metric:
    return Metric(
        name,
        partial(events.event_based_scores, **collars),
        kind="event",
        parts=("f_measure", "precision", "recall"),
        terms=partial(events.f_measure_terms, **collars),
    )


def _error_rate(name: str, **resolution: Any) -> Metric:
    return Metric(
        name,
        partial(events.segment_based_scores, **resolution),
        kind="event",
        maximise=False,
        bounds=(0.0, math.inf),
        in_percent=False,
        parts=("error_rate",),
        terms=partial(events.error_rate_terms, **resolution),
    )


#: The metrics of heareval 2021.1.3, under its names.
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _share("top1_acc", scene.top1_right),
        _share("pitch_acc", scene.top1_right),
        _share("chroma_acc", scene.chroma_right),
        Metric("mAP", scene.mean_average_precision, by_class="average_precision"),
        Metric("aucroc", scene.aucroc, by_class="roc_auc"),
        Metric("d_prime", scene.d_prime, by_class="d_prime", bounds=(-math.inf, math.inf), in_percent=False),
        _f_measure("event_onset_200ms_fms", t_collar=0.2),
        _f_measure("event_onset_50ms_fms", t_collar=0.05),
        _f_measure("event_onset_offset_50ms_20perc_fms", t_collar=0.05, evaluate_offset=True, percentage_of_length=0.2),
        _error_rate("segment_1s_er", time_resolution=1.0),
    )
}


def find_metrics(names: Sequence[str], kind: str) -> list[Metric]:
    """The metrics of a task, its primary one first.

    Raises DeloresError for an unknown name, no name, and a metric of the other ``kind`` of task.
    """
    fitting = [name for name, metric in METRICS.items() if metric.kind == kind]
    if not names:
        raise DeloresError(f"expected at least one metric under 'evaluation'. {did_you_mean('', fitting)}")
    for name in names:
        if name not in METRICS:
            raise DeloresError(f"unknown metric {name!r}. {did_you_mean(name, METRICS)}")
        if name not in fitting:
            raise DeloresError(
                f"metric {name!r} is for {METRICS[name].kind} tasks, but this is a {kind} task."
                f" {did_you_mean(name, fitting)}"
            )
    return [METRICS[name] for name in names]


def whole_metric(name: str) -> Metric | None:
    """The metric that a score is of, itself or a part such as ``event_onset_50ms_fms_recall``; None: unknown."""
    whole = max((metric for metric in METRICS if f"{name}_".startswith(f"{metric}_")), key=len, default=None)
    return None if whole is None else METRICS[whole]


def metric_bounds(name: str) -> tuple[float, float]:
    """The range of a metric or of a part of one; of unknown ones everything."""
    metric = whole_metric(name)
    return (-math.inf, math.inf) if metric is None else metric.bounds


def metric_scale(name: str) -> float:
    """What a score is multiplied by in a table: 100 for metrics that are shown in per cent, otherwise 1."""
    metric = whole_metric(name)
    return 100.0 if metric is not None and metric.in_percent else 1.0
