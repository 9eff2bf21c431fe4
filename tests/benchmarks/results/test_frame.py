"""The tidy DataFrame of result records: what the records say, one row for each fold and metric."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import benchmarks
from benchmarks.reading.tables.table import comparison_tables
from benchmarks.results.format import FoldPredictions, ResultRecord
from benchmarks.results.frame import results_frame
from hear_delores.errors import DeloresError

Saved = Callable[..., ResultRecord]
Fold = Callable[..., FoldPredictions]


@pytest.fixture
def records(saved: Saved, make_fold: Fold) -> list[ResultRecord]:
    """Two models of one label; two seeds of one split, and three folds, each with two metrics."""
    metrics = ("top1_acc", "mAP")
    found = []
    for skill, weights in ((0.5, "ab" * 32), (2.0, "cd" * 32)):
        for seed in (1, 2):
            found.append(saved({"test": make_fold(40, skill, seed)}, weights=weights, seed=seed, metrics=metrics))
        folds = {f"fold{i:02d}": make_fold(30, skill, i) for i in range(3)}
        found.append(saved(folds, task="folds", weights=weights, metrics=metrics))
    return found


def test_each_row_is_a_fold_and_metric_of_a_record(records: list[ResultRecord], tmp_path: Path) -> None:
    frame = benchmarks.load_results(tmp_path / "results")
    assert isinstance(frame, pd.DataFrame)
    expected = {
        (r.model.weights_hash, r.task.name, r.seed, fold.test_split, metric): score
        for r in records for fold in r.folds for metric, score in fold.scores.items()
    }  # fmt: skip
    keys = frame[["weights_hash", "task", "seed", "fold", "metric"]].itertuples(index=False, name=None)
    assert dict(zip(keys, frame.score, strict=True)) == expected
    assert len(frame) == len(expected) == 2 * (2 + 3) * 2
    assert (frame.primary == (frame.metric == "top1_acc")).all()
    assert frame.validation_score.notna().equals(frame.primary)
    assert not frame.drop(columns="validation_score").isna().any(axis=None)


def test_its_pivot_is_the_comparison_table(records: list[ResultRecord]) -> None:
    frame = results_frame(records)
    runs = frame[frame.primary].groupby(["model", "task", "seed"]).score.mean()
    pivot = 100 * runs.groupby(["model", "task"]).mean().unstack()
    [table] = comparison_tables(records)
    assert set(pivot.index) == set(table.models) == {"ours (abababab)", "ours (cdcdcdcd)"}
    for (model, task), cell in table.cells.items():
        assert pivot.loc[model, task] == pytest.approx(cell.score)


def test_options_tell_models_apart_and_nan_is_kept(records: list[ResultRecord]) -> None:
    first = records[0]
    fold = first.folds[0].model_copy(update={"scores": {"top1_acc": math.nan, "mAP": 0.5}})
    other = first.model_copy(
        update={"model": first.model.model_copy(update={"options": {"pool": "max"}}), "folds": [fold]}
    )
    frame = results_frame([first, other])
    assert frame.groupby("options").score.apply(lambda s: s.isna().sum()).to_dict() == {"": 0, '{"pool": "max"}': 1}
    assert frame.model.nunique() == 2


def test_no_record_is_an_empty_frame_and_a_repeat_is_refused(records: list[ResultRecord]) -> None:
    empty, full = results_frame([]), results_frame(records)
    assert empty.empty
    assert list(empty.columns) == list(full.columns)
    assert empty.dtypes["score"] == full.dtypes["score"]
    with pytest.raises(DeloresError, match="two results of ours"):
        results_frame([records[0], records[0].model_copy()])
