"""95 % intervals of scores from saved predictions: over clips for one test split, over folds for k-fold.

Over clips, by what ``benchmarks/perf/interval_coverage.py`` shows to hold the truth:

Accuracies and event scores, which are ratios of sums over clips: the BCa bootstrap (Efron 1987), its normal quantiles
widened as Student's for small n (Hesterberg 2015). ``scipy.stats.bootstrap`` is not used: it cannot widen, draws the
clips anew for each model, and takes 3 to 25 times as long, since what is one product with the matrix of draws here is
scored there resample by resample.

mAP, aucroc and d_prime, where a few clips of a rare class carry much: Student's t of the infinitesimal jackknife (for
AUC DeLong's variance) with Satterthwaite's degrees of freedom over classes, on the logit scale (d_prime as it is),
about the score less its bias. Any bootstrap of these repeats a rare class's few clips and takes them for more: a
BCa interval of mAP holds the truth in 91 % of samples of 200 clips.

Over folds: Student's t of the fold scores. A percentile bootstrap of k folds cannot reach beyond the worst and the
best fold and holds the truth in some 83 % of cases for k = 5.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri, stdtrit  # scipy.stats takes half a second to import

from benchmarks.metrics.registry import METRICS, metric_bounds
from benchmarks.reading.statistics.weighted import METRIC_NAMES, RatioStatistic, Statistic, statistic
from benchmarks.results.format import FoldResult, ResultRecord
from benchmarks.results.record import fold_predictions
from hear_delores.errors import DeloresError

__all__ = [
    "Interval",
    "bca_ends",
    "bootstrap_weights",
    "clip_interval",
    "fold_interval",
    "record_interval",
    "statistics_of",
]

LEVEL = 0.95
DRAWS = 2000
KEPT_BYTES = 256_000_000
"""Of bootstrap draws kept for the next model on the same clips: 2,000 draws of 100,000 clips take 200 MB."""


@dataclass(frozen=True)
class Interval:
    """From ``low`` to ``high`` in the metric's own unit; ``over`` says what was resampled, as ``200 clips``."""

    low: float
    high: float
    over: str


@dataclass
class _Kept:
    """The latest sets of bootstrap draws, as many as ``limit`` bytes hold; the very latest in any case."""

    limit: int
    sets: OrderedDict[tuple[int, int, int], np.ndarray]

    def get(self, n: int, draws: int, seed: int) -> np.ndarray:
        key = n, draws, seed
        if key in self.sets:
            self.sets.move_to_end(key)
            return self.sets[key]
        while self.sets and sum(each.nbytes for each in self.sets.values()) + n * draws > self.limit:
            self.sets.popitem(last=False)  # before the next is made: both are not held at once
        self.sets[key] = _drawn_weights(n, draws, seed)
        return self.sets[key]


_KEPT = _Kept(KEPT_BYTES, OrderedDict())


def bootstrap_weights(n: int, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """(n, draws) uint8, read-only: how often each of n clips is drawn when n are drawn with replacement.

    The same clips get the same draws in every call, so that all models are resampled alike.
    """
    return _KEPT.get(n, draws, seed)


def _drawn_weights(n: int, draws: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng([seed, n])
    weights = np.empty((n, draws), dtype=np.uint8)  # that a clip is drawn 256 times has no chance
    for start in range(0, draws, 64):  # turned block by block, so that no second copy of all is made
        block = np.empty((min(64, draws - start), n), dtype=np.uint8)
        for row in block:
            row[:] = np.bincount(generator.integers(0, n, n), minlength=n)
        weights[:, start : start + 64] = block.T
    weights.flags.writeable = False
    return weights


def clip_interval(
    parts: Sequence[Statistic], *, draws: int = DRAWS, level: float = LEVEL, seed: int = 0
) -> Interval | None:
    """The interval of the mean of some statistics of the same clips (one, or one for each seed).

    None where there is nothing to resample: a single clip, or a score that is NaN or infinite.
    """
    n = len(parts[0].units)
    value = float(np.mean([part.value for part in parts]))
    if n < 2 or not math.isfinite(value):
        return None
    found: tuple[float, float] | None
    if not all(isinstance(part, RatioStatistic) for part in parts):
        found = _jackknife_ends(parts, value, level)
    else:
        influence = np.mean([part.influence() for part in parts], axis=0)
        if not influence.any() and all(isinstance(part, RatioStatistic) and part.is_mean for part in parts):
            found = _all_alike(value, n, level)
        else:
            weights = bootstrap_weights(n, draws, seed)
            found = bca_ends(value, np.mean([part.scores(weights) for part in parts], axis=0), influence, level)
    return None if found is None else Interval(*found, f"{n:,} clips")


def _jackknife_ends(parts: Sequence[Statistic], value: float, level: float) -> tuple[float, float] | None:
    """Student's t about the score less its bias; never so that the score itself lies outside. None as for BCa."""
    deviations = np.mean([part.deviations() for part in parts], axis=0)
    error = float(np.sqrt((deviations**2).sum())) / len(deviations)
    if error == 0 or not math.isfinite(error):
        return None
    freedom = min(part.degrees_of_freedom() for part in parts)
    reach = float(stdtrit(max(freedom, 1.0), 0.5 + level / 2)) * error
    centre = value - float(np.mean([part.bias() for part in parts]))
    low, high = parts[0].bounds
    if math.isinf(high):
        ends = centre - reach, centre + reach
    elif low < centre < high:
        slope = 1 / (centre * (1 - centre))
        ends = float(expit(logit(centre) - reach * slope)), float(expit(logit(centre) + reach * slope))
    else:
        ends = max(centre - reach, low), min(centre + reach, high)
    return min(ends[0], value), max(ends[1], value)


def bca_ends(
    value: float,
    drawn: np.ndarray,
    influence: np.ndarray,
    level: float = LEVEL,
    *,
    freedom: float | None = None,
    widening: float | None = None,
) -> tuple[float, float] | None:
    """Quantiles of the draws, moved for bias and skewness; ``influence`` gives the acceleration constant.

    NaN draws are left out; None when the draws do not vary, which says nothing about the score.

    Args:
        freedom: degrees of freedom of Student's t; None takes one less than there are clips.
        widening: by how much a bootstrap's spread falls short of the score's; None takes sqrt(n / (n - 1)).
    """
    n, drawn = len(influence), drawn[~np.isnan(drawn)]
    spread = float((influence**2).sum())
    if spread == 0 or not len(drawn):
        return None
    acceleration = float((influence**3).sum()) / (6 * spread**1.5) if math.isfinite(spread) else 0.0
    below = (np.count_nonzero(drawn < value) + 0.5 * np.count_nonzero(drawn == value)) / len(drawn)
    bias = float(ndtri(min(max(below, 1 / len(drawn)), 1 - 1 / len(drawn))))
    quantile = float(stdtrit(n - 1 if freedom is None else max(freedom, 1.0), 0.5 + level / 2))
    edge = quantile * (math.sqrt(n / (n - 1)) if widening is None else widening)
    ends = np.array([bias - edge, bias + edge])
    scale = np.maximum(1 - acceleration * ends, 0.1)  # a pole of the formula lies at 0, far outside of its use
    low, high = np.quantile(drawn, ndtr(bias + ends / scale), method="inverted_cdf")
    return float(low), float(high)


def _all_alike(value: float, n: int, level: float) -> tuple[float, float]:
    """All clips right, or all wrong: no resample differs, so the share gets its exact (Clopper-Pearson) bound.

    In closed form; ``scipy.stats.binomtest`` searches for the same root.
    """
    bound = (1 - level) / 2
    if value == 1.0:
        return bound ** (1 / n), 1.0
    return 0.0, 1 - bound ** (1 / n)


def fold_interval(
    scores: Sequence[float], bounds: tuple[float, float] = (0.0, 1.0), level: float = LEVEL
) -> Interval | None:
    """Student's t interval of the mean of fold scores, cut to the metric's range; None for NaN or infinite folds."""
    values = np.array(scores, dtype=np.float64)
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    mean, error = float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))
    ends = [error * stdtrit(len(values) - 1, (1 + side * level) / 2) + mean for side in (-1, 1)]
    return Interval(max(float(ends[0]), bounds[0]), min(float(ends[1]), bounds[1]), f"{len(values)} folds")


def record_interval(
    records: ResultRecord | Sequence[ResultRecord],
    metric: str | None = None,
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> Interval | None:
    """The interval of a record's score, or of the mean of several seeds of one model, task and protocol.

    Args:
        metric: its name; None takes the task's primary one.

    Returns:
        None when the score is NaN or infinite, or when a single record was never saved (no predictions).

    Raises:
        DeloresError: predictions that are missing, damaged, or do not give the record's own score.
    """
    records = [records] if isinstance(records, ResultRecord) else list(records)
    metric = metric or records[0].task.primary_metric
    if len(records[0].folds) > 1:
        tested = [[fold.scores[metric] for fold in record.folds] for record in records]
        return fold_interval(np.mean(tested, axis=0).tolist(), metric_bounds(metric), level)
    if any(record.folder is None for record in records) or metric not in METRIC_NAMES:
        return None
    parts = [statistics_of(record, metric)[0] for record in records]
    if len({part.units for part in parts}) > 1:
        raise DeloresError(f"{records[0].folder}: seeds of one task tested different clips; score them again")
    return clip_interval(parts, draws=draws, level=level)


def statistics_of(record: ResultRecord, metric: str) -> list[Statistic]:
    """One statistic for each fold of a record, in the record's order of folds.

    Raises DeloresError when the predictions beside the record are not the ones it was scored from.
    """
    missing_cost = record.protocol.options.get("score_missing_files") is not False
    found = []
    for fold, own in zip(record.folds, fold_predictions(record), strict=True):
        if metric not in fold.scores:
            raise DeloresError(f"{record.folder}: {metric} was not scored; available: {', '.join(record.scores)}")
        part = statistic(metric, own, score_missing_files=missing_cost)
        _check_score(record, fold, metric, part)
        # Other predictions may have the same accuracy by chance. Events are matched too slowly to do so again.
        for other in METRIC_NAMES:
            if other != metric and other in fold.scores and METRICS[other].kind == "scene":
                _check_score(record, fold, other, statistic(other, own))
        found.append(part)
    return found


def _check_score(record: ResultRecord, fold: FoldResult, metric: str, part: Statistic) -> None:
    expected, got = fold.scores[metric], part.value
    # The scorer's F-measure without a single predicted event is NaN, the ratio 0.
    undefined = isinstance(part, RatioStatistic) and math.isnan(expected) and not got > 0
    if not undefined and not np.isclose(got, expected, rtol=1e-6, atol=1e-6, equal_nan=True):
        raise DeloresError(
            f"{record.folder}: the predictions of {fold.test_split} give {metric} {got:.6f}, the record says"
            f" {expected:.6f}; score again"
        )
