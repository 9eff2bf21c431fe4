"""What each metric is, in one place that scoring, records and reading share: its range, direction and kind of task."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

__all__ = ["METRIC_FACTS", "MetricFacts", "metric_bounds"]


class MetricFacts(NamedTuple):
    """``low`` and ``high`` are the ends of its range; a higher score is better where ``maximise``."""

    low: float = 0.0
    high: float = 1.0
    maximise: bool = True
    kind: Literal["scene", "event"] = "scene"


METRIC_FACTS: dict[str, MetricFacts] = {
    "top1_acc": MetricFacts(),
    "pitch_acc": MetricFacts(),
    "chroma_acc": MetricFacts(),
    "mAP": MetricFacts(),
    "aucroc": MetricFacts(),
    "d_prime": MetricFacts(-math.inf, math.inf),
    "event_onset_200ms_fms": MetricFacts(kind="event"),
    "event_onset_50ms_fms": MetricFacts(kind="event"),
    "event_onset_offset_50ms_20perc_fms": MetricFacts(kind="event"),
    "segment_1s_er": MetricFacts(0.0, math.inf, maximise=False, kind="event"),
}


def metric_bounds(name: str) -> tuple[float, float]:
    """The range of a metric, or of a part such as ``event_onset_50ms_fms_recall``; everything for an unknown one."""
    whole = max((metric for metric in METRIC_FACTS if f"{name}_".startswith(f"{metric}_")), key=len, default=None)
    return (-math.inf, math.inf) if whole is None else METRIC_FACTS[whole][:2]
