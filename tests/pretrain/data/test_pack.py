"""``delores pack``: the same run from a pack as from the files, the same bytes after any death, every damage named."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import pretrain.data.pack as writing
from hear_delores.errors import DeloresError
from hear_delores.frontend import LogMel
from pretrain.config import PretrainConfig, config_to_yaml, load_config
from pretrain.data.audio import read_piece
from pretrain.data.batches import Sampler, batches, crop_length, to_log_mel
from pretrain.data.corpus import Corpus
from pretrain.data.listening import measure_statistics
from pretrain.data.pack import pack
from pretrain.data.packed import open_corpus, verify
from pretrain.training.start import pretrain

ALONE = load_config("demo-s", ["data.threads=0"])
SMALL_SHARD = 0.02  # MiB: the clips of conftest.py fill about ten


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def corpora(data: Path, folder: Path, config: PretrainConfig = ALONE, **options: Any) -> tuple[Corpus, Corpus]:
    """The corpus of the files and the one of a pack of them."""
    pack(data, folder, config, shard_mb=SMALL_SHARD, **options)
    skip_bad = options.get("skip_bad", False)
    return open_corpus(data, config, skip_bad=skip_bad), open_corpus(folder, config)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of several rates, channels and formats, one of them cut into pieces by ``piece_s=0.5``."""
    folder = tmp_path_factory.mktemp("mixed")
    rng = np.random.default_rng(0)
    for i, (rate, channels, suffix) in enumerate(
        [(16000, 1, "wav"), (44100, 2, "flac"), (8000, 1, "wav"), (48000, 1, "ogg")]
    ):
        audio = np.clip(rng.normal(0, 0.2, (int(rate * (0.4 + 0.5 * i)), channels)), -1, 1)
        soundfile.write(folder / f"clip{i}.{suffix}", audio, rate)
    return folder


# --- what is read


@pytest.mark.parametrize("threads", [0, 1])
def test_clips_of_a_pack_are_those_of_the_files(mixed: Path, tmp_path: Path, threads: int) -> None:
    config = load_config("demo-s", [f"data.threads={threads}", "data.piece_s=0.5"])
    files, packed = corpora(mixed, tmp_path / "pack", config)
    assert len(packed) == len(files) > 4
    assert len(list((tmp_path / "pack").glob("*.bin"))) > 2
    assert packed.fingerprint() == files.fingerprint()
    assert packed.hours == files.hours
    assert [piece[1:5] for piece in packed.pieces] == [piece[1:5] for piece in files.pieces]
    assert packed.summary() | {"name": ""} == files.summary() | {"name": "", "packed": "audio"}
    for i in range(len(files)):
        np.testing.assert_array_equal(packed.read(i)[0], read_piece(files.pieces[i], 16000))
    assert packed.read(0)[0].dtype == np.int16
    assert packed.pieces[-1] == packed.pieces[len(packed) - 1] == packed.pieces[-2:][1]
    with pytest.raises(IndexError):
        packed.pieces[len(packed)]


def test_a_run_from_a_pack_is_the_run_from_the_files_bit_for_bit(
    clips: Path, tmp_path: Path, tiny_m: PretrainConfig
) -> None:
    pack(clips, tmp_path / "pack", tiny_m, shard_mb=SMALL_SHARD)
    half = tiny_m.model_copy(update={"save_every": 5})
    states, lines = [], []
    for data, name in ((clips, "files"), (tmp_path / "pack", "packed")):
        out = tmp_path / name
        pretrain(half, data, out, quiet=True)
        states.append(torch.load(out / "state.pt", weights_only=True))
        lines.append([json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()[1:]])
    for part in ("method", "augmenter"):
        assert all(torch.equal(states[0][part][key], value) for key, value in states[1][part].items())
    assert states[0]["fingerprint"] == states[1]["fingerprint"]
    assert states[0]["mean"] == states[1]["mean"]
    for a, b in zip(*lines, strict=True):
        assert {k: v for k, v in a.items() if "seconds" not in k} == {k: v for k, v in b.items() if "seconds" not in k}


def test_a_run_begun_on_files_goes_on_from_a_pack_and_not_from_features(
    clips: Path, tmp_path: Path, tiny_s: PretrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(clips, tmp_path / "pack", tiny_s)
    pack(clips, tmp_path / "mel", tiny_s, content="log-mel")
    pretrain(tiny_s, clips, tmp_path / "whole", quiet=True)

    class Death(BaseException):
        pass

    class Dying(Sampler):
        def batch(self, step: int) -> Any:
            if step == 7:
                raise Death
            return super().batch(step)

    with monkeypatch.context() as patched:
        patched.setattr("pretrain.data.listening.Sampler", Dying)
        with pytest.raises(Death):
            pretrain(tiny_s, clips, tmp_path / "out", quiet=True)
    with pytest.raises(DeloresError, match="the data changed"):
        pretrain(tiny_s, tmp_path / "mel", tmp_path / "out", resume=True, quiet=True)
    pretrain(tiny_s, tmp_path / "pack", tmp_path / "out", resume=True, quiet=True)
    a, b = (torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("whole", "out"))
    assert all(torch.equal(a["method"][key], value) for key, value in b["method"].items())


def test_two_processes_read_a_pack_as_they_read_files(
    clips: Path, tmp_path: Path, tiny_s: PretrainConfig, warm: Any
) -> None:
    gently = tiny_s.optimizer.model_copy(update={"lr": 1e-5})  # rounding is not to grow from step to step
    config = tiny_s.model_copy(update={"steps": 3, "optimizer": gently})
    pack(clips, tmp_path / "pack", config, content="log-mel", shard_mb=SMALL_SHARD)
    (tmp_path / "c.yaml").write_text(config_to_yaml(config))
    options = ["--preset", str(tmp_path / "c.yaml"), "--data", str(tmp_path / "pack"), "--no-picture", "--quiet"]
    outputs = warm.pair("from pretrain.__main__ import main; main()", *options, "--out", tmp_path / "pair")
    assert [code for code, _, _ in outputs] == [0, 0], outputs
    pretrain(config, tmp_path / "pack", tmp_path / "one", quiet=True)
    pair, one = (
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("pair", "one")
    )
    assert pair[0]["mean"] == one[0]["mean"]
    assert pair[-1]["loss"] == pytest.approx(one[-1]["loss"], rel=1e-3)


# --- log-mel


def test_features_are_the_clips_log_mel_to_half_precision(mixed: Path, tmp_path: Path) -> None:
    files, packed = corpora(mixed, tmp_path / "pack", content="log-mel")
    for i in range(len(files)):
        samples = torch.from_numpy(files.read(i)[0]).float() / 32768
        expected = LogMel()(samples).T.numpy()
        found = packed.read(i)[0]
        assert found.dtype == np.float16
        assert found.shape == (1 + len(samples) // 160, 64)
        np.testing.assert_allclose(found.astype(np.float32), expected, rtol=2**-11, atol=1e-4)


def test_a_crop_of_frames_is_the_waveforms_but_for_what_lies_around_it(tmp_path: Path) -> None:
    """Frames whose windows lie inside the crop are the same; at its edges frames hear the clip go on, not silence."""
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 40000), 16000)
    corpus, packed = corpora(tmp_path, tmp_path / "pack", content="log-mel")
    n_samples, n_frames = ALONE.segment_samples, crop_length(packed, ALONE)
    assert n_frames == ALONE.segment_frames == 96
    assert crop_length(corpus, ALONE) == n_samples
    frames = Sampler(packed, n_frames, 4, seed=1).batch(0).audio
    assert frames.shape == (4, 96, 64)
    for row, (epoch, clip) in enumerate(Sampler(packed, n_frames, 4, seed=1).indices(0)):
        start = Sampler(packed, n_frames, 4, seed=1).crop_start(epoch, clip, 1 + 40000 // 160)
        crop = torch.from_numpy(corpus.read(0)[0][160 * start : 160 * start + n_samples].copy())[None]
        expected = to_log_mel(crop, LogMel())
        inside = slice(4, 92)  # half a window is 3.2 hops
        torch.testing.assert_close(
            to_log_mel(frames, LogMel())[row : row + 1, :, inside], expected[:, :, inside], rtol=2**-11, atol=1e-3
        )


def test_a_clip_too_short_ends_in_silence(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 1600), 16000)
    _, packed = corpora(tmp_path, tmp_path / "pack", content="log-mel")
    row = to_log_mel(Sampler(packed, 96, 1, seed=0).batch(0).audio, LogMel())[0]
    silence = LogMel()(torch.zeros(160))[:, :1]
    torch.testing.assert_close(row[:, 11:], silence.expand(-1, 85), rtol=2**-11, atol=0)
    assert float(row[0, 5]) > -10


def test_statistics_and_training_from_features(clips: Path, tmp_path: Path, tiny_m: PretrainConfig) -> None:
    pack(clips, tmp_path / "pack", tiny_m, content="log-mel")
    packed, files = (open_corpus(path, tiny_m) for path in (tmp_path / "pack", clips))
    logmel = LogMel(tiny_m.frontend)
    found, expected = (measure_statistics(corpus, logmel, tiny_m) for corpus in (packed, files))
    assert found == pytest.approx(expected, abs=0.7)  # other crops, whose edges are not silent
    path = pretrain(tiny_m, tmp_path / "pack", tmp_path / "run", quiet=True)
    assert path.is_file()
    again = pretrain(tiny_m, tmp_path / "pack", tmp_path / "again", quiet=True)
    assert json.loads((again.parent / "log.jsonl").read_text().splitlines()[-1])["loss"] == pytest.approx(
        json.loads((path.parent / "log.jsonl").read_text().splitlines()[-1])["loss"], abs=0
    )


# --- death, resuming, adding


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("begun", [False, True])
def test_killed_at_any_moment_it_ends_in_the_same_bytes(clips: Path, tmp_path: Path, begun: bool) -> None:
    """Before and after each file takes its place, and at each clip; into a new folder, and adding to a pack."""
    added = tmp_path / "added"
    added.mkdir()
    for path in sorted(clips.iterdir())[:5]:
        shutil.copy(path, added)
    base = tmp_path / "base"
    if begun:
        pack(clips, base, ALONE, shard_mb=SMALL_SHARD)
    whole = tmp_path / "whole"
    if begun:
        shutil.copytree(base, whole)
    pack(added, whole, ALONE, shard_mb=SMALL_SHARD)
    expected = contents(whole)
    deaths = leftovers = 0
    for moment in itertools.count():
        out = tmp_path / f"killed{moment}"
        if begun:
            shutil.copytree(base, out)
        if not die(lambda out=out: pack(added, out, ALONE, shard_mb=SMALL_SHARD), moment):
            break
        deaths += 1
        leftovers += any(path.suffix == ".tmp" for path in out.glob(".*"))
        if (out / "pack.json").is_file() and json.loads((out / "pack.json").read_text())["unfinished"]:
            with pytest.raises(DeloresError, match="the pack is not finished: run delores pack --data"):
                open_corpus(out, ALONE)
        pack(added, out, ALONE, shard_mb=SMALL_SHARD)
        assert contents(out) == expected, moment
    assert deaths > 12
    assert leftovers > 5


def die(function: Callable[[], object], moment: int) -> bool:
    """Runs ``function`` in another process that is killed at its ``moment``-th event; False: it got through."""
    child = os.fork()
    if child == 0:
        events = itertools.count()

        def event() -> None:
            if next(events) == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        def replace(*names: Any) -> None:
            event()
            real(*names)
            event()

        def append(*arguments: Any) -> int:
            event()
            return written(*arguments)

        real, written = os.replace, writing._append
        os.replace, writing._append = replace, append
        try:
            function()
        except BaseException:
            os._exit(3)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_new_files_and_other_data_are_added(clips: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "pack"
    data.mkdir()
    paths = sorted(clips.iterdir())
    for path in paths[:6]:
        shutil.copy(path, data)
    assert pack(data, out, ALONE)[:3] == (6, 6, 1)
    before = contents(out)
    assert pack(data, out, ALONE)[:3] == (6, 0, 1)
    assert contents(out) == before
    shutil.copy(paths[8], data)
    assert pack(data, out, ALONE)[:3] == (7, 1, 2)
    assert pack(clips, out, ALONE)[:3] == (20, 13, 3)  # the same names in another folder are other clips
    assert {name: contents(out)[name] for name in before if "shard" in name} == {
        name: content for name, content in before.items() if "shard" in name
    }
    corpus = open_corpus(out, ALONE)
    expected = [paths[i] for i in (0, 1, 2, 3, 4, 5, 8, *range(13))]
    for i, path in enumerate(expected):
        np.testing.assert_array_equal(corpus.read(i)[0], soundfile.read(path, dtype="int16")[0])
    assert corpus.summary()["files"] == 20
    assert len(verify(out).shards) == 3


def test_a_clip_listed_twice_is_two_clips(clips: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    row = f"{clips / 'clip00.wav'}\n"
    manifest.write_text("file\n" + 2 * row)
    assert pack(manifest, tmp_path / "pack", ALONE)[:2] == (2, 2)
    manifest.write_text("file\n" + 3 * row)
    assert pack(manifest, tmp_path / "pack", ALONE)[:2] == (3, 1)


def test_a_file_that_changed_is_named(clips: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(clips, data)
    pack(data, tmp_path / "pack", ALONE)
    soundfile.write(data / "clip03.wav", np.zeros(777), 16000)
    with pytest.raises(DeloresError, match=r"clip03.wav has changed since it was packed"):
        pack(data, tmp_path / "pack", ALONE)


# --- bad input


def test_bad_files_stop_the_packing_or_stay_known_as_bad(clips: Path, tmp_path: Path, tiny_s: PretrainConfig) -> None:
    data, out = tmp_path / "data", tmp_path / "pack"
    shutil.copytree(clips, data)
    soundfile.write(data / "clip05.wav", np.full(9999, np.nan), 16000, subtype="FLOAT")
    with pytest.raises(DeloresError, match=r"clip05.wav: the audio holds NaN .*--skip-bad"):
        pack(data, out, ALONE)
    (data / "clip07.wav").write_bytes(b"garbage" * 99)
    with pytest.raises(DeloresError, match=r"clip07.wav: cannot be read as audio"):
        pack(data, out, ALONE)
    packed = pack(data, out, ALONE, skip_bad=True)
    assert [name for name, _ in packed.skipped] == ["clip07.wav", "clip05.wav"]
    assert (packed.clips, pack(data, out, ALONE, skip_bad=True).added) == (12, 0)
    corpora = [open_corpus(path, tiny_s, skip_bad=True) for path in (data, out)]
    for corpus in corpora:
        corpus.load()
    assert corpora[0].skipped == corpora[1].skipped
    for i in range(12):
        (a, bad), (b, met) = (corpus.read(i) for corpus in corpora)
        np.testing.assert_array_equal(a, b)
        assert bad == met == ([5] if i == 5 else [])
    pretrain(tiny_s, data, tmp_path / "a", skip_bad=True, quiet=True)
    pretrain(tiny_s, out, tmp_path / "b", quiet=True)  # that they are passed over was decided when packing
    a, b = (torch.load(tmp_path / name / "state.pt", weights_only=True) for name in "ab")
    assert all(torch.equal(a["method"][key], value) for key, value in b["method"].items())


@pytest.mark.parametrize(
    ("content", "change", "message"),
    [
        ("audio", ["frontend.sample_rate=22050"], "packed with frontend.sample_rate=16000, and .* says 22050"),
        ("audio", ["data.piece_s=10"], "packed with data.piece_s=30.0, and the configuration says 10.0"),
        ("audio", ["data.splits=[train]"], "packed with data.splits=None"),
        ("log-mel", ["frontend.hop_length=320"], "set frontend.hop_length=160, or pack again into another folder"),
        ("log-mel", ["frontend.mel_scale=htk"], "packed with frontend.mel_scale=slaney"),
        ("audio", ["frontend.hop_length=320"], None),
        ("log-mel", ["segment_s=2", "data.threads=5", "seed=3"], None),
    ],
)
def test_a_pack_made_with_other_settings(
    clips: Path, tmp_path: Path, content: Any, change: list[str], message: str | None
) -> None:
    pack(clips, tmp_path / "pack", ALONE, content=content)
    config = load_config("demo-s", change)
    if message is None:
        assert len(open_corpus(tmp_path / "pack", config)) == 13
        return
    for attempt in (open_corpus, lambda path, config: pack(clips, path, config, content=content)):
        with pytest.raises(DeloresError, match=message) as caught:
            attempt(tmp_path / "pack", config)
        assert "\n" not in str(caught.value)


def test_out_that_is_something_else(clips: Path, tmp_path: Path) -> None:
    pack(clips, tmp_path / "pack", ALONE)
    with pytest.raises(DeloresError, match="a pack of audio: give --content audio"):
        pack(clips, tmp_path / "pack", ALONE, content="log-mel")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("x")
    for out in (tmp_path / "notes", tmp_path / "notes/a.txt"):
        with pytest.raises(DeloresError, match="expected an empty folder or a pack"):
            pack(clips, out, ALONE)
    with pytest.raises(DeloresError, match="there is no folder or manifest"):
        pack(tmp_path / "nowhere", tmp_path / "new", ALONE)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", ["audio", "log-mel"])
def test_damage_is_named_in_one_line(clips: Path, tmp_path: Path, content: Any) -> None:
    out = tmp_path / "pack"
    pack(clips, out, ALONE, content=content, shard_mb=SMALL_SHARD)
    verify(out)
    good = contents(out)

    def expect(name: str, damaged: bytes | None, message: str, seen_on_opening: bool = True) -> None:
        (out / name).unlink() if damaged is None else (out / name).write_bytes(damaged)
        checks = [lambda: verify(out), *([lambda: open_corpus(out, ALONE, skip_bad=True)] if seen_on_opening else [])]
        for check in checks:
            with pytest.raises(DeloresError, match=message) as caught:
                check()
            assert str(out / name) in str(caught.value)
            assert "\n" not in str(caught.value)
        (out / name).write_bytes(good[name])

    shard, index = "shard-00001.bin", "shard-00001.json"
    flipped = bytearray(good[shard])
    flipped[1000] ^= 1
    expect(shard, bytes(flipped), "the shard is damaged", seen_on_opening=False)
    expect(shard, good[shard][:-1], r"expected \d+ bytes, but it has \d+")
    expect(shard, None, "but it is missing")
    expect(index, None, "this part of the pack is missing")
    expect(index, good[index][:-9], "not a readable part of a pack")
    expect(index, good[index].replace(b"16000", b"16001", 1), "the checksum is not the one")
    expect("pack.json", b"{}", "not a readable part of a pack")
    expect("pack.json", good["pack.json"].replace(b"shard-00001", b"../../00001"), "not a readable part of a pack")
    expect("pack.json", good["pack.json"].replace(b'"format_version":1', b'"format_version":2'), "format_version")
    verify(out)


def test_a_shard_cut_short_while_it_is_read_is_no_bad_clip(clips: Path, tmp_path: Path) -> None:
    pack(clips, tmp_path / "pack", ALONE)
    corpus = open_corpus(tmp_path / "pack", ALONE, skip_bad=True)
    (tmp_path / "pack/shard-00000.bin").write_bytes(b"")
    with pytest.raises(OSError, match=r"shard-00000.bin: the shard has been cut short"):
        corpus.read(3)
    assert corpus.skipped == []


# --- memory


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads Linux's account of memory")
def test_memory_does_not_grow_with_what_is_read(tmp_path: Path) -> None:
    """64 MiB of clips are read to the last page, while a batch is a fraction of a MiB."""
    data = tmp_path / "data"
    data.mkdir()
    noise = np.random.default_rng(0).integers(-9999, 9999, 16000 * 60).astype(np.int16)
    for i in range(36):
        soundfile.write(data / f"{i}.wav", noise, 16000)
    config = load_config("demo-s", ["data.threads=0", "data.piece_s=1", "batch_size=32"])
    packed = pack(data, tmp_path / "pack", config, shard_mb=40)
    assert (packed.shards, packed.bytes) == (2, 36 * 2 * 16000 * 60)
    corpus = open_corpus(tmp_path / "pack", config)
    sampler = Sampler(corpus, 16000, 32, seed=0)
    sampler.batch(0)
    before = resident()
    highest = before
    for _ in batches(sampler, 0, len(corpus) // 32, 0, 1):
        highest = max(highest, resident())
    assert highest - before < 8 * 2**20


def resident() -> int:
    """Bytes of this process in memory, pages of mapped files included."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Rss:"))


# --- the command


def delores(words: list[object], monkeypatch: pytest.MonkeyPatch) -> int:
    from benchmarks.cli import main

    monkeypatch.setattr(sys, "argv", ["delores", *map(str, words)])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_the_command(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "pack"
    assert delores(["pack", "--data", clips, "--out", out, "--content", "log-mel"], monkeypatch) == 0
    assert "13 clips added, 13 in all, 1 shards" in capsys.readouterr().out
    assert delores(["pack", "--out", out, "--verify"], monkeypatch) == 0
    assert "1 shards, all as they were written" in capsys.readouterr().out
    assert delores(["pack", "--data", clips, "--out", out, "--content", "log-mel", "--quiet"], monkeypatch) == 0
    assert capsys.readouterr() == ("", "")
    assert delores(["pack", "--out", out], monkeypatch) == 1
    assert capsys.readouterr().err == "error: expected --data to pack, or --verify to check a pack\n"
    content = bytearray((out / "shard-00000.bin").read_bytes())
    content[-1] ^= 1
    (out / "shard-00000.bin").write_bytes(content)
    assert delores(["pack", "--out", out, "--verify", "--quiet"], monkeypatch) == 1
    assert "shard-00000.bin: the shard is damaged (checksum)" in capsys.readouterr().err


# --- a source that is no longer what it was


def replace_within(path: Path, old: bytes, new: bytes) -> None:
    """Other content of the same length and time, in the same file."""
    status, data = path.stat(), path.read_bytes()
    assert len(old) == len(new)
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def other_sound(path: Path) -> tuple[bytes, bytes]:
    """Some bytes in the middle of a file's sound, and others."""
    data = path.read_bytes()
    old = data[len(data) // 2 : len(data) // 2 + 64]
    return old, bytes(byte ^ 1 for byte in old)


def test_a_file_replaced_by_another_of_equal_length_is_named(clips: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "pack"
    shutil.copytree(clips, data)
    pack(data, out, ALONE, shard_mb=SMALL_SHARD)
    before = contents(out)
    assert pack(data, out, ALONE, shard_mb=SMALL_SHARD)[:2] == (13, 0)
    replace_within(data / "clip03.wav", *other_sound(data / "clip03.wav"))
    with pytest.raises(DeloresError, match=r"clip03.wav has changed since it was packed: pack into another folder"):
        pack(data, out, ALONE, shard_mb=SMALL_SHARD)
    assert contents(out) == before


def test_a_tar_that_grew_is_gone_on_with_and_a_changed_member_is_named(clips: Path, tmp_path: Path) -> None:
    tar, out = tmp_path / "a.tar", tmp_path / "pack"
    with tarfile.open(tar, "w") as archive:
        for number in range(4):
            archive.add(clips / f"clip{number:02}.wav", f"clip{number:02}.wav")
    assert pack(tar, out, ALONE)[:2] == (4, 4)
    with tarfile.open(tar, "a") as archive:
        archive.add(clips / "clip05.wav", "clip05.wav")
    assert pack(tar, out, ALONE)[:2] == (5, 1)
    replace_within(tar, *other_sound(clips / "clip02.wav"))
    with pytest.raises(DeloresError, match=r"a.tar/clip02.wav has changed since it was packed"):
        pack(tar, out, ALONE)


def test_a_pack_from_before_contents_were_stated_is_gone_on_with(clips: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "pack"
    shutil.copytree(clips, data)
    (data / "clip12.wav").rename(tmp_path / "later.wav")
    pack(data, out, ALONE)
    (out / ".shard-00000.sources").unlink()
    (tmp_path / "later.wav").rename(data / "clip12.wav")
    assert pack(data, out, ALONE)[:2] == (13, 1)
    assert len(open_corpus(out, ALONE)) == 13
