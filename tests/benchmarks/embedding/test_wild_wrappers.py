"""HEAR wrappers as people write them: each runs, or fails with the one line that says why."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.embedding.isolation import NameClash
from benchmarks.embedding.model import LoadedModel, load_model
from hear_delores.errors import DeloresError

AUDIO = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 16000)).astype(np.float32)
TIMES = "torch.arange(0, audio.shape[1], 640).repeat(len(audio), 1) / 16.0"
FUNCTIONS = f"""
def get_timestamp_embeddings(audio, model):
    times = {TIMES}
    return audio.unfold(1, 640, 640).abs().mean(2, keepdim=True).repeat(1, 1, 3), times[:, :audio.shape[1] // 640]

def get_scene_embeddings(audio, model):
    return get_timestamp_embeddings(audio, model)[0].mean(1)
"""
HEAD = "import torch\nimport numpy as np\n"
SIZES = "sample_rate, scene_embedding_size, timestamp_embedding_size = 16000, 3, 3"

#: A dataclass that holds a network and an array, as wrappers of other frameworks do.
DATACLASS = f"""
{HEAD}from dataclasses import dataclass, field
@dataclass
class Model:
    net: torch.nn.Module
    table: np.ndarray
    parts: dict = field(default_factory=dict)
    sample_rate: int = 16000
    scene_embedding_size: int = 3
    timestamp_embedding_size: int = 3

def load_model(path="", scale=1.0):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Dropout(0.5))
    return Model(net, np.full(5, scale), {{"more": [torch.ones(7)]}})
{FUNCTIONS}
"""
#: A plain class with the API as its methods; numpy inside, numpy out.
METHODS = f"""
{HEAD}
class Model:
    {SIZES}
    def get_scene_embeddings(self, audio):
        return np.asarray(audio)[:, :3] * 2
    def get_timestamp_embeddings(self, audio):
        return np.asarray(audio)[:, None, :3], np.zeros((len(audio), 1), np.float32)

def load_model(model_file_path=""):
    return Model()
"""
#: No size attributes at all.
NO_SIZES = f"""
{HEAD}
class Model(torch.nn.Module):
    sample_rate = 16000

def load_model(model_file_path=None):
    return Model()
{FUNCTIONS}
"""
#: What a JAX array is to its caller: it converts itself, and knows neither torch nor .numpy().
JAX_LIKE = f"""
{HEAD}
class Array:
    def __init__(self, value):
        self.value, self.dtype, self.shape = value, value.dtype, value.shape
    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.value, dtype)

class Model:
    {SIZES}
    def __init__(self, scale):
        self.params = {{"layer": {{"kernel": Array(np.full((3, 3), scale, np.float32))}}}}

def load_model(path="", scale=1.0):
    return Model(scale)

def get_scene_embeddings(audio, model):
    return Array(np.asarray(audio)[:, :3] @ np.asarray(model.params["layer"]["kernel"]))

def get_timestamp_embeddings(audio, model):
    return Array(np.asarray(audio)[:, None, :3]), Array(np.zeros((len(audio), 1)))
"""
#: Options that the wrapper takes as text, whatever they look like.
TEXT_OPTIONS = f"""
{HEAD}
class Model(torch.nn.Module):
    {SIZES}

def load_model(model_file_path: str = "", layers: str = "1,2", norm="yes", n: int = 0):
    model = Model()
    model.options = (layers.split(","), norm.upper(), n + 1)
    return model
{FUNCTIONS}
"""
CUDA = f"""
{HEAD}
def load_model(model_file_path=""):
    return torch.nn.Linear(2, 2).cuda()
{FUNCTIONS}
"""
STEREO = f"""
{HEAD}
class Model(torch.nn.Module):
    {SIZES}

def load_model(model_file_path=""):
    return Model()

def get_scene_embeddings(audio, model):
    n_sounds, n_channels, n_samples = audio.shape
    return audio.mean(1)

def get_timestamp_embeddings(audio, model):
    return get_scene_embeddings(audio, model)
"""


def loaded(folder: Path, source: str, options: str = "", name: str = "wrapper") -> LoadedModel:
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
    return load_model(f"{folder / name}.py{options}", "cpu")


def test_a_dataclass(tmp_path: Path) -> None:
    model = loaded(tmp_path, DATACLASS)
    assert (model.kind, model.n_parameters) == ("object", 4 + 5 + 7)
    assert not model.model.net.training
    assert model.scene(AUDIO).shape == (2, 3)
    assert model.timestamps(AUDIO)[0].shape == (2, 25, 3)
    again, other = loaded(tmp_path, DATACLASS), load_model(f"{tmp_path / 'wrapper.py'}?scale=2", "cpu")
    assert model.weights_hash == again.weights_hash != other.weights_hash
    assert model.behaviour.deterministic


def test_methods_and_numpy(tmp_path: Path) -> None:
    model = loaded(tmp_path, METHODS)
    np.testing.assert_array_equal(model.scene(AUDIO), 2 * AUDIO[:, :3])
    assert model.timestamps(AUDIO)[0].shape == (2, 1, 3)


def test_sizes_that_are_missing_are_found_by_calling_and_said(tmp_path: Path) -> None:
    model = loaded(tmp_path, NO_SIZES)
    assert (model.scene_embedding_size, model.timestamp_embedding_size) == (3, 3)
    assert model.notes == (
        "model wrapper states no scene_embedding_size: get_scene_embeddings returns 3 dimensions",
        "model wrapper states no timestamp_embedding_size: get_timestamp_embeddings returns 3 dimensions",
    )
    with pytest.raises(DeloresError, match="sample_rate must be a whole positive number, got None"):
        loaded(tmp_path, NO_SIZES.replace("sample_rate = 16000", "pass"), name="no_rate")


def test_arrays_of_another_framework(tmp_path: Path) -> None:
    model = loaded(tmp_path, JAX_LIKE)
    np.testing.assert_allclose(model.scene(AUDIO), AUDIO[:, :3] @ np.ones((3, 3)), rtol=1e-5)
    assert model.n_parameters == 9
    assert load_model(f"{tmp_path / 'wrapper.py'}?scale=2", "cpu").weights_hash != model.weights_hash


def test_options_as_text(tmp_path: Path) -> None:
    model = loaded(tmp_path, TEXT_OPTIONS, "?layers=7&norm=true&n=2")
    assert model.model.options == (["7"], "TRUE", 3)
    assert model.spec.options == {"layers": 7, "norm": True, "n": 2}


@pytest.mark.skipif(torch.cuda.is_available(), reason="the machine has CUDA")
def test_cuda_in_the_constructor(tmp_path: Path) -> None:
    with pytest.raises(
        DeloresError, match="load_model failed: it asks for CUDA, and torch finds none here; let it ask"
    ):
        loaded(tmp_path, CUDA)


def test_stereo(tmp_path: Path) -> None:
    with pytest.raises(
        DeloresError, match=r"get_scene_embeddings failed on audio .2, 16000.: ValueError: not enough val"
    ):
        loaded(tmp_path, STEREO).scene(AUDIO)
    with pytest.raises(
        DeloresError, match=r"expected mono audio .* got \(2, 2, 8\); of several channels, pass their me"
    ):
        load_model("log-mel", "cpu").scene(np.zeros((2, 2, 8), np.float32))


# --- packages that change sys.path


def package(folder: Path, value: float, name: str) -> Path:
    """A repository with a top-level module ``models`` that its wrapper finds through sys.path."""
    (folder / "src").mkdir(parents=True)
    (folder / "src" / f"models_{name}.py").write_text(f"SCALE = {value}\n")
    source = f"""
{HEAD}import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "src"))
from models_{name} import SCALE
class Model(torch.nn.Module):
    {SIZES}

def load_model(model_file_path=""):
    return Model()

def get_scene_embeddings(audio, model):
    return SCALE * audio[:, :3]

def get_timestamp_embeddings(audio, model):
    return SCALE * audio[:, None, :3], torch.zeros(len(audio), 1)
"""
    (folder / "hear.py").write_text(source)
    return folder / "hear.py"


def test_two_packages_with_the_same_top_level_names_are_refused_in_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    one = load_model(f"one={package(tmp_path / 'one', 1.0, 'twice')}", "cpu")
    with pytest.raises(NameClash, match=r"has a module 'models_twice', and this process has another model's") as caught:
        load_model(f"two={package(tmp_path / 'two', 3.0, 'twice')}", "cpu")
    assert "\n" not in str(caught.value)
    assert load_model(f"one={tmp_path / 'one' / 'hear.py'}", "cpu").weights_hash == one.weights_hash
    assert load_model(f"other={package(tmp_path / 'other', 2.0, 'once')}", "cpu").scene(AUDIO)[0, 0] == 2 * AUDIO[0, 0]
