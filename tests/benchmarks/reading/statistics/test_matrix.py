"""All pairs of models: each as compared alone, corrected for all that is tested; what is not shared left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.reading.statistics.compare import compare_records
from benchmarks.reading.statistics.matrix import compare_all
from benchmarks.reading.statistics.permutation import holm


@pytest.fixture
def three(saved: Callable, make_fold: Callable) -> dict[str, list]:
    """Models a (best), b and c (alike) on t1, t2 and t3; a has t4, too."""
    found: dict[str, list] = {}
    for number, (label, skill) in enumerate((("b", 1.0), ("a", 3.0), ("c", 1.0))):
        tasks = ("t1", "t2", "t3", "t4") if label == "a" else ("t1", "t2", "t3")
        found[label] = [
            saved({"test": make_fold(80, skill, 10 * number + i)}, label=label, task=task, weights=label * 64)
            for i, task in enumerate(tasks)
        ]
    return found


def _all(three: dict[str, list]) -> list:
    return [record for own in three.values() for record in own]


def test_each_pair_is_compared_as_alone_and_corrected_for_all(three: dict[str, list]) -> None:
    found = compare_all(_all(three), draws=200, swaps=400)
    assert found.models[0].startswith("a")
    assert found.tasks == ("t1-v1-full", "t2-v1-full", "t3-v1-full")
    assert found.left_out == ("t4-v1-full",)
    alone = []
    for pair in found.pairs:
        own = compare_records(*(three[name[0]][:3] for name in pair.models), draws=200, swaps=400)
        alone.append(own)
        assert (own.difference, own.low, own.high) == (
            pair.comparison.difference, pair.comparison.low, pair.comparison.high,
        )  # fmt: skip
    assert [pair.p_clips_holm for pair in found.pairs] == holm([own.p_clips for own in alone])
    assert [pair.p_tasks_holm for pair in found.pairs] == holm([own.p_tasks for own in alone])
    rows = [row.p_holm for pair in found.pairs for row in pair.comparison.tasks]
    assert rows == holm([row.p for own in alone for row in own.tasks])
    assert [pair.p_clips_holm < 0.05 for pair in found.pairs] == ["a" in (p[0] for p in x.models) for x in found.pairs]
    assert found.ranks is not None
    assert found.ranks.average_ranks[0] == 1.0
    means = {name: np.mean(list(found.scores[name].values())) for name in found.models}
    for a, b in ((found.models[0], found.models[2]), (found.models[2], found.models[0])):
        pair, sign = found.pair(a, b)
        assert sign * pair.comparison.difference == pytest.approx(means[a] - means[b], abs=1e-9)


def test_what_cannot_be_compared_is_refused_in_one_line(
    three: dict[str, list], saved: Callable, make_fold: Callable
) -> None:
    fold = {"test": make_fold(30, 1.0, 5)}
    other_task = saved(fold, label="d", task="t9", weights="d" * 64)
    linear = saved(fold, label="d", task="t1", protocol="linear", weights="d" * 64)
    for records, words in (
        (three["a"], "at least two models"),
        ([], "models to compare, got none"),
        ([*_all(three), other_task], "4 models share no task"),
        ([*_all(three), linear], "different protocols"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            compare_all(records)
        assert "\n" not in str(caught.value)


def test_models_without_the_wanted_protocol_are_left_out_and_named(
    three: dict[str, list], saved: Callable, make_fold: Callable
) -> None:
    fold = {"test": make_fold(80, 1.0, 5)}
    linear = saved(fold, label="d", task="t1", protocol="linear", weights="d" * 64)
    found = compare_all([*_all(three), linear], protocol="hear", draws=50, swaps=50)
    assert (len(found.models), found.models_left_out) == (3, ("d",))
    with pytest.raises(ValueError, match="fewer than two models have results of the protocol 'linear'"):
        compare_all([*_all(three), linear], protocol="linear")


def test_one_shared_task_gives_pairs_but_no_ranks(three: dict[str, list], delores: Callable, tmp_path: Path) -> None:
    records = [own[0] for own in three.values()]
    found = compare_all(records, draws=50, swaps=50)
    assert found.ranks is None
    assert found.models[0].startswith("a")
    ran = delores("compare", *(record.folder for record in records), "--picture", tmp_path / "cd.png")
    assert (ran.code, "no ranks" in ran.out, "ranks need at least two" in ran.err) == (1, True, True)


def test_the_command_prints_the_matrix_and_draws_the_picture(
    three: dict[str, list], delores: Callable, tmp_path: Path
) -> None:
    results = Path(three["a"][0].folder).parents[2]
    ran = delores("compare", tmp_path / "results", "--all", "--picture", tmp_path / "cd.png")
    assert (ran.code, ran.err) == (0, "")
    for words in ("3 pairs", "Holm for 9 tests", "left out, not scored for all models: t4", "average rank 1.00: a"):
        assert words in ran.out
    assert "…" not in ran.out
    assert (tmp_path / "cd.png").read_bytes().startswith(b"\x89PNG")
    folders = [Path(own[0].folder).parents[1] for own in three.values()]
    assert results == tmp_path / "results"
    many = delores("compare", *folders, "--json")
    assert (many.code, len(json.loads(many.out)["pairs"])) == (0, 3)
    one = delores("compare", folders[0])
    assert one.code == 2
    assert "--all" in one.err
    wrong = delores("compare", *folders, "--picture", tmp_path / "cd.pdf")
    assert (wrong.code, "expected a PNG file" in wrong.err) == (1, True)
