"""How evenly embeddings fill their space, without any label. No score of a task."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["isotropy", "mean_cosine"]


def isotropy(embeddings: np.ndarray) -> float:
    """IsoScore of (n, d) embeddings: 0 where one direction holds all variance, 1 where all d hold the same.

    Rudman et al. 2022 (Findings of ACL, arXiv 2108.07344), algorithm 1. With k of d directions of the same variance and
    none in the others it is (k - 1) / (d - 1). NaN for fewer than two dimensions, or where nothing varies.
    """
    rows = embeddings.astype(np.float64)
    d = rows.shape[1]
    # The variances along the principal components; those past the number of rows are 0.
    variances = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False) ** 2
    length = float(np.linalg.norm(variances))
    if d < 2 or not length > 0:
        return math.nan
    # |sqrt(d) v / |v| - 1|^2 = 2 d - 2 sqrt(d) sum(v) / |v|
    squared_defect = (d - math.sqrt(d) * float(variances.sum()) / length) / (d - math.sqrt(d))
    share = (d - squared_defect * (d - math.sqrt(d))) ** 2 / d**2
    return (d * share - 1) / (d - 1)


def mean_cosine(embeddings: np.ndarray) -> float:
    """The mean cosine of all pairs of (n, d) embeddings, in [-1, 1]; near 0 where they point everywhere.

    Ethayarajh 2019 (EMNLP, arXiv 1909.00512, section 4.1) takes it of random pairs; here it is of all. NaN for fewer
    than two rows. A row of zeros has a cosine of 0 with every other.
    """
    rows = embeddings.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.where(lengths > 0, lengths, 1.0)
    pairs = len(rows) * (len(rows) - 1)
    if not pairs:
        return math.nan
    return float((np.square(rows.sum(axis=0)).sum() - np.square(rows).sum()) / pairs)
