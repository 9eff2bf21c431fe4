"""Scores of clips, pure: predictions and targets in, a number out.

All take ``prediction`` (n, n_labels) float, larger meaning likelier, and ``target`` (n, n_labels) of 0 and 1, and
equal heareval's (scikit-learn's) to 1e-12, its NaN cases included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.metrics.ranks import Ranking
from hear_delores.errors import DeloresError

__all__ = [
    "aucroc",
    "average_precisions",
    "check_shapes",
    "chroma_right",
    "d_prime",
    "d_primes",
    "mean_average_precision",
    "roc_aucs",
    "share",
    "share_terms",
    "top1_acc",
    "top1_right",
]

Right = Callable[[np.ndarray, np.ndarray], np.ndarray]


def check_shapes(prediction: np.ndarray, target: np.ndarray) -> None:
    """Raises DeloresError unless both are (n > 0, n_labels)."""
    if prediction.ndim != 2 or prediction.shape != target.shape or len(target) == 0:
        raise DeloresError(
            f"expected prediction and target of one shape (n > 0, n_labels), got {prediction.shape} and {target.shape}"
        )


def top1_right(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(n,) bool: whether a row's largest prediction stands where the (first) target is."""
    check_shapes(prediction, target)
    return np.asarray(prediction.argmax(axis=1) == target.argmax(axis=1))


def chroma_right(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(n,) bool: whether the predicted pitch is right but for octaves, class indices modulo 12 being equal."""
    check_shapes(prediction, target)
    return np.asarray(prediction.argmax(axis=1) % 12 == target.argmax(axis=1) % 12)


def top1_acc(prediction: np.ndarray, target: np.ndarray) -> float:
    """Share of rows whose largest prediction is at the (first) target; also ``pitch_acc``.

    >>> top1_acc(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([[1, 0], [0, 1]]))
    0.5
    """
    return share(top1_right, prediction, target)


def share(right: Right, prediction: np.ndarray, target: np.ndarray) -> float:
    """The share of rows of which ``right(prediction, target)``, (n,) bool, is true."""
    return int(np.count_nonzero(right(prediction, target))) / len(target)


def share_terms(right: Right, prediction: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator (n,) of that share: whether each row is right, and 1."""
    return right(prediction, target), np.ones(len(target))


def average_precisions(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Average precision of each class, (n_labels,) float64: the sum of (R_k - R_{k-1}) P_k over thresholds.

    Rows with one prediction share one threshold. A class without a positive row counts 0, as in
    scikit-learn; NaN predictions give NaN.
    """
    check_shapes(prediction, target)
    found = np.zeros(target.shape[1])
    for label, ranking in enumerate(_rankings(prediction, target)):
        sums = ranking.counts
        # One term for each positive row, added one after the other: to the bit what earlier records hold.
        if len(terms := np.repeat(sums.precisions, sums.hits)):
            found[label] = np.cumsum(terms)[-1] / len(terms)
    return np.where(np.isnan(prediction).any(axis=0), np.nan, found)


def _rankings(prediction: np.ndarray, target: np.ndarray) -> Iterator[Ranking]:
    columns = np.ascontiguousarray(prediction.T), np.ascontiguousarray(target.T > 0)
    return map(Ranking.of, *columns)


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
    check_shapes(prediction, target)
    if not np.isfinite(prediction).all():
        return np.full(target.shape[1], np.nan)
    return np.array([ranking.counts.roc_auc(len(target)) for ranking in _rankings(prediction, target)])


def aucroc(prediction: np.ndarray, target: np.ndarray) -> float:
    """Area under the ROC curve, averaged over classes; NaN when a class is in no row or in all."""
    return float(roc_aucs(prediction, target).mean())


def d_prime(prediction: np.ndarray, target: np.ndarray) -> float:
    """sqrt(2) times the normal quantile of a class's ROC AUC, averaged over classes.

    Infinite when a class is ranked perfectly, NaN when a class has no positive or no negative row.
    """
    with np.errstate(invalid="ignore"):  # inf - inf, of a perfect and a perfectly wrong class, is NaN
        return float(d_primes(roc_aucs(prediction, target)).mean())


def d_primes(aucs: np.ndarray) -> np.ndarray:
    """The d' of ROC AUCs of any shape: by how many standard deviations two normal distributions would lie apart."""
    from scipy.special import ndtri  # slow to import: not where nothing is scored

    return np.asarray(ndtri(aucs) * np.sqrt(2.0))
