"""Result records: saved, found again, damaged ones named."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from benchmarks.results.format import FoldPredictions, FoldResult, ModelInfo, ProtocolInfo, ResultRecord, TaskInfo
from benchmarks.results.identity import Behaviour
from benchmarks.results.record import (
    existing_record,
    load_predictions,
    load_record,
    load_records,
    record_folder,
    save_record,
)
from hear_delores.errors import DeloresError


def record_of(label="small S", **changes) -> ResultRecord:
    values = {
        "fingerprint": "f" * 64,
        "embeddings_hash": "e" * 64,
        "model": ModelInfo(label=label, module="hear_delores", weights_hash="0123456789abcdef", options={"a": 1}),
        "task": TaskInfo(
            name="toy",
            version="v1",
            mode="full",
            revision="r",
            embedding_type="scene",
            prediction_type="multiclass",
            primary_metric="top1_acc",
            metrics=["top1_acc", "d_prime", "aucroc"],
            maximise=True,
            n_clips=9,
        ),
        "protocol": ProtocolInfo(name="hear", options={"grid": "fast"}, variant="fast"),
        "seed": 7,
        "scores": {"top1_acc": 0.1 + 0.2, "d_prime": math.inf, "aucroc": math.nan},
        "folds": [
            FoldResult(
                test_split="test",
                scores={"top1_acc": 0.1 + 0.2, "d_prime": math.inf, "aucroc": math.nan},
                loss=1.0,
                validation_score=-math.inf,
                epoch=2,
                epochs_run=3,
                hyperparameters={"lr": 1e-3},
                n_train_rows=4,
                n_test_rows=2,
                seconds=0.1,
            )
        ],
        "device": "cpu",
        "versions": {"torch": "2"},
        "created": "2024-01-01T00:00:00+00:00",
    }
    return ResultRecord(**{**values, **changes})


def test_round_trip_keeps_every_bit_nan_and_infinity_included(tmp_path):
    record = record_of()
    folder = save_record(record, tmp_path)
    assert folder == tmp_path / "small_S-a=1-01234567" / "toy-v1-full" / "hear-fast-seed7"
    assert folder == record_folder(tmp_path, record)
    again = load_record(folder)
    assert again.protocol.title == "hear (fast)"
    assert again.folder == record.folder == folder
    assert again.scores["top1_acc"] == 0.1 + 0.2
    assert again.scores["d_prime"] == math.inf
    assert math.isnan(again.scores["aucroc"])
    assert again.folds[0].validation_score == -math.inf
    assert again.primary_score == again.scores["top1_acc"]
    clean = {"scores": {"top1_acc": 0.5}}
    assert record_of(**clean).model_dump() == ResultRecord.model_validate(record_of(**clean).model_dump()).model_dump()


def test_two_models_of_one_label_do_not_collide(tmp_path):
    other = ModelInfo(label="small S", module="hear_delores", weights_hash="ffff0000ffff")
    assert record_folder(tmp_path, record_of()) != record_folder(tmp_path, record_of(model=other))
    foreign = ModelInfo(label="x", module="x")  # no weights hash: the embeddings' own
    assert record_folder(tmp_path, record_of(model=foreign)).parts[-3] == "x-eeeeeeee"
    hidden = ModelInfo(label="../..", module="x", weights_hash="abcdefgh")
    assert record_folder(tmp_path, record_of(model=hidden)).parts[-3] == "_-abcdefgh"


def test_predictions_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    fold = FoldPredictions(
        prediction=rng.random((3, 2)).astype(np.float32),
        target=np.eye(3, 2, dtype=np.float32),
        files=np.array(["a.wav", "ä.wav", "c.wav"]),
        timestamps_ms=np.array([0.0, 0.1, 0.2]),
        event_files=np.array(["a.wav"]),
        predicted_events=np.zeros((0, 4)),
        target_events=np.array([[0.0, 1.0, 2.0, 3.0]]),
    )
    plain = FoldPredictions(fold.prediction, fold.target, fold.files)
    folder = save_record(record_of(), tmp_path, {"fold00": fold, "fold01": plain}, {"official": math.nan})
    found = load_predictions(folder)
    assert list(found) == ["fold00", "fold01"]
    for name, value in vars(fold).items():
        np.testing.assert_array_equal(getattr(found["fold00"], name), value)
    assert found["fold01"].timestamps_ms is None
    assert json.loads((folder / "test.predicted-scores.json").read_text()).keys() == {"official"}
    (folder / "predictions.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DeloresError, match=r"predictions\.npz: damaged predictions"):
        load_predictions(folder)
    (folder / "predictions.npz").unlink()
    with pytest.raises(DeloresError, match=r"predictions\.npz: missing"):
        load_predictions(folder)


def test_records_are_found_recursively_each_once_and_damaged_ones_named(tmp_path):
    folders = [save_record(record_of(label), tmp_path / "r") for label in ("one", "two", "three")]
    found = load_records([tmp_path / "r", folders[0], str(tmp_path / "r")])
    assert [record.model.label for record in found] == ["one", "three", "two"]
    assert len(load_records(tmp_path / "r")) == 3
    spoilt = folders[1] / "record.json"
    spoilt.write_text(spoilt.read_text()[:100])
    with pytest.raises(DeloresError, match=r"two-a=1-01234567.*record\.json: .*damaged result record"):
        load_records([tmp_path / "r"])
    records, damaged = load_records([tmp_path / "r"], skip_damaged=True)
    assert [record.model.label for record in records] == ["one", "three"]
    assert len(damaged) == 1
    assert str(spoilt) in damaged[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "expected a result record of format 1, got 99"),
        ({"seed": "many"}, r"damaged result record \(seed: "),
        ({"new_key": 1}, r"damaged result record \(new_key: "),
        ({"folds": [{"epoch": 1}]}, r"damaged result record \(folds\.0\.test_split: "),
    ],
)
def test_damaged_records(tmp_path, change, message):
    file = save_record(record_of(), tmp_path) / "record.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(DeloresError, match=message) as error:
        load_record(file.parent)
    assert "\n" not in str(error.value)


def test_nothing_there(tmp_path):
    with pytest.raises(DeloresError, match="no such result record"):
        load_record(tmp_path)
    with pytest.raises(DeloresError, match="no such folder of results"):
        load_records([tmp_path / "x"])
    assert load_records([tmp_path]) == []


@pytest.mark.parametrize("weights_hash", ["../../ab", "/etc/abc", "..", "a\\b", "a\0b"])
def test_a_hash_that_is_a_path_makes_no_folder(weights_hash, tmp_path):
    model = ModelInfo(label="x", module="x", weights_hash=weights_hash)
    with pytest.raises(DeloresError, match="weights_hash: expected a plain name"):
        save_record(record_of(model=model), tmp_path / "results")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["name", "version", "mode"])
def test_a_record_of_a_task_that_is_called_like_a_path_is_refused(key, tmp_path):
    file = save_record(record_of(), tmp_path) / "record.json"
    values = json.loads(file.read_text())
    values["task"][key] = "../../precious"
    file.write_text(json.dumps(values))
    with pytest.raises(DeloresError, match=rf"task.{key}: .*expected a plain name"):
        load_record(file)


def test_records_are_valid_json_and_nan_and_infinity_come_back(tmp_path):
    record = record_of()
    scores = {**record.scores, "d_prime": math.inf, "aucroc": math.nan}
    fold = record.folds[0].model_copy(update={"scores": scores, "loss": math.nan, "validation_score": math.nan})
    record = record.model_copy(update={"scores": scores, "folds": [fold]})
    file = save_record(record, tmp_path, official={"a": math.nan}) / "record.json"

    def refuse(name):
        raise AssertionError(name)

    for path in (file, file.parent / "test.predicted-scores.json"):
        json.loads(path.read_text(), parse_constant=refuse)
    found = load_record(file)
    for part in (found, found.folds[0]):
        assert part.scores["d_prime"] == math.inf
        assert math.isnan(part.scores["aucroc"])
    assert math.isnan(found.folds[0].loss)
    old = file.read_text().replace("null", "NaN").replace('"Infinity"', "Infinity")
    assert "NaN" in old
    values = json.loads(old)
    values |= {"task": {**values["task"], "subset": None}, "peak_memory_bytes": None}
    values["model"] = {key: value for key, value in values["model"].items() if value == value}
    file.write_text(json.dumps(values))  # as older versions wrote it
    assert "NaN" in file.read_text()
    assert load_record(file).scores["d_prime"] == math.inf


def test_a_record_from_before_options_named_folders_is_found_moved_and_completed(tmp_path):
    behaviour = Behaviour(version=1, deterministic=True, scene=[[1.0, 1.0]], timestamps=[None])
    old = record_of(label="m")
    info = old.model.model_copy(update={"label": "m-a=1", "behaviour": behaviour})
    draft = old.model_copy(update={"model": info, "scores": {}})
    folder = save_record(old, tmp_path)
    earlier = tmp_path / "m-01234567" / "toy-v1-full" / "hear-fast-seed7"
    earlier.parent.mkdir(parents=True)
    folder.rename(earlier)

    other = draft.model_copy(update={"fingerprint": "0" * 64})
    assert existing_record(tmp_path, other) is None
    assert (earlier / "record.json").exists()
    mean = draft.model_copy(update={"model": info.model_copy(update={"label": "m-a=2", "options": {"a": 2}})})
    assert existing_record(tmp_path, mean) is None

    found = existing_record(tmp_path, draft)
    assert found.folder == record_folder(tmp_path, draft) == tmp_path / "m-a=1-01234567/toy-v1-full/hear-fast-seed7"
    assert not earlier.exists()
    assert (found.model.label, found.model.behaviour, found.created) == ("m-a=1", behaviour, old.created)
    assert load_record(found.folder).model == found.model
    assert found.scores["top1_acc"] == old.scores["top1_acc"]
