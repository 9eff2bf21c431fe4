"""Small HEAR modules and task folders to embed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from benchmarks.embedding.model import LoadedModel, load_model

COUNTER = itertools.count()

#: A 16 kHz torch model: scene embeddings are statistics, timestamp embeddings those of 40 ms frames. It
#: notes each call in CALLS, sleeps and fails when told to by the environment.
MODULE = """
import os, time
import torch

CALLS = []

class Model(torch.nn.Module):
    sample_rate = 16000
    scene_embedding_size = 5
    timestamp_embedding_size = 3

    def __init__(self, scale):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))

def load_model(model_file_path="", gain=1.0):
    scale = 1.0
    if model_file_path:
        with open(model_file_path) as stream:
            scale = float(stream.read())
    return Model(scale * gain)

def called(audio):
    CALLS.append(tuple(audio.shape))
    time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
    if len(CALLS) == int(os.environ.get("FAKE_FAILS_AT", "0")):
        raise KeyboardInterrupt

def statistics(audio):
    return [audio.mean(-1), audio.amax(-1), audio.amin(-1), (audio ** 2).mean(-1), audio.abs().mean(-1)]

def get_scene_embeddings(audio, model):
    called(audio)
    return torch.stack(statistics(audio), dim=-1) * model.scale

def get_timestamp_embeddings(audio, model):
    called(audio)
    n = audio.shape[1] // 640 + 1
    padded = torch.nn.functional.pad(audio, (320, n * 640 - audio.shape[1]))
    frames = padded.unfold(1, 640, 640)[:, :n]
    times = torch.arange(n, dtype=torch.float32) * 40.0
    return torch.stack(statistics(frames)[1:4], dim=-1) * model.scale, times.repeat(len(audio), 1)
"""


@pytest.fixture
def make_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Writes a module of a name of its own, with replacements in its source, and returns the name."""

    def make(*replacements: tuple[str, str], source: str = MODULE) -> str:
        for old, new in replacements:
            assert old in source
            source = source.replace(old, new)
        folder = tmp_path / "modules"
        folder.mkdir(exist_ok=True)
        name = f"fake_hear_{next(COUNTER)}"
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(str(folder))
        return name

    return make


@pytest.fixture
def load_probed() -> Callable[[str], LoadedModel]:
    """Loads a model and forgets the calls that took its behaviour: CALLS then has those of embedding."""

    def load(spec: str) -> LoadedModel:
        model = load_model(spec)
        assert model.behaviour.version
        model.module.CALLS.clear()
        return model

    return load


def noise(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.8, 0.8, n)


def write_task(
    folder: Path,
    clips: dict[str, dict[str, Any]],
    seconds: Callable[[int], float],
    rate: int = 16000,
    **metadata: Any,
) -> Path:
    """A task folder of noise, ``seconds(index)`` per clip; ``metadata`` changes it from scene multiclass."""
    content = {
        "task_name": "fake",
        "version": "1",
        "embedding_type": "scene",
        "prediction_type": "multiclass",
        "split_mode": "trainvaltest",
        "sample_duration": None,
        "evaluation": ["top1_acc"],
        "mode": "full",
        "splits": list(clips),
        **metadata,
    }
    path = folder / "fake-1-full"
    path.mkdir(parents=True)
    (path / "task_metadata.json").write_text(json.dumps(content), encoding="utf-8")
    (path / "labelvocabulary.csv").write_text("idx,label\n0,cat\n1,dog\n2,3\n", encoding="utf-8")
    index = 0
    for split, labels in clips.items():
        (path / f"{split}.json").write_text(json.dumps(labels), encoding="utf-8")
        (path / str(rate) / split).mkdir(parents=True)
        for file in labels:
            samples = noise(index, max(1, round(seconds(index) * rate)))
            soundfile.write(path / str(rate) / split / file, samples, rate, "PCM_16")
            index += 1
    return path


@pytest.fixture
def scene_task(tmp_path: Path) -> Path:
    """30 clips of six lengths, from one sample to a second."""
    lengths = (0.3, 1 / 16000, 0.05, 1.0, 0.3, 0.7)
    clips = {
        split: {f"{split}{i}.wav": [["cat", "dog", 3][i % 3]] for i in range(count)}
        for split, count in (("train", 16), ("valid", 5), ("test", 9))
    }
    return write_task(tmp_path / "tasks", clips, lambda index: lengths[index % len(lengths)])


@pytest.fixture
def event_task(tmp_path: Path) -> Path:
    """17 clips of 0.6 to 1.1 s with overlapping events."""
    random = np.random.default_rng(5)

    def events() -> list[dict[str, Any]]:
        found = []
        for _ in range(int(random.integers(0, 5))):
            start = float(random.integers(0, 15) * 40)  # on timestamps, where the bounds matter
            found.append({"label": ["cat", "dog", 3][int(random.integers(3))], "start": start,
                          "end": start + float(random.integers(0, 8) * 40)})  # fmt: skip
        return found

    clips = {
        split: {f"{split}{i}.wav": events() for i in range(count)}
        for split, count in (("train", 9), ("valid", 3), ("test", 5))
    }
    return write_task(
        tmp_path / "tasks", clips, lambda index: (0.6, 1.1, 0.6)[index % 3],
        embedding_type="event", prediction_type="multilabel", evaluation=["segment_1s_er"],
    )  # fmt: skip
