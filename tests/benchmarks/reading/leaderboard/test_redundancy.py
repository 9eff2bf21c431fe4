"""Tasks that are alike and the fewest that keep a ranking: against scipy and against every subset gone through."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest
import scipy.stats

from benchmarks.reading.leaderboard.redundancy import (
    find_redundancy,
    rank_correlations,
    smallest_subset,
    write_redundancy,
)
from benchmarks.reading.leaderboard.standings import Standings, compute_standings


@pytest.fixture(scope="module")
def published() -> Standings:
    """The bundled leaderboard's."""
    return compute_standings()


THEIRS = {"spearman": scipy.stats.spearmanr, "kendall": scipy.stats.kendalltau}


@pytest.mark.parametrize("kind", ["spearman", "kendall"])
def test_correlations_equal_scipys_with_ties(kind: str) -> None:
    random = np.random.default_rng(0)
    columns, other = np.round(random.normal(size=(12, 30)), 0), np.round(random.normal(size=12), 1)
    found = rank_correlations(columns, other, kind)  # type: ignore[arg-type]
    expected = [THEIRS[kind](column, other).statistic for column in columns.T]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert rank_correlations(np.ones((12, 1)), other, kind) == 0.0  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["spearman", "kendall"])
def test_the_smallest_subset_is_that_of_all_subsets(kind: str) -> None:
    random = np.random.default_rng(3)
    values = random.normal(size=(10, 6)) + 0.8 * random.normal(size=(10, 1))
    whole = values.mean(axis=1)
    best = {
        size: max(
            THEIRS[kind](values[:, list(own)].mean(axis=1), whole).statistic
            for own in itertools.combinations(range(6), size)
        )
        for size in range(1, 7)
    }
    scores = pandas.DataFrame(values, columns=list("abcdef"))
    for keep in (0.7, 0.9, 0.97, 1.0):
        subset, curve = smallest_subset(scores, keep, kind)  # type: ignore[arg-type]
        size = min(size for size, value in best.items() if value >= keep - 1e-12)
        assert len(subset.tasks) == size
        assert subset.is_smallest
        assert [own.correlation for own in curve] == pytest.approx([best[own] for own in range(1, size + 1)])
        mean = scores[list(subset.tasks)].mean(axis=1)
        assert subset.correlation == pytest.approx(THEIRS[kind](mean, whole).statistic)
        # Greedy from pairs on: it reaches what was asked for, and its bound holds.
        greedy, _ = smallest_subset(scores, keep, kind, exact=6)  # type: ignore[arg-type]
        assert greedy.correlation >= keep - 1e-12
        assert greedy.at_least <= size <= len(greedy.tasks)
        assert greedy.is_smallest == (len(greedy.tasks) <= 2 and greedy.at_least == len(greedy.tasks))


def test_the_published_tasks(published: Standings) -> None:
    found = find_redundancy(published)
    raw = published.raw
    for a, b in (("ESC-50", "FSD50K"), ("Beehive", "Maestro 5h")):
        both = raw[[a, b]].dropna()  # scores that are there, none imputed
        assert found.correlation.loc[a, b] == pytest.approx(scipy.stats.spearmanr(both[a], both[b]).statistic)
    grouped = [task for group in found.groups for task in group]
    assert len(grouped) == len(set(grouped))
    for group in found.groups:
        assert all(found.correlation.loc[a, b] >= 0.9 for a, b in itertools.combinations(group, 2))
    assert ("NSynth Pitch 50h", "NSynth Pitch 5h") in found.groups
    everything = list(found.correlation.columns)
    own = published.normalised[list(found.subset.tasks)].mean(axis=1)
    assert scipy.stats.spearmanr(own, published.normalised[everything].mean(axis=1)).statistic >= 0.95
    turned = find_redundancy(
        Standings(raw[everything[::-1]], published.filled, published.normalised[everything[::-1]], None)
    )
    assert (turned.groups, turned.subset) == (found.groups, found.subset)


def test_bad_input_is_one_line(published: Standings) -> None:
    for words in ({"keep": 0.0}, {"keep": 1.1}, {"alike": -1.0}):
        with pytest.raises(ValueError, match="expected a correlation"):
            find_redundancy(published, **words)
    few = Standings(published.raw[:2], published.filled[:2], published.normalised[:2], None)
    with pytest.raises(ValueError, match="at least three models"):
        find_redundancy(few)


def test_the_files(published: Standings, tmp_path: Path) -> None:
    found = find_redundancy(published)
    paths = write_redundancy(found, tmp_path)
    table = pandas.read_csv(paths[0], index_col="task")
    pandas.testing.assert_frame_equal(table, found.correlation, check_names=False)
    assert paths[1].read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_or_gives_json(delores: Callable) -> None:
    ran = delores("standings", "--redundancy")
    assert ran.code == 0
    for words in ("tasks that are alike", "the fewest that do", "chosen on these 34 models"):
        assert words in ran.out
    asked = delores("standings", "--redundancy", "--keep", 0.9, "--correlation", "kendall", "--json")
    found = json.loads(asked.out)
    assert len(found["standings"]) == 34
    assert found["redundancy"]["subset"]["correlation"] >= 0.9
    assert delores("standings", "--correlation", "pearson").code == 2


def test_options_without_an_effect_are_refused(delores: Callable) -> None:
    for words, said in ((["--keep", "0.5"], "which is missing"), (["--name", "mine"], "there is no folder")):
        ran = delores("standings", *words)
        assert (ran.code, ran.out) == (2, "")
        assert said in " ".join(ran.err.split())
