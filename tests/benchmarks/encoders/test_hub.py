"""Models of the Hub against transformers itself: hidden states, batches, chunks, timestamps, revisions and errors."""

from __future__ import annotations

import functools
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.embedding.model import LoadedModel, load_model
from benchmarks.encoders.frames import FrameEncoder, pooled
from hear_delores.errors import DeloresError

transformers = pytest.importorskip("transformers")

WAVEFORM = ("wav2vec2", "wav2vec2-large", "hubert", "wavlm", "data2vec")
#: Rounding of float32 through three layers, in another order of sums.
CLOSE = {"atol": 1e-5, "rtol": 0}


def loaded(folder: Path, name: str, options: str = "") -> LoadedModel:
    return load_model(f"hf:{folder / name}{options}", "cpu")


@functools.lru_cache(maxsize=1)
def of_library(folder: Path) -> tuple[Any, Any]:
    """The library's own model and feature extractor, read once for all sounds."""
    return transformers.AutoModel.from_pretrained(folder).eval(), transformers.AutoFeatureExtractor.from_pretrained(
        folder
    )


def library(folder: Path, sound: np.ndarray) -> list[np.ndarray]:
    """The library's hidden states of one sound, alone, without padding that it does not ask for."""
    model, extractor = of_library(folder)
    inputs = extractor(sound, sampling_rate=16000, return_tensors="pt")
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    with torch.no_grad():
        answer = model(**inputs, output_hidden_states=True)
    states = [*answer.hidden_states[:-1], answer.last_hidden_state]
    if folder.name == "whisper":
        states = [state[:, : -(-len(sound) // 320)] for state in states]
    if folder.name == "ast":  # two tokens of the class, then (64 - 16) // 10 + 1 = 5 frequencies of 25 times each
        times = (len(sound) - 400 - 15 * 160) // 1600 + 1
        grid = [np.stack([state[0, 2 + 25 * f + np.arange(25)].numpy() for f in range(5)]) for state in states]
        # Frames whose middle is within the sound are kept: one more than see it whole.
        return [each.mean(axis=0)[: times + (len(sound) > 1600 * times + 1399)] for each in grid]
    return [state[0].numpy() for state in states]


@torch.no_grad()
def of_layer(model: LoadedModel, layer: int | str, sound: np.ndarray) -> np.ndarray:
    """The frames of another layer than the one that was asked for at loading: (n_frames, size)."""
    model.model.layers.layer = layer
    return model.model.frames(torch.from_numpy(sound))[0].numpy()


@pytest.mark.parametrize("name", [*WAVEFORM, "whisper", "ast"])
def test_frames_are_the_hidden_states_of_the_library_in_every_batch(
    hub_models: Path, noise: np.ndarray, name: str
) -> None:
    model = loaded(hub_models, name, "?layer=all")
    together, times = model.timestamps(noise)
    for row, sound in enumerate(noise):
        states = library(hub_models / name, sound)
        expected = np.concatenate(states, axis=1)
        largest = np.abs(expected).max()  # some units: rounding is a share of it
        assert 0.5 < largest < 10
        np.testing.assert_allclose(together[row], expected, atol=1e-5 * largest, rtol=0)
        np.testing.assert_allclose(model.timestamps(sound[None])[0][0], expected, atol=1e-5 * largest, rtol=0)
    np.testing.assert_allclose(model.scene(noise), together.mean(axis=1), **CLOSE)
    assert (np.diff(times[0]) > 0).all()
    for layer, state in ((0, states[0]), (2, states[2]), (-1, states[3]), (3, states[3]), (-2, states[2])):
        np.testing.assert_allclose(of_layer(model, layer, noise[2:]), state, atol=1e-5 * largest, rtol=0)
    np.testing.assert_allclose(of_layer(model, "mean", noise[2:]), np.mean(states, axis=0), atol=1e-5 * largest, rtol=0)


def test_pooling() -> None:
    frames = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 7, 3)))
    mean, std = frames.numpy().mean(1), frames.numpy().std(1)
    low, high = frames.numpy().min(1), frames.numpy().max(1)
    expected = {"mean": [mean], "max": [high], "mean+std": [mean, std], "stats": [mean, std, low, high]}
    for pool, parts in expected.items():
        np.testing.assert_allclose(pooled(frames, pool), np.concatenate(parts, axis=1), atol=1e-12)
    assert torch.isfinite(pooled(frames[:, :1], "stats")).all()


def test_chunks_have_the_frames_of_the_whole_where_what_a_frame_sees_is_shared(hub_models: Path) -> None:
    """Layer 0 sees the convolutions (400 samples) and the positional one (16 frames): 0.5 s hold both."""
    sound = np.random.default_rng(2).uniform(-0.5, 0.5, (2, 6 * 16000 + 123)).astype(np.float32)
    whole = loaded(hub_models, "wav2vec2-large", "?layer=0&chunk_s=20").timestamps(sound)
    cut = loaded(hub_models, "wav2vec2-large", "?layer=0&chunk_s=1.5&overlap_s=0.5").timestamps(sound)
    assert whole[0].shape[1] == (sound.shape[1] - 400) // 320 + 1
    np.testing.assert_array_equal(whole[1], cut[1])
    np.testing.assert_allclose(whole[0], cut[0], **CLOSE)
    # Without enough of it they differ, so that the comparison can fail.
    little = loaded(hub_models, "wav2vec2-large", "?layer=0&chunk_s=1.5&overlap_s=0.02").timestamps(sound)
    assert np.abs(whole[0] - little[0]).max() > 1e-3


@pytest.mark.parametrize("name", ["whisper", "ast"])
def test_audio_longer_than_a_model_takes_is_cut(hub_models: Path, name: str) -> None:
    sound = np.random.default_rng(3).uniform(-0.5, 0.5, (1, 11 * 16000)).astype(np.float32)
    model = loaded(hub_models, name)
    embeddings, times = model.timestamps(sound)
    hop = 20.0 if name == "whisper" else 100.0
    np.testing.assert_allclose(np.diff(times[0]), hop, atol=1e-3)
    assert times[0, -1] + hop > 11000 - 100
    assert embeddings.shape[1] == times.shape[1]


def silenced(model: FrameEncoder, name: str) -> FrameEncoder:
    """Of ``model``, what looks beyond a frame's own samples: the positional convolution, set to zero."""
    if name in WAVEFORM:
        model.normalised = False  # type: ignore[assignment]
        for key, parameter in model.network.encoder.pos_conv_embed.named_parameters():
            if not key.endswith("original1"):  # the direction of weight normalisation, which has no zero
                parameter.data.zero_()
    return model


@pytest.mark.parametrize("name", ["wav2vec2-large", "whisper", "ast"])
def test_timestamps_are_the_middle_of_where_a_click_is_seen(hub_models: Path, name: str) -> None:
    """A click is moved through noise; the frame is where the click changes it, in layer 0."""
    model = loaded(hub_models, name, "?layer=0")
    silenced(model.model, name)
    field, frame = float(model.model.geometry.field), 1 if name == "ast" else 8
    # A window's first samples weigh too little to be seen.
    step, edge = int(field) // 25, 24
    quiet = (0.3 * np.random.default_rng(4).uniform(-1, 1, 6400)).astype(np.float32)
    [still], times = model.timestamps(quiet[None])
    middle = times[0, frame] * 16
    places = np.arange(max(0, int(middle - field)), int(middle + field), step)
    sounds = np.repeat(quiet[None], len(places), axis=0)
    sounds[np.arange(len(places)), places] += 0.5
    moved = model.timestamps(sounds)[0]
    seen = places[np.abs(moved - still)[:, frame].max(axis=1) > 1e-5 * np.abs(still).max()]
    assert abs((seen[0] + seen[-1]) / 2 - middle) <= step + edge
    assert field - 2 * (step + edge) - 100 <= seen[-1] - seen[0] <= field


def test_short_sounds_are_padded_and_their_time_stays_inside(hub_models: Path) -> None:
    for name in ("wav2vec2", "whisper", "ast"):
        model = loaded(hub_models, name)
        for n in (1, 399, 401):
            embeddings, times = model.timestamps(np.full((2, n), 0.1, np.float32))
            assert embeddings.shape[:2] == times.shape == (2, 1 + (name == "whisper" and n > 320))
            assert 0 <= times.min() <= times.max() <= 1000 * n / 16000
            assert np.isfinite(model.scene(np.full((1, n), 0.1, np.float32))).all()


def test_clap_is_the_last_stage_of_its_audio_tower(tmp_path: Path) -> None:
    audio = {
        "window_size": 8, "patch_embeds_hidden_size": 8, "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2],
        "hidden_size": 64, "enable_fusion": True,
    }  # fmt: skip
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ClapConfig(audio_config=audio, text_config={**text, "vocab_size": 32}, projection_dim=8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.ClapModel(config).save_pretrained(tmp_path)
    transformers.ClapFeatureExtractor(truncation="fusion").save_pretrained(tmp_path)
    model = load_model(f"hf:{tmp_path}", "cpu")
    assert model.notes == ("its frames are 312.5 ms apart; for events, HEAR advises 50 ms or less",)
    sounds = np.random.default_rng(5).uniform(-0.5, 0.5, (2, 96000)).astype(np.float32)
    embeddings, times = model.timestamps(sounds)
    assert embeddings.shape == (2, 6, 64)
    assert times[0, 0] == pytest.approx(312.5 / 2, abs=5)
    np.testing.assert_array_equal(embeddings, model.timestamps(sounds)[0])  # no draw of a "longer" sound
    tower = transformers.ClapModel.from_pretrained(tmp_path).audio_model.eval()
    extractor = transformers.ClapFeatureExtractor.from_pretrained(tmp_path)
    inputs = extractor(sounds[0], sampling_rate=48000, return_tensors="pt", padding="pad")
    with torch.no_grad():
        expected = tower(inputs["input_features"], is_longer=torch.zeros(1, 1, dtype=torch.bool)).last_hidden_state
    np.testing.assert_allclose(embeddings[0], expected[0].mean(1).T[:6], **CLOSE)
    with pytest.raises(DeloresError, match="expected layer to be -1: CLAP's stages differ in size; got 2"):
        load_model(f"hf:{tmp_path}?layer=2", "cpu")


def test_any_other_model_with_frames_is_placed_by_how_many_it_has(tmp_path: Path) -> None:
    """SEW: its layers see every second frame. Its field is that of the convolutions with one frame more."""
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.SEWConfig(
        **size, conv_dim=(8, 8), conv_kernel=(10, 4), conv_stride=(5, 4), num_feat_extract_layers=2,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, vocab_size=8,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.SEWModel(config).save_pretrained(tmp_path)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path)
    model = load_model(f"hf:{tmp_path}", "cpu")
    assert model.model.geometry.stride == 40
    _, times = model.timestamps(np.zeros((1, 4000), np.float32) + 0.1)
    np.testing.assert_allclose(np.diff(times[0]), 2.5, atol=1e-4)


# --- identity


def test_a_folder_is_known_by_its_weights_and_what_it_says(hub_models: Path, tmp_path: Path) -> None:
    first = loaded(hub_models, "hubert")
    assert (first.spec.name, first.spec.label, len(first.revision)) == ("hf:hubert", "hubert", 40)
    copy = tmp_path / "elsewhere" / "hubert"
    shutil.copytree(hub_models / "hubert", copy)
    again = load_model(f"hf:{copy}", "cpu")
    assert (again.weights_hash, again.spec.name) == (first.weights_hash, first.spec.name)
    settings = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps({**settings, "do_normalize": False}))
    assert load_model(f"hf:{copy}", "cpu").weights_hash != first.weights_hash
    seeded = [loaded(hub_models, "hubert", f"?seed={seed}").weights_hash for seed in (0, 0, 1)]
    assert first.weights_hash != seeded[0] == seeded[1] != seeded[2]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hub_models: Path) -> str:
    """The Hub's cache, with one model in two revisions, and no network; the commit of the first."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--someone--small"
    commits = {"main": "a" * 40, "old": "b" * 40}
    (folder / "refs").mkdir(parents=True)
    for name, commit in commits.items():
        (folder / "refs" / name).write_text(commit)
        shutil.copytree(hub_models / "wav2vec2", folder / "snapshots" / commit)
    return commits["main"]


def test_the_revision_of_a_model_of_the_hub_is_part_of_it(offline: str) -> None:
    one, other = load_model("hf:someone/small", "cpu"), load_model("hf:someone/small@old", "cpu")
    assert (one.revision, other.revision) == (offline, "b" * 40)
    assert one.info().revision == offline
    assert one.weights_hash != other.weights_hash
    assert [model.spec.label for model in (one, other)] == ["small", "small-old"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("hf:someone/other", "someone/other is not in the cache, and the Hub cannot be asked; go online once, or name"),
        ("hf:someone/small@new", "someone/small is not in the cache, and the Hub cannot be asked"),
        ("hf:a/b/c", "the Hub has no model a/b/c; check the name"),
        ("hf:./nowhere", r"the folder \./nowhere is not there; expected one that save_pretrained"),
        ("hf:someone/small?layer=4", "expected layer to be -1, 0 to 3, mean or all; got 4"),
        ("hf:someone/small?layer=last", "expected layer to be -1, 0 to 3, mean or all; got 'last'"),
        ("hf:someone/small?pool=meen", "no pooling is called 'meen'. Did you mean 'mean'"),
        ("hf:someone/small?chunk_s=0", "`chunk_s`"),
        ("hf:someone/small?trust_remote_code=1", "expected trust_remote_code to be true or false; got 1"),
        ("hf:someone/small?sed=1", "unexpected keyword argument 'sed'"),
    ],
)
def test_what_cannot_be_had_is_one_line(offline: str, model: str, message: str) -> None:
    with pytest.raises(DeloresError, match=message) as caught:
        load_model(model, "cpu")
    assert "\n" not in str(caught.value)


def test_other_faults_of_a_folder(hub_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file, save_file

    def faulty(name: str, change: Callable[[Path], Any]) -> str:
        shutil.copytree(hub_models / "wav2vec2", tmp_path / name)
        change(tmp_path / name)
        with pytest.raises(DeloresError) as caught:
            load_model(f"hf:{tmp_path / name}", "cpu")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def halve(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        save_file({k: v for k, v in state.items() if "layers.1" not in k}, folder / "model.safetensors")

    assert "tensors of the model are not in the checkpoint, such as encoder.layers.1" in faulty("half", halve)
    no_extractor = faulty("mute", lambda folder: (folder / "preprocessor_config.json").unlink())
    assert "has no feature extractor (preprocessor_config.json)" in no_extractor
    assert "cannot load" in faulty("odd", lambda folder: (folder / "config.json").write_text('{"model_type": "odd"}'))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(DeloresError, match=r"need the package 'transformers': pip install 'hear-delores\[hf\]'"):
        load_model("hf:someone/small", "cpu")


def test_code_of_a_repository_runs_only_when_it_is_asked_for(hub_models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own_code"
    shutil.copytree(hub_models / "hubert", folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own_code", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(
        "from transformers import HubertConfig, HubertModel\n"
        "class Config(HubertConfig):\n    model_type = 'own_code'\n"
        "class Model(HubertModel):\n    config_class = Config\n"
    )
    with pytest.raises(DeloresError, match=r"brings code of its own; read it, and then allow it: .*trust_remote_code"):
        load_model(f"hf:{folder}", "cpu")
    model = load_model(f"hf:{folder}?trust_remote_code=true", "cpu")
    assert type(model.model.network).__name__ == "Model"
