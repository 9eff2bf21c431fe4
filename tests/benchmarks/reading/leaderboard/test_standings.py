"""Standings equal the benchmark's recipe, written here again from its words."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pandas
import pytest
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.preprocessing import StandardScaler

from benchmarks.reading.command import standings
from benchmarks.reading.leaderboard.standings import compute_standings, read_leaderboard, write_standings
from benchmarks.reading.published import published_text


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_34_published_rows_equal_the_recipe() -> None:
    frame = pandas.read_csv(io.StringIO(published_text("leaderboard.csv"))).set_index("Model")
    scores = frame.drop(columns=["URL", "Submission Date"])
    assert scores.shape == (34, 19)
    filled = IterativeImputer(max_iter=10, random_state=0).fit_transform(scores)
    expected = StandardScaler().fit_transform(filled).clip(-1, 1)
    by_name = dict(zip(scores.index, expected, strict=True))
    found = compute_standings()
    assert found.ours is None
    for model, row, score in zip(found.models, found.normalised.to_numpy(), found.score, strict=True):
        np.testing.assert_allclose(row, by_name[model], atol=1e-9)
        assert score == pytest.approx(by_name[model].mean(), abs=1e-9)
    assert list(found.score) == sorted(found.score, reverse=True)
    np.testing.assert_allclose(found.task_correlation(), np.corrcoef(found.normalised.T), atol=1e-12)
    assert found.blanks.sum() == scores.isna().to_numpy().sum()


def test_the_page_ranks_by_the_plain_sum() -> None:
    """Sums and ranks against csv and sorted, a blank as 0."""
    rows = list(csv.DictReader(io.StringIO(published_text("leaderboard.csv"))))
    sums = {row["Model"]: sum(float(row[task] or 0) for task in list(row)[3:]) for row in rows}
    found = compute_standings()
    for model, rank, total in zip(found.models, found.page_rank, found.plain_sum, strict=True):
        assert total == pytest.approx(sums[model], abs=1e-12)
        assert rank == 1 + sum(other > sums[model] for other in sums.values())
    assert found.page_rank != sorted(found.page_rank)  # the two orders differ


def test_our_model_stands_among_them() -> None:
    best = (read_leaderboard(published_text("leaderboard.csv")).max() + 0.01).to_dict()
    found = compute_standings(ours=("ours", best))
    assert (found.ours, found.models[0], len(found.models)) == (0, "ours", 35)
    partly = compute_standings(ours=("ours", {"ESC-50": 0.5}))
    assert partly.ours is not None
    assert partly.blanks.iloc[partly.ours] == 18


def test_bad_input_is_one_line() -> None:
    text = published_text("leaderboard.csv")
    for leaderboard, ours, words in (
        (text + "\nA,https://x.org,2026", None, "line 36: expected 22 cells"),
        (text.replace("0.634929073", "much"), None, "line 2: expected scores from 0 to 1, got much"),
        (None, ("OpenL3", {"ESC-50": 0.5}), "already"),
        (None, ("x", {"ESC50": 0.5}), "ESC50"),
        (None, ("x", {}), "none"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            compute_standings(leaderboard, ours)
        assert "\n" not in str(caught.value)


def test_files_and_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write_standings(compute_standings(), tmp_path)
    assert [path.name for path in paths] == [
        "standings.csv",
        "heatmap.png",
        "task_correlation.png",
        "model_correlation.png",
    ]
    for path in paths[1:]:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG")
        assert int.from_bytes(content[16:20], "big") > 500  # its width
    rows = list(csv.DictReader(io.StringIO(paths[0].read_text())))
    assert (len(rows), rows[0]["rank"]) == (34, "1")
    found = compute_standings()
    assert int(rows[0]["page_rank"]) == found.page_rank[0]
    assert float(rows[0]["sum"]) == pytest.approx(found.plain_sum.iloc[0])
    standings(as_json=True)
    assert [row["page_rank"] for row in json.loads(capsys.readouterr().out)] == found.page_rank
    standings()
    said = capsys.readouterr().out
    assert "normalised score" in said
    assert "page's rank" in said
