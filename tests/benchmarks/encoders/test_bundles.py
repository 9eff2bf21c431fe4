"""Pipelines of torchaudio against torchaudio itself, on small bundles with random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchaudio import pipelines
from torchaudio.models import wav2vec2_model, wavlm_model

from benchmarks.embedding.model import load_model
from benchmarks.encoders.bundles import bundles
from hear_delores.errors import DeloresError

CLOSE = {"atol": 1e-5, "rtol": 0}


@pytest.fixture
def small_bundle(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_wav2vec2: dict[str, Any]
) -> Callable[..., torch.nn.Module]:
    """Adds the bundle SMALL with weights in torch's cache, and returns its network."""

    def make(kind: str = "Wav2Vec2", normalised: bool = False) -> torch.nn.Module:
        params = dict(small_wav2vec2)
        if kind == "WavLM":
            params |= {"encoder_layer_norm_first": False, "encoder_num_buckets": 8, "encoder_max_distance": 16}
        with torch.random.fork_rng():
            torch.manual_seed(1)
            network = (wavlm_model if kind == "WavLM" else wav2vec2_model)(**params).eval()
        monkeypatch.setattr(
            pipelines, "SMALL", pipelines.Wav2Vec2Bundle("small.pth", params, 16000, normalised, kind), raising=False
        )
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        (tmp_path / "hub" / "checkpoints").mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), tmp_path / "hub" / "checkpoints" / "small.pth")
        return network

    return make


@pytest.mark.parametrize("kind", ["Wav2Vec2", "WavLM"])
def test_layers_are_those_of_extract_features_and_the_output_that_of_the_model(
    small_bundle: Callable[..., Any], noise: np.ndarray, kind: str
) -> None:
    network = small_bundle(kind)
    model = load_model("torchaudio:SMALL?layer=all", "cpu")
    together, times = model.timestamps(noise)
    for row, sound in enumerate(torch.from_numpy(noise)):
        with torch.no_grad():
            layers, _ = network.extract_features(sound[None])
            output, _ = network(sound[None])
        np.testing.assert_allclose(together[row, :, 16:32], layers[0][0], **CLOSE)
        np.testing.assert_allclose(together[row, :, 32:], output[0], **CLOSE)
        np.testing.assert_allclose(model.timestamps(noise[row : row + 1])[0][0], together[row], **CLOSE)
    # 10 + 2 * 5 + 2 * 10 = 40 samples, every 20: the first middle is 19.5.
    np.testing.assert_allclose(times[0, :2] * 16, [19.5, 39.5], atol=1e-4)
    assert np.abs(together[:, :, :16]).max() > 0.1


def test_normalisation_is_of_each_sound_and_not_of_the_batch(
    small_bundle: Callable[..., Any], noise: np.ndarray
) -> None:
    small_bundle(normalised=True)
    model, theirs = load_model("torchaudio:SMALL", "cpu"), pipelines.SMALL.get_model()
    with torch.no_grad():
        alone = torch.cat([theirs(sound[None])[0] for sound in torch.from_numpy(noise)])
        in_batch = theirs(torch.from_numpy(noise))[0]
    np.testing.assert_allclose(model.timestamps(noise)[0], alone, **CLOSE)
    assert (in_batch - alone).abs().max() > 0.1  # the fault of the library that is not taken over


def test_weights_of_a_file_and_random_ones(small_bundle: Callable[..., Any], noise: np.ndarray, tmp_path: Path) -> None:
    small_bundle()
    file = tmp_path / "hub" / "checkpoints" / "small.pth"
    published, of_file = load_model("torchaudio:SMALL", "cpu"), load_model(f"torchaudio:SMALL@{file}", "cpu")
    np.testing.assert_array_equal(published.scene(noise), of_file.scene(noise))
    assert published.spec.label == "SMALL"
    seeds = [load_model(f"torchaudio:SMALL?seed={seed}", "cpu").weights_hash for seed in (0, 0, 1)]
    assert published.weights_hash != seeds[0] == seeds[1] != seeds[2]
    (tmp_path / "odd.pth").write_bytes(b"no weights")
    for spec, message in (
        (f"torchaudio:SMALL@{tmp_path / 'odd.pth'}", "does not hold the weights of SMALL"),
        ("torchaudio:SMALL@nowhere.pth", "there is no nowhere.pth"),
        (f"torchaudio:SMALL@{file}?seed=1", "expected weights or a seed, got both"),
        ("torchaudio:SMAL", "no encoder called 'SMAL'. Did you mean 'SMALL'"),
        ("torchaudio:VGGISH", "torchaudio no longer has VGGISH"),
        ("torchaudio:SMALL?layer=3", "expected layer to be -1, 0 to 2, mean or all; got 3"),
    ):
        with pytest.raises(DeloresError) as caught:
            load_model(spec, "cpu")
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_without_a_network_it_says_where_the_weights_would_be(
    small_bundle: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from urllib.error import URLError

    small_bundle()
    (tmp_path / "hub" / "checkpoints" / "small.pth").unlink()

    def refuse(*arguments: Any, **more: Any) -> None:
        raise URLError("no route")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    with pytest.raises(
        DeloresError, match=r"the weights of SMALL are not in .*hub, and cannot be downloaded .*no route"
    ):
        load_model("torchaudio:SMALL", "cpu")


def test_bundles_are_the_encoders_of_frames() -> None:
    names = bundles()
    assert {"WAV2VEC2_BASE", "HUBERT_LARGE", "WAVLM_BASE_PLUS", "MMS_FA", "VOXPOPULI_ASR_BASE_10K_EN"} <= names.keys()
    assert not [name for name in names if "TACOTRON" in name or "SQUIM" in name or "DEMUCS" in name]
