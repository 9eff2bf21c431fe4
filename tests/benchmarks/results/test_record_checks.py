"""A record that contradicts itself, or predictions that are not what was scored, is refused by name, in one line."""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.reading.report.gather import gather
from benchmarks.reading.statistics.compare import compare_records
from benchmarks.reading.statistics.intervals import record_interval, statistics_of
from benchmarks.results.format import FoldPredictions, ResultRecord
from benchmarks.results.record import load_predictions, load_record, load_records, save_record
from hear_delores.errors import DeloresError

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def record(saved: Callable, make_fold: Callable) -> ResultRecord:
    """Three folds, two metrics."""
    folds = {f"fold{i:02d}": make_fold(20, 1.0, i) for i in range(3)}
    return saved(folds, metrics=("top1_acc", "mAP"))


@pytest.fixture
def single(saved: Callable, make_fold: Callable) -> ResultRecord:
    return saved({"test": make_fold(30, 1.0, 0)}, metrics=("top1_acc", "d_prime"), task="single")


def write(record: ResultRecord, change: Change) -> Path:
    """The record's file with its JSON changed in place."""
    assert record.folder is not None
    file = record.folder / "record.json"
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))
    return file


def both(record: dict[str, Any], metric: str, value: float) -> None:
    """A score that is the same in all folds and in the mean."""
    for fold in record["folds"]:
        fold["scores"][metric] = value
    record["scores"][metric], record["scores_std"][metric] = value, 0.0


def swapped(values: dict[str, Any], first: str, second: str) -> None:
    values[first], values[second] = values[second], values[first]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["scores"].update(top1_acc=0.99), r"top1_acc is 0.990000, but the mean of its folds is 0\.\d+"),
        (lambda r: r["scores"].update(top1_acc=r["scores"]["top1_acc"] + 1e-4), "but the mean of its folds"),
        (lambda r: r["scores"].update(top1_acc=math.nan), "scores.top1_acc is nan"),
        (lambda r: r["scores"].pop("top1_acc"), "scores and the folds' metrics differ in 'top1_acc'"),
        (lambda r: r["scores"].update(aucroc=0.5), "differ in 'aucroc'"),
        (lambda r: swapped(r["scores"], "top1_acc", "mAP"), "but the mean of its folds"),
        (lambda r: swapped(r, "scores", "scores_std"), "but the mean of its folds"),
        (lambda r: r["scores_std"].update(mAP=0.5), "scores_std.mAP is 0.500000, but the standard deviation"),
        (lambda r: r.update(scores_std={}), "scores_std and the folds' metrics differ"),
        (lambda r: r["scores_std"].update(  # ddof 0
            top1_acc=float(np.std([fold["scores"]["top1_acc"] for fold in r["folds"]]))), "the standard deviation"),
        (lambda r: r["folds"][1]["scores"].update(top1_acc=0.123), "but the mean of its folds"),
        (lambda r: r["folds"].pop(), "but the mean of its folds"),
        (lambda r: r.update(folds=[]), "it has no folds"),
        (lambda r: r["folds"][1]["scores"].pop("mAP"), r"different metrics: 'fold00' \['mAP', 'top1_acc'\], 'fold01'"),
        (lambda r: [fold["scores"].pop("mAP") for fold in r["folds"]], "mAP of fold 'fold00' is missing"),
        (lambda r: r["folds"][2].update(test_split="fold01"), "two of its folds have the test split 'fold01'"),
        (lambda r: r["folds"][2].update(test_split="test"), "the split 'test' has one fold, but there are 3"),
        (lambda r: r["task"].update(metrics=["top1_acc"]), "mAP is scored, but the task's metrics are top1_acc"),
        (lambda r: r["task"].update(n_clips=59), "its folds test 60 clips, but the task has 59"),
        (lambda r: r["folds"][1].update(n_test_rows=5000), "its folds test 5040 clips, but the task has 60"),
        (lambda r: (r.update(folds=r["folds"][:1], scores=r["folds"][0]["scores"], scores_std={})),
            "a task with one fold has the split 'test', but this fold's is 'fold00'"),
        (lambda r: r["model"].update(label=""), "model.label: "),
        (lambda r: both(r, "top1_acc", 1.5), "top1_acc of fold 'fold00' is 1.5, outside of the metric's range from 0"),
        (lambda r: both(r, "mAP", -0.1), "mAP of fold 'fold00' is -0.1, outside"),
        (lambda r: both(r, "top1_acc", math.inf), "is inf, outside"),
        (lambda r: r["task"].update(primary_metric="aucroc"), "the primary metric is 'aucroc', but the metrics are"),
        (lambda r: r["task"].update(primary_metric="mAP"), "the primary metric is 'mAP', but the metrics are"),
        (lambda r: r["task"].update(metrics=[]), "the primary metric"),
        (lambda r: r["task"].update(maximise=False), "larger is better, but the record says scene and smaller"),
        (lambda r: r["task"].update(embedding_type="event"), "top1_acc is of scene tasks"),
        (lambda r: r["task"].update(embedding_type="sceen"), "task.embedding_type"),
        (lambda r: r["task"].update(prediction_type=None), "task.prediction_type"),
        (lambda r: r["task"].update(n_clips=-5), "expected task.n_clips to be a whole number from 0, got -5"),
        (lambda r: r["task"].update(n_clips=10**30), "an integer of 100 bits"),
        (lambda r: r.update(seed=-1), "expected seed to be a whole number from 0"),
        (lambda r: r.update(seed="7"), r"seed: .*expected a number"),
        (lambda r: r.update(seed=True), r"seed: .*expected a number"),
        (lambda r: r.update(seed=7.5), r"seed: "),
        (lambda r: r.update(seconds={"total": -1.0}), "expected seconds.total to be seconds from 0, got -1"),
        (lambda r: r["folds"][0].update(seconds=math.nan), "expected folds.0.seconds to be seconds"),
        (lambda r: r["folds"][0].update(seconds="1"), "expected a number"),
        (lambda r: r["folds"][1].update(epoch=-1), "expected folds.1.epoch"),
        (lambda r: swapped(r["folds"][1], "epoch", "epochs_run"), "folds.1: epoch 9 of 3 epochs"),
        (lambda r: r["folds"][1].update(n_test_rows=-1), "expected folds.1.n_test_rows"),
        (lambda r: r["folds"][1]["scores"].update(mAP="0.5"), "expected a number"),
        (lambda r: r["model"].update(weights_hash="../../x"), "expected model.weights_hash to be hexadecimal digits"),
        (lambda r: r["model"].update(sizes={"scene_embedding_size": -3}), "expected model.sizes.scene_embedding_size"),
        (lambda r: r["model"].update(sample_rate=0.5), "model.sample_rate"),
        (lambda r: r.update(embeddings_hash=""), "expected embeddings_hash to be hexadecimal"),
        (lambda r: r.update(fingerprint="zz"), "expected fingerprint to be hexadecimal"),
        (lambda r: r.update(created="yesterday"), "expected created to be a date, got 'yesterday'"),
        (lambda r: r.update(peak_memory_bytes=-1), "expected peak_memory_bytes"),
    ],
)  # fmt: skip
def test_what_contradicts_itself(record: ResultRecord, change: Change, message: str) -> None:
    file = write(record, change)
    with pytest.raises(DeloresError, match=message) as caught:
        load_record(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(DeloresError):
        load_records([file.parent])
    assert load_records([file.parent], skip_damaged=True)[0] == []


def test_what_is_sound_is_read(record: ResultRecord, single: ResultRecord) -> None:
    """Rounded by another program, without a number where there is none, in another order."""
    write(record, lambda r: r["scores"].update(top1_acc=float(f"{r['scores']['top1_acc']:.9g}")))
    assert load_record(write(record, lambda r: r.update(folds=r["folds"][::-1])))

    def perfect(values: dict[str, Any]) -> None:
        values["folds"][0]["scores"]["d_prime"] = values["scores"]["d_prime"] = math.inf

    assert load_record(write(single, perfect)).scores["d_prime"] == math.inf

    def undefined(values: dict[str, Any]) -> None:  # a NaN fold is left out of the mean, as in heareval
        values["folds"][0]["scores"]["mAP"] = math.nan
        rest = [fold["scores"]["mAP"] for fold in values["folds"][1:]]
        values["scores"]["mAP"], values["scores_std"]["mAP"] = float(np.mean(rest)), float(np.std(rest, ddof=1))

    assert load_record(write(record, undefined))
    write(record, lambda r: [fold["scores"].update(mAP=math.nan) for fold in r["folds"]])
    assert load_record(write(record, lambda r: [r[part].update(mAP=math.nan) for part in ("scores", "scores_std")]))


# --- predictions


def events() -> FoldPredictions:
    names = np.array(["a.wav", "b.wav"])
    rows = np.array([[0.0, 1.0, 100.0, 900.0], [1.0, 0.0, 0.0, 500.0]])
    frames = np.random.default_rng(0).random((6, 2)).astype(np.float32)
    return FoldPredictions(
        frames, np.eye(6, 2, dtype=np.float32), names.repeat(3), np.array([0.0, 50, 100] * 2), names, rows, rows.copy()
    )


def rewrite(record: ResultRecord, change: Change) -> Path:
    assert record.folder is not None
    file = record.folder / "predictions.npz"
    with np.load(file) as archive:
        arrays = dict(archive)
    change(arrays)
    with open(file, "wb") as stream:
        np.savez_compressed(stream, **arrays)
    return file


def put(name: str, value: Any) -> Change:
    """Replaces an array by what ``value`` makes of it, or takes it out."""

    def change(arrays: dict[str, Any]) -> None:
        key = f"test/{name}"
        if value is None:
            del arrays[key]
        else:
            arrays[key] = value(arrays[key].copy())

    return change


def at(row: int, column: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[row, column] = value
        return array

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("prediction", lambda x: x[:, :1]), r"predictions of shape \(6, 1\), targets \(6, 2\)"),
        (put("prediction", lambda x: x[:5]), r"predictions of shape \(5, 2\)"),
        (put("prediction", lambda x: x[:, 0]), r"prediction.npy is of type float32 and shape \(6,\)"),
        (put("prediction", at(2, 1, math.nan)), "hold NaN or infinity"),
        (put("prediction", at(2, 1, -math.inf)), "hold NaN or infinity"),
        (put("prediction", lambda x: x.astype(np.int64)), "is of type int64"),
        (put("prediction", lambda x: x.astype(np.complex64)), "is of type complex64"),
        (put("prediction", None), "prediction of 'test' is missing"),
        (put("target", at(0, 0, 0.5)), "not all 0 or 1"),
        (put("target", at(0, 0, math.nan)), "not all 0 or 1"),
        (put("target", None), "target of 'test' is missing"),
        (put("files", lambda x: x[:4]), "and 4 files"),
        (put("files", lambda x: x.astype(object)), "is of type object"),
        (put("files", lambda x: np.arange(6)), "is of type int64"),
        (put("timestamps_ms", lambda x: x[:3]), "the timestamps of 'test'"),
        (put("timestamps_ms", lambda x: -x - 1), "the timestamps of 'test'"),
        (put("event_files", None), "has predicted_events, but not all of"),
        (put("predicted_events", lambda x: x[:, :3]), r"to be \(m, 4\) finite numbers"),
        (put("predicted_events", at(0, 0, 2.0)), "expected files by a number below 2"),
        (put("predicted_events", at(0, 0, 0.5)), "expected files by a number below 2"),
        (put("target_events", at(0, 0, -1.0)), "expected files by a number below 2"),
        (put("target_events", at(1, 1, 2.0)), "expected labels by a number below 2"),
        (put("target_events", at(1, 2, -1.0)), "expected 0 <= start <= end"),
        (put("target_events", at(1, 3, 1e15)), "expected 0 <= start <= end <= a week"),
        (put("predicted_events", at(0, 3, 50.0)), "expected 0 <= start <= end"),
        (put("predicted_events", at(0, 3, math.nan)), "finite numbers"),
        (lambda a: a.update({"test/extra": np.zeros(3)}), "unexpected member 'test/extra.npy'"),
    ],
)
def test_what_no_predictions_are(saved: Callable, make_fold: Callable, change: Change, message: str) -> None:
    record = saved({"test": make_fold(6, 1.0, 0)})
    assert record.folder is not None
    save_record(record, record.folder.parents[2], {"test": events()})
    assert load_predictions(record.folder)["test"].event_files is not None
    file = rewrite(record, change)
    with pytest.raises(DeloresError, match=message) as caught:
        load_predictions(record.folder)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_archive_that_claims_more_than_it_holds_or_memory_takes(single: ResultRecord) -> None:
    assert single.folder is not None
    file = single.folder / "predictions.npz"
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for shape, message in (((10**15, 4), "claims"), ((10**5, 4), "claims 1,600,000 bytes and has")):
        header = np.lib.format.magic(1, 0) + b""
        text = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).encode().ljust(116) + b"\n"
        changed = {**members, "test/prediction.npy": header + len(text).to_bytes(2, "little") + text}
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in changed.items():
                archive.writestr(name, content)
        with pytest.raises(DeloresError, match=message):
            load_predictions(single.folder)
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("test/target.npy", members["test/target.npy"])
    with pytest.raises(DeloresError, match=r"test/target.npy is in the file twice"):
        load_predictions(single.folder)


def test_what_unpacks_to_more_than_is_free(single: ResultRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    assert single.folder is not None
    monkeypatch.setattr("benchmarks.results.consistency.available_bytes", lambda: 100)
    with pytest.raises(DeloresError, match=r"it unpacks to [\d.]+ GB, and 0.00 GB are free"):
        load_predictions(single.folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_predictions_that_never_end_are_not_waited_for(single: ResultRecord) -> None:
    assert single.folder is not None
    (single.folder / "predictions.npz").unlink()
    os.mkfifo(single.folder / "predictions.npz")
    with pytest.raises(
        DeloresError, match=r"damaged predictions \(expected a file, got a folder, a device or a FIFO\)"
    ):
        load_predictions(single.folder)


@pytest.mark.parametrize("target", ["gone", "record.json"])
def test_a_link_that_leads_nowhere_is_a_damaged_record(single: ResultRecord, target: str) -> None:
    assert single.folder is not None
    file = single.folder / "record.json"
    file.unlink()
    file.symlink_to(target)
    with pytest.raises(DeloresError, match=r"record\.json: "):
        load_records([single.folder])
    assert len(load_records([single.folder], skip_damaged=True)[1]) == 1


def better(arrays: dict[str, Any]) -> None:
    arrays["test/prediction"] = arrays["test/target"].astype(np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (better, r"the predictions of test give top1_acc 1.000000, the record says 0\.\d+"),
        (
            lambda a: a.update({name: value[:20] for name, value in a.items()}),
            "tested on 30 rows, but has 20",
        ),
        (
            lambda a: [a.update({f"valid/{name[5:]}": a.pop(name)}) for name in list(a)],
            "no predictions of test",
        ),
        (
            lambda a: a.update({f"valid/{name[5:]}": value for name, value in list(a.items())}),
            "there are predictions of 'valid', which is not one of its folds",
        ),
        (
            lambda a: a.update(
                {"test/prediction": a["test/prediction"] * np.linspace(1, 9, 30, dtype=np.float32)[:, None]}
            ),
            "the predictions of test give d_prime",  # the accuracy is the same
        ),
    ],
)
def test_predictions_of_something_else(single: ResultRecord, change: Change, message: str) -> None:
    """compare, intervals and the report look at them, and none of them takes them."""
    rewrite(single, change)
    for look in (
        lambda: record_interval(single),
        lambda: statistics_of(single, "top1_acc"),
        lambda: compare_records([single], [single]),
    ):
        with pytest.raises(DeloresError, match=message) as caught:
            look()
        assert "\n" not in str(caught.value)


def test_the_report_looks_at_every_fold(record: ResultRecord, single: ResultRecord) -> None:
    assert not gather([record, single]).left_out

    def other_fold(arrays: dict[str, Any]) -> None:
        arrays["fold02/prediction"] = arrays["fold02/target"].astype(np.float32)

    rewrite(record, other_fold)
    with pytest.raises(DeloresError, match=r"the predictions of fold02 give top1_acc 1\.000000"):
        gather([record, single])
    found = gather([record, single], skip_damaged=True)
    assert [kept.task.name for kept in found.records] == ["single"]
    assert len(found.left_out) == 1
    assert "the predictions of fold02 give top1_acc 1.000000" in found.left_out[0]
