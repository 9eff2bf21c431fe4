"""The module as HEAR imports it: its three functions, shipped weights, no side effects of importing it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import hear_delores
from hear_delores import shipped
from hear_delores.encoder import AudioNTT, EncoderConfig
from hear_delores.errors import DeloresError
from hear_delores.frontend import FrontendConfig
from hear_delores.model import HearModel

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    encoder = AudioNTT(EncoderConfig(channels=8, embedding_size=24))
    path = tmp_path / "small.safetensors"
    hear_delores.save_checkpoint(path, HearModel(encoder, FrontendConfig(), -5.0, 4.0))
    return path


@pytest.fixture
def weights(checkpoint: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    checkpoint.rename(folder / "a.safetensors")
    index = {"default": "small-a", "weights": {"small-a": "a.safetensors", "small-b": "b.safetensors"}}
    (folder / "index.json").write_text(json.dumps(index))
    return folder


def test_common_api(checkpoint: Path) -> None:
    model = hear_delores.load_model(str(checkpoint))
    assert isinstance(model, torch.nn.Module)
    assert (model.sample_rate, model.scene_embedding_size, model.timestamp_embedding_size) == (16000, 24, 24)
    assert all(type(v) is int for v in (model.sample_rate, model.scene_embedding_size, model.timestamp_embedding_size))
    audio = 0.1 * torch.randn(2, 17120)
    scene = hear_delores.get_scene_embeddings(audio, model)
    embeddings, times = hear_delores.get_timestamp_embeddings(audio, model)
    assert (scene.shape, embeddings.shape, times.shape) == ((2, 24), (2, 27, 24), (2, 27))
    assert scene.dtype == embeddings.dtype == times.dtype == torch.float32
    assert float(times.diff().max()) <= 50
    torch.testing.assert_close(model(audio), scene, rtol=0, atol=0)


def test_the_scene_that_is_asked_for_takes_the_place_of_the_checkpoints(checkpoint: Path) -> None:
    audio = 0.1 * torch.randn(2, 17120)
    papers, asked = hear_delores.load_model(checkpoint), hear_delores.load_model(checkpoint, scene="layer3_std, pooled")
    listed = hear_delores.load_model(checkpoint, scene=["layer3_std", "pooled"])
    assert asked.scene_embedding_size == 8 * 8 + 24
    embeddings = hear_delores.get_scene_embeddings(audio, asked)
    assert torch.equal(embeddings, hear_delores.get_scene_embeddings(audio, listed))
    assert torch.equal(embeddings[:, 64:], hear_delores.get_scene_embeddings(audio, papers))
    assert hear_delores.weights_hash(asked) != hear_delores.weights_hash(papers)
    with pytest.raises(DeloresError, match="Did you mean 'pooled'"):
        hear_delores.load_model(checkpoint, scene="poled")


@pytest.mark.parametrize("model", [None, torch.nn.Linear(1, 1), "model"])
def test_model_of_another_kind(model: object) -> None:
    for function in (hear_delores.get_scene_embeddings, hear_delores.get_timestamp_embeddings):
        with pytest.raises(DeloresError, match="load_model"):
            function(torch.zeros(1, 100), model)  # type: ignore[arg-type]


class TestShippedWeights:
    def test_default_name_and_path(self, weights: Path) -> None:
        default = weights / "a.safetensors"
        assert shipped.find_weights("", weights) == default
        assert shipped.find_weights("small-a", weights) == default
        assert shipped.find_weights(default, weights) == default
        assert shipped.shipped_weights(weights) == (
            "small-a",
            {"small-a": default, "small-b": weights / "b.safetensors"},
        )

    def test_load_model_takes_them(self, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        find_weights = shipped.find_weights
        monkeypatch.setattr(shipped, "find_weights", lambda name: find_weights(name, weights))
        assert hear_delores.load_model().timestamp_embedding_size == 24
        assert hear_delores.load_model("small-a").timestamp_embedding_size == 24

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("smal-b", "Did you mean 'small-b'"),
            ("x/y.safetensors", "no such file"),
            ("x.pth", "no such file"),
            (3, "got int"),
        ],
    )
    def test_neither_file_nor_name(self, weights: Path, name: object, message: str) -> None:
        with pytest.raises(DeloresError, match=message):
            shipped.find_weights(name, weights)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "text", ["{", "[]", "{}", '{"default": "x", "weights": {}}', '{"default": 1, "weights": 2}']
    )
    def test_bad_index(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "index.json").write_text(text)
        with pytest.raises(DeloresError, match="install the package again"):
            shipped.find_weights("", tmp_path)

    def test_no_index(self, tmp_path: Path) -> None:
        with pytest.raises(DeloresError, match="Expected shipped weights"):
            shipped.find_weights("", tmp_path)
        with pytest.raises(DeloresError, match="no such file"):
            shipped.find_weights("delores", tmp_path)

    def test_the_package_ships_its_index(self) -> None:
        if not (shipped.WEIGHTS / "index.json").exists():
            pytest.skip("no weights are shipped yet")
        default, files = shipped.shipped_weights()
        for name, file in files.items():
            model = hear_delores.load_model(name)
            assert file.exists()
            assert bool(torch.isfinite(hear_delores.get_scene_embeddings(torch.zeros(1, 16000), model)).all())
        assert hear_delores.weights_hash(hear_delores.load_model()) == hear_delores.weights_hash(
            hear_delores.load_model(default)
        )


SIDE_EFFECTS = """
import random, sys, warnings
import numpy, torch
numpy.random.seed(1), random.seed(1), torch.manual_seed(1)
def state():
    return (torch.get_default_dtype(), torch.get_num_threads(), torch.get_num_interop_threads(),
        torch.is_grad_enabled(), torch.get_rng_state().tolist(), str(numpy.random.get_state()),
        random.getstate(),
        torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(), list(warnings.filters), torch.serialization.get_safe_globals())
before = state()
import hear_delores
assert state() == before, "import"
already = set(sys.modules)
model = hear_delores.load_model(sys.argv[1])
hear_delores.get_scene_embeddings(torch.zeros(1, 9000), model)
hear_delores.get_timestamp_embeddings(torch.zeros(1, 9000), model)
hear_delores.weights_hash(model)
assert state() == before, "use"
print(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_import_has_no_side_effects_and_four_dependencies(checkpoint: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", SIDE_EFFECTS, str(checkpoint)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    modules = set(run.stdout.split())
    assert {"hear_delores", "torch", "safetensors"} <= modules
    heavy = {
        "pandas",
        "sklearn",
        "pydantic",
        "scipy",
        "yaml",
        "soundfile",
        "soxr",
        "librosa",
        "typer",
        "rich",
    }
    assert not modules & (heavy | {"pretrain", "benchmarks", "matplotlib"})


def test_version_is_that_of_the_distribution() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^version = "(.+)"$', text, flags=re.MULTILINE)
    assert found is not None
    assert hear_delores.__version__ == found.group(1)
