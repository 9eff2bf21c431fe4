"""Every preset's resolved values against the published figures, typed from where they stand.

(W) is arXiv 2203.13628, (R) the constants of the authors' later release, as the comparison of the two in the DeLoRes
reference gives them, row by row; (J), JSTSP 2022, is DeLoRes-M as released.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from hear_delores.checkpoint import read_header
from hear_delores.encoder import EncoderConfig
from hear_delores.frontend import FrontendConfig
from hear_delores.shipped import shipped_weights
from pretrain.config import config_to_dict, differences, list_presets, load_config

# What all share: the row of the reference, and the values it states.
INPUT_AND_ENCODER = {
    "16 kHz mono; n_fft = window = 1024, hop 160": {
        "frontend.sample_rate": 16000, "frontend.n_fft": 1024, "frontend.win_length": 1024, "frontend.hop_length": 160,
    },
    "64 mel bands, 60 to 7800 Hz, Slaney scale and Slaney area norm": {
        "frontend.n_mels": 64, "frontend.f_min": 60.0, "frontend.f_max": 7800.0, "frontend.mel_scale": "slaney",
        "frontend.mel_norm": "slaney",
    },
    "log(mel + eps), eps = float32 machine epsilon": {"frontend.eps": 2.0**-23},
    "a segment of 0.95 s": {"segment_s": 0.95},
    "normalised as (x - mean) / std with statistics of the pre-training set": {"normalization": "corpus"},
    "3 conv blocks of 64 channels; Dropout 0.3; (B, 2048)": {
        "encoder.n_mels": 64, "encoder.channels": 64, "encoder.dropout": 0.3, "encoder.embedding_size": 2048,
    },
    "pooled over time as max + mean": {"scene": ["pooled"], "timestamp": ["frames"]},
}  # fmt: skip
VIEWS = {
    "log-mixup-exp with a FIFO memory of 2048 past inputs; a = 0.4 u; mixes after normalisation": {
        "augment.mixup": True, "augment.mixup_memory": 2048, "augment.mixup_ratio": 0.4,
        "augment.mixup_domain": "normalized", "augment.post_norm": False,
    },
    "no other augmentation": {"augment.level_db": 0.0, "augment.equaliser_db": 0.0, "augment.equaliser_nodes": 4},
    "random resize crop: canvas 1.0 x freq, 1.5 x time; 0.6..1.5 x F, 0.6..1.5 x T": {
        "augment.crop": True, "augment.canvas_freq": 1.0, "augment.canvas_time": 1.5,
        "augment.crop_freq": [0.6, 1.5], "augment.crop_time": [0.6, 1.5],
    },
}  # fmt: skip
PAPER_S = {
    "(W) projector: Dropout 0.5, Linear 2048->8192, BatchNorm, ReLU, Linear 8192->8192": {
        "projector.widths": [8192, 8192], "projector.dropout": 0.5,
    },
    "(W) loss: sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2, lambda = 0.0051": {
        "loss.lambd": 0.0051, "loss.scale": 1.0, "loss.diagonal": 1.0,
    },
    "(W) batch 1024; LARS, lr 0.2 weights / 0.0048 biases and norms, each x batch/256": {
        "batch_size": 1024, "optimizer.kind": "lars", "optimizer.lr": 0.2, "optimizer.lr_bias": 0.0048,
        "optimizer.scale_lr": True,
    },
    "(W) weight decay 1e-6, momentum 0.9, eta 1e-3": {
        "optimizer.weight_decay": 1e-6, "optimizer.momentum": 0.9, "optimizer.eta": 1e-3,
    },
    "(W) 10 warm-up epochs, cosine to 1/1000, 100 epochs": {
        "schedule.kind": "cosine", "schedule.warmup": 10 / 100, "schedule.final": 1e-3, "epochs": 100, "steps": None,
    },
}  # fmt: skip
RELEASED = {
    "(R) lambda = 5e-5, times 1/32 (on both terms there: a fault that is not repeated)": {
        "loss.lambd": 5e-5, "loss.scale": 1 / 32, "loss.diagonal": 1.0,
    },
    "(R) constant, 50 epochs": {"schedule.kind": "constant", "schedule.warmup": 0.0, "epochs": 50, "steps": None},
    "(R) SGD, momentum 0.9, wd 1e-4": {
        "optimizer.kind": "sgd", "optimizer.momentum": 0.9, "optimizer.weight_decay": 1e-4,
        "optimizer.lr_bias": None, "optimizer.scale_lr": False,
    },
}  # fmt: skip
RELEASED_S = {
    "(R) three linears 2048-2048-2048-2048, BN+ReLU between, no dropout": {
        "projector.widths": [2048, 2048, 2048], "projector.dropout": 0.0,
    },
    "(R) 32 per process, SGD 0.03": {"batch_size": 32, "optimizer.lr": 0.03},
}  # fmt: skip
RELEASED_M = {
    "(J) linear 2048->128 head; queue 65,536; momentum 0.999; temperature 0.07": {
        "moco.dim": 128, "moco.queue": 65536, "moco.momentum": 0.999, "moco.temperature": 0.07,
    },
    "(J) cross-entropy of MoCo, plus for each of the three conv layers a Barlow Twins loss": {
        "loss.contrastive": 1.0, "loss.layers": [1, 2, 3],
    },
    "(J) projector in-2048-2048-2048, no bias, BN+ReLU between": {
        "projector.widths": [2048, 2048, 2048], "projector.dropout": 0.0,
    },
    "(J) SGD 3e-4, batch 128 per process": {"batch_size": 128, "optimizer.lr": 3e-4},
}  # fmt: skip
PUBLISHED = {
    "delores-s-paper": [{"the method": {"method": "delores-s"}}, INPUT_AND_ENCODER, VIEWS, PAPER_S],
    "delores-s-released": [{"the method": {"method": "delores-s"}}, INPUT_AND_ENCODER, VIEWS, RELEASED, RELEASED_S],
    "delores-m-released": [{"the method": {"method": "delores-m"}}, INPUT_AND_ENCODER, VIEWS, RELEASED, RELEASED_M],
}
# What no publication says, what decides speed alone, and what is of synthetic sounds alone.
OURS = {"seed", "precision", "channels_last", "device", "log_every", "save_every", "data", "views", "synthesis"}
UNUSED = {"delores-s": {"moco", "loss.contrastive", "loss.layers", "decorrelation"}, "delores-m": {"decorrelation"}}
"""Of DeLoRes-S: the keys of DeLoRes-M; of both: those of scene parts that the papers do not have.

``optimizer.eta`` and ``schedule.final`` of LARS and of a cosine alone."""


def keys(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, inner in values.items():
        if isinstance(inner, Mapping):
            yield from keys(inner, f"{prefix}{key}.")
        else:
            yield prefix + key


def value(preset: str, key: str) -> Any:
    found: Any = config_to_dict(load_config(preset))
    for part in key.split("."):
        found = found[part]
    return found


@pytest.mark.parametrize("preset", PUBLISHED)
def test_a_published_preset_has_the_published_figures(preset: str) -> None:
    for table in PUBLISHED[preset]:
        for row, values in table.items():
            for key, expected in values.items():
                assert value(preset, key) == expected, f"{preset}: {key}, by '{row}'"


@pytest.mark.parametrize("preset", PUBLISHED)
def test_every_key_of_a_published_preset_stands_in_the_table(preset: str) -> None:
    stated = {key for table in PUBLISHED[preset] for values in table.values() for key in values}
    unused = UNUSED[value(preset, "method")] | ({"optimizer.eta", "schedule.final"} if "released" in preset else set())
    for key in keys(config_to_dict(load_config(preset))):
        known = key in stated or key in unused or key.split(".")[0] in OURS | unused
        assert known, f"{preset}: {key} is in no row of the table"


def test_the_segment_and_the_encoder_have_the_published_sizes() -> None:
    config = load_config("delores-s-paper")
    assert (config.segment_samples, config.segment_frames) == (15200, 96)  # input (1, 64, 96)
    assert (config.encoder, config.frontend) == (EncoderConfig(), FrontendConfig())
    assert load_config("delores-m-released").encoder.layer_sizes == (2048, 1024, 512)
    assert config.total_steps(250_000) == 24_415  # 100 epochs over 0.25 M clips in batches of 1024


def test_the_small_presets_are_there_and_keep_method_input_and_views() -> None:
    assert {"delores-s-small", "delores-m-small", *PUBLISHED} <= set(list_presets())
    for name in "sm":
        small = load_config(f"delores-{name}-small")
        assert small.method == f"delores-{name}"
        assert (small.frontend, small.segment_s) == (FrontendConfig(), 0.95)


def test_the_shipped_weights_are_of_the_shipped_presets() -> None:
    """What decides a result is the preset's; threads, and how often was logged and saved, need not be."""
    default, files = shipped_weights()
    assert default in files
    assert {read_header(path)["method"] for path in files.values()} == {"delores-s", "delores-m"}
    for path in files.values():
        header = read_header(path)
        preset = load_config(f"{header['method']}-shipped")
        assert {key.split(".")[0] for key in differences(header["config"], preset)} <= OURS
        assert header["scene"] == list(preset.scene)
        assert header["step"] == preset.steps
    assert sum(path.stat().st_size for path in files.values()) <= 24_000_000
