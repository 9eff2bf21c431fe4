"""Event tasks mixed from sounds and backgrounds: the labels against the audio that was written."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.tasks.corpora import event_mixtures
from benchmarks.tasks.corpora.event_mixtures import active_part
from hear_delores.errors import DeloresError

RATE = 8000
TONES = {"low": 500.0, "high": 2000.0}  # Hz


def tone(frequency: float, seconds: float) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones between silences, and faint noise to mix them into."""
    folder, draw = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    lines = ["file,label,split"]
    for split in ("train", "valid", "test"):
        for label, frequency in TONES.items():
            sound = np.concatenate([np.zeros(1600), tone(frequency, 0.3), np.zeros(1600), tone(frequency, 0.2)])
            soundfile.write(folder / f"{split}-{label}.wav", sound, RATE)
            lines.append(f"{split}-{label}.wav,{label},{split}")
        soundfile.write(folder / f"{split}-noise.wav", 0.1 * draw.standard_normal(3 * RATE), RATE)
        lines.append(f"{split}-noise.wav,background,{split}")
    path = folder / "labels.csv"
    path.write_text("\n".join(lines))
    return path


def test_events_are_where_their_labels_say(table: Path, tmp_path: Path) -> None:
    report = event_mixtures.prepare(table, tmp_path, "tones", 20, sample_rate=RATE)
    task = report.task
    assert report.clips_by_split == {"train": 10, "valid": 4, "test": 6}
    assert task.vocabulary == ["high", "low"]
    assert report.skipped == []
    heard = {label: {True: [], False: []} for label in TONES}
    for split in task.splits:
        for file, events in task.raw_labels(split).items():
            audio, _ = soundfile.read(task.audio_file(split, file, RATE))
            assert len(audio) == 10 * RATE
            starts = [event["start"] for event in events]
            assert starts == sorted(starts)
            for one, other in itertools.pairwise(events):
                assert other["start"] - one["end"] >= 150
            for label, frequency in TONES.items():
                own = np.zeros(1000, dtype=bool)  # hundredths of a second
                for event in events:
                    assert event["end"] - event["start"] == 300  # the first of the two tones alone
                    if event["label"] == label:
                        own[round(event["start"] / 10) + 2 : round(event["end"] / 10) - 2] = True
                blocks = audio.reshape(1000, -1)
                turns = np.exp(-2j * np.pi * frequency * np.arange(blocks.shape[1]) / RATE)
                power = np.abs(blocks @ turns) ** 2
                clear = np.ones(1000, dtype=bool)
                for event in events:
                    clear[int(event["start"] / 10) - 1 : int(event["end"] / 10) + 2] = False
                heard[label][True] += list(power[own])
                heard[label][False] += list(power[clear])
    for power in heard.values():
        assert len(power[True]) > 500
        assert np.quantile(power[True], 0.05) > np.quantile(power[False], 0.95)


@pytest.mark.parametrize("count", [10, 17, 19])
def test_there_are_as_many_mixtures_as_asked_for(table: Path, tmp_path: Path, count: int) -> None:
    assert event_mixtures.prepare(table, tmp_path, "tones", count, sample_rate=RATE).clips == count


def test_the_same_task_is_made_again(table: Path, tmp_path: Path) -> None:
    first, second = (event_mixtures.prepare(table, tmp_path / name, "tones", 10, sample_rate=RATE) for name in "ab")
    for split in first.task.splits:
        assert first.task.raw_labels(split) == second.task.raw_labels(split)
        for file in first.task.raw_labels(split):
            one, other = (report.task.audio_file(split, file, RATE).read_bytes() for report in (first, second))
            assert one == other


def test_the_first_active_part() -> None:
    burst, silence = np.ones(800, dtype=np.float32), np.zeros(800, dtype=np.float32)
    short_gap = np.zeros(320, dtype=np.float32)  # two frames of 20 ms
    audio = np.concatenate([silence, burst, short_gap, burst, silence, burst])
    assert np.array_equal(active_part(audio, RATE), np.concatenate([burst, short_gap, burst]))
    assert len(active_part(silence, RATE)) == 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("valid-noise.wav,background,valid", "valid-noise.wav,high,valid", "valid has no clip with the label"),
        ("test-low.wav,low,test", "test-low.wav,high,test", "test has no sound of 'low'"),
        ("train", "fold00", "splits"),
    ],
)
def test_what_cannot_be_mixed_is_one_line(table: Path, tmp_path: Path, old: str, new: str, message: str) -> None:
    changed = tmp_path / "labels.csv"
    changed.write_text(table.read_text().replace(old, new))
    with pytest.raises(DeloresError, match=message):
        event_mixtures.prepare(changed, tmp_path / "tasks", "tones", 10, audio_dir=table.parent, sample_rate=RATE)
    with pytest.raises(DeloresError, match="at least 10 mixtures"):
        event_mixtures.prepare(table, tmp_path / "tasks", "tones", 9, sample_rate=RATE)
    assert not (tmp_path / "tasks").exists()


def test_silent_recordings_are_left_out_and_listed(table: Path, tmp_path: Path) -> None:
    """Of no use as a background or a sound: a label with nothing to hear would be wrong."""
    faint = np.concatenate([np.zeros(10 * RATE), tone(500.0, 1.0)])  # of a background, the first 10 s are used
    for name, audio in {"faint.wav": faint, "none.wav": np.zeros(RATE), "low.wav": 1e-4 * tone(500.0, 0.3)}.items():
        soundfile.write(table.parent / name, audio, RATE, subtype="FLOAT")
    changed = tmp_path / "labels.csv"
    more = "faint.wav,background,train\nnone.wav,background,test\nlow.wav,low,train"
    changed.write_text(f"{table.read_text()}\n{more}")
    options = {"audio_dir": table.parent, "sample_rate": RATE}
    found = event_mixtures.prepare(changed, tmp_path / "a", "tones", 10, **options)
    assert found.skipped == [
        "faint.wav: its first 10 s are silent", "none.wav: its first 10 s are silent", "low.wav: silent",
    ]  # fmt: skip
    without = event_mixtures.prepare(table, tmp_path / "b", "tones", 10, sample_rate=RATE)
    assert found.task.revision == without.task.revision
    changed.write_text(table.read_text().replace("valid-noise.wav", "none.wav"))
    with pytest.raises(DeloresError, match="valid has no clip with the label 'background', and not silent"):
        event_mixtures.prepare(changed, tmp_path / "c", "tones", 10, **options)
