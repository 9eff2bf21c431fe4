"""Intervals hold the truth as often as they say, and say what they were drawn over."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import bootstrap, norm, ttest_1samp
from scipy.stats import t as student

from benchmarks.perf.interval_coverage import (
    MULTILABEL,
    Labels,
    coverage,
    draw_accuracy,
    draw_ranks,
    fold_coverage,
    made_data,
)
from benchmarks.reading.statistics.intervals import (
    bca_ends,
    bootstrap_weights,
    clip_interval,
    fold_interval,
    record_interval,
)
from benchmarks.reading.statistics.weighted import statistic
from benchmarks.results.format import FoldPredictions

MADE = made_data()


@pytest.mark.parametrize("title", list(MADE))
def test_intervals_hold_a_known_score(title: str) -> None:
    # 300 draws: 95 % has a standard error of 1.3 %; the full 1,000 are benchmarks/perf/interval_coverage.py.
    draw, truth = MADE[title]
    random = np.random.default_rng(0)
    assert 0.915 <= coverage(lambda: draw(200, random), truth, 300)["reported"] <= 0.985


def test_a_bootstrap_of_few_positives_holds_it_less_often() -> None:
    random, few = np.random.default_rng(0), Labels(np.full(4, 0.05), np.full(4, 1.5))
    held = coverage(lambda: draw_ranks("mAP", 120, random, few), few.truth("mAP"), 80, bootstrap=True)
    assert held["percentile"] + 0.05 < held["reported"]
    assert held["BCa"] <= held["reported"]


@pytest.mark.parametrize("metric", ["mAP", "aucroc", "d_prime"])
def test_made_scores_are_true(metric: str) -> None:
    large = draw_ranks(metric, 60_000, np.random.default_rng(1))
    assert large.value == pytest.approx(MULTILABEL.truth(metric), rel=0.02)


def test_a_score_lies_in_its_interval_even_where_its_bias_is_large() -> None:
    # Forty classes with four clips each: the bias of their mean is the bias of one, its spread is not.
    many = Labels(np.full(40, 1 / 40), np.full(40, 1.0), one_each=True)
    for seed in range(5):
        found = draw_ranks("mAP", 160, np.random.default_rng(seed), many)
        interval = clip_interval([found])
        assert interval is not None
        assert found.bias() > 0.03
        assert interval.low < many.truth("mAP") < interval.high or interval.low < found.value - found.bias()
        assert interval.low < found.value <= interval.high


def test_fold_intervals_hold_a_known_score_where_a_percentile_bootstrap_does_not() -> None:
    student, percentile = fold_coverage(5, 1000, np.random.default_rng(0))
    assert 0.93 <= student <= 0.97
    assert percentile < 0.9


def test_a_clip_interval_is_scipys_bca_interval() -> None:
    found = draw_accuracy(400, np.random.default_rng(3))
    right = found.influence() + found.value
    expected = bootstrap((right,), np.mean, method="BCa", n_resamples=9999, rng=0).confidence_interval
    interval = clip_interval([found], draws=9999)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=0.006)
    assert interval.over == "400 clips"


@pytest.mark.parametrize("seed", [0, 2, 3])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_ends_of_skewed_values_are_scipys_bca_interval_to_a_draw(seed: int, sign: float) -> None:
    """The acceleration moves an end of these by many draws. Without our own widening, of the very same draws."""
    values = sign * np.random.default_rng(seed).lognormal(sigma=1.5, size=15)
    found = bootstrap((values,), np.mean, method="BCa", n_resamples=20_000, rng=seed)
    drawn, expected = np.sort(found.bootstrap_distribution), found.confidence_interval
    ends = bca_ends(float(values.mean()), drawn, values - values.mean(), freedom=1e9, widening=1.0)
    assert ends is not None
    for ours, theirs in zip(ends, (expected.low, expected.high), strict=True):
        assert abs(np.searchsorted(drawn, ours) - np.searchsorted(drawn, theirs)) <= 2
    cubes, squares = ((values - values.mean()) ** 3).sum(), ((values - values.mean()) ** 2).sum()
    unskewed = np.quantile(drawn, ndtr(2 * ndtri((drawn < values.mean()).mean()) + np.array([-1, 1]) * norm.ppf(0.975)))
    assert abs(cubes / (6 * squares**1.5)) > 0.04  # skewed enough to tell
    assert max(abs(np.searchsorted(drawn, ends) - np.searchsorted(drawn, unskewed))) > 50


@pytest.mark.parametrize("n", [4, 12, 100])
def test_the_ends_are_widened_as_students_and_by_the_bootstraps_shortfall(n: int) -> None:
    """Draws that are normal, of a score without bias or skewness: the ends are multiples of their deviation."""
    drawn = norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    influence = np.tile([1.0, -1.0], n // 2)
    expected = student.ppf(0.975, n - 1) * math.sqrt(n / (n - 1))
    found = bca_ends(0.0, drawn, influence)
    assert found is not None
    reach = min(expected, -drawn[0])
    assert found == (pytest.approx(-reach, rel=2e-2), pytest.approx(reach, rel=2e-2))
    if n > 4:
        assert found[1] == pytest.approx(expected, rel=1e-3)
    given = bca_ends(0.0, drawn, influence, freedom=20, widening=1.25)
    assert given is not None
    assert given[1] == pytest.approx(1.25 * student.ppf(0.975, 20), rel=1e-3)
    ninety = bca_ends(0.0, drawn, influence, 0.9, freedom=20, widening=1.0)
    assert ninety is not None
    assert ninety[1] == pytest.approx(student.ppf(0.95, 20), rel=1e-3)


def test_draws_equal_to_the_score_count_half() -> None:
    """Else the bias of a coarse score, most of whose draws are the score itself, would be beyond all draws."""
    drawn = np.repeat([0.2, 0.4, 0.5, 0.6, 0.8], [10, 90, 800, 90, 10]).astype(float)
    influence = np.tile([1.0, -1.0], 10)
    found = bca_ends(0.5, drawn, influence, 0.9, freedom=1e9, widening=1.0)
    assert found == (0.4, 0.6)


def test_a_fold_interval_is_students_and_stays_in_the_metrics_range() -> None:
    scores = [0.5, 0.6, 0.55, 0.7]
    expected = ttest_1samp(scores, 0).confidence_interval(0.95)
    found = fold_interval(scores)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.over == "4 folds"
    high = fold_interval([0.9, 1.0])
    assert high is not None
    assert high.high == 1.0
    assert fold_interval([0.9, math.nan]) is None


def test_all_clips_right_gives_the_exact_bound() -> None:
    target = np.tile([1.0, 0.0], (20, 1))
    found = clip_interval([statistic("top1_acc", FoldPredictions(target, target, np.arange(20).astype(str)))])
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(0.025 ** (1 / 20)), 1.0)
    wrong = clip_interval([statistic("top1_acc", FoldPredictions(target, 1 - target, np.arange(20).astype(str)))])
    assert wrong is not None
    assert (wrong.low, wrong.high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 20)))


def test_draws_are_the_same_for_all_models_and_sum_to_the_clips() -> None:
    weights = bootstrap_weights(50, 100)
    assert (weights.sum(axis=0, dtype=int) == 50).all()
    assert weights is bootstrap_weights(50, 100)
    assert not np.array_equal(weights, bootstrap_weights(50, 100, 1))


def test_record_intervals_of_one_split_of_folds_and_of_seeds(saved: Callable, make_fold: Callable) -> None:
    one = saved({"test": make_fold(120, 1.5, 0)}, metrics=("top1_acc", "mAP"))
    found = record_interval(one)
    assert found is not None
    assert found.low < one.primary_score < found.high
    assert found.over == "120 clips"
    average = record_interval(one, "mAP")
    assert average is not None
    assert average.low < one.scores["mAP"] < average.high
    other = saved({"test": make_fold(120, 1.5, 1)}, seed=43)
    both = record_interval([one, other])
    assert both is not None
    assert both.low < (one.primary_score + other.primary_score) / 2 < both.high
    folds = saved({f"fold{i:02d}": make_fold(40, 1.5, i) for i in range(3)}, task="folded")
    kfold = record_interval(folds)
    assert kfold is not None
    assert kfold.over == "3 folds"


def test_predictions_of_another_run_are_refused(saved: Callable, make_fold: Callable) -> None:
    record = saved({"test": make_fold(50, 1.5, 0)})
    other = saved({"test": make_fold(50, 0.1, 1)}, task="other")
    (Path(record.folder) / "predictions.npz").write_bytes((Path(other.folder) / "predictions.npz").read_bytes())
    with pytest.raises(ValueError, match="the record says") as caught:
        record_interval(record)
    assert "\n" not in str(caught.value)
    (Path(record.folder) / "predictions.npz").write_bytes(b"PK damaged")
    with pytest.raises(ValueError, match="damaged predictions"):
        record_interval(record)
