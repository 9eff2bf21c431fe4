"""The log-mel front-end against librosa, and the checks of its configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from librosa.filters import mel

from hear_delores import frontend
from hear_delores.errors import DeloresError
from hear_delores.frontend import FrontendConfig, LogMel, mel_filters

RECORDINGS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "tasks"


@pytest.fixture(scope="session")
def librosa_log_mel(librosa_mel: Callable[..., np.ndarray]) -> Callable[[np.ndarray, FrontendConfig], np.ndarray]:
    return lambda audio, config: np.log(librosa_mel(audio, **settings(config)) + config.eps)


def settings(config: FrontendConfig) -> dict[str, Any]:
    """As librosa calls them."""
    return {
        "sr": config.sample_rate, "n_fft": config.n_fft, "win_length": config.win_length,
        "hop_length": config.hop_length, "n_mels": config.n_mels, "fmin": config.f_min, "fmax": config.f_max,
        "htk": config.mel_scale == "htk", "norm": config.mel_norm,
    }  # fmt: skip


def synthetic_clips() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    time = np.arange(24000) / 16000
    return {
        "noise": rng.standard_normal(24000) * 0.2,
        "loud noise": rng.uniform(-1, 1, 16001),
        "tone": 0.5 * np.sin(2 * np.pi * 440 * time),
        "chirp": 0.9 * np.sin(2 * np.pi * (100 + 2000 * time) * time),
        "quiet": rng.standard_normal(15200) * 1e-4,
        "silence": np.zeros(8000),
        "impulse": np.eye(1, 4000, 1234)[0],
        "short": rng.standard_normal(700) * 0.1,
    }


@pytest.mark.parametrize("name", synthetic_clips())
def test_equals_librosa_on_synthetic_clips(name: str, librosa_log_mel: Callable[..., np.ndarray]) -> None:
    audio = synthetic_clips()[name].astype(np.float32)
    config = FrontendConfig()
    got = LogMel(config)(torch.from_numpy(audio)).numpy()
    assert got.dtype == np.float32
    assert got.shape == (64, 1 + len(audio) // 160)
    np.testing.assert_allclose(got, librosa_log_mel(audio, config), rtol=0, atol=1e-4)


OTHER = [
    FrontendConfig(mel_scale="htk", mel_norm=None),
    FrontendConfig(mel_scale="htk"),
    FrontendConfig(sample_rate=44100, n_fft=2048, win_length=1764, hop_length=441, n_mels=128, f_max=20000.0),
    FrontendConfig(win_length=400, hop_length=200, n_mels=40, f_min=0.0, f_max=8000.0, eps=1e-6),
]


@pytest.mark.parametrize("config", OTHER)
def test_equals_librosa_with_other_settings(config: FrontendConfig, librosa_log_mel: Callable[..., np.ndarray]) -> None:
    audio = synthetic_clips()["noise"].astype(np.float32)
    got = LogMel(config)(torch.from_numpy(audio)).numpy()
    np.testing.assert_allclose(got, librosa_log_mel(audio, config), rtol=0, atol=1e-4)


@pytest.mark.parametrize("pattern", ["esc10/audio/rooster*", "fsdd/audio/*_jackson_5.*", "mridangam/audio/*"])
def test_equals_librosa_on_recordings(pattern: str, librosa_log_mel: Callable[..., np.ndarray]) -> None:
    """The roosters crow loudly above silence, the digits are 16-bit speech: hard for float32 transforms."""
    soundfile = pytest.importorskip("soundfile")
    files = sorted(RECORDINGS.glob(pattern))
    if not files:
        pytest.skip(f"there are no recordings beside the project: {pattern}")
    for file in files[:: max(1, len(files) // 10)] if "rooster" not in pattern else files:
        audio = soundfile.read(file, dtype="float32", always_2d=True)[0][:80000, 0].copy()
        got = LogMel()(torch.from_numpy(audio)).numpy()
        np.testing.assert_allclose(got, librosa_log_mel(audio, FrontendConfig()), rtol=0, atol=1e-4)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:n_fft=1024 is too large")
@pytest.mark.parametrize("config", [FrontendConfig(), *OTHER])
@pytest.mark.parametrize("name", synthetic_clips())
def test_the_reference_is_librosas(name: str, config: FrontendConfig, librosa_mel: Callable[..., np.ndarray]) -> None:
    from librosa.feature import melspectrogram

    audio = synthetic_clips()[name]
    expected = melspectrogram(y=audio, window="hann", center=True, pad_mode="constant", power=2.0, **settings(config))
    np.testing.assert_allclose(librosa_mel(audio, **settings(config)), expected, rtol=1e-5, atol=1e-10)


def test_any_leading_dimensions() -> None:
    audio = torch.randn(2, 3, 2000)
    frontend = LogMel()
    got = frontend(audio)
    assert got.shape == (2, 3, 64, 13)
    torch.testing.assert_close(got[1, 2], frontend(audio[1, 2]), rtol=0, atol=1e-5)


def test_segment_of_the_paper_has_96_frames() -> None:
    assert LogMel()(torch.zeros(15200)).shape == (64, 96)


def test_float32_filters_survive_other_dtypes_of_the_model() -> None:
    frontend = LogMel()
    filters = frontend.filters.clone()
    frontend.half().double().bfloat16()
    assert torch.equal(frontend.filters, filters)
    assert frontend.state_dict() == {}


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("norm", ["slaney", None])
def test_filters_equal_librosa(scale: str, norm: str | None) -> None:
    got = mel_filters(FrontendConfig(mel_scale=scale, mel_norm=norm)).numpy()
    expected = mel(sr=16000, n_fft=1024, n_mels=64, fmin=60, fmax=7800, htk=scale == "htk", norm=norm)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("norm", ["slaney", None])
def test_filters_are_torchaudios_up_to_its_float32_rounding(scale: str, norm: str | None) -> None:
    from torchaudio.functional import melscale_fbanks

    got = mel_filters(FrontendConfig(mel_scale=scale, mel_norm=norm))
    options = {"n_mels": 64, "sample_rate": 16000, "norm": norm, "mel_scale": scale}
    expected = melscale_fbanks(513, 60.0, 7800.0, **options).T
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=2e-3 * expected.max().item())


def test_gradients_reach_the_audio() -> None:
    audio = torch.randn(1, 2000, requires_grad=True)
    LogMel()(audio).sum().backward()
    assert audio.grad is not None
    assert bool(audio.grad.abs().sum() > 0)


def test_settings_round_trip() -> None:
    config = FrontendConfig(hop_length=320, mel_norm=None)
    assert FrontendConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hop_lenght": 160}, "Did you mean 'hop_length'"),
        ({"hop_length": 0}, "hop_length"),
        ({"hop_length": 160.0}, "hop_length"),
        ({"n_mels": True}, "n_mels"),
        ({"n_mels": 60}, "multiple of 8"),
        ({"n_fft": 1023, "win_length": 1023}, "even"),
        ({"win_length": 2048}, "win_length"),
        ({"f_max": 9000.0}, "half the sample rate"),
        ({"f_min": 7800.0}, "f_max"),
        ({"f_min": "60"}, "f_min"),
        ({"eps": float("nan")}, "eps"),
        ({"mel_scale": "mel"}, "mel_scale"),
        ({"mel_norm": "none"}, "mel_norm"),
    ],
)
def test_bad_settings_say_which(values: dict[str, object], message: str) -> None:
    with pytest.raises(DeloresError, match=message) as caught:
        FrontendConfig.from_dict(values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize(("clips", "samples"), [(1, 30000), (9, 4000), (3, 16000)])
def test_frames_in_parts_equal_all_at_once(
    precision: torch.dtype, clips: int, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cuts within a clip, between clips and several clips together, against torch.stft, which gradients take."""
    monkeypatch.setattr(frontend, "CACHED_SAMPLES", 64 * 1024 // torch.get_num_threads())
    audio = 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(0))
    logmel = LogMel(FrontendConfig(n_mels=40, win_length=800), precision)
    whole = logmel(audio)
    with torch.no_grad():
        parts = logmel(audio)
    assert not torch.equal(parts, torch.zeros_like(parts))
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)  # of log units; sums of a product in another order
