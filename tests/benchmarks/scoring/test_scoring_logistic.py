"""Solver ``logistic`` of protocol linear: equal to scikit-learn's LogisticRegression, C chosen on validation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from embeddings_folders import write_events, write_scene
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.scoring.choice import best_point
from benchmarks.scoring.fold import run_folds
from benchmarks.scoring.linear import logistic as module
from benchmarks.scoring.linear.logistic import C_GRID, fit_logistic
from benchmarks.scoring.linear.protocol import Linear
from benchmarks.scoring.score import score_embeddings
from benchmarks.scoring.work import WorkFolder
from hear_delores.errors import DeloresError

NOWHERE = WorkFolder(None, "")
LOGISTIC = Linear(solver="logistic")


def open_scene(path, **options) -> EmbeddingsTask:
    return EmbeddingsTask.open(write_scene(path / "m" / "t", **options))


@pytest.mark.parametrize("labels", [("a", "b", "c"), ("a", "b")])
def test_probabilities_equal_scikit_learns(tmp_path, labels):
    task = open_scene(tmp_path, noise=2.0, sizes=90, labels=labels)
    run = run_folds(task, LOGISTIC, NOWHERE)
    train, test = task.splits["train"], task.splits["test"]
    scaler = StandardScaler().fit(np.array(train.embeddings, dtype=np.float64))
    chosen = run.folds[0].head.hyperparameters
    model = LogisticRegression(C=chosen["C"], max_iter=1000)
    model.fit(scaler.transform(train.embeddings), train.targets.argmax(axis=1))
    expected = model.predict_proba(scaler.transform(test.embeddings))
    np.testing.assert_allclose(run.folds[0].probabilities, expected, atol=2e-3)  # float32, stopped at tol 1e-4
    accuracy = (expected.argmax(axis=1) == test.targets.argmax(axis=1)).mean()
    assert run.folds[0].scores["top1_acc"] == pytest.approx(accuracy, abs=0.02)


def test_each_label_of_several_is_a_regression_of_its_own(tmp_path):
    task = open_scene(tmp_path, noise=2.0, sizes=80, multilabel=True, evaluation=("mAP",))
    x, y = np.array(task.splits["train"].embeddings), task.splits["train"].targets
    weight, bias, converged = fit_logistic(x, y, 0.1, "multilabel")
    for label in range(3):
        model = LogisticRegression(C=0.1, max_iter=1000).fit(x, y[:, label])
        np.testing.assert_allclose(expit(x @ weight[label] + bias[label]), model.predict_proba(x)[:, 1], atol=1e-5)
    assert converged
    assert (run_folds(task, LOGISTIC, NOWHERE).folds[0].probabilities.sum(axis=1) > 1.2).any()


def test_labels_that_the_training_rows_do_not_tell_apart():
    x = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    targets = np.eye(4, dtype=np.float32)[np.arange(20) % 2 * 2]  # classes 0 and 2 of four
    weight, bias, _ = fit_logistic(x, targets, 1.0, "multiclass")
    probabilities = torch.softmax(torch.from_numpy(x @ weight.T + bias), dim=1).numpy()
    expected = LogisticRegression(C=1.0).fit(x, targets.argmax(1)).predict_proba(x)
    np.testing.assert_allclose(probabilities[:, [0, 2]], expected, atol=1e-6)
    assert (probabilities[:, [1, 3]] == 0).all()
    alone = np.zeros((20, 3), dtype=np.float32)
    alone[:, 1] = 1
    for kind in ("multiclass", "multilabel"):
        weight, bias, _ = fit_logistic(x, alone, 1.0, kind)
        assert (weight == 0).all()
        assert (np.sign(bias) == [-1, 1, -1]).all()


def test_c_is_chosen_on_validation_in_every_fold(tmp_path):
    task = open_scene(tmp_path, noise=3.0, folds=3, sizes=40)
    run = run_folds(task, LOGISTIC, NOWHERE)
    assert len(run.folds) == 3
    assert [point.hyperparameters["C"] for point in run.grid] == list(C_GRID)
    scores = [point.validation_score for point in run.grid]
    first = run.folds[0].head
    assert first.validation_score == max(scores)
    assert first.hyperparameters["C"] == C_GRID[scores.index(max(scores))]
    assert run.deviations == []


def test_event_frames_and_their_postprocessing(tmp_path):
    task = EmbeddingsTask.open(write_events(tmp_path / "m" / "t"))
    run = run_folds(task, LOGISTIC, NOWHERE)
    assert run.folds[0].scores["event_onset_200ms_fms"] > 0.9
    assert run.folds[0].head.postprocessing.keys() == {"median_filter_ms", "min_duration"}


def test_a_fit_that_does_not_converge_is_said_in_the_record(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_ITERATIONS", 1)
    monkeypatch.setattr(module, "C_GRID", (10.0,))
    run = run_folds(open_scene(tmp_path, noise=2.0), LOGISTIC, NOWHERE)
    assert run.deviations == ["logistic: not converged after 1000 iterations in 1 folds"]


def test_the_record_names_the_solver_and_the_seed_does_not_matter(tmp_path):
    folder = write_scene(tmp_path / "e" / "m" / "t", noise=2.0)
    record = score_embeddings(folder, protocol="linear", results_dir=tmp_path / "r", solver="logistic")
    assert record.protocol.title == "linear (logistic)"
    assert record.folder.name == "linear-logistic-seed42"
    again = score_embeddings(folder, protocol="linear", results_dir=tmp_path / "r", solver="logistic", seed=1)
    assert again.scores == record.scores


def test_the_best_point():
    nan = float("nan")
    assert best_point([0.2, 0.5, 0.5], [9, 9, 9], True) == 1
    assert best_point([0.2, 0.5, 0.1], [9, 9, 9], False) == 2
    assert best_point([nan, 0.1, nan], [1, 9, 0], True) == 1
    assert best_point([nan, nan, nan], [3, 1, 1], True) == 1


def test_bad_options():
    with pytest.raises(DeloresError, match=r"unknown solver 'logistics'\. Did you mean 'logistic'"):
        Linear(solver="logistics")
    with pytest.raises(DeloresError, match="lr, batch_size, max_epochs, patience belong to solver adam"):
        Linear(solver="logistic", max_epochs=5)
