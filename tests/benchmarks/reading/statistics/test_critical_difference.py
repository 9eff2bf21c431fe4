"""Ranks over tasks: the figures of Demsar (2006), JMLR 7, tables 5(a) and 6 and the text between them; scipy."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from benchmarks.reading.statistics.critical_difference import critical_difference, rank_test
from benchmarks.reading.statistics.rank_picture import draw_ranks

MODELS = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
#: The ranks printed in table 6, one row a data set. (Those of "voting" part two AUCs that are printed alike.)
RANKS = np.array(
    [
        [4, 3, 2, 1], [1, 2, 3, 4], [4, 1, 2, 3], [4, 1, 3, 2], [4, 2, 3, 1], [1, 2.5, 4, 2.5], [3, 2, 4, 1],
        [2.5, 2.5, 4, 1], [4, 3, 2, 1], [2.5, 2.5, 2.5, 2.5], [4, 2.5, 1, 2.5], [3, 2, 4, 1], [4, 1, 2, 3],
        [3, 1, 4, 2],
    ]
)  # fmt: skip
#: Table 5(a), for 2 to 10 classifiers.
Q = {
    0.05: (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164),
    0.10: (1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920),
}


def test_critical_values_equal_the_published_table() -> None:
    for alpha, values in Q.items():
        for k, q in enumerate(values, 2):
            # With n = k (k + 1) / 6 the root is 1. In three cells the table's last place is off by one.
            found = critical_difference(k, 1, alpha) / math.sqrt(k * (k + 1) / 6)
            assert found == pytest.approx(q, abs=1.5e-3)


def test_the_published_example() -> None:
    wide = rank_test(RANKS, MODELS, maximise=[False] * 14)
    assert wide.models == ("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5")
    np.testing.assert_allclose(wide.average_ranks, (1.964, 2.000, 2.893, 3.143), atol=5e-4)
    # 3.69 comes from the rounded 9.28: one more in the last place is theirs.
    assert (wide.chi2, wide.f) == pytest.approx((9.28, 3.69), abs=0.01)
    assert scipy.stats.f.sf(2.85, 3, 39) > wide.p_f  # "the critical value of F(3, 39) for 0.05 is 2.85, so we reject"
    assert wide.critical_difference == pytest.approx(1.25, abs=0.005)
    assert wide.groups == (wide.models,)  # "not powerful enough to detect any significant differences"
    narrow = rank_test(RANKS, MODELS, maximise=[False] * 14, alpha=0.10)
    assert narrow.critical_difference == pytest.approx(1.12, abs=0.005)
    # Figure 1(a): C4.5 is worse than the two best; C4.5+cf belongs to neither group alone.
    assert narrow.groups == (("C4.5+m+cf", "C4.5+m", "C4.5+cf"), ("C4.5+cf", "C4.5"))


def test_without_ties_friedman_is_scipys_and_with_ties_it_is_smaller() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(size=(9, 5)) + np.arange(5) / 3
    found = rank_test(scores, "abcde")
    theirs = scipy.stats.friedmanchisquare(*scores.T)
    assert (found.chi2, found.p_chi2) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-9)
    tied = np.round(scores)
    assert rank_test(tied, "abcde").chi2 < scipy.stats.friedmanchisquare(*tied.T).statistic
    # The unit of a task and the direction of its metric do not matter.
    turned = scores * np.array([1, -1, 100, 1, 1, -0.1, 1, 1, 1])[:, None]
    assert rank_test(turned, "abcde", maximise=[True, False, True, True, True, False, True, True, True]) == found


def test_where_all_tasks_agree_p_is_that_of_the_permutations() -> None:
    found = rank_test(np.array([[3.0, 2.0, 1.0]] * 3), "abc")
    orders = list(itertools.permutations(range(3)))
    alike = sum(len(set(draw)) == 1 for draw in itertools.product(orders, repeat=3))
    assert found.f == math.inf
    assert found.p_f == pytest.approx(alike / len(orders) ** 3)


def test_groups_are_the_largest_runs_and_equal_models_are_one() -> None:
    random = np.random.default_rng(1)
    scores = random.normal(size=(40, 6)) + np.arange(6) * 0.8
    found = rank_test(scores, "abcdef")
    ranks = dict(zip(found.models, found.average_ranks, strict=True))
    for a, b in itertools.combinations(found.models, 2):
        alike = abs(ranks[a] - ranks[b]) < found.critical_difference
        assert alike == any({a, b} <= set(group) for group in found.groups)
    assert all(not set(a) <= set(b) for a, b in itertools.permutations(found.groups, 2))
    assert len(found.groups) > 1
    assert rank_test(np.ones((4, 3)), "abc").groups == (("a", "b", "c"),)


def test_bad_input_is_one_line() -> None:
    for scores, words in (
        (np.ones((1, 3)), "at least two tasks"),
        (np.array([[1, np.nan], [1, 2]]), "not a finite number"),
    ):
        with pytest.raises(ValueError, match=words):
            rank_test(scores, "abc")
    with pytest.raises(ValueError, match="level"):
        rank_test(np.ones((2, 2)), "ab", alpha=1)


def test_the_picture_is_a_png_that_differs_with_its_groups(tmp_path: Path) -> None:
    names = ("$a_1$", "b", "c", "d")
    paths = [
        draw_ranks(rank_test(RANKS, names, maximise=[False] * 14, alpha=alpha), tmp_path / f"{alpha}.png")
        for alpha in (0.05, 0.1)
    ]
    drawn = [path.read_bytes() for path in paths]
    assert all(data.startswith(b"\x89PNG") for data in drawn)
    assert drawn[0] != drawn[1]
