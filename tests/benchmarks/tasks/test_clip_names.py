"""Names of clips in a task folder: as the corpus has them wherever that works, else short and writable, and unique."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.tasks.corpora.labels_csv import prepare
from benchmarks.tasks.corpora.recordings import Recording
from benchmarks.tasks.names import LONGEST_NAME, clip_name

TONE = 0.1 * np.sin(np.arange(1600) / 9)


@pytest.mark.parametrize("name", ["a__b.wav", "Käfer.wav", "犬.wav", "a b.wav", "👩‍🚀.wav", "x" * 251 + ".wav"])
def test_a_name_that_works_stays_as_it_is(name: str) -> None:
    assert clip_name(name) == name


def test_what_cannot_be_written_is_escaped() -> None:
    assert clip_name(os.fsdecode(b"caf\xe9.wav")) == "caf%E9.wav"
    assert clip_name("two\nlines.wav") == "two%0Alines.wav"


def test_a_long_name_is_shortened_the_same_way_each_time_and_unlike_any_other() -> None:
    names = [f"{'ä' * 200}{i}.wav" for i in range(50)] + ["x" * 252 + ".wav", "x" * 253 + ".wav"]
    short = [clip_name(name) for name in names]
    assert short == [clip_name(name) for name in names]
    assert len(set(short)) == len(names)
    assert all(len(name.encode()) <= LONGEST_NAME and name.endswith(".wav") for name in short)
    assert clip_name(short[0]) == short[0]


def test_a_recording_of_any_corpus_has_a_name_that_can_be_written() -> None:
    odd = os.fsdecode(b"\xe9")
    recording = Recording(Path(f"{odd}.wav"), f"{odd}{'x' * 300}.wav", odd, group=odd)
    assert (recording.label, recording.group) == ("\\xe9", "\\xe9")
    assert recording.file.startswith("%E9xxx")
    assert len(recording.file.encode()) <= LONGEST_NAME
    os.fsencode(recording.path)  # still the file on disk


def listing(source: Path, files: list[str]) -> Path:
    rows = [(file, label, split) for file, (label, split) in zip(files, [
        ("x", "train"), ("y", "train"), ("x", "valid"), ("y", "valid"), ("x", "test"), ("y", "test"),
    ] * 9, strict=False)]  # fmt: skip
    with open(source / "labels.csv", "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("file", "label", "split"), *rows])
    return source


def test_deep_folders_are_flattened_into_short_names(tmp_path: Path) -> None:
    source = tmp_path / "source"
    deep = source.joinpath(*(letter * 60 for letter in "abcde"))
    deep.mkdir(parents=True)
    files = []
    for i in range(6):
        soundfile.write(deep / f"{i}.wav", TONE, 16000)
        files.append((deep / f"{i}.wav").relative_to(source).as_posix())
    report = prepare(listing(source, files), tmp_path / "out", "bark")
    names = [file for split in report.task.splits for file in report.task.labels(split)]
    assert len(set(names)) == 6
    assert all(len(name.encode()) <= LONGEST_NAME for name in names)


@pytest.mark.skipif(sys.platform != "linux", reason="needs FIFOs and links")
def test_preparing_leaves_out_and_lists_what_is_no_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "audio").mkdir(parents=True)
    files = [f"{i}.wav" for i in range(6)] + ["fifo.wav", "dangling.wav", "folder.wav", "cut.wav", "loud.wav", "ok.wav"]
    for i in range(6):
        soundfile.write(source / f"{i}.wav", TONE, 16000)
    os.mkfifo(source / "audio" / "fifo.wav")
    (source / "dangling.wav").symlink_to("nowhere.wav")
    (source / "folder.wav").mkdir()
    (source / "cut.wav").write_bytes((source / "0.wav").read_bytes()[:999])
    soundfile.write(source / "loud.wav", 30000 * TONE, 16000, "FLOAT")
    soundfile.write(source / "ok.wav", TONE, 16000)
    report = prepare(listing(source, files), tmp_path / "out", "bark", skip_bad=True)
    assert report.clips == 7
    assert sorted(line.split(":")[0] for line in report.skipped) == sorted(files[6:11])
    assert next(line for line in report.skipped if "fifo" in line).startswith("fifo.wav: expected a regular file")
