"""How far each clip moves a class's average precision or ROC AUC: derivatives by its weight, and leaving it out."""

from __future__ import annotations

import numpy as np

from benchmarks.metrics.ranks import Ranking

__all__ = ["average_precision_slopes", "roc_auc_slopes", "self_counting", "without_each"]


def roc_auc_slopes(ranking: Ranking) -> np.ndarray:
    """(n,) the derivative of the AUC by each row's weight: DeLong's placement values, less the AUC."""
    sums, n = ranking.counts, len(ranking.bin)
    below, auc, n_positive = sums.negatives_below(n), sums.roc_auc(n), sums.n_positive
    n_negative = n - n_positive
    above = np.append(sums.right - sums.hits, n_positive)[ranking.bin]
    above += np.where(ranking.tied, 0.5 * np.append(sums.hits, 0)[ranking.bin], 0.0)
    slopes = (above / n_positive - auc) / n_negative
    slopes[ranking.positive] = (below[ranking.bin[ranking.positive]] / n_negative - auc) / n_positive
    return np.asarray(slopes)


def average_precision_slopes(ranking: Ranking) -> np.ndarray:
    """(n,) the derivative of average precision by each row's weight.

    AP = sum_i P_i / p over the p positive rows, P_i = A_i / N_i with A_i the positive and N_i all rows predicted at
    least as high as row i. Row j moves its own term, if positive, and P_i of every positive i at or below it: by
    1 / N_i - A_i / N_i^2 when j is positive, by - A_i / N_i^2 when not.
    """
    sums = ranking.counts
    precision, p = sums.precisions, sums.n_positive
    slopes = -_of_positives_below(ranking, precision / sums.above) / p
    gain = _of_positives_below(ranking, 1.0 / sums.above)
    own = ranking.bin[ranking.positive]
    slopes[ranking.positive] += (gain[ranking.positive] + precision[own] - sums.average_precision()) / p
    return slopes


def without_each(ranking: Ranking) -> np.ndarray:
    """(n,) the average precision of a class without each of its rows; 0 without its only positive one."""
    sums = ranking.counts
    precision, p = sums.precisions, sums.n_positive
    total, others = p * sums.average_precision(), np.maximum(sums.above - 1, 1)
    # A row counts in the precision of every positive one at or below it.
    fewer_above = sums.right / others - precision
    fewer_right = (sums.right - 1) / others - precision
    found = (total + _of_positives_below(ranking, fewer_above)) / p
    own = ranking.bin[ranking.positive]
    left = total + _of_positives_below(ranking, fewer_right)[ranking.positive]
    found[ranking.positive] = (left - (fewer_right + precision)[own]) / max(p - 1, 1)
    return found


def self_counting(ranking: Ranking) -> float:
    """What a class's average precision gains by each positive clip standing in its own precision.

    The clips N - 1 above one at random hold a share of positives that is not biased; it adds one to both, which lifts
    A / N above it by (1 - A / N) / (N - 1).
    """
    sums = ranking.counts
    others = np.maximum(sums.above - 1, 1)
    return float((sums.hits * (1 - sums.precisions) / others).sum() / sums.n_positive)


def _of_positives_below(ranking: Ranking, values: np.ndarray) -> np.ndarray:
    """(n,) the sum of ``values`` (n_bins,) over the positive rows at or below each row."""
    each = ranking.counts.hits * values
    return np.append(np.cumsum(each[::-1])[::-1], 0.0)[ranking.bin]
