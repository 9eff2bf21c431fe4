"""Every HEAR metric as a function of how often each clip counts: what bootstraps and paired tests are made of.

A bootstrap draw is a vector of weights over clips, so a metric that takes a matrix of weights scores a thousand
draws in one matrix product. Each statistic also has an influence function, its derivative by the clips'
weights, which gives acceleration constants and sign-flip tests without computing anything again.

With all weights 1 the scores equal those of the scorer, which the tests hold; this room may not import it.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.special import ndtri

from benchmarks.results.record import FoldPredictions
from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["METRIC_NAMES", "PairedRanks", "RankStatistic", "RatioStatistic", "Statistic", "statistic"]

ACCURACIES = ("top1_acc", "pitch_acc", "chroma_acc")
RANKS = ("mAP", "aucroc", "d_prime")
#: Onset collar in seconds, and the share of the length that an offset may be off (None: offsets do not count).
EVENTS: dict[str, tuple[float, float | None]] = {
    "event_onset_200ms_fms": (0.2, None),
    "event_onset_50ms_fms": (0.05, None),
    "event_onset_offset_50ms_20perc_fms": (0.05, 0.2),
}
METRIC_NAMES = (*ACCURACIES, *RANKS, *EVENTS, "segment_1s_er")


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


@dataclass(frozen=True)
class RatioStatistic(Statistic):
    """sum of ``numerator`` over sum of ``denominator``, both (n_units,): accuracies, event F-measure, error rate."""

    units: tuple[str, ...]
    numerator: np.ndarray
    denominator: np.ndarray
    bounds: tuple[float, float] = (0.0, 1.0)

    def scores(self, weights: np.ndarray) -> np.ndarray:
        both = np.stack([self.numerator, self.denominator])
        blocks = [
            both @ weights[:, start : start + 256].astype(np.float64) for start in range(0, weights.shape[1], 256)
        ]
        above, below = np.concatenate(blocks, axis=1)
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
        self.units, self.metric = units, metric
        self.bounds = (0.0, 1.0) if metric != "d_prime" else (-math.inf, math.inf)
        self.prediction, self.positive = np.asarray(prediction), np.asarray(target) > 0
        count = self.positive.sum(axis=0)
        usable = (count > 0) if metric == "mAP" else (count > 0) & (count < len(units))
        self.classes = np.flatnonzero(usable)
        self.n_labels = self.positive.shape[1]
        finite = bool(np.isfinite(self.prediction).all())
        self.is_defined = finite and (metric == "mAP" or len(self.classes) == self.n_labels)
        self._bins: tuple[csr_matrix, csr_matrix, csr_matrix, np.ndarray] | None = None
        self._derivatives: np.ndarray | None = None

    def _bins_of_classes(self) -> tuple[csr_matrix, csr_matrix, csr_matrix, np.ndarray]:
        """Rows binned by the distinct predictions u_1 > u_2 > ... of a class's positive rows.

        Only there does precision count: a sparse product sums the weights of each bin for all draws, and a
        cumulative sum over bins gives all weight at or above each threshold.
        """
        if self._bins is None:
            self._bins = _threshold_bins(self.prediction[:, self.classes], self.positive[:, self.classes])
        return self._bins

    def _class_scores(self, in_bin: np.ndarray, hits: np.ndarray, ties: np.ndarray, total: np.ndarray) -> np.ndarray:
        """(n_classes, b): average precision or ROC AUC of each usable class, NaN where a draw lacks it.

        Args:
            in_bin, hits, ties: (n_bins, b) weight of all rows of a bin, of the positive ones, and of the negative
                ones at its threshold.
            total: (b,) weight of all rows.
        """
        found = np.empty((len(self.classes), in_bin.shape[1]))
        with np.errstate(invalid="ignore", divide="ignore"):
            for number, (a, b) in enumerate(itertools.pairwise(self._bins_of_classes()[3])):
                above = np.cumsum(in_bin[a:b], axis=0, dtype=np.float64)
                right = np.cumsum(hits[a:b], axis=0, dtype=np.float64)
                n_positive = right[-1]
                if self.metric == "mAP":
                    precision = np.divide(right, above, out=np.zeros_like(right), where=above > 0)
                    found[number] = (hits[a:b] * precision).sum(axis=0) / n_positive
                else:
                    n_negative = total - n_positive
                    below = n_negative - (above - right) + 0.5 * ties[a:b]
                    found[number] = (hits[a:b] * below).sum(axis=0) / (n_positive * n_negative)
        return found

    def scores(self, weights: np.ndarray) -> np.ndarray:
        if not self.is_defined:
            return np.full(weights.shape[1], np.nan)
        if not len(self.classes):
            return np.zeros(weights.shape[1])
        matrices, found = self._bins_of_classes()[:3], []
        # Whole weights are exact in float32, which halves the traffic; a block of 64 draws stays in the cache.
        for start in range(0, weights.shape[1], 64):
            block = np.ascontiguousarray(weights[:, start : start + 64], dtype=np.float32)
            in_bin, hits, ties = (matrix @ block for matrix in matrices)
            by_class = self._class_scores(in_bin, hits, ties, block.sum(axis=0, dtype=np.float64))
            found.append(self._macro_average(by_class))
        return np.concatenate(found)

    def _macro_average(self, by_class: np.ndarray) -> np.ndarray:
        if self.metric == "d_prime":
            by_class = ndtri(by_class) * math.sqrt(2.0)
        present = ~np.isnan(by_class)
        with np.errstate(invalid="ignore"):
            mean = np.where(present, by_class, 0.0).sum(axis=0) / present.sum(axis=0)
        return mean * (len(self.classes) / self.n_labels) if self.metric == "mAP" else mean

    def influence(self) -> np.ndarray:
        return self._average(self._slopes())

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
        if self.metric != "mAP" or not self.is_defined:
            return self._slopes() * few
        columns = [_without_each(self.prediction[:, c], self.positive[:, c]) for c in self.classes]
        without = np.stack(columns, axis=1) if columns else np.zeros((n, 0))
        return (without.mean(axis=0) - without) * np.sqrt(few * (n - 1) / n)

    def bias(self) -> float:
        """mAP: every positive clip counts itself into its own precision. d_prime: the quantile of AUC is convex.

        A clip's precision among the *other* clips predicted as high, (A - 1) / (N - 1), has none of it.
        """
        if self.metric == "aucroc" or not self.is_defined:
            return 0.0
        if self.metric == "mAP":
            parts = [_self_counting(self.prediction[:, c], self.positive[:, c]) for c in self.classes]
            return float(np.sum(parts)) / self.n_labels
        auc = [_auc_influence(self.prediction[:, c], self.positive[:, c])[0] for c in self.classes]
        # Half the second derivative times the variance; that of the AUC is the d' slopes' less the first derivative.
        spread = (self._slopes() ** 2).sum(axis=0) * self._rarer / (self._rarer - 1)
        return float((ndtri(np.array(auc)) / (2 * math.sqrt(2.0)) * spread).sum()) / self.n_labels

    @property
    def _rarer(self) -> np.ndarray:
        """(n_classes,) clips on the rarer side of each usable class, at least 2."""
        count = self.positive[:, self.classes].sum(axis=0)
        return np.maximum(np.minimum(count, len(self.units) - count), 2)

    def _average(self, slopes: np.ndarray) -> np.ndarray:
        return slopes.sum(axis=1) * (len(self.units) / self.n_labels)

    def _slopes(self) -> np.ndarray:
        """(n_units, n_classes): derivative of each usable class's part by each clip's weight; NaN where undefined."""
        if not self.is_defined:
            return np.full((len(self.units), len(self.classes) or 1), np.nan)
        if self._derivatives is None:
            function = _average_precision_influence if self.metric == "mAP" else _auc_influence
            found = np.zeros((len(self.units), len(self.classes)))
            for number, index in enumerate(self.classes):
                value, slope = function(self.prediction[:, index], self.positive[:, index])
                if self.metric == "d_prime":
                    quantile = ndtri(value)
                    steep = math.exp(quantile**2 / 2) if np.isfinite(quantile) else math.nan
                    slope = slope * (2 * math.sqrt(math.pi) * steep)
                found[:, number] = slope
            self._derivatives = found
        return self._derivatives


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
            for matrix in self._pooled._bins_of_classes()[:3]:
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
        in_bin, hits, ties = sums
        by_class = self._pooled._class_scores(in_bin, hits, ties, np.full(in_bin.shape[1], float(self._n)))
        if self._pooled.metric == "d_prime":
            # A swap may part a class's clips perfectly: d' as of a quarter of a pair in the wrong order.
            positive = self._pooled.positive[: self._n, self._pooled.classes].sum(axis=0)
            least = 0.25 / (positive * (self._n - positive))[:, None]
            by_class = np.clip(by_class, least, 1 - least)
        return self._pooled._macro_average(by_class)


def _threshold_bins(
    prediction: np.ndarray, positive: np.ndarray
) -> tuple[csr_matrix, csr_matrix, csr_matrix, np.ndarray]:
    """For each class one row per distinct positive prediction u_1 > u_2 > ...; each (n_bins, n_rows) of 0 and 1.

    Returns which rows lie in (u_{k-1}, u_k], i.e. at u_k or between it and the one above; the positive ones of
    these; the negative ones equal to u_k; and the first bin of each class, with the number of bins at the end.
    """
    n, starts = len(prediction), [0]
    parts: list[list[np.ndarray]] = [[], [], [], [], [], []]
    for column in range(prediction.shape[1]):
        score, hit = prediction[:, column], positive[:, column]
        thresholds = np.unique(score[hit])  # ascending
        # The largest threshold at or below a score: bins count from the top.
        place = np.searchsorted(thresholds, score, side="right") - 1
        rows = np.flatnonzero(place >= 0)
        bins = len(thresholds) - 1 - place[rows] + starts[-1]
        tied = ~hit[rows] & (thresholds[place[rows]] == score[rows])
        for slot, value in enumerate((bins, rows, bins[hit[rows]], rows[hit[rows]], bins[tied], rows[tied])):
            parts[slot].append(value)
        starts.append(starts[-1] + len(thresholds))
    joined = [np.concatenate(part) if part else np.zeros(0, dtype=np.int64) for part in parts]

    def matrix(bins: np.ndarray, rows: np.ndarray) -> csr_matrix:
        return csr_matrix((np.ones(len(bins), dtype=np.float32), (bins, rows)), shape=(starts[-1], n))

    return matrix(*joined[:2]), matrix(*joined[2:4]), matrix(*joined[4:]), np.array(starts)


def _auc_influence(score: np.ndarray, positive: np.ndarray) -> tuple[float, np.ndarray]:
    """ROC AUC and its derivative by each row's weight: DeLong's placement values, less the AUC."""
    hits, misses = np.sort(score[positive]), np.sort(score[~positive])
    slope = np.empty(len(score))
    below = (np.searchsorted(misses, score[positive], "left") + np.searchsorted(misses, score[positive], "right")) / 2
    above = (np.searchsorted(hits, score[~positive], "left") + np.searchsorted(hits, score[~positive], "right")) / 2
    auc = float(below.mean() / len(misses))
    slope[positive] = (below / len(misses) - auc) / len(hits)
    slope[~positive] = (1 - above / len(hits) - auc) / len(misses)
    return auc, slope


def _average_precision_influence(score: np.ndarray, positive: np.ndarray) -> tuple[float, np.ndarray]:
    """Average precision and its derivative by each row's weight.

    AP = sum_i P_i / p over the p positive rows, P_i = A_i / N_i with A_i the positive and N_i all rows predicted at
    least as high as row i. Row j moves its own term, if positive, and P_i of every positive i at or below it: by
    1 / N_i - A_i / N_i^2 when j is positive, by - A_i / N_i^2 when not.
    """
    p = int(positive.sum())
    hits, everything = np.sort(score[positive]), np.sort(score)
    right = p - np.searchsorted(hits, hits, "left")
    above = len(score) - np.searchsorted(everything, hits, "left")
    precision = right / above
    value = float(precision.mean())
    below = np.searchsorted(hits, score, "right")  # how many positive rows lie at or below each row
    drop = np.concatenate([[0.0], np.cumsum(precision / above)])[below]
    gain = np.concatenate([[0.0], np.cumsum(1.0 / above)])[below]
    slope = -drop / p
    own = precision[np.searchsorted(hits, score[positive], "left")]
    slope[positive] += (gain[positive] + own - value) / p
    return value, slope


def _without_each(score: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """(n,) the average precision of a class without each of its rows; 0 without its only positive one."""
    p = int(positive.sum())
    hits, everything = np.sort(score[positive]), np.sort(score)
    right = p - np.searchsorted(hits, hits, "left")
    above = len(score) - np.searchsorted(everything, hits, "left")
    precision = right / above
    # A row counts in the precision of every positive one at or below it.
    fewer_above = right / np.maximum(above - 1, 1) - precision
    fewer_right = (right - 1) / np.maximum(above - 1, 1) - precision
    below = np.searchsorted(hits, score, "right")
    found = (precision.sum() + np.concatenate([[0.0], np.cumsum(fewer_above)])[below]) / p
    own = np.searchsorted(hits, score[positive], "left")
    others = precision.sum() + np.concatenate([[0.0], np.cumsum(fewer_right)])[below[positive]]
    found[positive] = (others - (fewer_right + precision)[own]) / max(p - 1, 1)
    return found


def _self_counting(score: np.ndarray, positive: np.ndarray) -> float:
    """What a class's average precision gains by each positive clip standing in its own precision.

    The clips N - 1 above one at random hold a share of positives that is not biased; it adds one to both, which lifts
    A / N above it by (1 - A / N) / (N - 1).
    """
    hits, everything = np.sort(score[positive]), np.sort(score)
    right = len(hits) - np.searchsorted(hits, hits, "left")
    above = len(score) - np.searchsorted(everything, hits, "left")
    return float(np.mean((1 - right / above) / np.maximum(above - 1, 1)))


# --- from predictions to a statistic


def statistic(metric: str, fold: FoldPredictions, *, score_missing_files: bool = True) -> Statistic:
    """The statistic of a metric on one fold's saved predictions; its units are the clips, in stored order.

    Args:
        score_missing_files: whether events of a clip without predictions count as missed (as in the scorer).

    Raises:
        DeloresError: an unknown metric, or an event metric of predictions without events.
    """
    if metric not in METRIC_NAMES:
        raise DeloresError(f"unknown metric {metric!r}. {did_you_mean(metric, METRIC_NAMES)}")
    if metric in EVENTS or metric == "segment_1s_er":
        if fold.event_files is None or fold.predicted_events is None or fold.target_events is None:
            raise DeloresError(
                f"{metric} needs predicted and true events, but these predictions hold none; score again"
            )
        return _event_statistic(metric, fold, score_missing_files)
    units = tuple(str(name) for name in fold.files.tolist())
    if len(set(units)) != len(units):
        raise DeloresError(f"{metric} is for clips, but these predictions hold several rows of {units[0]}")
    if metric in RANKS:
        return RankStatistic(units, metric, fold.prediction, fold.target)
    guess, truth = fold.prediction.argmax(axis=1), fold.target.argmax(axis=1)
    right = guess % 12 == truth % 12 if metric == "chroma_acc" else guess == truth
    return RatioStatistic(units, right.astype(np.float64), np.ones(len(units)))


def _event_statistic(metric: str, fold: FoldPredictions, score_missing_files: bool) -> RatioStatistic:
    assert fold.event_files is not None
    assert fold.predicted_events is not None
    assert fold.target_events is not None
    names = [str(name) for name in fold.event_files.tolist()]
    predicted, target = fold.predicted_events.copy(), fold.target_events.copy()
    # Seconds by division, as the scorer does: an event exactly on the collar must fall on the same side.
    predicted[:, 2:] /= 1000.0
    target[:, 2:] /= 1000.0
    if not score_missing_files:
        kept = np.isin(names, fold.files)
        target = target[kept[target[:, 0].astype(np.int64)]]
    count = len(names)
    if metric == "segment_1s_er":
        errors, active = _segment_errors(predicted, target, count, fold.prediction.shape[1])
        return RatioStatistic(tuple(names), errors, active, bounds=(0.0, math.inf))
    collar, share = EVENTS[metric]
    hits = _matched(predicted, target, count, collar, share)
    n_target = np.bincount(target[:, 0].astype(np.int64), minlength=count)
    n_predicted = np.bincount(predicted[:, 0].astype(np.int64), minlength=count)
    return RatioStatistic(tuple(names), 2.0 * hits, (n_target + n_predicted).astype(np.float64))


def _matched(predicted: np.ndarray, target: np.ndarray, n_files: int, collar: float, share: float | None) -> np.ndarray:
    """(n_files,) int: true events of each file in a maximum matching with predicted ones of its label.

    Events are (m, 4): file, label, start and end in seconds. Files and labels are separate parts of the graph, so
    one matching of all is one of each.
    """
    if not len(predicted) or not len(target):
        return np.zeros(n_files, dtype=np.int64)
    n_labels = int(max(predicted[:, 1].max(), target[:, 1].max())) + 1
    group, own = (events[:, 0] * n_labels + events[:, 1] for events in (predicted, target))
    order = np.lexsort((predicted[:, 2], group))
    predicted, group = predicted[order], group[order]
    first, stop = np.searchsorted(group, own, "left"), np.searchsorted(group, own, "right")
    row = np.repeat(np.arange(len(target)), stop - first)
    column = np.arange(len(row)) - np.repeat(np.cumsum(stop - first) - (stop - first), stop - first)
    column += np.repeat(first, stop - first)
    fits = np.abs(target[row, 2] - predicted[column, 2]) <= collar
    if share is not None:
        length = target[row, 3] - target[row, 2]
        fits &= np.abs(target[row, 3] - predicted[column, 3]) <= np.maximum(collar, share * length)
    row, column = row[fits], column[fits]
    if not len(row):
        return np.zeros(n_files, dtype=np.int64)
    graph = csr_matrix((np.ones(len(row), dtype=np.int8), (row, column)), shape=(len(target), len(predicted)))
    matched = maximum_bipartite_matching(graph, perm_type="column") >= 0
    return np.bincount(target[matched, 0].astype(np.int64), minlength=n_files)


def _segment_errors(
    predicted: np.ndarray, target: np.ndarray, n_files: int, n_labels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Errors (substitutions, deletions, insertions) and active true segments of each file, by segments of 1 s."""
    errors, active = np.zeros(n_files), np.zeros(n_files)
    for number in range(n_files):
        own = [events[events[:, 0] == number] for events in (predicted, target)]
        length = max((math.ceil(events[:, 3].max()) for events in own if len(events)), default=0)
        rolls = [np.zeros((length + 1, n_labels), dtype=bool) for _ in own]
        for roll, events in zip(rolls, own, strict=True):
            for _, label, start, end in events:
                roll[math.floor(start) : math.ceil(end), int(label)] = True
        guess, truth = rolls
        n_guess, n_truth = guess.sum(axis=1), truth.sum(axis=1)
        # S + D + I of a segment: whatever is larger, less the hits.
        errors[number] = (np.maximum(n_guess, n_truth) - (guess & truth).sum(axis=1)).sum()
        active[number] = n_truth.sum()
    return errors, active
