"""Weighted metrics: weights 1 give the scorer's score, whole weights a resample's, influence the derivative."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.metrics.events import EventTable
from benchmarks.metrics.registry import METRICS
from benchmarks.reading.statistics.weighted import METRIC_NAMES, statistic
from benchmarks.results.format import FoldPredictions

SCENE = ("top1_acc", "pitch_acc", "chroma_acc", "mAP", "aucroc", "d_prime")
EVENT = tuple(name for name in METRIC_NAMES if name not in SCENE)
LABELS = ("a", "b", "c")


def scene(seed: int, n: int = 80, labels: int = 14, ties: bool = False) -> FoldPredictions:
    random = np.random.default_rng(seed)
    target = (random.random((n, labels)) < 0.3).astype(np.float32)
    prediction = (random.normal(size=(n, labels)) + target).astype(np.float32)
    if ties:
        prediction = np.round(prediction)
    return FoldPredictions(prediction, target, np.array([f"{i}.wav" for i in range(n)]))


def event_rows(random: np.random.Generator, files: int, per_file: int) -> np.ndarray:
    count = files * per_file
    start = np.round(random.random(count) * 8000, -1)
    columns = [
        random.integers(0, files, count),
        random.integers(0, 3, count),
        start,
        start + random.integers(60, 900, count),
    ]
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


def events(seed: int, files: int = 12) -> FoldPredictions:
    random = np.random.default_rng(seed)
    target = event_rows(random, files, 6)
    near = target[random.random(len(target)) < 0.7].copy()
    near[:, 2:] += random.choice([-200.0, -50.0, 0.0, 30.0, 50.0, 200.0, 260.0], len(near))[:, None]
    near[:, 2:] = np.maximum(near[:, 2:], 0)
    predicted = np.concatenate([near, event_rows(random, files, 1)])
    names = np.array([f"{i}.wav" for i in range(files)])
    frames = np.zeros((files, 3), dtype=np.float32)
    return FoldPredictions(frames, frames, names, np.zeros(files), names, predicted, target)


def table(rows: np.ndarray, files: int) -> EventTable:
    names = tuple(f"{i}.wav" for i in range(files))
    return EventTable(names, LABELS, rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), rows[:, 2], rows[:, 3])


@pytest.mark.parametrize("metric", SCENE)
@pytest.mark.parametrize("ties", [False, True])
def test_weights_of_one_give_the_scorers_score(metric: str, ties: bool) -> None:
    fold = scene(1, ties=ties)
    expected = METRICS[metric].scores(fold.prediction, fold.target)[metric]
    assert statistic(metric, fold).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", SCENE)
def test_whole_weights_are_repeated_clips(metric: str) -> None:
    fold = scene(2, ties=True)
    weights = np.random.default_rng(0).multinomial(80, np.ones(80) / 80, size=70).T
    found = statistic(metric, fold).scores(weights)
    for draw in range(70):
        rows = np.repeat(np.arange(80), weights[:, draw])
        expected = METRICS[metric].scores(fold.prediction[rows], fold.target[rows])[metric]
        assert found[draw] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", EVENT)
@pytest.mark.parametrize("seed", range(4))
def test_event_metrics_equal_the_scorers(metric: str, seed: int) -> None:
    fold = events(seed)
    expected = METRICS[metric].scores(table(fold.predicted_events, 12), table(fold.target_events, 12))[metric]
    assert 0.1 < expected < 3
    assert statistic(metric, fold).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", METRIC_NAMES)
def test_influence_is_the_derivative_by_the_weights(metric: str) -> None:
    fold = events(5) if metric in EVENT else scene(3, ties=True)
    found = statistic(metric, fold)
    n = len(found.units)
    # Fractions of 1/1024 are exact in the float32 that weights may pass through.
    step = 1 / 1024
    up, down = np.ones((n, n)) + step * np.eye(n), np.ones((n, n)) - step * np.eye(n)
    expected = n * (found.scores(up) - found.scores(down)) / (2 * step)
    np.testing.assert_allclose(found.influence(), expected, atol=2e-4, rtol=1e-3)
    assert found.influence().mean() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("metric", ["mAP", "aucroc"])
def test_deviations_are_the_jackknifes(metric: str, ties: bool) -> None:
    fold = scene(8, n=60, labels=3, ties=ties)
    rows = np.arange(60)
    for label in range(3):
        one = FoldPredictions(fold.prediction[:, [label]], fold.target[:, [label]], fold.files)
        found, positive = statistic(metric, one), one.target[:, 0] > 0
        without = [METRICS[metric].scores(one.prediction[rows != j], one.target[rows != j])[metric] for j in range(60)]
        jackknife = np.mean(without) - np.array(without)
        k = min(positive.sum(), 60 - positive.sum())
        if metric == "mAP":
            expected = jackknife * np.sqrt(59 / 60 * k / (k - 1)) * 60
            np.testing.assert_allclose(found.deviations(), expected, atol=1e-9)
        else:  # exact on the rarer side; on the other k / (k - 1) is more than its own
            rarer = positive if positive.sum() == k else ~positive
            exact = found.value - np.array(without)
            np.testing.assert_allclose(found.deviations()[rarer], exact[rarer] * 60, atol=1e-9)
        assert found.degrees_of_freedom() == pytest.approx(k - 1)


def test_bias_of_average_precision_is_what_many_samples_show() -> None:
    random, values, biases = np.random.default_rng(0), [], []
    for _ in range(400):
        target = (random.random((60, 1)) < 0.2).astype(np.float32)
        prediction = (random.normal(size=(60, 1)) + target).astype(np.float32)
        found = statistic("mAP", FoldPredictions(prediction, target, np.arange(60).astype(str)))
        values.append(found.value)
        biases.append(found.bias())
    target = (random.random((200_000, 1)) < 0.2).astype(np.float32)
    prediction = (random.normal(size=target.shape) + target).astype(np.float32)
    truth = METRICS["mAP"].scores(prediction, target)["mAP"]
    spread = np.std(values) / 20
    assert np.mean(values) - truth > 3 * spread  # there is a bias
    assert np.mean(values) - np.mean(biases) == pytest.approx(truth, abs=3 * spread)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_the_bias_of_average_precision_is_what_clips_count_of_themselves(n: int, ties: bool) -> None:
    """Clip by clip: its precision, less the precision among the others that are predicted as high."""
    fold = scene(9, n=n, labels=3, ties=ties)
    fold.target[0] = 1  # no class without a positive clip
    total = 0.0
    for label in range(3):
        score, positive = fold.prediction[:, label], fold.target[:, label] > 0
        gains = []
        for clip in np.flatnonzero(positive):
            above = score >= score[clip]
            others = above & (np.arange(n) != clip)
            among_others = positive[others].mean() if others.any() else 1.0
            gains.append(positive[above].mean() - among_others)
        total += np.mean(gains)
    assert statistic("mAP", fold).bias() == pytest.approx(total / 3, abs=1e-12)


def test_a_class_that_a_draw_lacks_is_left_out_of_it_and_one_that_the_split_lacks_counts_as_in_the_scorer() -> None:
    fold = scene(4, n=30, labels=3)
    fold.target[:, 0] = 0
    fold.target[:, 1] = 0
    fold.target[7, 1] = 1
    assert math.isnan(statistic("aucroc", fold).value)
    found = statistic("mAP", fold)
    assert found.value == pytest.approx(METRICS["mAP"].scores(fold.prediction, fold.target)["mAP"], abs=1e-12)
    weights = np.ones((30, 1))
    weights[7] = 0
    alone = METRICS["mAP"].scores(fold.prediction[:, [2]], fold.target[:, [2]])["mAP"]
    weights[7] = 0
    kept = np.delete(np.arange(30), 7)
    alone = METRICS["mAP"].scores(fold.prediction[kept][:, [2]], fold.target[kept][:, [2]])["mAP"]
    # Two of three classes are in the split, one of these in the draw.
    assert found.scores(weights)[0] == pytest.approx(alone * 2 / 3, abs=1e-9)


def test_files_without_predictions_cost_nothing_only_when_asked() -> None:
    fold = events(6)
    short = FoldPredictions(
        fold.prediction[:9], fold.target[:9], fold.files[:9], fold.timestamps_ms[:9], fold.event_files,
        fold.predicted_events[fold.predicted_events[:, 0] < 9], fold.target_events,
    )  # fmt: skip
    metric = "event_onset_200ms_fms"
    predicted, target = table(short.predicted_events, 9), table(short.target_events, 12)
    for missing_cost in (True, False):
        expected = METRICS[metric].scores(predicted, target, score_missing_files=missing_cost)[metric]
        found = statistic(metric, short, score_missing_files=missing_cost).value
        assert found == pytest.approx(expected, abs=1e-12)


def test_bad_input_is_one_line() -> None:
    with pytest.raises(ValueError, match="Did you mean 'top1_acc'"):
        statistic("top1_ac", scene(1))
    with pytest.raises(ValueError, match="needs predicted and true events"):
        statistic("segment_1s_er", scene(1))
