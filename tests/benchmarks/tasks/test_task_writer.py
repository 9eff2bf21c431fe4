"""The shared writer: what it writes, and that nothing half-written is ever left."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.writer import Clip, sorted_labels, to_pcm16, write_task_folder
from hear_delores.errors import DeloresError
from pretrain.locks import folder_lock

METADATA = {
    "task_name": "bark",
    "version": "1",
    "mode": "full",
    "embedding_type": "scene",
    "prediction_type": "multiclass",
    "split_mode": "trainvaltest",
    "evaluation": ["top1_acc"],
}


def tone(n: int, rate: int = 16000) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(n) / rate)


def splits(**changes: list[Clip]) -> dict[str, list[Clip]]:
    good = {name: [Clip(f"{name}.wav", ["a"], tone(1600))] for name in ("train", "valid", "test")}
    return {**good, **changes}


def test_what_is_written_is_what_came(tmp_path: Path) -> None:
    audio = np.array([0.0, 0.25, -1.0, 1.0, 3e-5, 1.7, -1.7])
    task = write_task_folder(tmp_path, METADATA, splits(train=[Clip("x.wav", ["b"], audio)]))
    assert task.path == tmp_path / "bark-1-full"
    samples, rate = soundfile.read(task.audio_file("train", "x.wav", 16000), dtype="int16")
    assert rate == 16000
    assert samples.tolist() == [0, 8192, -32768, 32767, 1, 32767, -32768]
    assert soundfile.info(task.audio_file("train", "x.wav", 16000)).subtype == "PCM_16"
    assert task.labels("train") == {"x.wav": ["b"]}
    assert task.vocabulary == ["a", "b"]
    assert task.metadata["sample_duration"] is None  # lengths differ
    assert [path.name for path in tmp_path.iterdir()] == ["bark-1-full"]


def test_a_common_length_is_stated_and_a_given_one_is_made(tmp_path: Path) -> None:
    assert write_task_folder(tmp_path / "own", METADATA, splits()).metadata["sample_duration"] == 0.1
    clips = splits(train=[Clip("long.wav", ["a"], tone(5000)), Clip("short.wav", ["a"], tone(10))])
    task = write_task_folder(tmp_path / "fixed", {**METADATA, "sample_duration": 0.2}, clips)
    long, _ = soundfile.read(task.audio_file("train", "long.wav", 16000))
    short, _ = soundfile.read(task.audio_file("train", "short.wav", 16000))
    assert len(long) == len(short) == 3200
    assert np.allclose(long, tone(5000)[:3200], atol=1 / 32768)
    assert not short[10:].any()


def test_audio_is_resampled_to_the_rate_of_the_folder(tmp_path: Path) -> None:
    clip = Clip("x.wav", ["a"], tone(44100, 44100), sample_rate=44100)
    task = write_task_folder(tmp_path, METADATA, splits(train=[clip]), 16000)
    samples, rate = soundfile.read(task.audio_file("train", "x.wav", 16000))
    assert (rate, len(samples)) == (16000, 16000)
    assert np.abs(samples - tone(16000))[200:-200].max() < 1e-3


def test_an_existing_folder_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    first = write_task_folder(tmp_path, METADATA, splits())
    with pytest.raises(DeloresError, match="exists"):
        write_task_folder(tmp_path, METADATA, splits(train=[Clip("y.wav", ["a"], tone(9))]))
    assert TaskFolder.open(first.path).revision == first.revision
    second = write_task_folder(tmp_path, METADATA, splits(train=[Clip("y.wav", ["a"], tone(9))]), overwrite=True)
    assert list(second.labels("train")) == ["y.wav"]
    assert not (second.path / "16000/train/train.wav").exists()


def broken() -> Iterator[Clip]:
    yield Clip("a.wav", ["a"], tone(100))
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("metadata", "clips", "error"),
    [
        ({}, splits(test=[]), "no clip is left in split 'test'"),
        ({}, splits(test=[Clip("a.wav", ["a"], tone(9)), Clip("a.wav", ["b"], tone(9))]), "are called a.wav"),
        ({}, splits(test=[Clip("../a.wav", ["a"], tone(9))]), "plain name"),
        ({}, splits(test=[Clip("a.wav", ["a"], np.array([0.0, np.nan]))]), "finite samples"),
        ({}, splits(test=[Clip("a.wav", ["a"], np.zeros(0))]), "finite samples"),
        ({}, splits(test=[Clip("a.wav", ["a"], Path("nowhere.wav"))]), "nowhere.wav: there is no such file"),
        ({}, splits(test=[Clip("a.wav", ["a", "b"], tone(9))]), "one label"),
        ({"evaluation": ["accuracy"]}, splits(), "unknown metric"),
        ({}, {"train": []}, "missing: valid"),
    ],
)
@pytest.mark.parametrize("there", [False, True])
def test_an_error_leaves_nothing_behind(
    tmp_path: Path, metadata: dict[str, Any], clips: Any, error: str, there: bool
) -> None:
    before = write_task_folder(tmp_path, METADATA, splits()).revision if there else ""
    with pytest.raises(DeloresError, match=error) as caught:
        write_task_folder(tmp_path, {**METADATA, **metadata}, clips, overwrite=True)
    assert "\n" not in str(caught.value)
    if there:
        assert TaskFolder.open(tmp_path / "bark-1-full").revision == before
    assert [path.name for path in tmp_path.iterdir()] == (["bark-1-full"] if there else [])


def test_an_interrupt_leaves_nothing_behind_and_a_killed_run_is_cleared(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_task_folder(tmp_path, METADATA, {**splits(), "valid": broken()})
    assert list(tmp_path.iterdir()) == []
    left = tmp_path / ".bark-1-full.partial" / "16000" / "train"
    left.mkdir(parents=True)
    (left / "half.wav").write_bytes(b"RIFF")
    task = write_task_folder(tmp_path, METADATA, splits())
    assert [path.name for path in tmp_path.iterdir()] == ["bark-1-full"]
    assert not (task.path / "16000/train/half.wav").exists()


def test_bad_clips_can_be_left_out_and_are_reported(tmp_path: Path) -> None:
    bad: list[tuple[str, str]] = []
    clips = splits(train=[Clip("x.wav", ["a"], Path("nowhere.wav")), Clip("y.wav", ["a"], tone(9))])
    task = write_task_folder(
        tmp_path, METADATA, clips, on_bad=lambda split, clip, error: bad.append((split, clip.file))
    )
    assert bad == [("train", "x.wav")]
    assert list(task.labels("train")) == ["y.wav"]
    assert task.metadata["skipped_files"] == [{"split": "train", "file": "x.wav"}]


def test_events_and_progress(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    metadata = {
        **METADATA,
        "embedding_type": "event",
        "prediction_type": "multilabel",
        "evaluation": ["segment_1s_er"],
    }
    events = [{"label": "10", "start": 0.0, "end": 5.0}, {"label": "9", "start": 1.5, "end": 5.0}]
    task = write_task_folder(
        tmp_path,
        metadata,
        {name: [Clip(f"{name}.wav", events, tone(9))] for name in ("train", "valid", "test")},
        progress=lambda done, total: seen.append((done, total)),
        total=3,
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert task.vocabulary == ["9", "10"]  # by value: the chroma metric counts on it
    assert json.loads((task.path / "train.json").read_text(encoding="utf-8")) == {"train.wav": events}


@given(st.lists(st.floats(-1, 1, width=64), min_size=1, max_size=50))
def test_sixteen_bits_are_within_half_a_step(samples: list[float]) -> None:
    got = to_pcm16(np.array(samples)).astype(np.float64) / 32768
    assert np.all(np.abs(got - np.array(samples)) <= np.where(np.array(samples) > 1 - 1 / 32768, 1, 0.5) / 32768)


def test_order_of_labels() -> None:
    assert sorted_labels({"100", "21", "3"}) == ["3", "21", "100"]
    assert sorted_labels({"b", "10", "a"}) == ["10", "a", "b"]


def test_the_same_task_is_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    audio = tmp_path / "a.wav"
    soundfile.write(audio, tone(1600), 16000)
    kept: list[str] = []

    def written(**changes: Any) -> TaskFolder:
        clips = splits(train=[Clip("x.wav", ["a"], audio)])
        options = {"metadata": METADATA, "splits": clips, "on_kept": lambda: kept.append("kept"), **changes}
        return write_task_folder(tmp_path / "tasks", **options)

    first = written()
    assert kept == []
    assert written().revision == first.revision
    assert kept == ["kept"]
    for changes in (
        {"splits": splits(train=[Clip("x.wav", ["b"], audio)])},
        {"splits": splits(train=[Clip("y.wav", ["a"], audio)])},
        {"metadata": {**METADATA, "evaluation": ["mAP"]}},
        {"sample_rate": 8000},
        {"vocabulary": ["a", "b"]},
        {"on_kept": None},
    ):
        with pytest.raises(DeloresError, match="exists; remove it"):
            written(**changes)
    later = first.path.stat().st_mtime + 5
    os.utime(audio, (later, later))  # replaced since
    with pytest.raises(DeloresError, match="exists; remove it"):
        written()
    assert kept == ["kept"]


def test_a_folder_that_is_no_task_is_never_replaced(tmp_path: Path) -> None:
    target = tmp_path / "bark-1-full"
    target.mkdir()
    (target / "thesis.txt").write_text("mine")
    with pytest.raises(DeloresError, match=r"holds something else \(it has no task_metadata.json\)"):
        write_task_folder(tmp_path, METADATA, splits(), overwrite=True)
    assert (target / "thesis.txt").read_text() == "mine"


def test_two_processes_do_not_prepare_one_task(tmp_path: Path) -> None:
    held = folder_lock(tmp_path / "bark-1-full", "x", whole=True)
    with held, pytest.raises(DeloresError, match="another process is preparing this task"):
        write_task_folder(tmp_path, METADATA, splits())
    write_task_folder(tmp_path, METADATA, splits())
    assert [path.name for path in tmp_path.iterdir()] == ["bark-1-full"]


@pytest.mark.parametrize("split", ["../../x", "/x", "a/b", "task_metadata", "embedding-info", "a.b", ".."])
def test_a_split_that_is_called_like_a_path_or_another_file_is_refused(split: str, tmp_path: Path) -> None:
    metadata = {**METADATA, "split_mode": "new_split_kfold"}
    clips = {name: [Clip("x.wav", ["a"], tone(9))] for name in ("a", "b", "c", split)}
    with pytest.raises(DeloresError, match=r"splits: .*(expected a plain name|cannot be a split's name)"):
        write_task_folder(tmp_path, metadata, clips)


def test_numbers_of_any_length_have_one_order() -> None:
    labels = ["9" * 6000, "01", "1", "001", "0", "00", "1" + "0" * 5999, "10"]
    wanted = ["0", "00", "1", "01", "001", "10", "1" + "0" * 5999, "9" * 6000]
    assert sorted_labels(labels) == sorted_labels(reversed(labels)) == wanted


def test_events_are_cut_where_the_audio_is_cut(tmp_path: Path) -> None:
    about = {**METADATA, "embedding_type": "event", "prediction_type": "multilabel", "sample_duration": 0.5,
             "evaluation": ["segment_1s_er"]}  # fmt: skip
    events = [{"label": "a", "start": 100, "end": 9000}, {"label": "b", "start": 700, "end": 800}]
    clips = {name: [Clip(f"{name}.wav", events, tone(16000))] for name in ("train", "valid", "test")}
    task = write_task_folder(tmp_path, about, clips)
    assert task.labels("test") == {"test.wav": [{"label": "a", "start": 100, "end": 500.0}]}
    assert task.vocabulary == ["a"]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (
            {"label": "a", "start": 0, "end": float("inf")},
            "train.wav: an event's start and end .* got inf",
        ),
        ({"label": "a", "start": 9, "end": 3}, "train.wav: the event 'a' ends"),
        ({"label": "a", "start": 0, "end": 1e15}, "later than a day"),
        ({"label": "a", "start": 0, "end": 5000}, "lasts from 0 to 5000 ms, but its clip ends at 1000 ms"),
        ({"label": ["a"], "start": 0, "end": 1}, "expected a label as a string or number"),
    ],
)
def test_events_that_are_none_are_not_written(tmp_path: Path, event: dict[str, Any], message: str) -> None:
    about = {**METADATA, "embedding_type": "event", "prediction_type": "multilabel", "evaluation": ["segment_1s_er"]}
    clips = {name: [Clip(f"{name}.wav", [event], tone(16000))] for name in ("train", "valid", "test")}
    with pytest.raises(DeloresError, match=message):
        write_task_folder(tmp_path, about, clips)
    assert list(tmp_path.iterdir()) == []
