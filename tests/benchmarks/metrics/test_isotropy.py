"""Isotropy against its stated properties, and the mean cosine against scikit-learn's matrix."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity

from benchmarks.metrics.isotropy import isotropy, mean_cosine


def with_variances(variances: list[float], rotated: bool = True) -> np.ndarray:
    """Points whose covariance has these eigenvalues, exactly, about a mean that is not zero."""
    d = len(variances)
    points = np.concatenate([np.eye(d), -np.eye(d)]) * np.sqrt(variances)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))[0] if rotated else np.eye(d)
    return points @ rotation + 3.0


@pytest.mark.parametrize(("k", "d"), [(1, 6), (2, 6), (4, 6), (6, 6), (3, 5)])
def test_isoscore_of_k_used_dimensions_is_what_the_paper_says(k: int, d: int) -> None:
    assert isotropy(with_variances([2.0] * k + [0.0] * (d - k))) == pytest.approx((k - 1) / (d - 1), abs=1e-9)


def test_isoscore_follows_the_steps_of_the_paper() -> None:
    rows = np.random.default_rng(1).normal(size=(300, 8)) * np.arange(1, 9)
    variances, n = PCA().fit(rows).explained_variance_, 8
    normalised = np.sqrt(n) * variances / np.linalg.norm(variances)
    defect = np.linalg.norm(normalised - np.ones(n)) / np.sqrt(2 * (n - np.sqrt(n)))
    share = (n - defect**2 * (n - np.sqrt(n))) ** 2 / n**2
    assert isotropy(rows) == pytest.approx((n * share - 1) / (n - 1), abs=1e-9)


def test_mean_cosine_is_that_of_all_pairs() -> None:
    rows = np.random.default_rng(2).normal(size=(40, 7)) + 0.5
    rows[3] = 0
    cosines = cosine_similarity(rows)
    assert mean_cosine(rows) == pytest.approx(cosines[~np.eye(40, dtype=bool)].mean(), abs=1e-12)


def test_where_nothing_can_be_said_it_is_nan() -> None:
    assert math.isnan(isotropy(np.ones((5, 3))))
    assert math.isnan(isotropy(np.ones((5, 1))))
    assert math.isnan(mean_cosine(np.ones((1, 3))))
