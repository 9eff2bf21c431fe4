"""A small labelled corpus, a small checkpoint, the command line as a function, and result records with predictions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from benchmarks.metrics.registry import METRICS
from benchmarks.results.format import FoldPredictions, FoldResult, ModelInfo, ProtocolInfo, ResultRecord, TaskInfo
from benchmarks.results.record import load_record, save_record
from hear_delores import AudioNTT, EncoderConfig, FrontendConfig, HearModel, save_checkpoint


@dataclass
class Ran:
    """What one call of the command line did."""

    code: int
    out: str
    err: str


@pytest.fixture
def delores(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs ``delores`` with the given words, in this process."""
    from benchmarks.cli import main

    def run(*words: object) -> Ran:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["delores", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 clips of 0.5 s, two classes (low and high tones in noise), with labels.csv in three splits."""
    folder = tmp_path_factory.mktemp("corpus")
    random = np.random.default_rng(0)
    lines = ["file,label,group,split"]
    for index in range(24):
        label = ("low", "high")[index % 2]
        tone = np.sin(2 * np.pi * (300 if label == "low" else 2000) * np.arange(8000) / 16000)
        clip = 0.2 * tone + 0.05 * random.standard_normal(8000)
        soundfile.write(folder / f"clip{index:02d}.wav", clip, 16000, subtype="PCM_16")
        lines.append(f"clip{index:02d}.wav,{label},g{index},{('train', 'train', 'valid', 'test')[index // 2 % 4]}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a random encoder of width 16."""
    path = tmp_path_factory.mktemp("checkpoint") / "small.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = AudioNTT(EncoderConfig(embedding_size=16))
    save_checkpoint(path, HearModel(encoder, FrontendConfig(), -7.0, 4.0))
    return path


@pytest.fixture
def small_wav2vec2() -> dict[str, Any]:
    """The parameters of torchaudio's model: two layers of 16 dimensions, a frame every 20 samples that sees 40."""
    return {
        "extractor_mode": "layer_norm", "extractor_conv_bias": False,
        "extractor_conv_layer_config": [(8, 10, 5), (8, 3, 2), (8, 3, 2)], "encoder_embed_dim": 16,
        "encoder_projection_dropout": 0.1, "encoder_pos_conv_kernel": 16, "encoder_pos_conv_groups": 2,
        "encoder_num_layers": 2, "encoder_num_heads": 2, "encoder_attention_dropout": 0.1,
        "encoder_ff_interm_features": 32, "encoder_ff_interm_dropout": 0.1, "encoder_dropout": 0.1,
        "encoder_layer_norm_first": True, "encoder_layer_drop": 0.1, "aux_num_out": None,
    }  # fmt: skip


# --- result folders whose scores are the scorer's own


def scene_fold(n: int, skill: float, seed: int, *, labels: int = 4, truth_seed: int = 99) -> FoldPredictions:
    """n clips; a model of more skill ranks the true class higher. The truth depends on ``truth_seed`` alone."""
    truth = np.eye(labels, dtype=np.float32)[np.random.default_rng(truth_seed).integers(0, labels, n)]
    prediction = np.random.default_rng(seed).normal(size=(n, labels)) + skill * truth
    return FoldPredictions(prediction.astype(np.float32), truth, np.array([f"clip{i:04d}.wav" for i in range(n)]))


def result(
    folds: dict[str, FoldPredictions],
    *,
    label: str = "ours",
    task: str = "toy",
    version: str = "v1",
    mode: str = "full",
    metrics: tuple[str, ...] = ("top1_acc",),
    seed: int = 42,
    weights: str = "ab" * 32,
    n_clips: int | None = None,
    **changes: Any,
) -> ResultRecord:
    """The record of some folds, scored by the scorer."""
    scored = {
        split: {name: METRICS[name].scores(fold.prediction, fold.target)[name] for name in metrics}
        for split, fold in folds.items()
    }
    means = {name: float(np.mean([scores[name] for scores in scored.values()])) for name in metrics}
    deviations = {name: float(np.std([s[name] for s in scored.values()], ddof=1)) for name in metrics if len(folds) > 1}
    sizes = {"scene_embedding_size": 2048, "timestamp_embedding_size": 512}
    model = {"label": label, "module": "hear_delores", "weights_hash": weights, "n_parameters": 5321856, "sizes": sizes}
    values: dict[str, Any] = {
        "fingerprint": "f", "embeddings_hash": "e" * 64, "model": ModelInfo(**model),
        "task": TaskInfo(
            name=task, version=version, mode=mode, revision=changes.pop("revision", "r" * 64), embedding_type="scene",
            prediction_type="multiclass", primary_metric=metrics[0], metrics=list(metrics), maximise=True,
            n_clips=n_clips or sum(len(fold.files) for fold in folds.values()), subset=changes.pop("subset", None),
        ),
        "protocol": ProtocolInfo(name=changes.pop("protocol", "hear"), variant=changes.pop("variant", "")),
        "seed": seed, "scores": means, "scores_std": deviations,
        "folds": [
            FoldResult(
                test_split=split, scores=scores, loss=0.1, validation_score=0.5, epoch=3, epochs_run=9,
                hyperparameters={}, n_train_rows=5, n_test_rows=len(folds[split].files), seconds=1.0,
            )
            for split, scores in scored.items()
        ],
        "device": "cpu", "versions": {"hear-delores": "0.1.0", "torch": "2"}, "created": "2026-01-01",
    }  # fmt: skip
    return ResultRecord(**{**values, **changes})


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., ResultRecord]:
    """Saves a record with its predictions and loads it again: as ``result``."""

    def make(folds: dict[str, FoldPredictions], **values: Any) -> ResultRecord:
        return load_record(save_record(result(folds, **values), tmp_path / "results", folds))

    return make


@pytest.fixture
def make_fold() -> Callable[..., FoldPredictions]:
    """``scene_fold``."""
    return scene_fold


@pytest.fixture
def make_result() -> Callable[..., ResultRecord]:
    """``result``."""
    return result
