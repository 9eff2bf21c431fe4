"""Every kind of corpus, every kind of file, and every kind of bad file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from hear_delores.errors import DeloresError
from pretrain.config import DataConfig
from pretrain.data.audio import Piece, file_length, read_piece
from pretrain.data.corpus import AudioFiles, Corpus
from pretrain.data.sources import find_sources


def tone(seconds: float, rate: int = 16000, hz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def names(corpus: Corpus) -> list[str]:
    return [piece.name for piece in corpus.pieces]


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate", "channels"),
    [
        ("wav", "PCM_U8", 8000, 1),
        ("wav", "PCM_16", 16000, 2),
        ("wav", "PCM_24", 96000, 2),
        ("wav", "FLOAT", 44100, 1),
        ("wav", "DOUBLE", 22050, 3),
        ("flac", "PCM_24", 48000, 2),
        ("ogg", "VORBIS", 44100, 1),
        ("opus", None, 48000, 1),
    ],
)
def test_every_format_gives_the_same_sound(
    tmp_path: Path, suffix: str, subtype: str | None, rate: int, channels: int
) -> None:
    path = tmp_path / f"a.{suffix}"
    audio = np.stack([tone(1.0, rate) * (1 + c) / channels for c in range(channels)], axis=1)
    format_name, subtype = ("OGG", "OPUS") if suffix == "opus" else (suffix.upper(), subtype)
    soundfile.write(path, audio, rate, format=format_name, subtype=subtype)
    samples, bad = Corpus.from_path(tmp_path).read(0)
    assert samples.dtype == np.int16
    assert abs(len(samples) - 16000) <= 1
    assert bad == []
    expected = tone(1.0) * (channels + 1) / 2 / channels  # the mean of the channels
    inner = slice(1000, 15000)
    assert np.abs(samples[inner] / 32768 - expected[inner]).max() < (0.1 if suffix in ("ogg", "opus") else 0.012)


def test_samples_are_soxr_of_the_mean_channel_rounded_and_clipped(tmp_path: Path) -> None:
    audio = np.random.default_rng(0).normal(0, 0.9, (44100, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", audio, 44100, subtype="FLOAT")
    samples = read_piece(Piece(tmp_path / "a.wav", "a", 0, 44100, 44100), 16000)
    expected = np.clip(np.rint(soxr.resample(audio.mean(1), 44100, 16000) * 32768), -32768, 32767)
    np.testing.assert_array_equal(samples, expected)
    assert samples.max() == 32767  # clipped, not wrapped around


def test_folder_is_searched_deeply_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b.wav", "a/z.flac", "a/b/c.WAV", ".hidden/x.wav", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("txt"):
            (tmp_path / name).write_text("x")
        else:
            soundfile.write(tmp_path / name, tone(0.1), 16000, format=name.rsplit(".", 1)[1].upper())
    assert names(Corpus.from_path(tmp_path)) == ["a/b/c.WAV", "a/z.flac", "b.wav"]


def test_manifest_rows_may_name_a_part_of_a_file(tmp_path: Path) -> None:
    ramp = np.arange(32000) / 40000
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio/r.wav", ramp, 16000, subtype="PCM_16")
    (tmp_path / "list.csv").write_text(
        "\ufefffile,start,duration,source\naudio/r.wav,,,x\naudio/r.wav,0.5,0.25,y\naudio/r.wav,1.5,9,z\n"
    )
    corpus = Corpus.from_path(tmp_path / "list.csv")
    whole, part, rest = (corpus.read(i)[0] for i in range(3))
    assert (len(whole), len(part), len(rest)) == (32000, 4000, 8000)
    np.testing.assert_array_equal(part, whole[8000:12000])
    np.testing.assert_array_equal(rest, whole[24000:])
    assert corpus.summary()["files"] == 1


def test_long_recordings_count_as_several_clips(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.arange(16000) / 20000, 16000, subtype="PCM_16")
    corpus = Corpus.from_path(tmp_path, DataConfig(piece_s=0.3))
    parts = [corpus.read(i)[0] for i in range(len(corpus))]
    assert [len(part) for part in parts] == [4000] * 4
    np.testing.assert_array_equal(np.concatenate(parts), Corpus.from_path(tmp_path).read(0)[0])


def task_folder(root: Path, splits: list[str]) -> Path:
    (root / "task_metadata.json").write_text(json.dumps({"splits": splits}))
    for rate in (8000, 22050, 48000):
        for split in splits:
            (root / str(rate) / split).mkdir(parents=True)
            soundfile.write(root / str(rate) / split / "x.wav", tone(0.2, rate), rate)
    return root


def test_task_folder_trains_on_train_or_all_folds_at_the_next_higher_rate(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    corpus = Corpus.from_path(task_folder(tmp_path / "a", ["train", "valid", "test"]))
    assert names(corpus) == ["22050/train/x.wav"]
    folds = task_folder(tmp_path / "b", ["fold00", "fold01"])
    assert names(Corpus.from_path(folds)) == ["22050/fold00/x.wav", "22050/fold01/x.wav"]
    assert names(Corpus.from_path(folds, DataConfig(splits=("fold01",)))) == ["22050/fold01/x.wav"]
    assert names(Corpus.from_path(folds, sample_rate=96000))[0].startswith("48000/")
    with pytest.raises(DeloresError, match="Did you mean 'fold01'"):
        Corpus.from_path(folds, DataConfig(splits=("fold1",)))


@pytest.mark.parametrize("split", ["../precious", "/precious", "..", "a\0b"])
def test_a_split_that_is_a_path_is_refused(split: str, tmp_path: Path) -> None:
    folder = task_folder(tmp_path, ["fold00"])
    (folder / "task_metadata.json").write_text(json.dumps({"splits": ["fold00", split]}))
    with pytest.raises(DeloresError, match="splits: expected a plain name"):
        Corpus.from_path(folder)


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("x")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "none.csv").write_text("file,start\n")
    (tmp_path / "path.csv").write_text("path\na.wav\n")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    for name, message in {
        "missing": "there is no folder or manifest",
        "missing.csv": "there is no folder or manifest",
        "text.txt": "expected a folder, a .csv manifest or a task folder",
        "empty.csv": "empty; expected a header line with the column file",
        "none.csv": "the manifest lists no files",
        "path.csv": "the column .file. is missing; rename .path. to it",
        "binary.csv": "UTF-16 .* save it as UTF-8",
        ".": "holds no audio files",
    }.items():
        with pytest.raises(DeloresError, match=message) as caught:
            Corpus.from_path(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.wav,,4_0", "expected duration in seconds, got .4_0"),
        ("a.wav,x,", "line 2: expected start in seconds, got 'x'"),
        ("a.wav,-1,", "expected start"),
        ("a.wav,,nan", "expected duration in seconds"),
        ("a.wav,,0", "duration above 0"),
        (",0,1", "the file is missing"),
        ("a.wav,5,1", "a.wav: no samples from 5.0 s on, the file has 0.500 s"),
        ("b.wav,,", "b.wav: there is no such file"),
    ],
)
def test_bad_manifest_rows_are_named(tmp_path: Path, row: str, message: str) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.5), 16000)
    (tmp_path / "m.csv").write_text(f"file,start,duration\n{row}\n")
    with pytest.raises(DeloresError, match=message):
        Corpus.from_path(tmp_path / "m.csv")


def write_bad(path: Path, kind: str) -> None:
    """A bad file; the last three have a sound header."""
    rate = 16000
    if kind == "garbage":
        path.write_bytes(b"this is not audio at all" * 50)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "no samples":
        soundfile.write(path, np.zeros(0), rate)
    elif kind == "nan":
        soundfile.write(path, np.where(np.arange(999) == 500, np.nan, 0.1), rate, subtype="FLOAT")
    elif kind == "infinite":
        soundfile.write(path, np.where(np.arange(999) == 500, np.inf, 0.1), rate, subtype="FLOAT")
    elif kind == "integers as floats":
        soundfile.write(path, tone(0.1) * 32768, rate, subtype="FLOAT")
    elif kind == "cut short":
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 50000), rate, format="FLAC")
        path.write_bytes(path.read_bytes()[:20000])


BAD = {
    "garbage": "cannot be read as audio",
    "empty": "the file is empty",
    "no samples": "holds no samples",
    "nan": "holds NaN or infinity",
    "infinite": "holds NaN or infinity",
    "integers as floats": "expected samples in",
    "cut short": "cut short|cannot be decoded",
}


@pytest.mark.parametrize("kind", list(BAD))
def test_a_bad_file_is_named_in_one_line_or_skipped_and_listed(tmp_path: Path, kind: str) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.2), 16000)
    soundfile.write(tmp_path / "c.wav", tone(0.3), 16000)
    write_bad(tmp_path / "b.wav", kind)

    with pytest.raises(DeloresError, match=BAD[kind]) as caught:
        Corpus.from_path(tmp_path).load()
    assert str(tmp_path / "b.wav") in str(caught.value)
    assert "--skip-bad" in str(caught.value)
    assert "\n" not in str(caught.value)

    corpus = Corpus.from_path(tmp_path, skip_bad=True)
    corpus.load()
    assert [name for name, _ in corpus.skipped] == ["b.wav"]
    assert corpus.summary()["skipped"] == 1
    lengths = {len(corpus.read(i)[0]) for i in range(len(corpus))}
    assert lengths == {3200, 4800}


def test_a_corpus_of_bad_files_alone_is_an_error(tmp_path: Path) -> None:
    write_bad(tmp_path / "a.wav", "garbage")
    with pytest.raises(DeloresError, match="none of its 1 files can be used"):
        Corpus.from_path(tmp_path, skip_bad=True)
    write_bad(tmp_path / "a.wav", "nan")
    corpus = Corpus.from_path(tmp_path, skip_bad=True)
    with pytest.raises(DeloresError, match="all 1 clips are bad"):
        corpus.read(0)


def test_the_next_good_clip_stands_in_for_a_bad_one(tmp_path: Path) -> None:
    for name, seconds in (("a", 0.1), ("d", 0.4)):
        soundfile.write(tmp_path / f"{name}.wav", tone(seconds), 16000)
    write_bad(tmp_path / "b.wav", "nan")
    write_bad(tmp_path / "c.wav", "nan")
    cached = Corpus.from_path(tmp_path, skip_bad=True)
    cached.load()
    for corpus in (cached, Corpus.from_path(tmp_path, skip_bad=True)):
        samples, bad = corpus.read(1)
        assert (len(samples), bad) == (6400, [1, 2])
        assert corpus.read(3)[1] == []


@pytest.mark.parametrize("cache_mb", [0, 1])
def test_cache_is_bounded_and_changes_nothing(tmp_path: Path, cache_mb: int) -> None:
    for i in range(4):
        soundfile.write(tmp_path / f"{i}.wav", tone(12.0, hz=100 * i + 100), 16000)  # 0.37 MB each
    corpus = Corpus.from_path(tmp_path, DataConfig(cache_mb=cache_mb))
    corpus.load()
    assert sum(samples.nbytes for samples in corpus._cache.values()) <= cache_mb * 2**20
    assert len(corpus._cache) == (2 if cache_mb else 0)
    for i in range(4):
        np.testing.assert_array_equal(corpus.read(i)[0], read_piece(corpus.pieces[i], 16000))


def test_order_and_fingerprint_do_not_depend_on_threads(clips: Path) -> None:
    one, many = (Corpus.from_path(clips, DataConfig(threads=threads)) for threads in (0, 5))
    assert one.pieces == many.pieces
    assert one.fingerprint() == many.fingerprint()
    fewer = Corpus(AudioFiles(find_sources(clips, DataConfig(), 16000)[1:]))
    assert fewer.fingerprint() != one.fingerprint()


def test_scanning_and_decoding_report_progress(clips: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    corpus = Corpus.from_path(clips, progress=lambda *call: calls.append(call))
    corpus.load()
    assert calls[:13] == [("scanning", i, 13) for i in range(1, 14)]
    assert calls[13:] == [("decoding", i, 13) for i in range(1, 14)]
    assert file_length(corpus.pieces[0].path) == (corpus.pieces[0].frames, 16000)


@pytest.mark.parametrize(
    "header", ["file, start, duration", "File,Start,Duration", "\ufeffFILE ,START, Duration", "duration,start,file"]
)
def test_columns_of_a_manifest_in_any_case_and_with_blanks(tmp_path: Path, header: str) -> None:
    soundfile.write(tmp_path / "0.wav", tone(3.0), 16000)
    row = "1.0,0.5,0.wav" if header.startswith("duration") else "0.wav, 0.5, 1.0"
    (tmp_path / "list.csv").write_text(f"{header}\n{row}\n")
    corpus = Corpus.from_path(tmp_path / "list.csv")
    assert [(piece.start, piece.frames) for piece in corpus.pieces] == [(8000, 16000)]
    assert corpus.notes == []


def test_a_manifest_names_columns_that_it_does_not_use_and_clips_listed_twice(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    soundfile.write(tmp_path / "0.wav", tone(1.0), 16000)
    (tmp_path / "link.wav").symlink_to("0.wav")
    (tmp_path / "list.csv").write_text("file,offset\n0.wav,0.5\na/../0.wav,0.5\nlink.wav,0.1\n")
    offset, twice = Corpus.from_path(tmp_path / "list.csv").notes
    assert offset.endswith("list.csv: the column 'offset' is not used; if it is the start, call it 'start'")
    assert twice.endswith("2 clip(s) are listed twice, such as 0.wav and a/../0.wav; they count twice")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,start\na.wav,1,2\n", "line 2: expected 2 fields as in the header, got 3"),
        ("file,start\na.wav\n", "line 2: expected 2 fields as in the header, got 1"),
        ("file;start\na.wav;1\n", "separated by semicolons, expected commas"),
        ("File,file\na,b\n", "two columns are called 'file'"),
        ("file,start\na.wav,1e300\n", "expected start in seconds, got '1e300'"),
        ("file,duration\na.wav,inf\n", "expected duration in seconds, got 'inf'"),
    ],
)
def test_faults_of_a_manifest(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DeloresError, match=message):
        Corpus.from_path(tmp_path / "list.csv")


@pytest.mark.parametrize(
    "content", ["[]", '{"splits": "train"}', '{"splits": [1]}', '{"splits": []}', '{"splits": ["a", "a"]}', "{}",
                "nope", '{"splits": ["train"], "splits": ["test"]}', '{"splits": null}', "[" * 5000]
)  # fmt: skip
def test_task_metadata_that_is_none(tmp_path: Path, content: str) -> None:
    task_folder(tmp_path, ["train"])
    (tmp_path / "task_metadata.json").write_text(content)
    with pytest.raises(DeloresError, match=r"task_metadata\.json: ") as error:
        Corpus.from_path(tmp_path)
    assert "\n" not in str(error.value)
