"""Small corpora and configurations of pre-training that run in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from pretrain.config import PretrainConfig, load_config

TINY = [
    "encoder.channels=8",
    "encoder.embedding_size=16",
    "projector.widths=[24,24]",
    "augment.mixup_memory=20",
    "moco.queue=20",
    "moco.dim=8",
    "segment_s=0.3",
    "batch_size=8",
    "steps=10",
    "save_every=3",
    "log_every=2",
    "precision=float32",
    "scene=[pooled]",
    "timestamp=[frames]",
]


@pytest.fixture(autouse=True)
def _one_thread():
    """Bits are compared with those of other processes: the number of threads must be the same."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 13 sound clips of 0.1 to 0.9 s at 16 kHz."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for i in range(13):
        t = np.arange(int(16000 * rng.uniform(0.1, 0.9))) / 16000
        tone = 0.4 * np.sin(2 * np.pi * rng.uniform(100, 4000) * t) + 0.05 * rng.standard_normal(len(t))
        soundfile.write(folder / f"clip{i:02d}.wav", tone, 16000)
    return folder


@pytest.fixture
def tiny_s() -> PretrainConfig:
    return load_config("demo-s", TINY)


@pytest.fixture
def tiny_m() -> PretrainConfig:
    return load_config("demo-m", TINY)
