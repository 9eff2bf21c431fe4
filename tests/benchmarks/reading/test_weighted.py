"""Weighted metrics: weights 1 give the scorer's score, whole weights a resample's, influence the derivative."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.reading.weighted import METRIC_NAMES, statistic
from benchmarks.results import FoldPredictions
from benchmarks.scoring.events import EventTable
from benchmarks.scoring.metrics import METRICS

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
