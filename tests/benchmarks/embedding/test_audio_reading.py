"""Audio files as finite mono float32 at any rate; faults name the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.embedding.embed import embed_task
from benchmarks.embedding.model import load_model
from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.mono_audio import read_audio, resample
from hear_delores.errors import DeloresError


@pytest.mark.parametrize(("ending", "subtype"), [("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", "PCM_24")])
def test_formats_channels_and_values(tmp_path: Path, ending: str, subtype: str) -> None:
    stereo = np.random.default_rng(0).uniform(-0.9, 0.9, (1000, 2))
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, stereo, 22050, subtype)
    audio, rate = read_audio(path)
    assert (rate, audio.dtype, audio.shape) == (22050, np.float32, (1000,))
    assert np.abs(audio - stereo.mean(axis=1)).max() < 1e-4


def test_a_tone_keeps_its_phase_level_and_length_from_44100_to_16000(tmp_path: Path) -> None:
    time = np.arange(44100) / 44100
    path = tmp_path / "a.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 1000 * time), 44100, "FLOAT")
    audio, rate = read_audio(path, 16000)
    assert (rate, len(audio)) == (16000, 16000)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    assert np.abs(audio - expected)[300:-300].max() < 1e-4


def test_resampling_agrees_with_scipy_and_lets_no_alias_through() -> None:
    time = np.arange(44100) / 44100
    low, high = np.sin(2 * np.pi * 3000 * time), np.sin(2 * np.pi * 12000 * time)
    got = resample((low + high).astype(np.float32), 44100, 16000)
    expected = scipy.signal.resample_poly(low, 160, 441)
    assert np.abs(got - expected)[500:-500].max() < 5e-3


@settings(deadline=None)
@given(
    st.integers(1, 3000),
    st.sampled_from([8000, 16000, 22050, 44100, 48000]),
    st.sampled_from([16000, 32000, 44100]),
)
def test_the_length_depends_on_the_length_alone(n: int, rate: int, new_rate: int) -> None:
    got = resample(np.ones(n, np.float32), rate, new_rate)
    assert len(got) == max(1, round(n * new_rate / rate))
    assert got.dtype == np.float32
    assert np.isfinite(got).all()


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    whole = folder / "whole.wav"
    soundfile.write(whole, 0.1 * np.ones(8000), 16000, "PCM_16")
    soundfile.write(folder / "whole.flac", np.random.default_rng(0).uniform(-1, 1, 8000), 16000, "PCM_16")
    data, flac = whole.read_bytes(), (folder / "whole.flac").read_bytes()
    contents = {
        "empty.wav": (b"", "empty .0 bytes."),
        "corrupt.wav": (b"not audio at all" * 40, "cannot be read as audio"),
        "cut.wav": (data[:6000], "cut short: the header states 16,000 bytes"),
        "cut.flac": (flac[: len(flac) // 2], "cannot be decoded: damaged or cut short"),
        "header.wav": (data[:44], "cut short"),
    }
    made = {}
    for name, (content, message) in contents.items():
        (folder / name).write_bytes(content)
        made[name] = (folder / name, message)
    for name, samples, message in (
        ("zero.wav", np.zeros(0), "holds no samples"),
        ("nan.wav", np.array([0.0, np.nan]), "NaN or infinity .1 samples."),
        ("inf.wav", np.array([np.inf, -np.inf]), "NaN or infinity .2 samples."),
    ):
        soundfile.write(folder / name, samples, 16000, "FLOAT")
        made[name] = (folder / name, message)
    made["absent.wav"] = (folder / "absent.wav", "no such file")
    return made


@pytest.mark.parametrize(
    "name",
    [
        "empty.wav",
        "corrupt.wav",
        "cut.wav",
        "cut.flac",
        "header.wav",
        "zero.wav",
        "nan.wav",
        "inf.wav",
        "absent.wav",
    ],
)
def test_bad_files_are_named_in_one_line(tmp_path: Path, name: str) -> None:
    path, message = bad_files(tmp_path)[name]
    with pytest.raises(DeloresError, match=message) as caught:
        read_audio(path, 22050)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_streamed_wav_that_did_not_know_its_length_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, 0.1 * np.ones(800), 16000, "PCM_16")
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(bytes(data))
    assert len(read_audio(path)[0]) == 800


def test_embedding_skips_and_lists_what_is_no_file(
    make_module: Callable[..., str], scene_task: Path, tmp_path: Path
) -> None:
    clips = {
        name: scene_task / "16000" / "train" / f"train{i}.wav" for i, name in enumerate(("dangling", "fifo", "cut"))
    }
    content = clips["cut"].read_bytes()
    for path in clips.values():
        path.unlink()
    clips["dangling"].symlink_to("nowhere.wav")
    os.mkfifo(clips["fifo"])
    clips["cut"].write_bytes(content[: len(content) // 2])
    task = TaskFolder.open(scene_task)
    with pytest.raises(DeloresError, match=r"a link to a file that does not exist|regular file|cut short"):
        embed_task(load_model(make_module()), task, tmp_path / "e")
    summary = embed_task(load_model(make_module()), task, tmp_path / "e", skip_bad=True)
    assert [line.split(":")[0] for line in summary.skipped] == [f"train/train{i}.wav" for i in range(3)]
