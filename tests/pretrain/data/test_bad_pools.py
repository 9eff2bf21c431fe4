"""A pool with every kind of file in it: trains through or stops with one line that names the file, as one chose."""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hear_delores.checkpoint import load_checkpoint
from pretrain.__main__ import main
from pretrain.config import DataConfig
from pretrain.data.audio import file_length, read_piece
from pretrain.data.corpus import Corpus

SMALL = ["encoder.channels=4", "encoder.embedding_size=16", "projector.widths=[16,16]", "segment_s=0.2"]
# Little is cached: what is bad inside a file is then found while training, not before it. The statistics are over
# all clips, so that every file is read.
SMALL += ["batch_size=64", "steps=7", "log_every=1", "data.cache_mb=1", "augment.mixup_memory=64"]
BAD = {
    "corrupt.wav": "cannot be read as audio",
    "empty.wav": "the file is empty",
    "no-samples.wav": "holds no samples",
    "cut-short.flac": "cut short|cannot be decoded",
    "nan.wav": "holds NaN or infinity",
    "infinite.wav": "holds NaN or infinity",
    "unscaled.wav": "expected samples in",
}
GOOD = ["8-bit.wav", "24-bit.wav", "stereo.flac", "96-khz.wav", "silent.wav", "one-sample.wav", "three-hours.wav"]
THREE_HOURS = 3 * 3600 * 8000


def noise(*shape: int) -> np.ndarray:
    return 0.2 * np.random.default_rng(0).standard_normal(shape).clip(-4, 4)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    (folder / "corrupt.wav").write_bytes(b"RIFF, but no more of it" * 50)
    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "no-samples.wav", np.zeros(0), 16000)
    soundfile.write(folder / "cut-short.flac", noise(50000), 16000)
    os.truncate(folder / "cut-short.flac", 20000)
    for name, value in (("nan", np.nan), ("infinite", np.inf), ("unscaled", 32768.0)):
        soundfile.write(folder / f"{name}.wav", np.append(noise(9999), value), 16000, subtype="FLOAT")
    soundfile.write(folder / "8-bit.wav", noise(8000), 8000, subtype="PCM_U8")
    soundfile.write(folder / "24-bit.wav", noise(16000), 16000, subtype="PCM_24")
    soundfile.write(folder / "stereo.flac", noise(44100, 2), 44100)
    soundfile.write(folder / "96-khz.wav", noise(96000), 96000)
    soundfile.write(folder / "silent.wav", np.zeros(16000), 16000)
    soundfile.write(folder / "one-sample.wav", np.array([0.125]), 16000)
    three_hours(folder / "three-hours.wav")
    return folder


def three_hours(path: Path) -> None:
    """16 bits at 8 kHz, a second of noise at the beginning and at the end; what is between takes no disk."""
    size, rate = 2 * THREE_HOURS, 8000
    second = (noise(rate) * 32767).astype("<i2").tobytes()
    with path.open("wb") as stream:
        stream.write(b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt ")
        stream.write(struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16) + b"data" + struct.pack("<I", size))
        stream.write(second)
        stream.seek(44 + size - len(second))
        stream.write(second)


def run(pool: Path, out: Path, *extra: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        words = ["pretrain", "--preset", "demo-s", "--data", str(pool), "--out", str(out), "--quiet", "--no-picture"]
        patch.setattr(sys, "argv", [*words, *extra, *SMALL])
        with pytest.raises(SystemExit) as stop:
            main()
    return int(stop.value.code or 0)


def test_with_skip_bad_it_trains_through_and_lists_each_bad_file(pool: Path, tmp_path: Path) -> None:
    assert run(pool, tmp_path / "a", "--skip-bad") == 0
    lines = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    listed = {bad["file"]: bad["reason"] for bad in lines[0]["skipped"]}
    listed |= {line["file"]: line["reason"] for line in lines if line.get("event") == "skipped"}
    assert listed.keys() == BAD.keys()
    for name, reason in listed.items():
        assert any(part in reason for part in BAD[name].split("|")), reason
    assert all(np.isfinite(line["loss"]) for line in lines if "loss" in line)
    model = load_checkpoint(tmp_path / "a" / "checkpoint.safetensors")
    assert model.info["data"]["skipped"] == len(BAD)
    assert model.info["data"]["clips"] == len(GOOD) - 1 + 360 + 4  # a piece of 30 s each, and bad content's headers


def test_without_it_one_line_names_the_next_bad_file_until_none_is_left(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = tmp_path / "left"
    left.mkdir()
    for path in pool.iterdir():
        if path.name != "three-hours.wav":
            (left / path.name).symlink_to(path)
    named = []
    while run(left, tmp_path / "a") == 1:
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1, err
        assert err.startswith("error: ")
        assert "Fix or remove it, or run with --skip-bad" in err
        [bad] = [name for name in BAD if f"/{name}:" in err]
        (left / bad).unlink()
        named.append(bad)
        assert not (tmp_path / "a" / "checkpoint.safetensors").exists()
        for path in (tmp_path / "a").glob("*") if (tmp_path / "a").exists() else ():
            path.unlink()
    assert sorted(named) == sorted(BAD)
    assert (tmp_path / "a" / "checkpoint.safetensors").is_file()


def test_a_silent_clip_is_silence_and_one_sample_is_a_click_before_silence(pool: Path) -> None:
    """Both are sound audio, and train as what they are."""
    corpus = Corpus.from_path(pool, skip_bad=True)
    by_name = {piece.name: i for i, piece in enumerate(corpus.pieces)}
    silent, bad = corpus.read(by_name["silent.wav"])
    assert (len(silent), int(np.abs(silent).max()), bad) == (16000, 0, [])
    click, bad = corpus.read(by_name["one-sample.wav"])
    assert (click.tolist(), bad) == ([4096], [])


def test_three_hours_are_clips_of_half_a_minute_read_one_by_one(pool: Path) -> None:
    path = pool / "three-hours.wav"
    assert file_length(path) == (THREE_HOURS, 8000)
    assert path.stat().st_blocks * 512 < 1 << 20
    (path.parent / "list.csv").write_text("file\nthree-hours.wav\n")
    corpus = Corpus.from_path(path.parent / "list.csv", DataConfig(cache_mb=1))
    corpus.load()
    assert len(corpus) == 360
    assert corpus.hours == pytest.approx(3)
    ends = [read_piece(corpus.pieces[i], 16000) for i in (0, 180, 359)]
    assert [len(samples) for samples in ends] == [480000] * 3
    assert [int(np.abs(samples).max()) > 1000 for samples in ends] == [True, False, True]
