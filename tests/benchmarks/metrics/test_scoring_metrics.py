"""Scene metrics against scikit-learn and scipy, ties, absent classes and other corners included."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.metrics import scene as metrics
from benchmarks.metrics.registry import METRICS, find_metrics
from hear_delores.errors import DeloresError


def data(seed: int, n: int, classes: int, levels: int | None, multilabel: bool) -> tuple[np.ndarray, np.ndarray]:
    """Predictions float32 (with ties when there are few ``levels``) and 0/1 targets."""
    rng = np.random.default_rng(seed)
    if multilabel:
        target = (rng.random((n, classes)) < 0.3).astype(np.float32)
    else:
        target = np.eye(classes, dtype=np.float32)[rng.integers(0, classes, n)]
    prediction = rng.random((n, classes)) + 0.5 * target
    if levels:
        prediction = np.round(prediction * levels) / levels
    return prediction.astype(np.float32), target


def sklearn_aucs(target: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    columns = []
    for k in range(target.shape[1]):
        both = len(np.unique(target[:, k])) == 2
        columns.append(roc_auc_score(target[:, k], prediction[:, k]) if both else np.nan)
    return np.array(columns)


CASES = [
    (seed, n, classes, levels, multilabel)
    for seed, (n, classes) in enumerate([(1, 2), (2, 2), (7, 3), (50, 5), (300, 10)])
    for levels in (None, 3, 20)
    for multilabel in (False, True)
]


@pytest.mark.parametrize("case", CASES)
def test_ranking_metrics_equal_sklearn(case):
    prediction, target = data(*case)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected_ap = average_precision_score(target, prediction, average="macro")
        auc = sklearn_aucs(target, prediction)
        expected_d = np.mean(stats.norm().ppf(auc) * np.sqrt(2.0))
    assert metrics.mean_average_precision(prediction, target) == pytest.approx(expected_ap, abs=1e-12)
    assert metrics.aucroc(prediction, target) == pytest.approx(auc.mean(), abs=1e-12, nan_ok=True)
    assert metrics.d_prime(prediction, target) == pytest.approx(expected_d, abs=1e-9, rel=1e-12, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(2, 4), st.sampled_from([None, 1, 2, 5]))
def test_average_precision_equals_sklearn_on_any_ties(seed, n, classes, levels):
    prediction, target = data(seed, n, classes, levels, True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [average_precision_score(target[:, k], prediction[:, k]) for k in range(classes)]
    np.testing.assert_allclose(metrics.average_precisions(prediction, target), expected, atol=1e-12)


def test_accuracies_equal_a_loop():
    prediction, target = data(3, 400, 30, 4, False)  # ties: the first of the largest counts
    top1 = chroma = 0
    for p, t in zip(prediction, target, strict=True):
        top1 += np.argmax(p) == np.argmax(t)
        chroma += np.argmax(p) % 12 == np.argmax(t) % 12
    assert METRICS["top1_acc"].function(prediction, target) == top1 / 400
    assert METRICS["pitch_acc"].function(prediction, target) == top1 / 400
    assert METRICS["chroma_acc"].function(prediction, target) == chroma / 400
    assert top1 < chroma


def test_a_class_absent_from_the_targets():
    prediction, target = data(1, 40, 4, None, False)
    target[:, 2] = 0
    assert np.isnan(metrics.aucroc(prediction, target))
    assert np.isnan(metrics.d_prime(prediction, target))
    each = metrics.average_precisions(prediction, target)
    assert each[2] == 0
    assert metrics.mean_average_precision(prediction, target) == pytest.approx(each[[0, 1, 3]].sum() / 4)


def test_perfect_and_perfectly_wrong_rankings():
    target = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
    assert metrics.d_prime(target, target) == np.inf
    assert metrics.aucroc(target, target) == 1.0
    assert metrics.d_prime(1 - target, target) == -np.inf
    half = np.stack([target[:, 0], 1 - target[:, 1]], axis=1)
    assert np.isnan(metrics.d_prime(half, target))  # inf - inf


def test_predictions_that_are_not_numbers_never_score():
    prediction, target = data(1, 20, 3, None, False)
    prediction[4, 1] = np.nan
    for name in ("mAP", "aucroc", "d_prime"):
        assert np.isnan(METRICS[name].function(prediction, target))


@pytest.mark.parametrize("shapes", [((3, 2), (3, 3)), ((3,), (3,)), ((0, 2), (0, 2))])
def test_shapes_are_checked(shapes):
    with pytest.raises(DeloresError, match="expected prediction and target of one shape"):
        metrics.top1_acc(np.zeros(shapes[0]), np.zeros(shapes[1]))


def test_look_up_by_name():
    assert [metric.name for metric in find_metrics(["mAP", "top1_acc"], "scene")] == ["mAP", "top1_acc"]
    assert [name for name, metric in METRICS.items() if not metric.maximise] == ["segment_1s_er"]
    with pytest.raises(DeloresError, match=r"unknown metric 'top1_ac'\. Did you mean 'top1_acc'"):
        find_metrics(["top1_ac"], "scene")
    with pytest.raises(DeloresError, match="is for event tasks, but this is a scene task"):
        find_metrics(["segment_1s_er"], "scene")
    with pytest.raises(DeloresError, match="at least one metric"):
        find_metrics([], "scene")
