"""Every HEAR metric as a function of how often each clip counts: what bootstraps and paired tests are made of.

A bootstrap draw is a vector of weights over clips, so a metric that takes a matrix of weights scores a thousand
draws in one matrix product. Each statistic also has an influence function, its derivative by the clips'
weights, which gives acceleration constants and sign-flip tests without computing anything again.

What is summed, matched and ranked is of ``benchmarks.metrics``, as in the scorer.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtri

from benchmarks.metrics.events import EventTable
from benchmarks.metrics.ranks import WeightedRanks
from benchmarks.metrics.registry import METRICS, Metric, metric_bounds
from benchmarks.metrics.scene import d_primes
from benchmarks.reading.statistics.influence import (
    average_precision_slopes,
    roc_auc_slopes,
    self_counting,
    without_each,
)
from benchmarks.results.format import FoldPredictions
from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["METRIC_NAMES", "PairedRanks", "RankStatistic", "RatioStatistic", "Statistic", "statistic", "weighted_sums"]

#: The metrics that have intervals and paired tests.
METRIC_NAMES = tuple(name for name, metric in METRICS.items() if metric.terms or metric.by_class)

#: Clips whose weights are held in float64 at a time: of 2,000 draws, what fits into a processor's cache.
ROWS = 256


class Statistic(ABC):
    """A metric of one test split. ``units`` are its clips, ``bounds`` the metric's range."""

    units: tuple[str, ...]
    bounds: tuple[float, float] = (0.0, 1.0)

    @property
    def value(self) -> float:
        """The metric itself: every clip counts once."""
        return float(self.scores(np.ones((len(self.units), 1)))[0])

    @abstractmethod
    def scores(self, weights: np.ndarray) -> np.ndarray:
        """(b,) float64: the metric for each column of ``weights`` (n_units, b), how often each clip counts."""

    @abstractmethod
    def influence(self) -> np.ndarray:
        """(n_units,) float64, of mean 0: n times the derivative of the metric by each clip's weight.

        value + influence are the clips' pseudo-values: for an accuracy, whether each clip was right.
        """

    def deviations(self) -> np.ndarray:
        """The influence, widened as a sample's variance is by n / (n - 1): their root sum of squares over n is the
        metric's standard error."""
        return self.influence() * math.sqrt(len(self.units) / max(len(self.units) - 1, 1))

    def degrees_of_freedom(self) -> float:
        """Of that standard error, for Student's t."""
        return float(len(self.units) - 1)

    def bias(self) -> float:
        """By how much the metric is expected to exceed what it would be on endless clips; 0 where that is small."""
        return 0.0


def weighted_sums(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``values @ weights`` in float64, (k, n) by (n, b) -> (k, b), without a copy of all weights in float64."""
    total = np.zeros((len(values), weights.shape[1]))
    for start in range(0, len(weights), ROWS):
        total += values[:, start : start + ROWS] @ weights[start : start + ROWS].astype(np.float64)
    return total


@dataclass(frozen=True)
class RatioStatistic(Statistic):
    """sum of ``numerator`` over sum of ``denominator``, both (n_units,): accuracies, event F-measure, error rate."""

    units: tuple[str, ...]
    numerator: np.ndarray
    denominator: np.ndarray
    bounds: tuple[float, float] = (0.0, 1.0)

    @classmethod
    def of(
        cls, units: tuple[str, ...], terms: tuple[np.ndarray, np.ndarray], bounds: tuple[float, float]
    ) -> RatioStatistic:
        """The ratio of a metric's ``terms``, as numbers of whatever type."""
        return cls(units, terms[0].astype(np.float64), terms[1].astype(np.float64), bounds)

    def scores(self, weights: np.ndarray) -> np.ndarray:
        above, below = weighted_sums(np.stack([self.numerator, self.denominator]), weights)
        return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)

    @property
    def is_mean(self) -> bool:
        """Whether it is a plain share of clips, such as an accuracy."""
        return bool((self.denominator == 1).all())

    def influence(self) -> np.ndarray:
        total = self.denominator.sum()
        if total <= 0:
            return np.full(len(self.units), np.nan)
        ratio = self.numerator.sum() / total
        return (self.numerator - ratio * self.denominator) * (len(self.units) / total)


class RankStatistic(Statistic):
    """mAP, aucroc or d_prime: macro averages over classes of statistics of ranks.

    A class that a draw happens to hold no positive (or no negative) clip of is left out of that draw's average:
    to count it 0 would pull the interval below the score. A class that the whole split lacks counts as in the
    scorer: 0 for mAP, NaN for the others.
    """

    def __init__(self, units: tuple[str, ...], metric: str, prediction: np.ndarray, target: np.ndarray) -> None:
        self.units, self.metric, self.bounds = units, metric, metric_bounds(metric)
        self.by_class = METRICS[metric].by_class
        self.prediction, self.positive = np.asarray(prediction), np.asarray(target) > 0
        count = self.positive.sum(axis=0)
        self.is_precision = self.by_class == "average_precision"
        usable = (count > 0) if self.is_precision else (count > 0) & (count < len(units))
        self.classes = np.flatnonzero(usable)
        self.n_labels = self.positive.shape[1]
        finite = bool(np.isfinite(self.prediction).all())
        self.is_defined = finite and (self.is_precision or len(self.classes) == self.n_labels)

    @cached_property
    def ranks(self) -> WeightedRanks:
        """The rankings of the usable classes."""
        return WeightedRanks(self.prediction[:, self.classes], self.positive[:, self.classes])

    def class_scores(self, sums: Sequence[np.ndarray], total: np.ndarray) -> np.ndarray:
        """(n_classes, b): average precision or ROC AUC of each usable class, NaN where a draw lacks it.

        Args:
            sums: of ``ranks``, for b draws.
            total: (b,) weight of all rows.
        """
        return np.stack(
            [own.average_precision() if self.is_precision else own.roc_auc(total) for own in self.ranks.by_class(sums)]
        )

    def scores(self, weights: np.ndarray) -> np.ndarray:
        if not self.is_defined:
            return np.full(weights.shape[1], np.nan)
        if not len(self.classes):
            return np.zeros(weights.shape[1])
        found = []
        # Whole weights are exact in float32, which halves the traffic; a block of 64 draws stays in the cache.
        for start in range(0, weights.shape[1], 64):
            block = np.ascontiguousarray(weights[:, start : start + 64], dtype=np.float32)
            by_class = self.class_scores(self.ranks.sums(block), block.sum(axis=0, dtype=np.float64))
            found.append(self.macro_average(by_class))
        return np.concatenate(found)

    def macro_average(self, by_class: np.ndarray) -> np.ndarray:
        """(b,) the metric, of the classes' average precisions or ROC AUCs (n_classes, b)."""
        if self.by_class == "d_prime":
            by_class = d_primes(by_class)
        present = ~np.isnan(by_class)
        with np.errstate(invalid="ignore"):
            mean = np.where(present, by_class, 0.0).sum(axis=0) / present.sum(axis=0)
        return mean * (len(self.classes) / self.n_labels) if self.is_precision else mean

    def influence(self) -> np.ndarray:
        return self._average(self._slopes)

    def deviations(self) -> np.ndarray:
        return self._average(self._widened())

    def degrees_of_freedom(self) -> float:
        """Satterthwaite's: variances of the classes, each with one less degree than clips on its rarer side."""
        spread = (self._widened() ** 2).sum(axis=0)
        weight = (spread**2 / (self._rarer - 1)).sum()
        return float(spread.sum() ** 2 / weight) if weight > 0 else float(len(self.units) - 1)

    def _widened(self) -> np.ndarray:
        """(n_units, n_classes): the class's part less that without the clip, of mean 0: the delete-one jackknife.

        Of a class with five positive clips these five are the sample, however many clips have none of it: k, the
        clips of its rarer side, stands for n. For AUC leaving one out is k / (k - 1) times the derivative. For
        average precision the jackknife is widened once more, by sqrt(k / (k - 1)): its spread on few clips is
        skewed, and only so do intervals hold the truth (``benchmarks/perf/interval_coverage.py``).
        """
        few, n = self._rarer / (self._rarer - 1), len(self.units)
        if not self.is_precision or not self.is_defined or not len(self.classes):
            return self._slopes * few
        without = np.stack([without_each(ranking) for ranking in self.ranks.rankings], axis=1)
        return (without.mean(axis=0) - without) * np.sqrt(few * (n - 1) / n)

    def bias(self) -> float:
        """mAP: every positive clip counts itself into its own precision. d_prime: the quantile of AUC is convex.

        A clip's precision among the *other* clips predicted as high, (A - 1) / (N - 1), has none of it.
        """
        if self.by_class == "roc_auc" or not self.is_defined:
            return 0.0
        if self.is_precision:
            return float(np.sum([self_counting(ranking) for ranking in self.ranks.rankings])) / self.n_labels
        # Half the second derivative times the variance; that of the AUC is the d' slopes' less the first derivative.
        spread = (self._slopes**2).sum(axis=0) * self._rarer / (self._rarer - 1)
        return float((ndtri(self._aucs) / (2 * math.sqrt(2.0)) * spread).sum()) / self.n_labels

    @property
    def _rarer(self) -> np.ndarray:
        """(n_classes,) clips on the rarer side of each usable class, at least 2."""
        count = self.positive[:, self.classes].sum(axis=0)
        return np.maximum(np.minimum(count, len(self.units) - count), 2)

    def _average(self, slopes: np.ndarray) -> np.ndarray:
        return slopes.sum(axis=1) * (len(self.units) / self.n_labels)

    @property
    def _aucs(self) -> np.ndarray:
        return np.array([ranking.counts.roc_auc(len(self.units)) for ranking in self.ranks.rankings])

    @cached_property
    def _slopes(self) -> np.ndarray:
        """(n_units, n_classes): derivative of each usable class's part by each clip's weight; NaN where undefined."""
        if not self.is_defined:
            return np.full((len(self.units), len(self.classes) or 1), np.nan)
        function = average_precision_slopes if self.is_precision else roc_auc_slopes
        found = np.zeros((len(self.units), len(self.classes)))
        for number, ranking in enumerate(self.ranks.rankings):
            found[:, number] = function(ranking)
        if self.by_class == "d_prime":
            quantile = ndtri(self._aucs)
            steep = np.where(np.isfinite(quantile), np.exp(quantile**2 / 2), np.nan)
            found *= 2 * math.sqrt(math.pi) * steep
        return found


class PairedRanks:
    """A metric of ranks of two models on the same clips, some of which they exchange: what permutation tests draw."""

    def __init__(self, metric: str, first: np.ndarray, second: np.ndarray, positive: np.ndarray) -> None:
        """``first`` and ``second`` are (n_clips, n_labels) predictions on one scale, ``positive`` the labels."""
        self._n = len(positive)
        rows = tuple(map(str, range(2 * self._n)))
        both = np.concatenate([first, second])
        self._pooled = RankStatistic(rows, metric, both, np.concatenate([positive, positive]))
        # Weights of the rows of one side are 1 or 0, those of the other the opposite: a swap moves sums between them.
        self._own, self._other, self._moves = [], [], []
        if self._pooled.is_defined:
            for matrix in self._pooled.ranks.matrices:
                sides = matrix[:, : self._n], matrix[:, self._n :]
                self._own.append(np.asarray(sides[0].sum(axis=1)))
                self._other.append(np.asarray(sides[1].sum(axis=1)))
                self._moves.append((sides[1] - sides[0]).tocsr())

    def differences(self, swapped: np.ndarray) -> np.ndarray:
        """(b,) first - second, the clips of each column of ``swapped`` (n_clips, b) exchanged."""
        if not self._pooled.is_defined or not len(self._pooled.classes):
            return np.full(swapped.shape[1], 0.0 if self._pooled.is_defined else np.nan)
        found = []
        for start in range(0, swapped.shape[1], 64):
            block = np.ascontiguousarray(swapped[:, start : start + 64], dtype=np.float32)
            moved = [moves @ block for moves in self._moves]
            first = self._score([own + move for own, move in zip(self._own, moved, strict=True)])
            second = self._score([other - move for other, move in zip(self._other, moved, strict=True)])
            found.append(first - second)
        return np.concatenate(found)

    def _score(self, sums: list[np.ndarray]) -> np.ndarray:
        by_class = self._pooled.class_scores(sums, np.full(sums[0].shape[1], float(self._n)))
        if self._pooled.by_class == "d_prime":
            # A swap may part a class's clips perfectly: d' as of a quarter of a pair in the wrong order.
            positive = self._pooled.positive[: self._n, self._pooled.classes].sum(axis=0)
            least = 0.25 / (positive * (self._n - positive))[:, None]
            by_class = np.clip(by_class, least, 1 - least)
        return self._pooled.macro_average(by_class)


# --- from predictions to a statistic


def statistic(metric: str, fold: FoldPredictions, *, score_missing_files: bool = True) -> Statistic:
    """The statistic of a metric on one fold's saved predictions; its units are the clips, in stored order.

    Args:
        score_missing_files: whether events of a clip without predictions count as missed (as in the scorer).

    Raises:
        DeloresError: an unknown metric, or an event metric of predictions without events.
    """
    known = METRICS.get(metric)
    if known is None:
        raise DeloresError(f"unknown metric {metric!r}. {did_you_mean(metric, METRICS)}")
    if known.terms is None and known.by_class is None:
        raise DeloresError(f"{metric} has no intervals; expected one of {', '.join(METRIC_NAMES)}")
    if known.kind == "event":
        return _event_statistic(known, fold, score_missing_files)
    units = tuple(str(name) for name in fold.files.tolist())
    if len(set(units)) != len(units):
        raise DeloresError(f"{metric} is for clips, but these predictions hold several rows of {units[0]}")
    if known.terms is None:
        return RankStatistic(units, metric, fold.prediction, fold.target)
    return RatioStatistic.of(units, known.terms(fold.prediction, fold.target), known.bounds)


def _event_statistic(metric: Metric, fold: FoldPredictions, score_missing_files: bool) -> RatioStatistic:
    if fold.event_files is None or fold.predicted_events is None or fold.target_events is None:
        raise DeloresError(
            f"{metric.name} needs predicted and true events, but these predictions hold none; score again"
        )
    names = [str(name) for name in fold.event_files.tolist()]
    truth = fold.target_events
    if not score_missing_files:
        truth = truth[np.isin(names, fold.files)[truth[:, 0].astype(np.int64)]]
    labels = [str(label) for label in range(fold.prediction.shape[1])]
    predicted, target = (EventTable.from_rows(rows, names, labels) for rows in (fold.predicted_events, truth))
    assert metric.terms is not None
    return RatioStatistic.of(tuple(names), metric.terms(predicted, target), metric.bounds)
