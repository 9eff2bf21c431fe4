"""MFCC against librosa's filters and scipy's transform and slopes; openSMILE against its package."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.fft import dct
from scipy.signal import savgol_filter

from benchmarks.embedding.model import load_model
from benchmarks.encoders import mfcc
from hear_delores.errors import DeloresError


def reference(power: np.ndarray, n: int = 20) -> np.ndarray:
    """(2 n, n_frames) of the power in 40 bands: coefficients, and slopes of straight lines through 5 frames."""
    coefficients = dct(np.log(power + 1e-6), axis=0, norm="ortho")[:n]
    # Beyond the ends the last frame goes on: so torchaudio.
    extended = np.pad(coefficients, ((0, 0), (2, 2)), mode="edge")
    return np.concatenate([coefficients, savgol_filter(extended, 5, 1, deriv=1, axis=1)[:, 2:-2]])


def test_mfcc_is_that_of_other_libraries(noise: np.ndarray, librosa_mel: Callable[..., np.ndarray]) -> None:
    model = load_model("mfcc", "cpu")
    embeddings, times = model.timestamps(noise)
    np.testing.assert_allclose(times[0], 40.0 * np.arange(len(times[0])), atol=1e-3)
    for row, sound in enumerate(noise):
        bands = {"n_mels": 40, "fmin": 0, "fmax": 8000, "htk": True, "norm": None}
        frames = reference(librosa_mel(sound, sr=16000, n_fft=512, win_length=400, hop_length=160, **bands))
        expected = np.concatenate([frames.mean(1), frames.std(1)])
        np.testing.assert_allclose(model.scene(noise)[row], expected, atol=2e-3)
        around = frames[:, 4 * 7 - 10 : 4 * 7 + 11]
        np.testing.assert_allclose(embeddings[row, 7], np.concatenate([around.mean(1), around.std(1)]), atol=2e-3)


def test_mfcc_in_blocks_equals_the_whole(monkeypatch: pytest.MonkeyPatch, noise: np.ndarray) -> None:
    model = mfcc.load_model(coefficients=13, rate=22050)
    audio = torch.from_numpy(noise)
    whole = model.frames(audio)
    monkeypatch.setattr(mfcc, "BLOCK", 17)
    torch.testing.assert_close(model.frames(audio), whole, atol=1e-4, rtol=0)
    assert model.scene_embedding_size == 52


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("mfcc@w.pt", "mfcc has no weights"),
        ("mfcc?coefficients=41", "`coefficients`"),
        ("mfcc?rate=8000", "expected rate to be one of 16000, 22050"),
        ("opensmile?set=eGeMAPS", "no feature set is called 'eGeMAPS'. Did you mean 'eGeMAPSv02'"),
        ("opensmile@w.pt", "opensmile has no weights"),
    ],
)
def test_options_of_no_sense_are_one_line(model: str, message: str) -> None:
    with pytest.raises(DeloresError) as caught:
        load_model(model, "cpu")
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["ComParE_2016", "eGeMAPSv02"])
def test_opensmile_is_that_of_the_package(noise: np.ndarray, name: str) -> None:
    opensmile = pytest.importorskip("opensmile")
    model = load_model(f"opensmile?set={name}", "cpu")
    features = getattr(opensmile.FeatureSet, name)
    functionals = opensmile.Smile(features, opensmile.FeatureLevel.Functionals)
    descriptors = opensmile.Smile(features, opensmile.FeatureLevel.LowLevelDescriptors)
    noise = noise[:, :16000]  # the 6,373 functionals take longest
    scene, (embeddings, times) = model.scene(noise[:2]), model.timestamps(noise)
    np.testing.assert_array_equal(scene[1], functionals.process_signal(noise[1], 16000).to_numpy()[0])
    around = descriptors.process_signal(noise[2], 16000).to_numpy()[20 - 10 : 20 + 11]
    expected = np.concatenate([around.mean(0), around.std(0)])
    np.testing.assert_allclose(embeddings[2, 5], expected, rtol=2e-3, atol=1e-3 * np.abs(expected).max())
    assert times[0, 5] == 10 + 5 * 40
    for n in (1, 200, 1000) if name == "eGeMAPSv02" else (200,):  # shorter than its windows
        assert np.isfinite(model.scene(noise[:, :n])).all()
        assert model.timestamps(noise[:, :n])[1].max() <= n / 16


def test_opensmile_hears_a_click_where_its_timestamps_say() -> None:
    pytest.importorskip("opensmile")
    model = load_model("opensmile", "cpu").model
    quiet = (1e-3 * np.random.default_rng(0).uniform(-1, 1, 16000)).astype(np.float32)
    column, rows = model.descriptors.feature_names.index("pcm_RMSenergy_sma"), []
    for place in (8040, 8120):  # in the middle between two beginnings of windows
        loud = quiet.copy()
        loud[place] = 0.5
        energy = [
            model.extract(model.descriptors, torch.from_numpy(x)[None])[0, :, column].numpy() for x in (quiet, loud)
        ]
        changed = np.flatnonzero(np.abs(energy[1] - energy[0]) > 1e-6)
        rows.append((changed[0] + changed[-1]) / 2 - (place / 16 - 10) / 10)
    assert np.abs(rows).max() <= 0.5  # of a row of 10 ms


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(DeloresError, match=r"need the package 'opensmile': pip install 'hear-delores\[opensmile\]'"):
        load_model("opensmile", "cpu")
