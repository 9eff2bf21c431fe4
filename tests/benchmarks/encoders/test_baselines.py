"""The baselines are HEAR models that compute what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.encoders import log_mel as logmel
from benchmarks.encoders import random_encoder
from hear_delores import AudioNTT, EncoderConfig, FrontendConfig, HearModel, save_checkpoint, weights_hash
from hear_delores.decorrelation import Decorrelation
from hear_delores.errors import DeloresError


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        save_checkpoint(path, HearModel(AudioNTT(EncoderConfig(embedding_size=32)), FrontendConfig(), -7.0, 4.0))
    return path


def noise(seconds: float, n: int = 2) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, (n, int(16000 * seconds))).astype(np.float32)


@pytest.fixture(scope="session")
def librosa_logmel(librosa_mel: Callable[..., np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    def log_mel(audio: np.ndarray) -> np.ndarray:
        power = librosa_mel(audio, sr=16000, n_fft=1024, hop_length=160, n_mels=64, fmin=60, fmax=7800)
        return np.log(power + np.finfo(np.float32).eps)

    return log_mel


def test_logmel_scene_embedding_is_mean_and_deviation_of_librosas_spectrogram(
    librosa_logmel: Callable[[np.ndarray], np.ndarray],
) -> None:
    audio = noise(1.3)
    expected = librosa_logmel(audio)
    ours = logmel.get_scene_embeddings(torch.from_numpy(audio), logmel.load_model())
    np.testing.assert_allclose(ours, np.concatenate([expected.mean(2), expected.std(2)], 1), atol=1e-4)


def test_logmel_timestamp_embedding_is_the_local_mean_and_deviation(
    librosa_logmel: Callable[[np.ndarray], np.ndarray],
) -> None:
    audio = noise(1.0, 1)
    expected = librosa_logmel(audio)[0]  # (64, 101)
    embeddings, times = logmel.get_timestamp_embeddings(torch.from_numpy(audio), logmel.load_model())
    np.testing.assert_array_equal(times[0], np.arange(26, dtype=np.float32) * 40)
    for index in (0, 1, 7, 25):
        around = expected[:, max(0, 4 * index - 10) : 4 * index + 11]
        np.testing.assert_allclose(
            embeddings[0, index],
            np.concatenate([around.mean(1), around.std(1)]),
            atol=1e-3,
            err_msg=str(index),
        )


def test_logmel_of_long_audio_in_blocks_equals_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    audio, model = torch.from_numpy(noise(3.0, 1)), logmel.load_model()
    whole = model.frames(audio)
    monkeypatch.setattr(logmel, "BLOCK", 37)
    torch.testing.assert_close(model.frames(audio), whole, atol=1e-5, rtol=0)


def test_logmel_has_no_weights_to_load(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="has no weights"):
        logmel.load_model(str(checkpoint))


def test_random_encoder_takes_shape_and_statistics_but_not_weights(checkpoint: Path) -> None:
    from hear_delores import load_model

    trained, random = load_model(checkpoint), random_encoder.load_model(str(checkpoint), seed=1)
    assert (random.mean, random.std, random.encoder.config) == (-7.0, 4.0, trained.encoder.config)
    assert weights_hash(random) != weights_hash(trained)
    assert random.scene_embedding_size == 32


def test_random_encoder_follows_its_seed_alone(checkpoint: Path) -> None:
    path = str(checkpoint)
    state = torch.get_rng_state()
    one, again, other = (random_encoder.load_model(path, seed=seed) for seed in (1, 1, 2))
    assert weights_hash(one) == weights_hash(again) != weights_hash(other)
    assert torch.equal(torch.get_rng_state(), state)
    assert random_encoder.load_model(path, precision="bfloat16").precision == "bfloat16"
    assert random_encoder.load_model(path, embedding_size=64).scene_embedding_size == 64
    assert random_encoder.load_model(path, scene="layer3_mean,layer3_std").scene == ("layer3_mean", "layer3_std")


def test_random_encoder_takes_the_plain_part_of_a_decorrelated_one(checkpoint: Path, tmp_path: Path) -> None:
    from hear_delores import load_model, save_checkpoint

    model = load_model(checkpoint)
    size = model.encoder.config.layer_sizes[-1]
    model.decorrelation["layer3_std"] = Decorrelation(torch.tensor(1.0), torch.zeros(size), torch.eye(size))
    model.set_parts(("pooled", "layer3_std_decorrelated"))
    save_checkpoint(tmp_path / "learnt.safetensors", model)
    random = random_encoder.load_model(str(tmp_path / "learnt.safetensors"))
    assert random.scene == ("pooled", "layer3_std")
    assert not len(random.decorrelation)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 10**23}, "`seed` to be at most"),
        ({"seed": -1}, "`seed` to be an integer >= 0"),
        ({"seed": "x"}, "`seed` to be an integer"),
        ({"embedding_size": 0}, "`embedding_size` to be an integer >= 1"),
        ({"embedding_size": 10**9}, "`embedding_size` to be at most"),
        ({"embedding_size": 100_000}, "at most 1,000,000,000 parameters"),
        ({"embedding_size": "many"}, "`embedding_size` to be an integer"),
    ],
)
def test_a_random_encoder_of_no_sense_is_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(DeloresError, match=message) as caught:
        random_encoder.load_model(**options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
