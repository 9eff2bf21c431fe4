"""The report's sections over tasks, of perturbed clips and of layers: the figures of their sources, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.reading.report.gather import gather
from benchmarks.reading.report.layer_bars import layer_bars
from benchmarks.reading.report.over_tasks import MOST_TESTS, over_tasks
from benchmarks.reading.report.page import Sources, render_report
from benchmarks.reading.report.perturbed_bars import perturbed_bars
from benchmarks.reading.statistics.matrix import compare_all
from benchmarks.reading.statistics.overall import min_max_scores
from benchmarks.reading.statistics.robustness import robustness_of
from benchmarks.results.format import FoldPredictions, ModelInfo, PerturbedFold, PerturbedResult, ResultRecord
from benchmarks.results.label import option_suffix
from benchmarks.results.record import load_record, save_record

SECTIONS = ('id="overall"', 'id="robustness"', 'id="layers"')
Make = Callable[..., Any]


@pytest.fixture
def records(saved: Make, make_fold: Make) -> list[ResultRecord]:
    """Three models on three tasks."""
    return [
        saved(
            {"test": make_fold(60, skill, seed + 10 * task, truth_seed=task)},
            label=label, weights=label * 32, task=f"t{task}",
        )
        for seed, (label, skill) in enumerate((("aa", 3.0), ("bb", 1.5), ("cc", 0.2)))
        for task in range(3)
    ]  # fmt: skip


def test_models_over_tasks_are_those_of_the_statistics(records: list[ResultRecord]) -> None:
    [found] = over_tasks(gather(records))
    matrix = compare_all(records)
    assert found.order == matrix.models == tuple(model for model, _ in found.overall)
    assert found.ranks == matrix.ranks
    scores = [[100 * matrix.scores[model][task] for task in matrix.tasks] for model in found.order]
    assert [each.min_max for _, each in found.overall] == pytest.approx(min_max_scores(scores).tolist())
    for row, model in enumerate(found.order):
        for column, other in enumerate(found.order):
            cell = found.pairs[row][column]
            if row == column:
                assert cell is None
                continue
            pair, sign = matrix.pair(model, other)
            assert float(cell.text) == pytest.approx(100 * sign * pair.comparison.difference, abs=0.05)
            assert cell.sure == (pair.p_clips_holm < 0.05)
    # Half of the critical difference to both sides, cut at the ends of the axis: lines of models that are not told
    # apart overlap, and others do not.
    ends = {row.name: row.ends for row in found.card.groups[0][1]}
    together = {frozenset((a, b)) for group in found.ranks.groups for a in group for b in group}
    for one in found.order:
        for other in found.order:
            overlap = min(ends[one][1], ends[other][1]) > max(ends[one][0], ends[other][0])
            assert overlap == (one == other or frozenset((one, other)) in together)


def test_too_many_pairs_are_left_to_the_command(records: list[ResultRecord], monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_TESTS >= 9
    monkeypatch.setattr("benchmarks.reading.report.over_tasks.MOST_TESTS", 8)
    [found] = over_tasks(gather(records))
    assert found.pairs == ()
    assert found.untested == "3 pairs on 3 tasks: 'delores compare --all' tests them"
    assert found.ranks is not None
    assert found.untested.replace("'", "&#39;") in render_report(gather(records), Sources())


def test_nothing_stands_where_there_is_nothing(records: list[ResultRecord]) -> None:
    for few in (records[:3], [record for record in records if record.task.name == "t0"]):
        text = render_report(gather(few), Sources())
        assert not [section for section in SECTIONS if section in text]


def perturbed(record: ResultRecord, fold: FoldPredictions, worse: FoldPredictions) -> ResultRecord:
    """The record with one perturbation, saved again."""
    score = float((worse.prediction.argmax(1) == worse.target.argmax(1)).mean())
    result = PerturbedResult(
        name="noise:0", embeddings_hash="e" * 64, scores={"top1_acc": score},
        folds=[PerturbedFold(test_split="test", scores={"top1_acc": score}, loss=1.0)],
    )  # fmt: skip
    changed = record.model_copy(update={"perturbed": [result]})
    results = record.folder.parents[2]
    return load_record(save_record(changed, results, {"test": fold}, perturbed={"noise:0": {"test": worse}}))


def test_perturbed_clips_are_bars_beside_clean(saved: Make, make_fold: Make) -> None:
    fold, worse = make_fold(60, 3.0, 1), make_fold(60, 0.5, 2)
    record = perturbed(saved({"test": fold}), fold, worse)
    [card] = perturbed_bars(gather([record]))
    [(model, (clean, noisy))] = card.groups
    [found] = robustness_of([record])
    cell = found.cells[model, "toy", "noise:0"]
    assert (clean.name, noisy.name, noisy.score, noisy.reference) == ("clean", "noise:0", cell.score, clean.score)
    assert noisy.detail == f"[{cell.low:+.1f}, {cell.high:+.1f}]"
    text = render_report(gather([record]), Sources())
    assert 'id="robustness"' in text
    assert noisy.detail in text


def test_layers_are_grouped_and_validation_chooses(saved: Make, make_fold: Make) -> None:
    records = []
    for layer, (validation, skill) in enumerate(((0.4, 3.0), (0.9, 1.0), (0.6, 2.0))):
        record = saved({"test": make_fold(40, skill, layer)}, weights=f"{layer}" * 64)
        options = {"layer": str(layer), "seed": "1"}  # the seed is no layer, though layer 1 has its number
        label = "w" + option_suffix(options)
        model = ModelInfo(label=label, module="hf:w", options=options, weights_hash=f"{layer}" * 64)
        folds = [record.folds[0].model_copy(update={"validation_score": validation})]
        changed = record.model_copy(update={"model": model, "folds": folds})
        changed._folder = record.folder
        records.append(changed)
    [card] = layer_bars(gather(records))
    assert card.title == "w on toy"
    rows = card.groups[0][1]
    assert [(row.name, row.text, row.best) for row in rows] == [
        ("0", "40.0", False), ("1", "90.0", True), ("2", "60.0", False),
    ]  # fmt: skip
    assert rows[1].detail == f"test {100 * records[1].primary_score:.1f}"  # of the chosen one, though 0 tests better
    assert rows[0].detail == rows[2].detail == ""
    assert 'id="layers"' in render_report(gather(records), Sources())
    assert layer_bars(gather(records[:1])) == []
