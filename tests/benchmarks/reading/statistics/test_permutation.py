"""The permutation test: swaps by their definition, McNemar's test for accuracies, false positives at most its level."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test, rankdata

from benchmarks.perf.interval_coverage import draw_two, false_positives
from benchmarks.reading.statistics.permutation import (
    _Fold,
    comparable_ranks,
    holm,
    share_as_large,
    sign_flip_p,
    swap_test,
)
from benchmarks.reading.statistics.weighted import RankStatistic, RatioStatistic, Statistic

METRICS = ("top1_acc", "mAP", "aucroc", "d_prime", "event_onset_200ms_fms", "segment_1s_er")


def exchanged(a: Statistic, b: Statistic, swapped: np.ndarray) -> tuple[float, float]:
    """The metric of both after the clips in ``swapped`` (n,) were exchanged, each computed from the start."""
    if isinstance(a, RatioStatistic):
        assert isinstance(b, RatioStatistic)
        sides = [
            RatioStatistic(
                a.units, np.where(swapped, y.numerator, x.numerator), np.where(swapped, y.denominator, x.denominator)
            )
            for x, y in ((a, b), (b, a))
        ]
        return sides[0].value, sides[1].value
    assert isinstance(a, RankStatistic)
    assert isinstance(b, RankStatistic)
    ranks = comparable_ranks(a.prediction, b.prediction)
    mixed = [np.where(swapped[:, None], y, x) for x, y in (ranks, ranks[::-1])]
    first, second = (RankStatistic(a.units, a.metric, prediction, a.positive).value for prediction in mixed)
    return first, second


@pytest.mark.parametrize("metric", METRICS)
def test_swaps_are_the_metric_computed_again(metric: str) -> None:
    a, b = draw_two(metric, 60, np.random.default_rng(3))
    swapped = np.random.default_rng(0).random((60, 70)) < 0.5
    swapped[:, 0], swapped[:, 1] = False, True
    fold = _Fold([(a, b)])
    found = fold.differences(swapped[fold.changing])
    for draw in range(70):
        first, second = exchanged(a, b, swapped[:, draw])
        if np.isfinite([first, second]).all():
            assert found[draw] == pytest.approx(first - second, abs=1e-9)
    assert found[0] == pytest.approx(a.value - b.value, abs=1e-9)
    assert found[1] == pytest.approx(b.value - a.value, abs=1e-9)


def test_few_clips_go_through_every_swap_and_many_agree_with_scipy() -> None:
    values = np.random.default_rng(0).normal(size=8)
    totals = [abs(np.dot(signs, values)) for signs in product((1, -1), repeat=8)]
    assert sign_flip_p(values) == pytest.approx(np.mean(np.array(totals) >= abs(values.sum()) - 1e-12))
    x, y = np.random.default_rng(1).normal(0.15, size=(2, 40))
    expected = permutation_test(
        (x, y), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=20_000, rng=0
    ).pvalue
    assert sign_flip_p(x - y, 20_000) == pytest.approx(expected, abs=0.012)


@pytest.mark.parametrize("draws", [1, 19, 999])
def test_the_observed_difference_is_one_of_the_draws(draws: int) -> None:
    """Without it a p-value could be 0, and a level of 5 % would not hold with 19 draws."""
    generator = np.random.default_rng(draws)
    assert share_as_large(generator.uniform(-1, 1, draws), 2.0) == 1 / (draws + 1)
    assert share_as_large(generator.uniform(-1, 1, draws), 0.0) == 1.0
    drawn = np.arange(1, draws + 1) * np.where(np.arange(draws) % 2, -1.0, 1.0)
    assert share_as_large(drawn, float(draws)) == 2 / (draws + 1)  # equal is as large
    assert share_as_large(drawn, -float(draws)) == 2 / (draws + 1)  # and both sides count
    assert share_as_large(np.full(draws, np.nan), 2.0) == 1.0


def test_many_clips_that_all_say_the_same_have_the_smallest_p_value() -> None:
    values = np.full(40, 1.0)
    expected = permutation_test(
        (values, 0 * values), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=199, rng=0
    ).pvalue
    assert expected == pytest.approx(2 / 200)  # scipy doubles the smaller side
    assert sign_flip_p(values, 199) == 1 / 200


def test_for_an_accuracy_it_is_mcnemars_test() -> None:
    for wins, losses in ((30, 14), (25, 21), (60, 30)):
        right = np.array([[1.0, 0.0]] * wins + [[0.0, 1.0]] * losses + [[1.0, 1.0]] * 100).T
        a, b = (RatioStatistic(tuple(map(str, range(len(side)))), side, np.ones(len(side))) for side in right)
        p = swap_test([[(a, b)]], 20_000).p
        assert p == pytest.approx(binomtest(wins, wins + losses).pvalue, abs=0.012)
    assert swap_test([[(a, a)]]).p == 1.0


def test_a_model_on_another_scale_is_not_another_model() -> None:
    a, b = draw_two("mAP", 80, np.random.default_rng(5))
    assert isinstance(b, RankStatistic)
    surer = RankStatistic(b.units, b.metric, np.exp(5 * b.prediction), b.positive)
    assert swap_test([[(a, surer)]]).p == swap_test([[(a, b)]]).p
    assert swap_test([[(b, surer)]]).p == 1.0


def test_ranks_keep_each_models_order_and_never_meet() -> None:
    random = np.random.default_rng(0)
    first, second = np.round(random.normal(size=(2, 50, 3)), 1)
    for found, given in zip(comparable_ranks(first, second), (first, second), strict=True):
        np.testing.assert_array_equal(rankdata(found, axis=0), rankdata(given, axis=0))
    for own, other in zip(*(ranks.T for ranks in comparable_ranks(first, second)), strict=True):
        assert not set(own) & set(other)
        assert np.abs(own.mean() - other.mean()) < 0.25


def test_folds_are_swapped_all_at_once_and_averaged_as_the_score() -> None:
    generator = np.random.default_rng(2)
    folds = [draw_two("event_onset_200ms_fms", 4, generator) for _ in range(2)]
    expected = []
    for signs in product((False, True), repeat=8):
        parts = [exchanged(a, b, np.array(own)) for (a, b), own in zip(folds, (signs[:4], signs[4:]), strict=True)]
        expected.append(np.mean([first - second for first, second in parts]))
    found = swap_test([[pair] for pair in folds])
    assert found.p == pytest.approx(np.mean(np.abs(expected) >= abs(expected[0]) - 1e-12))
    assert found.drawn.std() == pytest.approx(np.std(expected), rel=0.05)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("tests", [120, pytest.param(400, marks=pytest.mark.long)])
def test_false_positives_are_at_most_the_level(metric: str, tests: int) -> None:
    # Two and a half standard errors of so many tests at 5 %: of 400 tests 2.7 %.
    most = 0.05 + 2.5 * (0.05 * 0.95 / tests) ** 0.5
    assert false_positives(metric, 100, tests, np.random.default_rng(1)) <= most


def test_a_difference_that_is_there_is_found() -> None:
    generator, found = np.random.default_rng(0), 0
    for _ in range(20):
        a, b = draw_two("aucroc", 200, generator)
        assert isinstance(b, RankStatistic)
        worse = b.prediction + 2.0 * generator.normal(size=b.prediction.shape)
        found += swap_test([[(a, RankStatistic(b.units, b.metric, worse, b.positive))]], 199).p <= 0.05
    assert found >= 18


def test_holm_by_its_definition() -> None:
    ps = list(np.random.default_rng(0).random(12) ** 3)
    order = np.argsort(ps)
    expected, so_far = [0.0] * 12, 0.0
    for rank, index in enumerate(order):
        so_far = max(so_far, min(1.0, (12 - rank) * ps[index]))
        expected[index] = so_far
    assert holm(ps) == pytest.approx(expected)
