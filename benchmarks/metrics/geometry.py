"""How embeddings lie, nothing trained: neighbours, clusters, rank, uniformity, likeness. No score of a task.

Distances are by cosine: rows are divided by their length first, and a row of zeros stays zero. ``targets`` is
(n, n_labels) of 0 and 1, as in scoring.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hear_delores.errors import DeloresError

__all__ = [
    "alignment",
    "effective_rank",
    "linear_cka",
    "precision_at",
    "separation",
    "separation_test",
    "silhouette",
    "uniformity",
]

BLOCK = 1024  # rows whose similarities with all others are held at once


def unit(embeddings: np.ndarray) -> np.ndarray:
    """Rows of length 1, (n, d) float64."""
    rows = embeddings.astype(np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


def precision_at(embeddings: np.ndarray, targets: np.ndarray, ks: Sequence[int] = (1, 5)) -> dict[int, float]:
    """For each k: the share of a row's k nearest others that hold one of its labels, averaged over rows with a label.

    Of equally near rows the first counts. NaN where no row has a label. Raises DeloresError when there are no more than
    k rows.
    """
    if max(ks) >= len(embeddings):
        raise DeloresError(f"precision at {max(ks)} needs more than {max(ks)} embeddings, got {len(embeddings)}")
    rows = unit(embeddings)
    right = np.zeros((len(rows), max(ks)), dtype=bool)
    for start in range(0, len(rows), BLOCK):
        own = np.arange(start, min(start + BLOCK, len(rows)))
        similarity = rows[own] @ rows.T
        similarity[own - start, own] = -math.inf
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : max(ks)]
        right[own] = (targets[nearest] * targets[own][:, None]).any(axis=2)
    labelled = targets.any(axis=1)  # what has no label shares none: it is a neighbour alone
    return {k: float(right[labelled, :k].mean()) if labelled.any() else math.nan for k in ks}


def silhouette(embeddings: np.ndarray, targets: np.ndarray) -> float:
    """The mean silhouette coefficient (Rousseeuw 1987) by cosine distance, in [-1, 1]; NaN below two classes.

    Each row has one label. A row that is alone in its class counts 0, as in scikit-learn.
    """
    classes = targets.argmax(axis=1)
    counts = np.bincount(classes, minlength=targets.shape[1]).astype(np.float64)
    if (counts > 0).sum() < 2 or len(classes) == (counts > 0).sum():
        return math.nan
    rows, every = unit(embeddings), np.arange(len(classes))
    # The sum of 1 - cosine over a class is its size less the product with the sum of its rows.
    total = counts - rows @ (targets.T.astype(np.float64) @ rows).T
    own = counts[classes]
    itself = 1.0 - (rows**2).sum(axis=1)  # 0, but for a row of zeros
    within = (total[every, classes] - itself) / np.maximum(own - 1, 1)
    mean = np.divide(total, counts, out=np.full_like(total, math.inf), where=counts > 0)
    mean[every, classes] = math.inf
    between = mean.min(axis=1)
    larger = np.maximum(within, between)
    values = np.where((own > 1) & (larger > 0), (between - within) / np.where(larger > 0, larger, 1.0), 0.0)
    return float(values.mean())


def separation(embeddings: np.ndarray, targets: np.ndarray) -> float:
    """The mean cosine of pairs of one class less that of pairs of two, in [-2, 2]; NaN without both kinds of pairs.

    Each row has one label.
    """
    return _separation(unit(embeddings), targets.argmax(axis=1), targets.shape[1])


def _separation(rows: np.ndarray, classes: np.ndarray, n_labels: int) -> float:
    counts = np.bincount(classes, minlength=n_labels).astype(np.float64)
    sums = np.zeros((n_labels, rows.shape[1]))
    np.add.at(sums, classes, rows)
    squares = float((rows**2).sum())
    pairs = float((counts * (counts - 1)).sum())
    others = float(len(rows) * (len(rows) - 1)) - pairs
    if not pairs or not others:
        return math.nan
    within = float((sums**2).sum()) - squares
    everything = float((rows.sum(axis=0) ** 2).sum()) - squares
    return within / pairs - (everything - within) / others


def separation_test(
    embeddings: np.ndarray, targets: np.ndarray, permutations: int = 999, seed: int = 0
) -> tuple[float, float, float]:
    """:func:`separation`, its distance from the mean under shuffled labels in their deviations, and the p-value.

    The p-value is the share of permutations with a separation as large, the observed one among them.
    """
    rows, classes = unit(embeddings), targets.argmax(axis=1)
    observed, random = _separation(rows, classes, targets.shape[1]), np.random.default_rng(seed)
    null = np.array([_separation(rows, random.permutation(classes), targets.shape[1]) for _ in range(permutations)])
    deviation = float(null.std())
    distance = (observed - float(null.mean())) / deviation if deviation > 0 else math.nan
    at_least = int((null >= observed - 1e-12 * abs(observed)).sum())
    return observed, distance, (1 + at_least) / (1 + permutations) if not math.isnan(observed) else math.nan


def effective_rank(embeddings: np.ndarray) -> float:
    """exp of the entropy of the singular values divided by their sum (RankMe, arXiv 2210.02885): 1 to min(n, d)."""
    values = np.linalg.svd(embeddings.astype(np.float64), compute_uv=False)
    if not values.sum():
        return 1.0
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def uniformity(embeddings: np.ndarray, t: float = 2.0) -> float:
    """log of the mean of exp(-t d(u, v)^2) over pairs of unit rows (Wang and Isola 2020, arXiv 2005.10242); <= 0."""
    rows = unit(embeddings)
    square = (rows**2).sum(axis=1)
    total = 0.0
    for start in range(0, len(rows), BLOCK):
        own = slice(start, start + BLOCK)
        distance = square[own, None] + square - 2 * rows[own] @ rows.T
        total += float(np.exp(-t * np.maximum(distance, 0.0)).sum())
    pairs = len(rows) * (len(rows) - 1)
    return math.log((total - len(rows)) / pairs) if pairs else math.nan


def alignment(one: np.ndarray, other: np.ndarray) -> float:
    """The mean of d(u, v)^2 over unit rows of two views of the same clips (Wang and Isola 2020); 0 if they agree."""
    return float(((unit(one) - unit(other)) ** 2).sum(axis=1).mean())


def linear_cka(one: np.ndarray, other: np.ndarray) -> float:
    """Linear centred kernel alignment (Kornblith et al. 2019, arXiv 1905.00414) of the same n clips, in [0, 1].

    ``one`` is (n, d), ``other`` (n, e). NaN where one is constant.
    """
    if len(one) != len(other):
        raise DeloresError(f"linear CKA: expected embeddings of the same clips, got {len(one)} and {len(other)} rows")
    x, y = (rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64) for rows in (one, other))
    if max(x.shape[1], y.shape[1]) > len(x):  # products of clips are the smaller
        k, m = x @ x.T, y @ y.T
        cross, size = float((k * m).sum()), float(np.linalg.norm(k) * np.linalg.norm(m))
    else:
        cross = float(np.linalg.norm(y.T @ x) ** 2)
        size = float(np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    return cross / size if size else math.nan
