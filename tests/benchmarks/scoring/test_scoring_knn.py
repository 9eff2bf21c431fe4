"""Protocol knn: equal to scikit-learn and to brute force, chosen on validation, bad input; and resumed runs."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from embeddings_folders import write_events, write_scene
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.results.record import load_predictions
from benchmarks.scoring import knn
from benchmarks.scoring.fold import run_folds
from benchmarks.scoring.knn import K_GRID, Knn, Neighbours
from benchmarks.scoring.rows import Rows
from benchmarks.scoring.score import score_embeddings
from benchmarks.scoring.work import WorkFolder
from hear_delores.errors import DeloresError

NOWHERE = WorkFolder(None, "")


def open_scene(path, **options) -> EmbeddingsTask:
    return EmbeddingsTask.open(write_scene(path / "m" / "t", **options))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("multilabel", [False, True])
def test_shares_equal_scikit_learns_classifier(tmp_path, metric, multilabel):
    task = open_scene(tmp_path, multilabel=multilabel, noise=2.0, sizes=90, evaluation=("mAP",))
    train, test = task.splits["train"], task.splits["test"]
    found = Neighbours(Rows(task, ["train"]), metric).probabilities(Rows(task, ["test"]), [1, 5, 20])
    x, queries = np.array(train.embeddings), np.array(test.embeddings)
    if metric == "euclidean":
        scaler = StandardScaler().fit(x.astype(np.float64))
        x, queries = scaler.transform(x), scaler.transform(queries)
    y = train.targets if multilabel else train.targets.argmax(axis=1)
    for k, shares in found.items():
        model = KNeighborsClassifier(k, metric=metric, algorithm="brute").fit(x, y)
        expected = model.predict_proba(queries)
        if multilabel:  # one array a label, of the probabilities of 0 and 1
            expected = np.stack([label[:, 1] for label in expected], axis=1)
        np.testing.assert_allclose(shares, expected, atol=1e-6)
        assert shares.dtype == np.float32


def test_shares_equal_brute_force_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(Rows.blocks, "__defaults__", (7,))
    task = open_scene(tmp_path, sizes=31, dim=3)
    shares = Neighbours(Rows(task, ["train"]), "cosine").probabilities(Rows(task, ["valid"]), [4])[4]
    train, valid = task.splits["train"], task.splits["valid"]
    for row in range(31):
        query = valid.embeddings[row].astype(np.float64)
        distance = [
            1 - query @ other / np.linalg.norm(query) / np.linalg.norm(other)
            for other in train.embeddings.astype(np.float64)
        ]
        nearest = np.argsort(distance)[:4]
        np.testing.assert_allclose(shares[row], train.targets[nearest].mean(axis=0), atol=1e-6)


def test_k_and_distance_are_chosen_on_validation_and_tested_once(tmp_path, monkeypatch):
    task = open_scene(tmp_path, noise=2.5, folds=3, sizes=50)
    run = run_folds(task, Knn(), NOWHERE)
    assert [fold.split_names["test"] for fold in run.folds] == [["fold00"], ["fold01"], ["fold02"]]
    grid = knn.knn_grid(Knn(), 50)
    assert len(run.grid) == len(grid) == 12
    assert run.folds[0].head.validation_score == max(point.validation_score for point in run.grid)
    first = next(p for p in run.grid if p.validation_score == run.folds[0].head.validation_score)
    assert first.hyperparameters == run.folds[0].head.hyperparameters
    for fold in run.folds:  # tested with what was chosen
        chosen = fold.head.hyperparameters
        rows = {role: Rows(task, fold.split_names[role]) for role in ("train", "valid", "test")}
        search = Neighbours(rows["train"], chosen["metric"])
        shares = search.probabilities(rows["test"], [chosen["k"]])[chosen["k"]]
        np.testing.assert_array_equal(fold.probabilities, shares)
        valid = search.probabilities(rows["valid"], [chosen["k"]])[chosen["k"]]
        accuracy = (valid.argmax(1) == rows["valid"].targets.numpy().argmax(1)).mean()
        assert fold.head.validation_score == pytest.approx(accuracy)
        assert fold.scores["top1_acc"] > 0.4  # chance: 1/3


def test_a_record_of_its_own_kept_and_marked(tmp_path):
    folder = write_scene(tmp_path / "e" / "m" / "t", sizes=60)
    record = score_embeddings(folder, protocol="knn", results_dir=tmp_path / "r")
    assert record.folder.name == "knn-seed42"
    assert record.protocol.title == "knn"
    assert record.protocol.options == {"k": None, "metric": None, "shots": None, "control": None}
    assert {point.hyperparameters["k"] for point in record.grid} == set(K_GRID)
    assert record.seconds["training"] == pytest.approx(sum(point.seconds for point in record.grid))
    fold = load_predictions(record.folder)["test"]
    assert fold.prediction.shape == (60, 3)
    assert fold.files[0].startswith("test_")
    assert score_embeddings(folder, protocol="knn", results_dir=tmp_path / "r").created == record.created
    fixed = score_embeddings(folder, protocol="knn", results_dir=tmp_path / "r", k=7, metric="cosine")
    assert fixed.protocol.title == "knn (k=7-metric=cosine)"
    assert fixed.folds[0].hyperparameters == {"k": 7, "metric": "cosine"}
    assert fixed.grid == []


def test_interrupted_and_run_again_equals_uninterrupted(tmp_path, monkeypatch):
    folder = write_scene(tmp_path / "e" / "m" / "t", folds=3, noise=2.0)

    def stop(done, total, text):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_embeddings(folder, protocol="knn", results_dir=tmp_path / "r", progress=stop, shots=4)
    chosen: list[str] = []
    fit = Knn.fit
    monkeypatch.setattr(Knn, "fit", lambda self, fold: (chosen.append(fold.key), fit(self, fold))[1])
    again = score_embeddings(folder, protocol="knn", results_dir=tmp_path / "r", shots=4)
    assert chosen == ["fold-02"]
    whole = score_embeddings(folder, protocol="knn", results_dir=tmp_path / "w", shots=4)
    assert again.scores == whole.scores
    points = [[point.model_dump(exclude={"seconds"}) for point in record.grid] for record in (again, whole)]
    assert points[0] == points[1]
    assert not (again.folder / "work").exists()


def test_k_is_bounded_by_the_training_rows(tmp_path):
    task = open_scene(tmp_path, sizes={"train": 9, "valid": 20, "test": 20})
    run = run_folds(task, Knn(), NOWHERE)
    assert {point.hyperparameters["k"] for point in run.grid} == {1, 3, 5}
    with pytest.raises(DeloresError, match="k of at most the 9 training clips, got 10"):
        run_folds(task, Knn(k=10), NOWHERE)


def test_a_score_that_is_nan_throughout_gives_way_to_the_loss(tmp_path):
    task = open_scene(tmp_path, sizes={"train": 60, "valid": 2, "test": 60}, evaluation=("aucroc", "top1_acc"))
    run = run_folds(task, Knn(), NOWHERE)
    assert math.isnan(run.folds[0].head.validation_score)
    assert run.deviations == ["validation: the primary score was NaN in 1 folds, their k has the least loss"]
    valid, chosen = Rows(task, ["valid"]), run.folds[0].head.hyperparameters
    losses = {
        (metric, k): knn.share_loss(shares, valid.targets.numpy())
        for metric in knn.METRICS
        for k, shares in Neighbours(Rows(task, ["train"]), metric).probabilities(valid, K_GRID).items()
    }
    assert losses[chosen["metric"], chosen["k"]] == min(losses.values())


def test_bad_input(tmp_path):
    events = write_events(tmp_path / "e" / "m" / "t")
    with pytest.raises(DeloresError, match="knn is for clips, and toy_events-v1-full is an event task: use hear or"):
        score_embeddings(events, protocol="knn", results_dir=tmp_path / "r")
    with pytest.raises(DeloresError, match=r"unknown metric 'cosin'\. Did you mean 'cosine'"):
        Knn(metric="cosin")
    for k in (0, 2.5, True):
        with pytest.raises(DeloresError, match="whole number of neighbours"):
            Knn(k=k)
    assert not (tmp_path / "r").exists()
    assert json.dumps(knn.knn_grid(Knn(), 5))  # plain values: they go into the record


def test_torchs_random_state_is_left_alone(tmp_path):
    task = open_scene(tmp_path)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    run_folds(task, Knn(shots=3), NOWHERE)
    assert torch.equal(torch.get_rng_state(), before)
