"""Controls: shuffled labels score as guesses do, chance is in every record, and a grid that learnt nothing says so."""

from __future__ import annotations

import json
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
import pytest
from embeddings_folders import write_events, write_scene

import benchmarks.metrics.chance
from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.metrics.chance import Chance, scene_chance, shuffled_events_chance
from benchmarks.metrics.events import EventTable
from benchmarks.reading.statistics.record_chance import record_chance
from benchmarks.results.format import ResultRecord
from benchmarks.results.record import load_predictions, load_record
from benchmarks.scoring.control import with_shuffled_labels
from benchmarks.scoring.fold import Fold, TestedFold
from benchmarks.scoring.score import score_embeddings
from benchmarks.scoring.untrained import untrained_line
from benchmarks.scoring.work import Fitted
from hear_delores.errors import DeloresError

QUICK = {"hear": {"grid": "faster", "grid_points": 2}, "linear": {"max_epochs": 3, "lr": 0.1}, "knn": {}}


@pytest.mark.parametrize("noise", [1000.0, 0.1])
def test_shuffled_labels_land_in_the_range_of_guesses(tmp_path: Path, noise: float) -> None:
    """In 95 % of draws, of 20 the 0.5 % quantile is 16: of embeddings without structure, and of clear classes."""
    inside = dict.fromkeys(("top1_acc", "aucroc"), 0)
    folder = write_scene(tmp_path / "m" / "t", sizes=60, noise=noise, evaluation=tuple(inside))
    options = {"k": 10, "metric": "cosine", "control": "shuffled"}
    for seed in range(20):
        record = score_embeddings(folder, protocol="knn", results_dir=tmp_path / "r", seed=seed, **options)
        for metric in inside:
            chance = record_chance(record, metric)
            assert chance is not None
            inside[metric] += chance.low <= record.scores[metric] <= chance.high
    assert min(inside.values()) >= 16


@pytest.mark.parametrize("protocol", ["hear", "linear", "knn"])
def test_a_shuffled_run_is_no_real_one(tmp_path: Path, protocol: str) -> None:
    folder = write_scene(tmp_path / "m" / "t", noise=0.3)
    values = {"protocol": protocol, "results_dir": tmp_path / "r", **QUICK[protocol]}
    real, shuffled = score_embeddings(folder, **values), score_embeddings(folder, **values, control="shuffled")
    assert real.folder != shuffled.folder
    assert real.fingerprint != shuffled.fingerprint
    assert "shuffled labels" in shuffled.protocol.title
    assert "shuffled" not in real.protocol.title
    assert shuffled.protocol.options["control"] == "shuffled"
    assert real.scores["top1_acc"] > shuffled.scores["top1_acc"]
    chance = record_chance(real)
    assert chance is not None
    assert real.scores["top1_acc"] > chance.high
    assert (real.untrained, shuffled.untrained) == ("", "")  # of a control nothing else is expected
    truth, again = (load_predictions(record.folder or "")["test"].target for record in (real, shuffled))
    assert (truth != again).any()
    np.testing.assert_array_equal(truth.sum(axis=0), again.sum(axis=0))


def test_the_clips_of_a_split_exchange_their_labels(tmp_path: Path) -> None:
    task = EmbeddingsTask.open(write_scene(tmp_path / "m" / "t", sizes={"train": 50, "valid": 30, "test": 20}))
    fold = Fold.of(task, 0)
    shuffled = with_shuffled_labels(fold, 7)
    for role in ("train", "valid", "test"):
        before, after = getattr(fold, role), getattr(shuffled, role)
        assert (before.targets != after.targets).any()
        np.testing.assert_array_equal(before.targets.sum(dim=0), after.targets.sum(dim=0))
        np.testing.assert_array_equal(before.embeddings(0, 20), after.embeddings(0, 20))
    np.testing.assert_array_equal(shuffled.validator.target, shuffled.valid.targets)
    np.testing.assert_array_equal(shuffled.tester.target, shuffled.test.targets)
    np.testing.assert_array_equal(with_shuffled_labels(fold, 7).train.targets, shuffled.train.targets)
    assert (with_shuffled_labels(fold, 8).train.targets != shuffled.train.targets).any()


def test_files_exchange_their_events_with_the_frames_of_them(tmp_path: Path) -> None:
    task = EmbeddingsTask.open(write_events(tmp_path / "m" / "t", files_per_split=6))
    fold = Fold.of(task, 0)
    shuffled = with_shuffled_labels(fold, 3)
    tested, untouched = (each.tester.target.to_events() for each in (shuffled, fold))
    assert tested != untouched
    assert sorted(map(str, tested.values())) == sorted(map(str, untouched.values()))
    before, after = (each.validator.target.to_events() for each in (fold, shuffled))
    given = {file: [other for other in before if before[other] == after[file]] for file in before}
    assert all(len(others) == 1 for others in given.values())
    assert sorted(others[0] for others in given.values()) == sorted(before)
    assert any(others != [file] for file, others in given.items())
    rows, files = fold.valid.file_of_row, fold.valid.files
    assert rows is not None
    for number, file in enumerate(files):  # all files are as long
        other = files.index(given[file][0])
        np.testing.assert_array_equal(shuffled.valid.targets[rows == number], fold.valid.targets[rows == other])
    record = score_embeddings(
        task.path, protocol="hear", results_dir=tmp_path / "r", control="shuffled", **QUICK["hear"]
    )
    assert "shuffled labels" in record.protocol.title
    [stored] = load_predictions(record.folder or "").values()
    scored = with_shuffled_labels(fold, record.seed).tester.target.to_events()
    written = [(str(stored.event_files[int(file)]), start) for file, _, start, _ in stored.target_events]
    assert sorted(written) == sorted((file, event["start"]) for file in scored for event in scored[file])


def test_the_record_states_the_chance_of_each_metric_and_fold(tmp_path: Path) -> None:
    record = score_embeddings(write_scene(tmp_path / "m" / "t", folds=3), protocol="knn", results_dir=tmp_path / "r")
    predictions = load_predictions(record.folder or "")
    for fold in record.folds:
        for metric in record.task.metrics:
            expected = scene_chance(metric, predictions[fold.test_split].target)
            stored = fold.chance[metric]
            assert [getattr(stored, item.name) for item in fields(Chance)] == pytest.approx(astuple(expected))
    levels = [fold.chance["top1_acc"].level for fold in record.folds]
    chance = record_chance(record)
    assert chance is not None
    assert chance.level == pytest.approx(np.mean(levels))
    assert chance.high - chance.level < record.folds[0].chance["top1_acc"].high - levels[0]


def test_an_older_record_has_the_chance_of_its_predictions(tmp_path: Path) -> None:
    for number, folder in enumerate((write_scene(tmp_path / "m" / "t"), write_events(tmp_path / "m" / "e"))):
        protocol, options = ("linear", QUICK["linear"]) if number else ("knn", {})
        record = score_embeddings(folder, protocol=protocol, results_dir=tmp_path / "r", **options)
        old = without_chance(record)
        assert old.folds[0].chance == {}
        for metric in record.task.metrics:
            found, stored = record_chance(old, metric), record_chance(record, metric)
            assert found is not None
            assert stored is not None
            # Of events other files are paired, of which the mean of 400 has a standard error of about 1 %.
            assert astuple(found) == pytest.approx(astuple(stored), rel=0.05 if number else 1e-12)
        assert record.folder is not None
        (record.folder / "predictions.npz").unlink()
        assert record_chance(old) is None


def without_chance(record: ResultRecord) -> ResultRecord:
    """The record as it was written before chance was stored."""
    assert record.folder is not None
    values = json.loads((record.folder / "record.json").read_text())
    del values["untrained"]
    for fold in values["folds"]:
        del fold["chance"]
    (record.folder / "record.json").write_text(json.dumps(values))
    return load_record(record.folder)


@pytest.mark.parametrize("protocol", ["hear", "knn"])
def test_heads_that_learnt_nothing_say_so_in_one_line(tmp_path: Path, protocol: str) -> None:
    noise = write_scene(tmp_path / "m" / "t", noise=1000.0, seed=2, sizes={"train": 60, "valid": 400, "test": 60})
    record = score_embeddings(noise, protocol=protocol, results_dir=tmp_path / "r", **QUICK[protocol])
    assert record.untrained.startswith(
        f"not trained: every head ({len(record.grid)}) is at chance on validation in top1_acc"
    )
    assert "\n" not in record.untrained
    alike = write_scene(tmp_path / "n" / "t", noise=0.0, labels=("a", "b"), sizes=30)
    for split in ("train", "valid", "test"):
        rows = np.fromfile(alike / f"{split}.embeddings.npy", dtype=np.float32)
        np.ones_like(rows).tofile(alike / f"{split}.embeddings.npy")
    record = score_embeddings(alike, protocol=protocol, results_dir=tmp_path / "r", **QUICK[protocol])
    assert record.untrained == "not trained: every head gives all test clips the same answer"


def test_heads_that_predict_no_event_have_no_score() -> None:
    chance = Chance(level=0.1, constant=0.0, low=0.05, high=0.16)
    tested = TestedFold(
        split_names={}, n_train_rows=4, head=Fitted("fold-00", validation_score=-np.inf), scores={}, loss=0.0,
        probabilities=np.random.default_rng(0).random((4, 2)), targets=np.zeros((4, 2)), events=None, truth=None,
        missing_files=(), chance={"event_onset_200ms_fms": chance}, validation_chance=chance,
    )  # fmt: skip
    assert untrained_line([tested], [tested.head]) == (
        "not trained: every head (1) is at chance on validation in event_onset_200ms_fms; none has a score, "
        "guesses reach 0.160"
    )


def test_seeds_that_share_a_grid_train_its_best_point_with_their_own_numbers(tmp_path: Path) -> None:
    folder = write_scene(tmp_path / "m" / "t", noise=2.0, folds=3)
    values = {"protocol": "hear", "results_dir": tmp_path / "r", **QUICK["hear"]}
    own = score_embeddings(folder, seed=5, **values)
    second = score_embeddings(folder, seed=6, grid_seed=5, **values)  # makes the record of seed 5, too
    first = score_embeddings(folder, seed=5, grid_seed=5, **values)
    assert first.scores == own.scores  # the search is that of the seed
    assert first.protocol.title == second.protocol.title == own.protocol.title.replace(")", "-grid of seed 5)")
    assert (len(first.grid), len(second.grid)) == (2, 0)
    assert [fold.hyperparameters for fold in second.folds] == [first.folds[0].hyperparameters] * 3
    assert [fold.loss for fold in second.folds] != [fold.loss for fold in first.folds]
    assert any("searched by seed 5 alone" in text for text in second.protocol.deviations)
    assert not any("grid_seed" in text for text in first.protocol.deviations)


def test_an_unknown_control_is_one_line(tmp_path: Path) -> None:
    folder = write_scene(tmp_path / "m" / "t")
    with pytest.raises(DeloresError, match=r"unknown control 'shuffeld'\. Did you mean 'shuffled'\?"):
        score_embeddings(folder, protocol="knn", results_dir=tmp_path, control="shuffeld")


def test_pairs_of_files_give_what_whole_pairings_give() -> None:
    """The chance of events is summed from pairs of files: as scoring each pairing at once."""
    generator = np.random.default_rng(0)
    events = {
        f"{n}": [
            {"label": str(generator.integers(2)), "start": t, "end": t + 400.0} for t in generator.uniform(0, 9e3, 5)
        ]
        for n in range(8)
    }
    table = EventTable.from_events(events, ["0", "1"])
    for metric in ("event_onset_200ms_fms", "segment_1s_er"):
        pairs = shuffled_events_chance(metric, table)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(benchmarks.metrics.chance, "_pair_terms", lambda *_: (None, None))
            whole = shuffled_events_chance(metric, table)
        assert astuple(pairs) == pytest.approx(astuple(whole))
