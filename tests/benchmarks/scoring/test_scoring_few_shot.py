"""Few-shot draws: their counts, their rule for several labels, the same for every protocol; marked in the record."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from embeddings_folders import write_events, write_scene
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.scoring import record_maker as module
from benchmarks.scoring.few_shot import draw_shots
from benchmarks.scoring.fold import Fold, run_folds
from benchmarks.scoring.hear.protocol import Hear
from benchmarks.scoring.knn import Knn
from benchmarks.scoring.linear.protocol import Linear
from benchmarks.scoring.rows import Rows
from benchmarks.scoring.score import score_embeddings
from benchmarks.scoring.work import WorkFolder
from hear_delores.errors import DeloresError

NOWHERE = WorkFolder(None, "")


def one_hot(labels, n_labels: int) -> np.ndarray:
    return np.eye(n_labels, dtype=np.float32)[np.asarray(labels)]


@given(st.lists(st.integers(0, 4), min_size=12, max_size=60), st.integers(1, 4), st.integers(0, 9), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_a_class_gives_its_shots_or_all_it_has(labels, shots, seed, fold):
    targets = one_hot(labels, 5)
    counts = targets.sum(axis=0)
    if counts.max() <= shots:
        with pytest.raises(DeloresError, match="no class of fold"):
            draw_shots(targets, shots, seed, fold)
        return
    rows = draw_shots(targets, shots, seed, fold)
    np.testing.assert_array_equal(targets[rows].sum(axis=0), np.minimum(counts, shots))
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, draw_shots(targets, shots, seed, fold))
    if shots > 1:
        assert set(draw_shots(targets, shots - 1, seed, fold)) <= set(rows)


@given(st.integers(0, 50), st.integers(1, 5), st.floats(0.1, 0.6))
@settings(max_examples=60, deadline=None)
def test_several_labels_each_reach_their_shots(seed, shots, density):
    targets = (np.random.default_rng(seed).random((60, 6)) < density).astype(np.float32)
    counts = targets.sum(axis=0)
    rows = draw_shots(targets, shots, seed, 0, multilabel=True)
    drawn = targets[rows]
    assert (drawn.sum(axis=0) >= np.minimum(counts, shots)).all()
    assert len(rows) <= shots * 6
    assert drawn.any(axis=1).all()  # a clip without a label is never drawn


def test_rows_drawn_for_a_rarer_label_count_for_the_others():
    targets = np.zeros((20, 3), dtype=np.float32)
    targets[:15, 0] = 1
    targets[[2, 5, 7], 1] = 1  # all of them hold label 0 too
    targets[18:, 2] = 1
    assert draw_shots(targets, 2, 0, 0, multilabel=True).tolist()[-2:] == [18, 19]
    for seed in range(20):
        three = draw_shots(targets, 3, seed, 0, multilabel=True)
        assert three.tolist() == [2, 5, 7, 18, 19]
        four = draw_shots(targets, 4, seed, 0, multilabel=True)
        assert len(four) == 6
        assert set(three) < set(four)
        np.testing.assert_array_equal(targets[four].sum(axis=0), [4, 3, 2])


def test_draws_are_uniform_and_differ_by_seed_and_fold():
    targets = one_hot([0] * 10 + [1] * 10, 2)
    hits = np.zeros(20)
    for seed in range(2000):
        hits[draw_shots(targets, 3, seed, 0)] += 1
    # 600 expected of 2000; a standard deviation is 20.5
    assert np.abs(hits - 600).max() < 5 * 20.5
    assert [*draw_shots(targets, 3, 0, 0)] != [*draw_shots(targets, 3, 1, 0)]
    assert [*draw_shots(targets, 3, 0, 0)] != [*draw_shots(targets, 3, 0, 1)]


def test_every_protocol_trains_on_the_same_rows_and_tests_on_all(tmp_path, monkeypatch):
    task = EmbeddingsTask.open(write_scene(tmp_path / "m" / "t", folds=3, sizes=40))
    seen: list[np.ndarray] = []
    subset = Rows.subset
    monkeypatch.setattr(Rows, "subset", lambda self, rows: (seen.append(rows.numpy()), subset(self, rows))[1])
    linear = run_folds(task, Linear(shots=4, max_epochs=2, seed=5), NOWHERE)
    logistic = run_folds(task, Linear(shots=4, solver="logistic", seed=5), NOWHERE)
    knn = run_folds(task, Knn(shots=4, seed=5), NOWHERE)
    hear = run_folds(task, Hear(shots=4, grid="faster", grid_points=1, seed=5), NOWHERE)
    assert len(seen) == 12
    for number in range(3):
        np.testing.assert_array_equal(seen[number], seen[number + 3])
        np.testing.assert_array_equal(seen[number], seen[number + 6])
        np.testing.assert_array_equal(seen[number], seen[number + 9])
        whole = Fold.of(task, number, "cpu", True)
        np.testing.assert_array_equal(whole.train.targets[seen[number]].sum(0), [4, 4, 4])
        for run in (linear, logistic, knn, hear):
            assert run.folds[number].n_train_rows == 12
            assert len(run.folds[number].probabilities) == len(whole.test)
    x = np.concatenate([task.splits["fold02"].embeddings])[seen[0]]
    np.testing.assert_allclose(linear.folds[0].head.state["mean"], x.mean(0), rtol=1e-4, atol=1e-6)


def test_a_subset_of_rows_reads_like_rows(tmp_path):
    task = EmbeddingsTask.open(write_scene(tmp_path / "m" / "t", sizes=20))
    chosen = torch.tensor([3, 1, 17])
    for limit in (1 << 30, 0):  # held in memory, and read from the map
        rows = Rows(task, ["train", "valid"], in_memory_bytes=limit)
        few = rows.subset(chosen)
        assert len(few) == 3
        expected = np.asarray(task.splits["train"].embeddings)[[3, 1, 17]]
        np.testing.assert_array_equal(few.embeddings(0, 3), expected)
        np.testing.assert_array_equal(few.take(torch.tensor([2, 0])), expected[[2, 0]])
        np.testing.assert_array_equal(few.targets, rows.targets[chosen])
        assert list(few.blocks(2)) == [(0, 2), (2, 3)]


def test_the_record_says_so_and_full_records_stay_valid(tmp_path):
    folder = write_scene(tmp_path / "e" / "m" / "t", sizes={"train": 50, "valid": 30, "test": 30}, labels=("a", "b"))
    full = score_embeddings(folder, protocol="linear", results_dir=tmp_path / "r", max_epochs=2)
    few = score_embeddings(folder, protocol="linear", results_dir=tmp_path / "r", max_epochs=2, shots=5)
    assert full.protocol.title == "linear (max_epochs=2)"
    assert few.protocol.title == "linear (max_epochs=2-5-shot)"
    assert few.folder != full.folder
    assert (few.folds[0].n_train_rows, few.folds[0].n_test_rows) == (10, 30)
    assert (
        score_embeddings(folder, protocol="knn", results_dir=tmp_path / "r", shots=5).folder.name == "knn-5-shot-seed42"
    )
    logistic = score_embeddings(folder, protocol="linear", results_dir=tmp_path / "r", solver="logistic", shots=5)
    assert logistic.protocol.title == "linear (logistic-5-shot)"


def test_options_added_later_do_not_change_older_fingerprints():
    content = module.fingerprinted(Linear())
    # What records held before ``solver`` and ``shots`` were there.
    assert content == {
        "lr": 1e-3, "batch_size": 64, "max_epochs": 100, "patience": None, "score_missing_files": True,
    }  # fmt: skip
    assert module.fingerprinted(Linear(shots=5))["shots"] == 5
    assert module.fingerprinted(Linear(solver="logistic"))["solver"] == "logistic"


def test_a_class_with_too_few_clips_is_said_in_the_record(tmp_path):
    folder = write_scene(
        tmp_path / "e" / "m" / "t", sizes=40, labels=tuple("abcdef"), multilabel=True, evaluation=("mAP",)
    )
    counts = EmbeddingsTask.open(folder).splits["train"].targets.sum(axis=0)
    shots = int(counts.min()) + 1
    assert shots < counts.max()  # else all rows would be drawn
    few_clips = int((counts < shots).sum())
    note = (
        f"shots: up to {few_clips} classes have fewer than {shots} training clips in 1 folds; all of theirs were used"
    )
    for protocol in ("knn", "linear"):
        few = score_embeddings(folder, protocol=protocol, results_dir=tmp_path / "r", shots=shots)
        assert few.protocol.deviations == [note]
        enough = score_embeddings(folder, protocol=protocol, results_dir=tmp_path / "r", shots=shots - 1)
        assert enough.protocol.deviations == []


def test_bad_input(tmp_path):
    folder = write_scene(tmp_path / "e" / "m" / "t", sizes=12)
    for protocol in ("linear", "knn"):
        with pytest.raises(DeloresError, match="no class of fold 0 has more than 9 training clips"):
            score_embeddings(folder, protocol=protocol, results_dir=tmp_path / "r", shots=9)
        with pytest.raises(DeloresError, match="whole number of training clips per class"):
            score_embeddings(folder, protocol=protocol, results_dir=tmp_path / "s", shots=0)
    events = write_events(tmp_path / "e" / "m" / "u")
    with pytest.raises(DeloresError, match="the rows of an event task are frames"):
        score_embeddings(events, protocol="linear", results_dir=tmp_path / "s", shots=2)
    assert not (tmp_path / "s").exists()
