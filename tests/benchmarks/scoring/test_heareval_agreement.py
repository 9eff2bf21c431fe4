"""The unmodified heareval, its Lightning included, beside our trainer from the same first weights.

Needs heareval 2021.1.3 and pytorch-lightning 1.8.6 (``tox -e heareval``); skipped where they are absent.
"""

from __future__ import annotations

import dataclasses
import json
import random

import numpy as np
import pytest
import torch
from embeddings_folders import write_events, write_scene
from torch import nn

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.metrics.registry import METRICS
from benchmarks.scoring.fitting import BestEpoch
from benchmarks.scoring.fold import Fold, evaluate
from benchmarks.scoring.hear import heads
from benchmarks.scoring.hear.grid import HeadConfig
from benchmarks.scoring.hear.heads import Head, HeadJob, train_head
from benchmarks.scoring.hear.protocol import Hear

ADAM = torch.optim.Adam
pytestmark = pytest.mark.official

SMALL = HeadConfig(
    batch_size=64, check_val_every_n_epoch=3, dropout=0.0, hidden_dim=24, hidden_layers=2, lr=1e-3,
    max_epochs=31, patience=3, initialization="xavier_normal_",
)  # fmt: skip


@pytest.fixture
def kit(monkeypatch, tmp_path):
    pytest.importorskip("sed_eval")
    pytest.importorskip("pytorch_lightning")
    module = pytest.importorskip("heareval.predictions.task_predictions")
    monkeypatch.chdir(tmp_path)  # Lightning writes its logs here
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    return module


def official(kit, monkeypatch, folder, config: HeadConfig, state: dict[str, torch.Tensor]):
    """heareval's training and test of one grid point, from our first weights."""
    whole = kit.FullyConnectedPrediction.__init__

    def same_start(self, *args, **kwargs):
        whole(self, *args, **kwargs)
        self.load_state_dict(state)

    monkeypatch.setattr(kit.FullyConnectedPrediction, "__init__", same_start)
    metadata = json.loads((folder / "task_metadata.json").read_text())
    vocabulary, nlabels = kit.label_vocab_nlabels(folder)
    index = kit.label_vocab_as_dict(vocabulary, key="label", value="idx")
    conf = {
        **config.to_dict(),
        "hidden_norm": nn.BatchNorm1d,
        "embedding_norm": nn.Identity,
        "initialization": nn.init.xavier_normal_,
        "optim": ADAM,
    }
    common = {
        "embedding_path": folder,
        "metadata": metadata,
        "data_splits": kit.get_splits_from_metadata(metadata)[0],
        "label_to_idx": index,
        "nlabels": nlabels,
        "in_memory": True,
    }
    point = kit.task_predictions_train(
        embedding_size=EmbeddingsTask.open(folder).embedding_size,
        scores=[kit.available_scores[name](label_to_idx=index) for name in metadata["evaluation"]],
        conf=conf,
        use_scoring_for_early_stopping=metadata.get("use_scoring_for_early_stopping", True),
        gpus=None,
        deterministic=True,
        **common,
    )
    return point, kit.task_predictions_test(grid_point=point, **common)


def ours(folder, config: HeadConfig):
    task = EmbeddingsTask.open(folder)
    fold = Fold.of(task, 0, "cpu", False)
    maximise = METRICS[task.metadata["evaluation"][0]].maximise
    use_score = task.metadata.get("use_scoring_for_early_stopping", True)
    job = HeadJob("job", config, fold, 3, task.prediction_type, maximise, use_score)
    trained = train_head_from_seed(job)
    return trained, evaluate(fold, trained, Hear().predict(trained, fold.test, fold))


def train_head_from_seed(job: HeadJob):
    torch.manual_seed(job.seed)
    return train_head(job)


def first_weights(folder, config: HeadConfig) -> dict[str, torch.Tensor]:
    task = EmbeddingsTask.open(folder)
    torch.manual_seed(3)
    return Head(config, task.embedding_size, len(task.vocabulary)).state_dict()


def write_single_metric_events(folder):
    return write_events(folder, noise=1.0, evaluation=("event_onset_50ms_fms", "segment_1s_er"))


CASES = {
    "scene": lambda f: write_scene(f, sizes=150, noise=2.0),
    "multilabel": lambda f: write_scene(f, sizes=150, multilabel=True, noise=2.0, evaluation=("mAP", "aucroc")),
    "folds": lambda f: write_scene(f, sizes=90, folds=4, noise=2.0),
    "loss": lambda f: write_scene(f, sizes=150, noise=2.0, use_scoring_for_early_stopping=False),
    "events": write_single_metric_events,
}


@pytest.mark.parametrize("case", CASES)
def test_training_from_the_same_weights_gives_the_same_result(kit, monkeypatch, tmp_path, case):
    folder = CASES[case](tmp_path / "m" / "t")
    # Fused Adam rounds differently, and Adam blows rounding up (a bias before BatchNorm has no gradient
    # but rounding), so that probabilities differ by 1e-3 after 30 epochs. With heareval's they are equal.
    monkeypatch.setattr(heads.torch.optim, "Adam", lambda parameters, lr, **_: ADAM(parameters, lr=lr))
    trained, tested = ours(folder, SMALL)
    point, scores = official(kit, monkeypatch, folder, SMALL, first_weights(folder, SMALL))
    assert trained.epoch == point.epoch
    assert trained.validation_score == pytest.approx(point.validation_score, abs=1e-6)
    assert tuple(trained.postprocessing.items()) == tuple(point.postprocessing)
    for name, value in tested.scores.items():
        assert value == pytest.approx(scores[f"test_{name}"], abs=1e-6), name
    assert tested.loss == pytest.approx(scores["test_loss"], abs=1e-6)
    np.testing.assert_allclose(tested.probabilities, point.predictor.test_predictions["prediction"].numpy(), atol=1e-6)


def test_an_event_task_without_predicted_events_stops_at_its_first_validation(kit, monkeypatch, tmp_path):
    folder = write_single_metric_events(tmp_path / "m" / "t")
    config = dataclasses.replace(SMALL, lr=1e-9)
    state = first_weights(folder, config)
    state["projection.bias"] = torch.full((2,), -50.0)  # nothing is ever predicted
    point, _ = official(kit, monkeypatch, folder, config, state)
    assert (point.epoch, point.validation_score) == (2, -np.inf)
    best = BestEpoch(True, 3)
    assert best.update(2, float("nan"))
    assert (best.epoch, best.score, best.stop) == (point.epoch, point.validation_score, True)


def test_early_stopping_and_checkpoint_follow_lightning_on_any_scores(kit):
    """Lightning's two callbacks themselves, fed random scores, ties and non-finite ones among them."""
    from pytorch_lightning.callbacks.early_stopping import EarlyStopping

    prng = random.Random(0)
    for _ in range(300):
        mode = prng.choice(["max", "min"])
        patience = prng.randint(1, 4)
        pool = [0.1, 0.2, 0.2, 0.3, 0.3 + 1e-10, 0.5, float("inf"), float("nan"), -float("inf")]
        weights = [6, 6, 6, 6, 6, 6, 1, 1, 1]
        scores = prng.choices(pool, weights, k=12)
        stopping = EarlyStopping("x", patience=patience, mode=mode)
        mine = BestEpoch(mode == "max", patience)
        kept = None
        for epoch, score in enumerate(scores):
            stop, _ = stopping._evaluate_stopping_criteria(torch.tensor(score))
            # ModelCheckpoint.check_monitor_top_k and _update_best_and_save with save_top_k=1
            value = torch.tensor(score)
            better = kept is None or bool((value > kept) if mode == "max" else (value < kept))
            if better:
                worst = -float("inf") if mode == "max" else float("inf")
                kept = torch.tensor(worst) if torch.isnan(value) else value
            assert mine.update(epoch, score) == better
            assert mine.stop == stop
            assert mine.score == kept.item()
            if stop:
                break


def test_labels_that_pandas_reads_as_missing_end_heareval_s_run(kit, monkeypatch, tmp_path):
    folder = write_scene(tmp_path / "m" / "t", labels=("NA", "None", "dog"))
    with pytest.raises(KeyError, match=r"NA|None"):
        official(kit, monkeypatch, folder, SMALL, first_weights(folder, SMALL))


def test_a_last_batch_of_one_row_ends_heareval_s_run(kit, monkeypatch, tmp_path):
    folder = write_scene(tmp_path / "m" / "t", sizes={"train": 65, "valid": 20, "test": 20})
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        official(kit, monkeypatch, folder, SMALL, first_weights(folder, SMALL))
