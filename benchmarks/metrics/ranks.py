"""Average precision and ROC AUC of a class from weights at its thresholds, for rows that count once or by any weights.

Both see a class's rows only by the distinct predictions u_1 > u_2 > ... of its positive rows. :class:`Ranking` bins
rows by these thresholds; :class:`Sums` holds how much lies in each bin; the two scores are functions of the sums.
Rows that count once give counts. A bootstrap draw gives weighted sums: :class:`WeightedRanks` makes those of many
classes and a thousand draws in one sparse product.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["Ranking", "Sums", "WeightedRanks"]


@dataclass(frozen=True)
class Sums:
    """Weights in the bins of a class, best bin first, each (n_bins,) or, for b weightings, (n_bins, b).

    ``every`` is of all rows of a bin, ``hits`` of the positive ones, ``ties`` of the negative ones at its threshold.
    """

    every: np.ndarray
    hits: np.ndarray
    ties: np.ndarray

    @cached_property
    def above(self) -> np.ndarray:
        """All weight predicted at least as high as each threshold, float64."""
        return np.cumsum(self.every, axis=0, dtype=np.float64)

    @cached_property
    def right(self) -> np.ndarray:
        """The positive weight of it."""
        return np.cumsum(self.hits, axis=0, dtype=np.float64)

    @property
    def n_positive(self) -> np.ndarray:
        """All positive weight, () or (b,)."""
        return np.asarray(self.right[-1] if len(self.right) else np.zeros(self.right.shape[1:]))

    @cached_property
    def precisions(self) -> np.ndarray:
        """The share of positive weight in all weight at or above each threshold; 0 where there is none."""
        return np.divide(self.right, self.above, out=np.zeros_like(self.right), where=self.above > 0)

    def average_precision(self) -> np.ndarray:
        """() or (b,): the mean of the precisions at positive rows; NaN without positive weight."""
        with np.errstate(invalid="ignore"):
            return np.divide((self.hits * self.precisions).sum(axis=0), self.n_positive)

    def negatives_below(self, total: np.ndarray | float) -> np.ndarray:
        """Negative weight below each threshold, ties half, where all rows weigh ``total``, () or (b,)."""
        return total - self.n_positive - (self.above - self.right) + 0.5 * self.ties

    def roc_auc(self, total: np.ndarray | float) -> np.ndarray:
        """() or (b,): the share of pairs in the right order (Mann-Whitney); NaN where there is no pair."""
        n_pairs = self.n_positive * (total - self.n_positive)
        with np.errstate(invalid="ignore"):
            return np.divide((self.hits * self.negatives_below(total)).sum(axis=0), n_pairs)


@dataclass(frozen=True)
class Ranking:
    """The rows of a class: bin k holds those predicted at u_k, or between it and the threshold above.

    ``bin`` (n,) int64 is each row's, ``n_bins`` for rows below all thresholds; ``positive`` and ``tied`` (n,) bool
    mark the positive rows, and the negative ones exactly at their bin's threshold.
    """

    n_bins: int
    bin: np.ndarray
    positive: np.ndarray
    tied: np.ndarray

    @classmethod
    def of(cls, score: np.ndarray, positive: np.ndarray) -> Ranking:
        """The ranking of a class by ``score`` (n,) float, larger meaning likelier; ``positive`` is (n,) bool."""
        thresholds = np.unique(score[positive])  # ascending
        place = np.searchsorted(thresholds, score, side="right") - 1
        at_threshold = np.append(thresholds, np.nan)[place] == score  # place -1 finds the NaN
        return cls(len(thresholds), len(thresholds) - 1 - place, positive, at_threshold & ~positive)

    @property
    def members(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which rows (n,) bool each of the :class:`Sums` is of."""
        return self.bin < self.n_bins, self.positive, self.tied

    @cached_property
    def counts(self) -> Sums:
        """The sums of rows that count once, int64."""
        return Sums(*(np.bincount(self.bin[rows], minlength=self.n_bins) for rows in self.members))


class WeightedRanks:
    """The rankings of one or more classes, of ``prediction`` and ``positive`` (n, n_classes).

    ``matrices``, sparse (n_bins of all, n) float32, hold 1 where a row is in a bin: one for each of the :class:`Sums`.
    """

    def __init__(self, prediction: np.ndarray, positive: np.ndarray) -> None:
        from scipy.sparse import csr_matrix  # a quarter of a second to import: not where nothing is weighed

        self.rankings = [Ranking.of(*column) for column in zip(prediction.T, positive.T, strict=True)]
        self._starts = np.cumsum([0, *(ranking.n_bins for ranking in self.rankings)])
        self.matrices = []
        for members in zip(*(ranking.members for ranking in self.rankings), strict=True):
            rows = [np.flatnonzero(own) for own in members]
            bins = [
                start + ranking.bin[own]
                for start, ranking, own in zip(self._starts[:-1], self.rankings, rows, strict=True)
            ]
            row, bin_ = np.concatenate(rows), np.concatenate(bins)
            ones = np.ones(len(row), dtype=np.float32)
            self.matrices.append(csr_matrix((ones, (bin_, row)), shape=(self._starts[-1], len(prediction))))

    def sums(self, weights: np.ndarray) -> list[np.ndarray]:
        """The three sums of all classes together (n_bins, b), for ``weights`` (n, b) float32."""
        return [matrix @ weights for matrix in self.matrices]

    def by_class(self, sums: Sequence[np.ndarray]) -> Iterator[Sums]:
        """The same, of one class after the other."""
        for start, stop in itertools.pairwise(self._starts):
            yield Sums(*(part[start:stop] for part in sums))
