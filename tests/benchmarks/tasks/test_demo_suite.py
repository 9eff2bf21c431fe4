"""The generated suite: the same everywhere, labelled right, and hard in the ways that it claims."""

from __future__ import annotations

import filecmp
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.tasks.demo import write_demo_tasks
from benchmarks.tasks.demo.demo_tasks import MAKERS
from benchmarks.tasks.demo.synthesis import INSTRUMENTS, RATE, Draw, gesture, note
from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.registry import find_task, list_tasks
from benchmarks.tasks.writer import to_pcm16
from hear_delores.errors import DeloresError


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TaskFolder]:
    out = tmp_path_factory.mktemp("demo")
    return {task.name: task for task in map(TaskFolder.open, write_demo_tasks(out))}


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_clips_made_again_are_the_same_to_the_bit(suite: dict[str, TaskFolder]) -> None:
    assert sorted(suite) == sorted(MAKERS)
    for name, task in suite.items():
        for split in task.splits:
            for clip in itertools.islice(MAKERS[name](split), 3):
                assert task.labels(split)[clip.file] == list(clip.labels)
                samples, _ = soundfile.read(task.audio_file(split, clip.file, RATE), dtype="int16")
                np.testing.assert_array_equal(samples, to_pcm16(clip.audio))


def test_the_stream_of_random_numbers_is_pinned() -> None:
    # numpy guarantees the raw bits of PCG64, and the rest is arithmetic: these numbers hold everywhere.
    got = Draw("pinned", 1)
    reference = np.random.PCG64(int.from_bytes(__import__("hashlib").sha256(b"pinned/1").digest()[:16], "little"))
    raw = reference.random_raw(3)
    assert got.uniforms(3).tolist() == [int(value) // 2**11 / 2**53 for value in raw]
    assert [Draw("pinned", 1).integer(0, 9) for _ in range(3)] == [int(int(raw[0]) // 2**11 / 2**53 * 10)] * 3
    normals = Draw("normal").normals(20001)
    assert abs(normals.mean()) < 0.02
    assert abs(normals.std() - 1) < 0.02
    assert sorted(Draw("sample").sample("abcdef", 6)) == list("abcdef")


def test_folders_hold_what_the_registry_says(suite: dict[str, TaskFolder]) -> None:
    for spec in list_tasks("demo"):
        task = suite[spec.name]
        assert task.folder_name == task.path.name == spec.folder_name
        assert task.n_clips == spec.clips
        assert len(task.vocabulary) == spec.classes
        assert spec.to_metadata().items() <= task.metadata.items()
        for split in task.splits:
            used = {str(item["label"]) if isinstance(item, dict) else item
                    for labels in task.labels(split).values() for item in labels}  # fmt: skip
            assert used == set(task.vocabulary), (spec.name, split)


def test_audio_is_full_length_and_neither_silent_nor_clipped(suite: dict[str, TaskFolder]) -> None:
    for task in suite.values():
        seen = set()
        for split in task.splits:
            for file in task.labels(split):
                samples, rate = soundfile.read(task.audio_file(split, file, RATE), dtype="int16")
                assert (rate, len(samples)) == (RATE, round(task.info.sample_duration * RATE))  # type: ignore[operator]
                assert 100 < np.abs(samples.astype(int)).max() < 32767
                seen.add(samples.tobytes())
        assert len(seen) == task.n_clips  # no clip stands in two splits


def test_multiclass_splits_are_balanced(suite: dict[str, TaskFolder]) -> None:
    for name in ("demo_timbre", "demo_pitch"):
        for split in suite[name].splits:
            counts = Counter(labels[0] for labels in suite[name].labels(split).values())
            assert len(set(counts.values())) == 1


def test_mixtures_have_one_to_three_different_labels(suite: dict[str, TaskFolder]) -> None:
    task = suite["demo_mixture"]
    sizes = Counter(len(labels) for split in task.splits for labels in task.labels(split).values())
    assert set(sizes) == {1, 2, 3}
    for split in task.splits:
        for labels in task.labels(split).values():
            assert labels == sorted(set(labels))


def test_events_overlap_but_not_with_their_own_kind(suite: dict[str, TaskFolder]) -> None:
    task = suite["demo_events"]
    most = 0
    for split in task.splits:
        for events in task.labels(split).values():
            assert len(events) >= 2
            for event in events:
                assert 0 <= event["start"] < event["end"] <= 6000
                assert 300 <= event["end"] - event["start"] <= 1100
                others = [other for other in events if other is not event]
                assert not any(
                    other["label"] == event["label"]
                    and other["start"] < event["end"] + 200
                    and event["start"] < other["end"] + 200
                    for other in others
                )
                most = max(most, sum(other["start"] <= event["start"] < other["end"] for other in events))
    assert most == 2


def test_an_event_is_where_its_label_says(suite: dict[str, TaskFolder]) -> None:
    # Energy inside events must be above that between them: the labels belong to the sound.
    task = suite["demo_events"]
    ratios = []
    for file, events in task.labels("train").items():
        samples, _ = soundfile.read(task.audio_file("train", file, RATE))
        inside = np.zeros(len(samples), bool)
        for event in events:
            inside[round(event["start"] * 16) : round(event["end"] * 16)] = True
        ratios.append(np.mean(samples[inside] ** 2) / np.mean(samples[~inside] ** 2))
    assert np.median(ratios) > 10


@pytest.mark.parametrize("instrument", sorted(set(INSTRUMENTS) - {"bell"}))  # a bell is inharmonic
def test_a_note_has_its_pitch(instrument: str) -> None:
    # The autocorrelation of a harmonic sound peaks at its period.
    for frequency in (180.0, 330.0):
        sound = note(instrument, frequency, 0.5, Draw("note", instrument, frequency))
        assert abs(np.sqrt(np.mean(sound**2)) - 1) < 1e-9
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 1 << 16)) ** 2
        correlation = np.fft.irfft(spectrum)[:400]
        low = int(RATE / frequency * 0.7)
        period = low + int(np.argmax(correlation[low : int(RATE / frequency * 1.4)]))
        assert abs(RATE / period / frequency - 1) < 0.03


def test_sweeps_go_where_their_names_say() -> None:
    for kind, sign in (("sweep_up", 1), ("sweep_down", -1)):
        sound = gesture(kind, 1.0, Draw("sweep", kind))
        half = len(sound) // 2
        peaks = [int(np.argmax(np.abs(np.fft.rfft(part)))) for part in (sound[:half], sound[half:])]
        assert sign * (peaks[1] - peaks[0]) > 0


def test_the_recording_differs_between_splits(suite: dict[str, TaskFolder]) -> None:
    # The quietest tenth of frames against the loudest: test clips are noisier and more reverberant.
    def contrast(split: str) -> float:
        values = []
        for file in suite["demo_timbre"].labels(split):
            samples, _ = soundfile.read(suite["demo_timbre"].audio_file(split, file, RATE))
            spectrum = np.sort(np.abs(np.fft.rfft(samples)) ** 2)
            values.append(np.log10(spectrum[-200:].mean() / spectrum[: len(spectrum) // 2].mean()))
        return float(np.mean(values))

    assert contrast("train") > contrast("test") + 0.2


def test_a_task_that_is_there_is_left_alone(suite: dict[str, TaskFolder], tmp_path: Path) -> None:
    [path] = write_demo_tasks(tmp_path, ["demo_events"])
    first = suite["demo_events"].path
    assert files(path) == files(first)  # and twice the same to the byte
    assert all(filecmp.cmp(path / name, first / name, shallow=False) for name in files(path))
    stamps = {name: (path / name).stat().st_mtime_ns for name in files(path)}
    assert write_demo_tasks(tmp_path, ["demo_events"]) == [path]
    assert {name: (path / name).stat().st_mtime_ns for name in files(path)} == stamps
    [path] = write_demo_tasks(tmp_path, ["demo_events"], sample_rate=8000)
    assert TaskFolder.open(path).sample_rates == [8000]


def test_faults(tmp_path: Path) -> None:
    with pytest.raises(DeloresError, match="Did you mean 'demo_pitch'"):
        write_demo_tasks(tmp_path, ["demo_pitches"])
    assert find_task("demo_events").folder_name == "demo_events-1-full"
