"""Embeddings folder in, record out: all kinds of task, caching, kill -9, and bad input."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from embeddings_folders import write_events, write_scene

from benchmarks.metrics.events import EventTable
from benchmarks.metrics.registry import METRICS
from benchmarks.results.record import load_predictions, load_record, load_records
from benchmarks.scoring import score as module
from benchmarks.scoring.hear.protocol import Hear
from benchmarks.scoring.score import score_embeddings
from benchmarks.scoring.work import WorkFolder
from hear_delores.errors import DeloresError

QUICK = {"grid": "faster", "grid_points": 3}
ROOT = Path(module.__file__).parents[2]


def test_a_scene_task_end_to_end(tmp_path):
    folder = write_scene(tmp_path / "e" / "mymodel" / "toy", sizes=60, noise=1.0)
    info = {
        "model": {
            "label": "my model",
            "module": "my_module",
            "weights_hash": "abcdef0123",
            "sample_rate": 16000,
            "n_parameters": 12,
            "sizes": {"scene": 8, "timestamp": 4},
            "something_new": 1,
        },
        "task": {"name": "toy", "revision": "r1"},
        "seconds": 2.5,
        "skipped": [],
    }
    (folder / "embedding-info.json").write_text(json.dumps(info))
    seen: list[tuple[int, int, str]] = []
    record = score_embeddings(
        folder, results_dir=tmp_path / "r", progress=lambda *args: seen.append(args), grid="faster"
    )
    assert record.folder == tmp_path / "r" / "my_model-abcdef01" / "toy_scene-v1-full" / "hear-faster-seed42"
    assert [done for done, _, _ in seen] == list(range(1, 9))
    assert {total for _, total, _ in seen} == {8}
    assert load_record(record.folder) == record
    assert sorted(path.name for path in record.folder.iterdir()) == [
        "predictions.npz",
        "record.json",
        "test.predicted-scores.json",
    ]
    assert (record.model.module, record.task.revision, record.seconds["embedding"]) == (
        "my_module",
        "r1",
        2.5,
    )
    assert record.protocol.options["grid_points"] == 8
    assert (record.task.primary_metric, record.task.n_clips, len(record.grid)) == ("top1_acc", 180, 8)
    assert record.scores_std == {}
    assert record.folds[0].validation_score == max(point.validation_score for point in record.grid)
    fold = load_predictions(record.folder)["test"]
    for name, value in record.scores.items():  # the stored predictions are those that were scored
        assert METRICS[name].function(fold.prediction, fold.target) == pytest.approx(value, abs=1e-12)
    truth = json.loads((folder / "test.json").read_text())
    assert [truth[file][0] for file in fold.files] == ["abc"[k] for k in fold.target.argmax(1)]
    assert record.scores["top1_acc"] > 0.5  # chance: 1/3


def test_the_scores_file_has_heareval_s_form(tmp_path):
    scene = write_scene(tmp_path / "e" / "m" / "toy", folds=3)
    record = score_embeddings(scene, results_dir=tmp_path / "r", **QUICK)
    whole = json.loads((record.folder / "test.predicted-scores.json").read_text())
    metrics = {"top1_acc", "mAP", "d_prime", "aucroc"}
    fold_keys = {f"test_{name}" for name in {*metrics, "loss", "score"}}
    fold_keys |= {"validation_score", "epoch", "time_in_min"}
    folds = [f"fold{i:02d}" for i in range(3)]
    assert set(whole) == {
        *folds, "aggregated_scores", "hparams", "postprocessing", "score_mode", "embedding_path"
    }  # fmt: skip
    assert all(set(whole[fold]) == fold_keys for fold in folds)
    assert set(whole["aggregated_scores"]) == {f"{k}_{s}" for k in fold_keys for s in ("mean", "std")}
    values = [whole[fold]["test_top1_acc"] for fold in folds]
    assert whole["aggregated_scores"]["test_top1_acc_mean"] == pytest.approx(np.mean(values))
    assert whole["aggregated_scores"]["test_top1_acc_std"] == pytest.approx(np.std(values, ddof=1))
    assert record.scores["top1_acc"] == pytest.approx(np.mean(values))
    assert record.scores_std["top1_acc"] == pytest.approx(np.std(values, ddof=1))
    events = write_events(tmp_path / "e" / "m" / "events")
    record = score_embeddings(events, results_dir=tmp_path / "r", **QUICK)
    whole = json.loads((record.folder / "test.predicted-scores.json").read_text())
    assert [name for name, _ in whole["postprocessing"]] == ["median_filter_ms", "min_duration"]
    assert "test_event_onset_200ms_fms_precision" in whole["test"]
    assert "aggregated_scores" not in whole


@pytest.mark.parametrize("protocol", ["hear", "linear"])
def test_an_event_task_end_to_end(tmp_path, protocol):
    folder = write_events(tmp_path / "e" / "m" / "toy", noise=0.8)
    options = QUICK if protocol == "hear" else {"max_epochs": 15, "lr": 1e-2}
    record = score_embeddings(folder, results_dir=tmp_path / "r", protocol=protocol, **options)
    assert record.scores["event_onset_200ms_fms"] > 0.4
    assert record.scores["event_onset_200ms_fms"] == record.scores["event_onset_200ms_fms_f_measure"]
    fold = load_predictions(record.folder)["test"]
    assert len(fold.files) == len(fold.timestamps_ms) == len(fold.prediction)

    def table(rows):
        file, label = rows[:, 0].astype(int), rows[:, 1].astype(int)
        return EventTable(tuple(fold.event_files), ("bell", "dog"), file, label, rows[:, 2], rows[:, 3])

    for name in ("event_onset_200ms_fms", "segment_1s_er"):  # the stored events give the stored scores
        again = METRICS[name].scores(table(fold.predicted_events), table(fold.target_events))
        assert again[name] == pytest.approx(record.scores[name], abs=1e-12)
    truth = json.loads((folder / "test.json").read_text())
    assert len(fold.target_events) == sum(len(events) for events in truth.values())


def test_the_official_shape_of_a_multilabel_task(tmp_path):
    folder = write_scene(tmp_path / "e" / "m" / "t", multilabel=True, evaluation=("mAP", "aucroc", "d_prime"))
    record = score_embeddings(folder, results_dir=tmp_path / "r", **QUICK)
    assert record.task.prediction_type == "multilabel"
    assert record.scores["mAP"] > 0.6


# --- caching


def test_an_identical_record_is_not_made_again_and_a_changed_input_is(tmp_path, monkeypatch):
    folder = write_scene(tmp_path / "e" / "m" / "t")
    runs = []
    whole = module.run_folds
    monkeypatch.setattr(module, "run_folds", lambda *a, **k: (runs.append(1), whole(*a, **k))[1])

    def score(**options):
        return score_embeddings(folder, results_dir=tmp_path / "r", **{**QUICK, **options})

    first = score()
    assert score() == first
    assert len(runs) == 1
    assert score(grid_points=None).protocol.options["grid_points"] == 8  # None leaves the default
    assert score(seed=1).folder != first.folder
    assert len(runs) == 3
    assert score(overwrite=True).scores == first.scores
    assert len(runs) == 4
    (first.folder / "record.json").write_text("{}")  # damaged: made again
    assert score().scores == first.scores
    assert len(runs) == 5
    rows = np.fromfile(folder / "train.embeddings.npy", dtype=np.float32)
    (rows * 2).tofile(folder / "train.embeddings.npy")  # other embeddings under the same name
    assert score().fingerprint != first.fingerprint
    assert len(runs) == 6
    assert len(load_records([tmp_path / "r"])) == 4  # a foreign folder's name holds the embeddings' hash


# --- kill -9

CHILD = """
import os, signal, sys
from benchmarks.scoring import descent
from benchmarks.scoring.linear import protocol as linear
from benchmarks.scoring.hear.stacked import HeadStack
from benchmarks.scoring.score import score_embeddings
import torch
torch.set_num_threads(2)  # two heads at once
folder, results, protocol, deadly = sys.argv[1:4] + [int(sys.argv[4])]
seen = 0
def counted(whole):
    def predict(*args):
        global seen
        seen += 1
        if seen == deadly:
            os.kill(os.getpid(), signal.SIGKILL)  # in the middle of training a head
        return whole(*args)
    return predict
HeadStack.predict = counted(HeadStack.predict)
linear.predict = descent.predict = counted(linear.predict)  # of validation and of the test
options = {"grid": "faster", "grid_points": 4} if protocol == "hear" else {"max_epochs": 10}
score_embeddings(folder, results_dir=results, protocol=protocol, **options)
print(seen)
"""


def without_times(folder: Path) -> dict:
    """The record but for what is measured anew each time: seconds, memory and date."""
    record = json.loads((folder / "record.json").read_text())
    for part in [*record["folds"], *record["grid"], record]:
        part.pop("seconds")
    record.pop("created")
    record.pop("peak_memory_bytes")
    return record


@pytest.mark.parametrize(("protocol", "deadly"), [("hear", 25), ("linear", 17)])
def test_killed_and_run_again_equals_uninterrupted(tmp_path, warm, protocol, deadly):
    folder = write_scene(tmp_path / "e" / "m" / "t", folds=4, noise=2.0)
    killed = warm.run(CHILD, folder, tmp_path / "killed", protocol, deadly)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    [work] = (tmp_path / "killed").rglob("work")
    finished = sorted(path.stem for path in work.glob("*.safetensors"))
    assert finished  # the kill lost the head in flight, not those before
    assert not load_records([tmp_path / "killed"])
    again = warm.run(CHILD, folder, tmp_path / "killed", protocol, 0)
    assert again.returncode == 0, again.stderr
    torch.set_num_threads(2)
    options = {"grid": "faster", "grid_points": 4} if protocol == "hear" else {"max_epochs": 10}
    whole = score_embeddings(folder, results_dir=tmp_path / "whole", protocol=protocol, **options)
    resumed = tmp_path / "killed" / whole.folder.relative_to(tmp_path / "whole")
    assert without_times(resumed) == without_times(whole.folder)
    assert not (resumed / "work").exists()
    one, two = load_predictions(resumed), load_predictions(whole.folder)
    for split in two:
        np.testing.assert_array_equal(one[split].prediction, two[split].prediction)
        np.testing.assert_array_equal(one[split].files, two[split].files)


@pytest.mark.parametrize("protocol", ["hear", "linear", "knn"])
def test_what_a_run_killed_at_its_very_end_left_is_cleared_by_the_next(tmp_path, monkeypatch, protocol):
    folder = write_scene(tmp_path / "e" / "m" / "toy")
    options = {"hear": QUICK, "linear": {"max_epochs": 3}, "knn": {}}[protocol]
    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "remove", lambda self: None)  # killed before it
        record = score_embeddings(folder, results_dir=tmp_path / "r", protocol=protocol, **options)
    assert (record.folder / "work" / "fingerprint").is_file()
    (record.folder / ".record.json.0a1b2c3d.tmp").write_text("half")
    (record.folder / "work" / "mine.txt").write_text("no run made this")
    again = score_embeddings(folder, results_dir=tmp_path / "r", protocol=protocol, **options)
    assert again.created == record.created  # not made again
    assert [path.name for path in (record.folder / "work").iterdir()] == ["mine.txt"]
    (record.folder / "work" / "mine.txt").unlink()
    score_embeddings(folder, results_dir=tmp_path / "r", protocol=protocol, **options)
    assert {path.name for path in record.folder.iterdir()} == {
        "record.json", "predictions.npz", "test.predicted-scores.json"
    }  # fmt: skip


def test_finished_heads_of_other_settings_are_not_used(tmp_path, monkeypatch):
    folder = write_scene(tmp_path / "e" / "m" / "t")

    def stop(done, total, text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_embeddings(folder, results_dir=tmp_path / "r", progress=stop, **QUICK)
    [work] = (tmp_path / "r").rglob("work")
    assert [path.name for path in work.glob("*.safetensors")] == ["grid-00.safetensors"]
    monkeypatch.setattr(Hear, "version", 99)
    trained: list[str] = []
    score_embeddings(folder, results_dir=tmp_path / "r", progress=lambda a, b, text: trained.append(text), **QUICK)
    assert len(trained) == 3
    with pytest.raises(KeyboardInterrupt):
        score_embeddings(folder, results_dir=tmp_path / "r", progress=stop, seed=3, **QUICK)
    [work] = (tmp_path / "r").rglob("work")
    (work / "grid-00.safetensors").write_bytes(b"cut")
    with pytest.raises(DeloresError, match=r"grid-00\.safetensors: damaged"):
        score_embeddings(folder, results_dir=tmp_path / "r", seed=3, **QUICK)


# --- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "heer"}, r"unknown protocol 'heer'\. Did you mean 'hear'"),
        ({"grid": "slow"}, "unknown grid 'slow'"),
        ({"grid_point": 3}, r"unknown option 'grid_point' of protocol hear\. Did you mean 'grid_points'"),
        ({"protocol": "linear", "grid": "fast"}, "unknown option 'grid' of protocol linear"),
        ({"device": "gpu"}, "device: expected auto, cpu, cuda"),
        ({"single_row_batch": "drop"}, "single_row_batch: expected one of"),
    ],
)
def test_bad_options(tmp_path, options, message):
    folder = write_scene(tmp_path / "e" / "m" / "t")
    with pytest.raises(DeloresError, match=message):
        score_embeddings(folder, results_dir=tmp_path / "r", **options)
    assert not (tmp_path / "r").exists()


def test_bad_tasks_leave_nothing_behind(tmp_path):
    unknown = write_scene(tmp_path / "e" / "m" / "a", evaluation=("top1_acc", "accuracy"))
    with pytest.raises(DeloresError, match="unknown metric 'accuracy'"):
        score_embeddings(unknown, results_dir=tmp_path / "r")
    other = write_scene(tmp_path / "e" / "m" / "b", evaluation=("event_onset_200ms_fms",))
    with pytest.raises(
        DeloresError, match=r"event_onset_200ms_fms' is for event tasks, but this is a scene task\. Available: aucroc"
    ):
        score_embeddings(other, results_dir=tmp_path / "r")
    grid = {"task_specific_param_grid": {"optim": ["SGD"]}}
    odd = write_scene(tmp_path / "e" / "m" / "c", evaluation_params=grid)
    with pytest.raises(DeloresError, match="expected 'Adam', the only known value"):
        score_embeddings(odd, results_dir=tmp_path / "r")
    with pytest.raises(DeloresError, match="no such folder of embeddings"):
        score_embeddings(tmp_path / "nowhere", results_dir=tmp_path / "r")
    assert not (tmp_path / "r").exists()
