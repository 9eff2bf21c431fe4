"""The paired permutation test: the two models' predictions swapped clip by clip, the metric computed again.

Were the models alike, the two predictions of a clip could have come the other way round, so the observed difference is
one of the differences under all swaps, none of them likelier than another: the share that is as large is a p-value
whatever the metric and however few the clips (Fisher's randomisation test). For an accuracy it is McNemar's test.

mAP, aucroc and d_prime see only the order of a class's predictions, and two models need not share a scale: their
predictions are swapped as ranks within each class, a rank of one model that meets the same of the other on another
clip going before or after it at random (Venkatraman and Begg 1996). A model that is merely surer of itself is so not
taken for another. The test is exact but for that ranking: docs/protocols.md has the measured rates.

``scipy.stats.permutation_test`` is not used: it draws p-values alone, where tests over tasks need the differences under
the same swaps of all seeds of a fold, cannot rank within classes, and takes 15 times as long for accuracies. scipy has
no Holm correction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.reading.statistics.weighted import PairedRanks, RankStatistic, RatioStatistic, Statistic, weighted_sums

__all__ = ["SwapTest", "comparable_ranks", "holm", "share_as_large", "sign_flip_p", "swap_test"]

SWAPS = 4000
#: Up to this many clips on which the two differ, every combination of swaps is gone through: 4,096 of them.
EXACT = 12
BLOCK = 256

#: The two models on the same clips of one split, once for each seed: (first, second).
Pairs = Sequence[tuple[Statistic, Statistic]]


@dataclass(frozen=True)
class SwapTest:
    """``p`` is two-sided. ``drawn`` (swaps,) holds the difference under random swaps, for tests over tasks."""

    p: float
    drawn: np.ndarray


def swap_test(folds: Sequence[Pairs], swaps: int = SWAPS, seed: int = 0) -> SwapTest:
    """Tests that two models are alike, by the mean over folds and seeds of first - second.

    Args:
        folds: for each test split the pairs of statistics, one for each seed; a clip is swapped in all seeds at once.
    """
    generator = np.random.default_rng(seed)
    parts = [_Fold(pairs) for pairs in folds]
    observed = float(np.mean([part.differences(np.zeros((part.width, 1), dtype=bool))[0] for part in parts]))
    drawn = np.concatenate(
        [
            np.mean([part.differences(_coins(part.width, size, generator)) for part in parts], axis=0)
            for size in _sizes(swaps)
        ]
    )
    total = sum(part.width for part in parts)
    if total > EXACT:
        return SwapTest(share_as_large(drawn, observed), drawn)
    patterns = ((np.arange(2**total) >> np.arange(total)[:, None]) & 1).astype(bool)
    rows = np.split(patterns, np.cumsum([part.width for part in parts])[:-1])
    every = np.mean([part.differences(own) for part, own in zip(parts, rows, strict=True)], axis=0)
    return SwapTest(float(np.mean(_as_large(every, observed))), drawn)


class _Fold:
    """One split: which clips a swap changes, and the differences when some of these are swapped."""

    def __init__(self, pairs: Pairs) -> None:
        changes, self._measures = zip(*(_prepared(first, second) for first, second in pairs), strict=True)
        self.changing = np.flatnonzero(np.any(changes, axis=0))
        self.width = len(self.changing)
        self._n = len(changes[0])

    def differences(self, coins: np.ndarray) -> np.ndarray:
        """(b,) mean difference over seeds for each column of ``coins`` (width, b) bool."""
        swapped = np.zeros((self._n, coins.shape[1]), dtype=np.float32)
        swapped[self.changing] = coins
        return np.mean([measure(swapped) for measure in self._measures], axis=0)


def _prepared(first: Statistic, second: Statistic) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Which clips a swap changes (n,) bool, and (n, b) swaps to (b,) differences."""
    if isinstance(first, RatioStatistic) and isinstance(second, RatioStatistic):
        return _ratios(first, second)
    assert isinstance(first, RankStatistic)
    assert isinstance(second, RankStatistic)
    own, other = comparable_ranks(first.prediction, second.prediction)
    return np.ones(len(own), dtype=bool), PairedRanks(first.metric, own, other, first.positive).differences


def comparable_ranks(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks (n, n_classes) of both within each class, none of one equal to any of the other.

    Two clips at one rank, left tied, would make swapped models tie where no model does, which for average precision
    is a difference of its own: tests at 5 % then find 5.3 % of differences that are not there, so 4.6 %.
    """
    own, other = _ranks(first), _ranks(second)
    # By rank and class, so that what is tied within a model stays so. Ranks are whole or halves, at least 1 apart.
    shift = np.random.default_rng(0).choice([-0.25, 0.25], size=(2 * len(other) + 1, other.shape[1]))
    return own, other + np.take_along_axis(shift, (2 * other).astype(np.int64), axis=0)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 within each column of (n, k), float64; equal values share the mean of theirs."""
    found = np.empty(values.shape)
    for column, own in enumerate(values.T):
        ordered = np.sort(own)
        found[:, column] = ordered.searchsorted(own, "left") + ordered.searchsorted(own, "right") + 1
    return found / 2


def _ratios(a: RatioStatistic, b: RatioStatistic) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    own = np.stack([a.numerator, a.denominator])
    other = np.stack([b.numerator, b.denominator])

    def differences(swapped: np.ndarray) -> np.ndarray:
        moved = weighted_sums(other - own, swapped)
        above = [own[0].sum() + moved[0], other[0].sum() - moved[0]]
        below = [own[1].sum() + moved[1], other[1].sum() - moved[1]]
        # No event, true or predicted, is left to a side whose denominator is 0: no ratio, so as unlike as can be.
        shares = [
            np.divide(x, y, out=np.full(len(x), math.inf), where=y > 0) for x, y in zip(above, below, strict=True)
        ]
        return shares[0] - shares[1]

    return (own != other).any(axis=0), differences


def _coins(width: int, count: int, generator: np.random.Generator) -> np.ndarray:
    """(width, count) bool, each True with probability 1/2."""
    stride = (width + 7) // 8
    raw = np.frombuffer(generator.bytes(count * stride), dtype=np.uint8).reshape(count, stride)
    return np.unpackbits(raw, axis=1, count=width).T.astype(bool)


def _sizes(total: int) -> list[int]:
    return [min(BLOCK, total - start) for start in range(0, total, BLOCK)]


# --- p-values


def share_as_large(drawn: np.ndarray, observed: float) -> float:
    """The observed one counts as one of the draws, so that the level holds with any number of them."""
    return float((1 + np.count_nonzero(_as_large(drawn, observed))) / (1 + len(drawn)))


def _as_large(drawn: np.ndarray, observed: float) -> np.ndarray:
    """A draw without a number speaks for the models being alike. Equal values differ by rounding."""
    return ~(np.abs(drawn) < abs(observed) * (1 - 1e-9) - 1e-12)


def sign_flip_p(values: np.ndarray, flips: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value that the sum of ``values`` is 0, its signs being exchangeable; exact up to 12 values.

    >>> sign_flip_p(np.array([1.0, 2.0, 3.0]))
    0.25
    """
    values = np.asarray(values, dtype=np.float64)
    ones = np.ones(len(values))
    return swap_test([[(RatioStatistic((), values, ones), RatioStatistic((), -values, ones))]], flips, seed).p


def holm(ps: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's step-down method (family-wise error), in the given order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(ps)
    scaled = np.array(ps, dtype=np.float64)[order] * np.arange(len(ps), 0, -1)
    corrected = np.empty(len(ps))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(value) for value in corrected]
