"""Training-free measures against scikit-learn, scipy, the pre-training watcher and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.special import logsumexp
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from benchmarks.metrics import geometry
from hear_delores.errors import DeloresError
from pretrain.watching.collapse import effective_rank


@pytest.fixture(params=[7, geometry.BLOCK], ids=["blocks", "one block"])
def clips(request, monkeypatch):
    """60 rows of 4 classes, one of them alone in its class and one label without rows."""
    monkeypatch.setattr(geometry, "BLOCK", request.param)
    rng = np.random.default_rng(0)
    classes = np.append(rng.integers(0, 3, 59), 3)
    rows = (rng.standard_normal((5, 8))[classes] + rng.standard_normal((60, 8))).astype(np.float32)
    return rows, np.eye(5, dtype=np.float32)[classes], classes


def test_precision_equals_scikit_learns_neighbours(clips):
    rows, targets, classes = clips
    search = NearestNeighbors(n_neighbors=6, metric="cosine", algorithm="brute").fit(rows)
    nearest = search.kneighbors(return_distance=False)  # of the training rows without themselves
    found = geometry.precision_at(rows, targets, (1, 5))
    for k in (1, 5):
        assert found[k] == pytest.approx((classes[nearest[:, :k]] == classes[:, None]).mean(), abs=1e-12)
    several = np.random.default_rng(1).random((60, 5)) < 0.3
    shared = (several[nearest[:, :5]] & several[:, None]).any(axis=2)
    assert not several.any(axis=1).all()
    shared = shared[several.any(axis=1)]  # a clip with no label can share none, however good the embeddings are
    assert geometry.precision_at(rows, several.astype(np.float32))[5] == pytest.approx(shared.mean(), abs=1e-12)
    assert math.isnan(geometry.precision_at(rows, np.zeros_like(targets))[1])
    with pytest.raises(DeloresError, match="precision at 5 needs more than 5 embeddings, got 5"):
        geometry.precision_at(rows[:5], targets[:5])


def test_silhouette_equals_scikit_learn(clips):
    rows, targets, classes = clips
    expected = silhouette_score(rows.astype(np.float64), classes, metric="cosine")
    assert geometry.silhouette(rows, targets) == pytest.approx(expected, abs=1e-9)
    assert math.isnan(geometry.silhouette(rows[classes == 0], targets[classes == 0]))


def test_separation_equals_all_pairs_and_its_null_holds_shuffled_labels(clips):
    rows, targets, classes = clips
    u = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = list(itertools.combinations(range(60), 2))
    same = np.array([classes[i] == classes[j] for i, j in pairs])
    cosines = np.array([u[i] @ u[j] for i, j in pairs])
    expected = cosines[same].mean() - cosines[~same].mean()
    observed, distance, p = geometry.separation_test(rows, targets, permutations=199)
    assert observed == pytest.approx(expected, abs=1e-6)
    assert geometry.separation(rows, targets) == observed
    assert distance > 5
    assert p == 1 / 200
    rng = np.random.default_rng(2)
    by_chance = [geometry.separation_test(rows, rng.permutation(targets), 99, seed)[2] for seed in range(100)]
    # A p-value of shuffled labels is uniform: its mean of 100 has a deviation of 0.029; four of them.
    assert abs(np.mean(by_chance) - 0.505) < 0.115


def test_rank_and_uniformity_and_alignment_follow_their_papers(clips):
    rows, *_ = clips
    assert geometry.effective_rank(rows) == pytest.approx(effective_rank(torch.from_numpy(rows)), rel=1e-4)
    assert geometry.effective_rank(np.eye(6)) == pytest.approx(6)
    assert geometry.effective_rank(np.outer(np.arange(1, 9), np.ones(4))) == pytest.approx(1)
    u = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    square = pdist(u, "sqeuclidean")
    assert geometry.uniformity(rows) == pytest.approx(logsumexp(-2 * square) - math.log(len(square)), abs=1e-9)
    other = np.roll(u, 1, axis=0)
    expected = np.linalg.norm(u - other, axis=1) ** 2
    assert geometry.alignment(3 * rows, other) == pytest.approx(expected.mean(), rel=1e-9)


def test_cka_equals_the_papers_hsic_and_ignores_rotation_and_scale(clips):
    rows, *_ = clips
    rng = np.random.default_rng(3)
    for width in (4, 200):  # fewer and more dimensions than clips
        other = np.tanh(rows @ rng.standard_normal((8, width))).astype(np.float32)
        centre = np.eye(60) - 1 / 60
        k, m = (centre @ (z.astype(np.float64) @ z.T.astype(np.float64)) @ centre for z in (rows, other))
        expected = np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))
        assert geometry.linear_cka(rows, other) == pytest.approx(expected, rel=1e-6)
    rotation = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    assert geometry.linear_cka(rows, 5 * rows @ rotation + 1) == pytest.approx(1, abs=1e-9)
    with pytest.raises(DeloresError, match="expected embeddings of the same clips, got 60 and 59 rows"):
        geometry.linear_cka(rows, rows[:59])
