"""A small labelled corpus, a small checkpoint, and the command line as a function."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

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
