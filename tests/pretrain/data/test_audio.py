"""Files that say of themselves what is not so: read whole, or refused in one line, by every reader alike."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import shutil
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.tasks.mono_audio import read_audio
from hear_delores.errors import DeloresError
from pretrain.data.audio import Piece, file_length, read_piece
from pretrain.data.corpus import Corpus
from pretrain.data.mpeg import count_frames, find_frame, frame_size, read_tag
from pretrain.data.quiet import _streams, quiet_decoders

RATE, N = 16000, 48000
TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(N) / RATE)).astype(np.float32)
# Loud, silent, loud: of variable rate, the first frames say little about all of them.
UNEVEN = np.concatenate([np.random.default_rng(0).uniform(-0.5, 0.5, N), np.zeros(N), TONE]).astype(np.float32)


def encoded(kind: str, subtype: str | None = "PCM_16", audio: np.ndarray = TONE, rate: int = RATE) -> bytearray:
    stream = io.BytesIO()
    soundfile.write(stream, audio, rate, format=kind, subtype=subtype)
    return bytearray(stream.getvalue())


def put(data: bytearray, place: int, kind: str, value: float) -> bytearray:
    struct.pack_into(kind, data, place, value)
    return data


def after(data: bytearray, name: bytes, kind: str, value: float, offset: int = 0) -> bytearray:
    return put(data, data.index(name) + len(name) + offset, kind, value)


def readings(path: Path) -> list[np.ndarray]:
    """The sound as scoring reads it and as pre-training does, in pieces, from a file and from a tar."""
    frames, rate = file_length(path)
    edges = [0, frames // 3, frames]
    pieces = [read_piece(Piece(path, "x", a, b - a, rate), rate) for a, b in itertools.pairwise(edges)]
    tar = path.with_suffix(".tar")
    with tarfile.open(tar, "w") as archive:
        archive.add(path, f"x{path.suffix}")
    members = Corpus.from_path(tar, sample_rate=rate)
    found = [read_audio(path)[0], np.concatenate(pieces) / 32768, members.read(0)[0] / 32768]
    assert {len(sound) for sound in found} == {frames}
    return found


def flac_of_unknown_length() -> bytearray:
    data = encoded("FLAC")
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    return data


def open_ended_rf64() -> bytearray:
    data = encoded("RF64")
    start = data.index(b"ds64") + 8
    data[start : start + 24] = bytes(24)
    return data


OPEN_ENDED: dict[str, Callable[[], bytearray]] = {
    "flac": flac_of_unknown_length,
    "0.wav": lambda: put(put(encoded("WAV"), 4, "<I", 0), 40, "<I", 0),
    "header.wav": lambda: put(put(encoded("WAV"), 4, "<I", 36), 40, "<I", 0),
    "data_0.wav": lambda: put(encoded("WAV"), 40, "<I", 0),
    "minus_1.wav": lambda: put(put(encoded("WAV"), 4, "<I", 0xFFFFFFFF), 40, "<I", 0xFFFFFFFF),
    "sox.wav": lambda: put(put(encoded("WAV"), 4, "<I", 0x7FFFF024), 40, "<I", 0x7FFFF000),
    "rf64": open_ended_rf64,
    "minus_1.au": lambda: put(encoded("AU"), 8, ">I", 0xFFFFFFFF),
    "0.au": lambda: put(encoded("AU"), 8, ">I", 0),
    "0.aiff": lambda: after(after(encoded("AIFF"), b"SSND", ">I", 0), b"COMM", ">I", 0, 6),
    "minus_1.aiff": lambda: after(encoded("AIFF"), b"SSND", ">I", 0xFFFFFFFF),
    "w64": lambda: after(encoded("W64"), b"data", "<Q", (1 << 64) - 1, 12),
    "caf": lambda: after(encoded("CAF"), b"data", ">q", -1),
}


@pytest.mark.parametrize("name", list(OPEN_ENDED))
def test_a_length_that_was_not_known_when_the_header_was_written_is_no_fault(tmp_path: Path, name: str) -> None:
    path = tmp_path / (name if "." in name else f"a.{name}")
    path.write_bytes(OPEN_ENDED[name]())
    for sound in readings(path):
        np.testing.assert_allclose(sound, TONE, atol=1e-4)


def test_an_empty_wav_with_something_behind_its_sound_is_empty(tmp_path: Path) -> None:
    data = encoded("WAV", audio=TONE[:0]) + b"LIST" + struct.pack("<I", 8) + b"INFOabcd"
    put(data, 4, "<I", len(data) - 8)
    (tmp_path / "a.wav").write_bytes(data)
    for read in (file_length, read_audio):
        with pytest.raises(DeloresError, match=r"a\.wav: the file holds no samples$"):
            read(tmp_path / "a.wav")


WHOLE: dict[str, tuple[str, str | None]] = {
    "a.wav": ("WAV", "PCM_16"),
    "24.wav": ("WAV", "PCM_24"),
    "adpcm.wav": ("WAV", "IMA_ADPCM"),
    "gsm.wav": ("WAV", "GSM610"),
    "extensible.wav": ("WAVEX", "FLOAT"),
    "a.aiff": ("AIFF", "PCM_16"),
    "a.au": ("AU", "ULAW"),
    "a.w64": ("W64", "PCM_16"),
    "a.rf64": ("RF64", "PCM_16"),
    "a.caf": ("CAF", "PCM_16"),
    "a.flac": ("FLAC", "PCM_16"),
    "a.ogg": ("OGG", "VORBIS"),
    "a.opus": ("OGG", "OPUS"),
    "a.mp3": ("MP3", None),
}


@pytest.mark.parametrize("name", list(WHOLE))
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_that_was_cut_is_refused_by_every_reader(tmp_path: Path, name: str, share: float) -> None:
    data = encoded(*WHOLE[name])
    path = tmp_path / name
    path.write_bytes(data)
    whole = read_audio(path)[0]
    assert abs(len(whole) - N) <= 1000
    path.write_bytes(data[: int(share * len(data))])
    readers: list[Callable[[], object]] = [
        lambda: read_audio(path),
        lambda: read_piece(Piece(path, "a", 0, *file_length(path)), RATE),
        lambda: Corpus.from_path(tmp_path).read(0),
    ]
    for read in readers:
        with pytest.raises(DeloresError, match="cut short") as caught:
            read()
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_gsm_is_decoded_in_whole_blocks_up_to_the_length_that_it_states(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encoded("WAV", "GSM610", np.hanning(24001)[:23999] * TONE[:23999], 8000))
    for sound in readings(path):
        assert len(sound) == 23999
        assert 0.25 < np.abs(sound).max() < 0.35
        assert np.abs(sound[-160:]).max() < 0.02


def without_tag(data: bytes) -> bytes:
    """An MP3 without its first frame, which says how many there are."""
    assert read_tag(data, 0) is not None
    return data[frame_size(data, 0) :]


@pytest.mark.parametrize("mode", ["VARIABLE", "CONSTANT"])
def test_an_mp3_without_a_tag_is_read_to_its_end(tmp_path: Path, mode: str) -> None:
    stream = io.BytesIO()
    soundfile.write(stream, UNEVEN, RATE, format="MP3", bitrate_mode=mode)
    (tmp_path / "a.mp3").write_bytes(b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + without_tag(stream.getvalue()))
    for sound in readings(tmp_path / "a.mp3"):
        assert len(sound) == pytest.approx(len(UNEVEN), abs=3000)
        loudness = [float(np.sqrt(np.mean(part**2))) for part in np.array_split(sound, 3)]
        assert loudness == pytest.approx([0.29, 0.0, 0.21], abs=0.04)


def test_two_mp3s_in_one_file_are_both_read(tmp_path: Path) -> None:
    data = bytes(encoded("MP3", None, UNEVEN))
    (tmp_path / "a.mp3").write_bytes(data + b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + data)
    for sound in readings(tmp_path / "a.mp3"):
        assert len(sound) == pytest.approx(2 * len(UNEVEN), abs=6000)


def test_a_sound_mp3_is_as_soundfile_reads_it(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(encoded("MP3", None, UNEVEN) + b"TAG" + bytes(125))
    with soundfile.SoundFile(tmp_path / "a.mp3") as stream:
        expected = stream.read(dtype="float32")
    np.testing.assert_array_equal(read_audio(tmp_path / "a.mp3")[0], expected)


def test_frames_are_counted_over_what_lies_between_them() -> None:
    data = bytes(encoded("MP3", None, UNEVEN))
    tag = read_tag(data, 0)
    assert tag is not None
    assert count_frames(data, 0).frames == tag.frames + 1  # type: ignore[operator]
    size = frame_size(data, 0)
    junk = data[:size] + b"\xff\xfb\0junk" * 999 + data[size:] + b"\xff" * 9
    assert count_frames(junk, 0).frames == tag.frames + 1  # type: ignore[operator]
    assert find_frame(b"\xff\xf3\x88\xc4" * 3) is None


RATES: dict[str, tuple[str, Callable[[float], bytearray]]] = {
    "wav": ("WAV", lambda rate: put(encoded("WAV"), 24, "<I", rate)),
    "au": ("AU", lambda rate: put(encoded("AU"), 16, ">I", rate)),
    "w64": ("W64", lambda rate: after(encoded("W64"), b"fmt ", "<I", rate, 24)),
    "caf": ("CAF", lambda rate: after(encoded("CAF"), b"desc", ">d", rate, 8)),
}


@pytest.mark.parametrize("rate", [0, 1, 999, 768_001, 2**31 - 1])
@pytest.mark.parametrize("kind", list(RATES))
def test_a_rate_that_nothing_is_recorded_at_is_refused(tmp_path: Path, kind: str, rate: int) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(RATES[kind][1](rate))
    for read in (file_length, read_audio):
        with pytest.raises(DeloresError, match=rf"states a sample rate of {rate} Hz; expected 1,000 to 768,000 Hz$"):
            read(path)


def test_a_rate_that_is_no_number_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.caf").write_bytes(RATES["caf"][1](float("nan")))
    data = encoded("AIFF")
    place = data.index(b"COMM") + 16
    data[place : place + 10] = b"\x7f\xff\xc0" + bytes(7)
    (tmp_path / "b.aiff").write_bytes(data)
    for name in ("a.caf", "b.aiff"):
        with pytest.raises(DeloresError, match="a sample rate of nan Hz"):
            file_length(tmp_path / name)


@pytest.mark.parametrize("kind", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("form", ["WAV", "AIFF", "CAF"])
def test_integers_stored_as_floats_are_refused_by_every_reader(tmp_path: Path, form: str, kind: str) -> None:
    path = tmp_path / f"a.{form.lower()}"
    path.write_bytes(encoded(form, kind, 10000 / 0.3 * TONE))
    for read in (read_audio, lambda path: read_piece(Piece(path, "a", 0, N, RATE), RATE)):
        with pytest.raises(DeloresError, match=r"expected samples in \[-1, 1\], but the peak is 10000"):
            read(path)


def test_more_samples_than_a_file_can_hold_cost_no_memory(tmp_path: Path) -> None:
    data = encoded("FLAC")
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4
    (tmp_path / "a.flac").write_bytes(data)
    with pytest.raises(DeloresError, match=r"a\.flac: cut short: the header states more samples"):
        read_audio(tmp_path / "a.flac")


def test_eight_channels_and_floats_of_64_bits_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([TONE] * 8, axis=1), RATE, "DOUBLE", format="WAVEX")
    np.testing.assert_allclose(read_audio(path)[0], TONE, atol=1e-6)


@pytest.mark.skipif(os.name == "nt", reason="needs FIFOs")
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "dangling.wav").symlink_to("nowhere.wav")
    (tmp_path / "device.wav").symlink_to("/dev/zero")
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    code = (
        "import sys\nfrom benchmarks.tasks.mono_audio import read_audio\nfrom pretrain.data.corpus import Corpus\n"
        "from pathlib import Path\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    try: read_audio(path)\n"
        "    except ValueError as error: print(error)\n"
        "try: Corpus.from_path(sys.argv[1], skip_bad=True)\n"
        "except ValueError as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert [line.partition(f"{tmp_path}/")[2].split(":")[0] for line in lines[:5]] == [
        "dangling.wav", "device.wav", "fifo.wav", "folder.wav", "loop.wav",
    ]  # fmt: skip
    assert "a link to a file that does not exist" in lines[0]
    assert all("expected a regular file" in line for line in lines[1:4])
    assert "none of its 5 files can be used" in lines[5]
    assert (len(lines), done.stderr) == (6, "")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes any bytes")
def test_names_that_are_no_utf_8_are_read_and_written_escaped(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    soundfile.write(tmp_path / "käse.wav", TONE, RATE)
    shutil.copy(tmp_path / "käse.wav", tmp_path / name)
    corpus = Corpus.from_path(tmp_path)
    assert [piece.name for piece in corpus.pieces] == ["caf\\xe9.wav", "käse.wav"]
    np.testing.assert_array_equal(*(corpus.read(i)[0] for i in (0, 1)))
    np.testing.assert_array_equal(read_audio(tmp_path / name)[0], read_audio(tmp_path / "käse.wav")[0])
    assert len(corpus.fingerprint()) == 64
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DeloresError, match=r"caf\\xe9\.wav: the file is empty") as caught:
        read_audio(tmp_path / name)
    str(caught.value).encode()


def test_junk_and_false_tags_before_an_mp3_are_passed_over(tmp_path: Path) -> None:
    data = bytes(encoded("MP3", None, UNEVEN))
    for number, junk in enumerate(
        (bytes(5000), b"ID3\4\0\0\x7f\x7f\x7f\x7f", b"ID3\4\0\0\0\0\x0f\x0f" + b"\xff" * 2000)
    ):
        (tmp_path / f"{number}.mp3").write_bytes(junk + data)
        assert len(read_audio(tmp_path / f"{number}.mp3")[0]) == len(UNEVEN)
    for number, junk in enumerate((b"", b"\xff\xfb" * 5000, b"ID3\4\0\0\0\0\0\0" * 999)):
        (tmp_path / f"no_{number}.mp3").write_bytes(b"x" + junk)
        with pytest.raises(DeloresError, match="no frame of an MP3 in it"):
            read_audio(tmp_path / f"no_{number}.mp3")


@pytest.mark.parametrize("seed", range(3))
def test_damaged_headers_end_in_a_sound_or_one_line(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    said: list[str] = []
    named: list[str] = []
    for number, (name, (kind, subtype)) in enumerate(list(WHOLE.items()) * 4):
        data = encoded(kind, subtype)
        for place in rng.integers(0, min(len(data), 120), rng.integers(1, 6)):
            data[place] = rng.integers(0, 256)
        path = tmp_path / f"{number}_{name}"
        path.write_bytes(data)
        try:
            frames, rate = file_length(path)
            assert len(read_audio(path)[0]) <= frames
            assert len(read_piece(Piece(path, "x", 0, frames, rate), rate)) <= frames
        except DeloresError as error:
            said.append(str(error))
            named.append(f"{path}: ")
    assert said
    assert all(line.startswith(start) and "\n" not in line for line, start in zip(said, named, strict=True))


# --- what only decoding shows


@pytest.mark.parametrize("bits", [16, 24])
def test_a_format_without_places_is_read_from_the_middle(tmp_path: Path, bits: int) -> None:
    """libsndfile says that it can go to any frame of DWVW, and cannot."""
    path = tmp_path / "a.aiff"
    path.write_bytes(encoded("AIFF", f"DWVW_{bits}"))
    for sound in readings(path):
        np.testing.assert_allclose(sound, TONE, atol=2e-3)


def test_the_last_block_of_adpcm_is_read_as_far_as_it_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encoded("WAV", "MS_ADPCM", TONE[:700]))
    with soundfile.SoundFile(path) as stream:
        assert stream.frames > 700
    for sound in readings(path):
        np.testing.assert_allclose(sound, TONE[:700], atol=0.05)
    # one that states less than its blocks hold does not lose them
    path.write_bytes(after(encoded("WAV", "MS_ADPCM", TONE[:3000]), b"fact", "<I", 5, 4))
    assert file_length(path)[0] >= 3000


def scratched_mp3(path: Path) -> Path:
    """An MP3 that libmpg123 has something to say about."""
    data = encoded("MP3", None, UNEVEN)
    rng = np.random.default_rng(0)
    for place in rng.integers(2000, len(data), 300):
        data[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)
    return path


def decoded(path: Path) -> None:
    with contextlib.suppress(DeloresError):
        frames, rate = file_length(path)
        read_piece(Piece(path, "x", 0, frames, rate), rate)
        read_audio(path)


@pytest.mark.skipif(_streams() is None, reason="C's stderr cannot be turned away here")
def test_what_the_mp3_decoder_prints_stays_unseen(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = scratched_mp3(tmp_path / "a.mp3")
    with contextlib.suppress(soundfile.SoundFileError), soundfile.SoundFile(path) as stream:
        stream.read()
    assert "mpg123" in capfd.readouterr().err
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(decoded, path) for _ in range(12)]
        os.write(2, b"ours\n")
        print("ours", file=sys.__stderr__, flush=True)
        for job in jobs:
            job.result()
    assert capfd.readouterr().err.split() == ["ours", "ours"]
    with contextlib.suppress(soundfile.SoundFileError), soundfile.SoundFile(path) as stream:
        stream.read()
    assert "mpg123" in capfd.readouterr().err  # put back


@pytest.mark.skipif(_streams() is None or not hasattr(os, "fork"), reason="needs C's stderr and fork")
def test_a_process_forked_while_another_thread_decodes_has_its_own_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    streams = _streams()
    assert streams is not None
    before = streams[0].value
    with quiet_decoders():
        assert streams[0].value == streams[1]
        pid = os.fork()
        if pid == 0:
            os._exit(int(streams[0].value != before))
        assert os.waitpid(pid, 0)[1] == 0
        assert streams[0].value == streams[1]
    assert streams[0].value == before
