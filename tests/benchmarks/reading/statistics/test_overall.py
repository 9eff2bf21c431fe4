"""Overall scores against scipy and transcriptions: s(m), mean ranks, intervals over seeds, the normalised score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks.reading.leaderboard.standings import compute_standings
from benchmarks.reading.statistics.overall import leaderboard_scores, mean_ranks, min_max_scores
from benchmarks.reading.tables.plain import to_markdown
from benchmarks.reading.tables.table import comparison_tables
from benchmarks.results.format import ResultRecord
from benchmarks.tasks.registry import list_tasks


def test_s_of_m_against_its_definition() -> None:
    scores = np.random.default_rng(0).uniform(0, 100, (5, 7))
    expected = []
    for own in scores:
        shares = [(own[t] - min(scores[:, t])) / (max(scores[:, t]) - min(scores[:, t])) for t in range(7)]
        expected.append(100 * sum(shares) / 7)
    np.testing.assert_allclose(min_max_scores(scores), expected, rtol=1e-12)
    lower = min_max_scores(np.where(np.arange(7) == 2, -scores, scores), [task != 2 for task in range(7)])
    np.testing.assert_allclose(lower, expected, rtol=1e-12)


def test_a_model_without_a_task_and_a_task_without_a_difference_count_for_nothing() -> None:
    scores = np.array([[10.0, 5.0, 1.0], [20.0, 5.0, 3.0], [90.0, np.nan, 9.0]])
    assert min_max_scores(scores).tolist() == pytest.approx([0.0, 100.0, np.nan], nan_ok=True)
    assert mean_ranks(scores)[2] is None
    assert np.isnan(min_max_scores(scores[:1])).all()  # one model is compared with none


def test_mean_ranks_against_scipy() -> None:
    scores = np.random.default_rng(1).integers(0, 6, (4, 9)).astype(float)  # with ties
    ranks = np.array([stats.rankdata(-column) for column in scores.T]).T
    for own, found in zip(ranks, mean_ranks(scores), strict=True):
        assert found is not None
        mean, interval = found
        low, high = stats.t.interval(0.95, 8, loc=own.mean(), scale=stats.sem(own))
        assert mean == pytest.approx(own.mean())
        assert interval is not None
        assert (interval.low, interval.high) == pytest.approx((max(low, 1.0), min(high, 4.0)))


def test_the_normalised_score_is_that_of_the_standings() -> None:
    scores = {"ESC-50": 0.7, "FSD50K": 0.4}
    standings = compute_standings(None, ("mine", scores))
    assert standings.ours is not None
    assert leaderboard_scores({"mine": scores, "none": {}}) == {"mine": standings.score.iloc[standings.ours]}


def test_the_table_of_papers(saved: Callable[..., ResultRecord], make_fold: Callable[..., Any]) -> None:
    names = [spec for spec in list_tasks("papers") if spec.name in ("esc50", "vox_lingua_top10")]
    records = [
        saved(
            {"test": make_fold(60, skill, seed)}, task=spec.name, version=spec.version, mode=spec.mode, seed=seed,
            label=label, weights=digit * 64,
        )
        for spec in names
        for label, skill, digit in (("good", 2.0, "a"), ("bad", 0.5, "b"))
        for seed in range(4)
    ]  # fmt: skip
    [table] = comparison_tables(records, over_seeds=True)
    own = [100 * r.primary_score for r in records if r.model.label == "good" and r.task.name == "esc50"]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(own), scale=stats.sem(own))
    cell = table.cells["good", "esc50"]
    assert (cell.low, cell.high, cell.interval_over) == (pytest.approx(low), pytest.approx(min(high, 100.0)), "4 seeds")
    assert [each.min_max for each in table.overall] == [100.0, 0.0]
    assert [each.rank for each in table.overall] == [1.0, 2.0]
    assert all(each.normalised is not None for each in table.overall)
    text = to_markdown([table])
    assert "| mean | s(m) | leaderboard | mean rank |" in text
    assert "over the 2 rows that have every task" in text


def test_the_published_table_of_papers_needs_no_results() -> None:
    [table] = comparison_tables([], paper="papers")
    assert (table.protocol, len(table.tasks), table.models) == ("hear", 10, ())
    assert all(set(row.scores) == set(table.tasks) for row in table.published)
    standings = compute_standings()
    normalised = {row.model: each.normalised for row, each in zip(table.published, table.overall, strict=True)}
    assert normalised["CP-JKU PaSST 2lvl"] == pytest.approx(standings.score["CP-JKU PaSST 2lvl"])
    assert normalised["audiontt_random"] is None
    assert max(each.min_max or 0.0 for each in table.overall) <= 100.0
    [twelve] = comparison_tables([], paper="papers+")
    assert set(twelve.tasks) - set(table.tasks) == {"DCASE 2016", "Gunshot"}
