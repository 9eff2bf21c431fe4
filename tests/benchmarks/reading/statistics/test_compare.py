"""Paired comparison of records: the better model found, nothing unlike compared, one table or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.reading.statistics.command import compare
from benchmarks.reading.statistics.compare import compare_records


@pytest.fixture
def two(saved: Callable, make_fold: Callable) -> tuple[list, list]:
    """Model a, clearly better on t1 and t2 (folds), and model b; b has a task more."""
    sides: tuple[list, list] = ([], [])
    for side, (label, skill) in enumerate((("a", 3.0), ("b", 1.0))):
        weights = label * 64
        sides[side].append(saved({"test": make_fold(200, skill, side)}, label=label, task="t1", weights=weights))
        folds = {f"fold{i:02d}": make_fold(60, skill, 10 * i + side, truth_seed=i) for i in range(3)}
        sides[side].append(saved(folds, label=label, task="t2", metrics=("mAP", "top1_acc"), weights=weights))
    sides[1].append(saved({"test": make_fold(30, 1.0, 5)}, label="b", task="t3", weights="b" * 64))
    return sides


def test_the_better_model_is_found_and_swapping_the_sides_turns_the_sign(two: tuple[list, list]) -> None:
    found = compare_records(*two)
    assert [row.task for row in found.tasks] == ["t1-v1-full", "t2-v1-full"]
    assert found.only_in_one == ("t3-v1-full",)
    for row, a, b in zip(found.tasks, *two, strict=False):
        assert row.difference == pytest.approx(a.primary_score - b.primary_score, abs=1e-9)
        assert row.low < row.difference < row.high
        assert row.low > 0
        assert row.p <= row.p_holm < 0.01
        assert row.folds_a == row.n_folds
        assert row.favours.startswith("a")
    assert (found.wins_a, found.wins_b) == (2, 0)
    assert found.p_clips < 0.01
    assert found.p_tasks == 0.5  # two tasks cannot say more
    turned = compare_records(two[1], two[0])
    assert turned.difference == pytest.approx(-found.difference)
    assert turned.tasks[0].favours.startswith("a")


def test_a_model_against_itself_is_no_difference(two: tuple[list, list]) -> None:
    found = compare_records(two[0], two[0])
    assert [(row.difference, row.p, row.favours) for row in found.tasks] == [(0.0, 1.0, "")] * 2
    assert (found.difference, found.p_clips, found.p_tasks) == (0.0, 1.0, 1.0)


def test_seeds_of_one_model_are_averaged_and_swapped_together(saved: Callable, make_fold: Callable) -> None:
    def seeds(label: str, skill: float, count: int, start: int) -> list:
        folds = [make_fold(120, skill, start + i) for i in range(count)]
        return [
            saved({"test": fold}, label=label, task="t1", seed=i, metrics=("mAP",), weights=label * 64)
            for i, fold in enumerate(folds)
        ]

    a, b = seeds("a", 1.4, 2, 0), seeds("b", 0.6, 3, 10)
    for first, second in ((a, b), (a, b[:2]), (a[:1], b)):
        [row] = compare_records(first, second).tasks
        scores = [sum(r.primary_score for r in side) / len(side) for side in (first, second)]
        assert row.difference == pytest.approx(scores[0] - scores[1], abs=1e-9)
        assert row.seeds == (len(first), len(second))
        assert row.p < 0.05
        assert row.low > 0


def test_what_cannot_be_compared_is_refused_in_one_line(
    two: tuple[list, list], saved: Callable, make_fold: Callable
) -> None:
    a, b = two
    linear = saved({"test": make_fold(200, 1.0, 1)}, label="c", task="t1", protocol="linear", weights="c" * 64)
    other_revision = saved({"test": make_fold(200, 1.0, 1)}, label="d", task="t1", revision="x" * 64, weights="d" * 64)
    fewer = saved({"test": make_fold(150, 1.0, 1)}, label="e", task="t1", weights="e" * 64)
    for other, words in (
        ([linear], "different protocols"),
        ([other_revision], "revision"),
        ([fewer], "different clips"),
        ([b[2]], "share no task"),
        (a + b, "2 models"),
        ([], "no result record"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            compare_records(a, other)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="do not share the protocol 'knn'"):
        compare_records(a, b, protocol="knn")


def test_the_command_prints_a_table_or_json(two: tuple[list, list], capsys: pytest.CaptureFixture[str]) -> None:
    folders = [Path(side[0].folder).parents[1] for side in two]
    compare(folders)
    shown = capsys.readouterr().out
    assert "over 2 tasks" in shown
    rows = [line for line in shown.splitlines() if line.startswith("t1-v1-full")]
    assert len(rows) == 1
    assert "…" not in shown  # every number whole on 80 columns
    assert rows[0].count(".") == 7
    assert "scored for one model only: t3-v1-full" in shown
    compare(folders, as_json=True)
    assert len(json.loads(capsys.readouterr().out)["tasks"]) == 2
