"""Protocol linear: standardisation, against an independent optimum, selection on validation, one test."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from embeddings_folders import write_events, write_scene
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.scoring.descent import Adam
from benchmarks.scoring.fitting import BestEpoch
from benchmarks.scoring.fold import run_folds
from benchmarks.scoring.linear.protocol import Linear, LinearHead
from benchmarks.scoring.rows import Rows, standardisation
from benchmarks.scoring.work import WorkFolder
from hear_delores.errors import DeloresError

NOWHERE = WorkFolder(None, "")


def open_scene(path, **options) -> EmbeddingsTask:
    return EmbeddingsTask.open(write_scene(path / "m" / "t", **options))


def test_standardisation_equals_numpy_and_leaves_constant_dimensions_at_zero(tmp_path):
    folder = write_scene(tmp_path / "m" / "t", folds=3, sizes=30, dim=5)
    for name in ("fold00", "fold01", "fold02"):
        rows = np.fromfile(folder / f"{name}.embeddings.npy", dtype=np.float32).reshape(30, 5)
        rows[:, 1] = 7.3  # constant
        rows[:, 3] = rows[:, 3] * 0.01 + 100  # small beside its mean
        rows.tofile(folder / f"{name}.embeddings.npy")
    task = EmbeddingsTask.open(folder)
    mean, scale = standardisation(Rows(task, ["fold01", "fold02"]))
    x = np.concatenate([task.splits[name].embeddings for name in ("fold01", "fold02")]).astype(np.float64)
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(scale, np.where(np.arange(5) == 1, 1.0, x.std(0)), rtol=1e-5)
    head = LinearHead(mean, scale, 3)
    out = (torch.from_numpy(x).float() - head.mean) / head.scale
    assert out[:, 1].abs().max() < 1e-4
    np.testing.assert_allclose(out.numpy()[:, [0, 2, 4]].std(0), 1.0, rtol=1e-4)


def test_statistics_come_from_the_training_rows_alone(tmp_path):
    task = open_scene(tmp_path)
    run = run_folds(task, Linear(max_epochs=2), NOWHERE)
    x = np.asarray(task.splits["train"].embeddings, dtype=np.float64)
    np.testing.assert_allclose(run.folds[0].head.state["mean"], x.mean(0), rtol=1e-5)


def test_long_training_comes_near_scikit_learns_optimum(tmp_path, monkeypatch):
    sizes = {"train": 300, "valid": 100, "test": 300}
    task = open_scene(tmp_path, sizes=sizes, noise=2.0)
    options = Linear(lr=3e-3, max_epochs=150)
    # For this comparison with the optimum of the training loss the last epoch is kept.
    monkeypatch.setattr(BestEpoch, "update", lambda self, epoch, score: setattr(self, "kept", 0.0) or True)
    found = run_folds(task, options, NOWHERE).folds[0]
    train, test = task.splits["train"], task.splits["test"]
    scaler = StandardScaler().fit(train.embeddings)
    optimum = LogisticRegression(C=1e6, max_iter=5000).fit(scaler.transform(train.embeddings), train.targets.argmax(1))
    expected = optimum.predict_proba(scaler.transform(test.embeddings))
    assert np.abs(found.probabilities - expected).mean() < 0.02
    assert np.corrcoef(found.probabilities.ravel(), expected.ravel())[0, 1] > 0.995


def test_the_epoch_is_chosen_on_validation_and_tested_once(tmp_path, monkeypatch):
    task = open_scene(tmp_path, noise=2.0)
    tests = []
    once = Linear.predict
    monkeypatch.setattr(Linear, "predict", lambda *a: (tests.append(1), once(*a))[1])
    run = run_folds(task, Linear(), NOWHERE)
    head = run.folds[0].head
    assert len(tests) == 1
    assert head.epochs_run == len(head.trace) == 100
    best = max(score for _, score in head.trace)
    assert head.epoch == next(epoch for epoch, score in head.trace if score == best)
    assert head.validation_score == pytest.approx(best)
    assert run.folds[0].scores["top1_acc"] > 0.4
    assert run.grid == []


def test_rows_are_shuffled_anew_each_epoch_by_the_seed(tmp_path, monkeypatch):
    task = open_scene(tmp_path)
    orders: list[list[int]] = []
    take = Rows.take
    monkeypatch.setattr(Rows, "take", lambda self, i: (orders.append(i.tolist()), take(self, i))[1])
    options = Linear(batch_size=64, max_epochs=3)
    first = run_folds(task, options, NOWHERE).folds[0]
    assert [sorted(order) for order in orders] == [list(range(40))] * 3
    assert orders[0] != orders[1] != sorted(orders[1])
    again = run_folds(task, options, NOWHERE).folds[0]
    assert orders[3:] == orders[:3]
    assert torch.equal(first.head.state["linear.weight"], again.head.state["linear.weight"])
    run_folds(task, Linear(batch_size=64, max_epochs=3, seed=1), NOWHERE)
    assert orders[6:] != orders[:3]


def test_multilabel_and_folds(tmp_path):
    task = open_scene(
        tmp_path,
        multilabel=True,
        folds=3,
        sizes=60,
        evaluation=("mAP", "aucroc"),
        labels=("a", "b", "c", "d"),
    )
    run = run_folds(task, Linear(max_epochs=30, lr=1e-2), NOWHERE)
    assert [fold.split_names["test"] for fold in run.folds] == [["fold00"], ["fold01"], ["fold02"]]
    assert all(fold.scores["mAP"] > 0.6 for fold in run.folds)
    assert any((fold.probabilities.sum(1) > 1.2).any() for fold in run.folds)  # sigmoids, not a softmax


def test_event_frames(tmp_path):
    task = EmbeddingsTask.open(write_events(tmp_path / "m" / "t"))
    run = run_folds(task, Linear(max_epochs=20, lr=1e-2), NOWHERE)
    assert run.folds[0].scores["event_onset_200ms_fms"] > 0.9
    assert run.folds[0].head.postprocessing.keys() == {"median_filter_ms", "min_duration"}


def test_a_score_that_is_nan_throughout_gives_way_to_the_loss(tmp_path):
    task = open_scene(tmp_path, sizes={"train": 60, "valid": 2, "test": 60}, evaluation=("aucroc", "top1_acc"))
    run = run_folds(task, Linear(max_epochs=20), NOWHERE)
    assert all(math.isnan(score) for _, score in run.folds[0].head.trace)
    assert run.deviations == ["validation: the primary score was NaN in 1 folds, their epoch has the least loss"]
    assert run.folds[0].head.epoch > 0


def test_patience_and_bad_options(tmp_path):
    run = run_folds(open_scene(tmp_path, noise=0.01), Linear(patience=3), NOWHERE)
    head = run.folds[0].head
    assert head.epochs_run == head.epoch + 4 < 100
    with pytest.raises(DeloresError, match="linear protocol: expected `lr` to be a finite number > 0"):
        Linear(lr=0)
    with pytest.raises(DeloresError, match="`max_epochs` to be an integer >= 1"):
        Linear(max_epochs=0)


def test_adam_takes_the_steps_of_torchs_class_bit_for_bit():
    generator = torch.Generator().manual_seed(0)
    heads = []
    for _ in range(2):
        torch.manual_seed(1)
        heads.append(LinearHead(torch.zeros(30), torch.ones(30), 7))
    ours = Adam(list(heads[0].parameters()), 1e-3)
    theirs = torch.optim.Adam(heads[1].parameters(), lr=1e-3, fused=True)
    for _ in range(50):
        rows, targets = torch.randn(16, 30, generator=generator), torch.randint(0, 7, (16,), generator=generator)
        loss = torch.nn.functional.cross_entropy(heads[0](rows), targets)
        ours.step(torch.autograd.grad(loss, ours.parameters))
        theirs.zero_grad()
        torch.nn.functional.cross_entropy(heads[1](rows), targets).backward()
        theirs.step()
    for one, other in zip(heads[0].parameters(), heads[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_record_says_how_long_the_input_was(tmp_path):
    task = open_scene(tmp_path)
    run = run_folds(task, Linear(max_epochs=1), NOWHERE)
    assert run.folds[0].head.hyperparameters["input_s"] == task.metadata.get("sample_duration")
