"""From a corpus to a task folder: counts, subsets, faults; and the splits that are drawn by seed."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.tasks.corpora import prepare_corpus
from benchmarks.tasks.corpora.drawing import draw, draw_published
from benchmarks.tasks.corpora.recordings import Recording, find_folder
from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.registry import TaskSpec, find_task
from hear_delores.errors import DeloresError


def esc50(root: Path, folds: int = 5, each: int = 2, ending: str = ".wav") -> Path:
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, folds + 1):
        for index in range(each):
            name = f"{fold}-{fold}00{index}-A-{index}"
            path = root / "audio" / f"{name}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            tone = 0.1 * np.sin(np.arange(2205) * (index + fold) / 40)
            soundfile.write(path, tone, 44100, format={".wav": "WAV", ".flac": "FLAC", ".mp3": "MP3"}[ending])
            lines.append(f"{name}.wav,{fold},{index},{('dog', 'hen')[index % 2]},False,{fold}00{index},A")
    (root / "meta").mkdir(exist_ok=True)
    (root / "meta" / "esc50.csv").write_text("\n".join(lines))
    return root


def small_spec(clips: int = 10) -> TaskSpec:
    """ESC-50 as if its whole corpus were the miniature."""
    spec = find_task("esc50")
    assert spec.corpus is not None
    variant = spec.variants["full"].model_copy(update={"counts": {f"fold{i:02d}": clips // 5 for i in range(5)}})
    corpus = spec.corpus.model_copy(update={"recordings": clips})
    return spec.model_copy(update={"classes": 2, "clips": clips, "variants": {"full": variant}, "corpus": corpus})


@pytest.mark.parametrize("ending", [".wav", ".flac", ".mp3"])
def test_a_whole_corpus_becomes_the_task(tmp_path: Path, ending: str) -> None:
    calls: list[tuple[int, int]] = []
    report = prepare_corpus(
        small_spec(),
        esc50(tmp_path / "raw", ending=ending),
        tmp_path / "out",
        progress=lambda done, total: calls.append((done, total)),
    )
    assert report.path == tmp_path / "out" / "esc50-v2.0.0-full"
    assert (report.subset, report.missing, report.skipped, report.warnings) == (None, [], [], [])
    assert report.clips_by_split == {f"fold{i:02d}": 2 for i in range(5)}
    assert report.clips_by_label == {"dog": 5, "hen": 5}
    assert calls[-1] == (10, 10)
    task = TaskFolder.open(report.path)
    assert "subset" not in task.metadata
    assert (task.metadata["split_name"], task.metadata["licence"]) == ("full", "CC BY-NC 3.0")
    samples, rate = soundfile.read(task.audio_file("fold00", "1-1000-A-0.wav", 16000))
    assert (rate, len(samples)) == (16000, 5 * 16000)  # padded to the task's length


def test_what_is_missing_is_counted_named_and_listed(tmp_path: Path) -> None:
    raw = esc50(tmp_path / "raw", each=4)
    for fold in range(1, 6):
        (raw / "audio" / f"{fold}-{fold}001-A-1.wav").unlink()
    with pytest.raises(DeloresError) as caught:
        prepare_corpus(small_spec(20), raw, tmp_path / "out")
    message = str(caught.value)
    assert "15 of 20 recordings" in message
    assert "5 listed file(s) missing: audio/1-1001-A-1.wav" in message
    assert "\n" not in message
    listed = tmp_path / "out" / "esc50-v2.0.0-full.missing.txt"
    assert str(listed) in message
    assert listed.read_text().split() == [f"audio/{fold}-{fold}001-A-1.wav" for fold in range(1, 6)]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [listed.name]  # and no task folder

    report = prepare_corpus(small_spec(20), raw, tmp_path / "out", subset=True)
    assert report.path.name == "esc50-v2.0.0-full_subset"
    assert report.subset == "15 of 20 recordings"
    assert report.task.metadata["subset"] == report.subset
    assert report.task.metadata["missing_files"] == 5


def test_a_whole_corpus_is_no_subset_even_when_one_is_allowed(tmp_path: Path) -> None:
    report = prepare_corpus(small_spec(), esc50(tmp_path / "raw"), tmp_path / "out", subset=True)
    assert (report.subset, report.path.name) == (None, "esc50-v2.0.0-full")


def test_more_than_the_corpus_holds_is_refused_even_as_a_subset(tmp_path: Path) -> None:
    raw = esc50(tmp_path / "raw", each=4)
    with pytest.raises(DeloresError, match=r"holds more than esc50 should: 20 of 10 recordings.*another version"):
        prepare_corpus(small_spec(10), raw, tmp_path / "out", subset=True)


def test_bad_audio_stops_or_is_listed(tmp_path: Path) -> None:
    raw = esc50(tmp_path / "raw")
    (raw / "audio" / "3-3001-A-1.wav").write_bytes(b"")
    with pytest.raises(DeloresError, match=r"3-3001-A-1.wav: the file is empty"):
        prepare_corpus(small_spec(), raw, tmp_path / "out")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    report = prepare_corpus(small_spec(), raw, tmp_path / "out", skip_bad=True)
    assert len(report.skipped) == 1
    assert report.skipped[0].startswith(f"{raw / 'audio' / '3-3001-A-1.wav'}: the file is empty")
    assert report.clips == 9


def test_tasks_without_a_corpus_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DeloresError, match=r"`delores download maestro-v3.0.0-5h` fetches"):
        prepare_corpus("maestro", tmp_path, tmp_path / "out")
    with pytest.raises(DeloresError, match="Did you mean 'urbansound8k'"):
        prepare_corpus("urbansound8", tmp_path, tmp_path / "out")
    with pytest.raises(DeloresError, match="the split of the published figure is not known"):
        prepare_corpus("urbansound8k", tmp_path, tmp_path / "out", split="published")


def test_a_corpus_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        esc50(tmp_path / "raw" / name)
    with pytest.raises(DeloresError, match="once; found it in"):
        prepare_corpus(small_spec(), tmp_path / "raw", tmp_path / "out")
    with pytest.raises(DeloresError, match="expected x, here or up to two folders below; found a, b"):
        find_folder(tmp_path / "raw", lambda _: False, "x")


# --- splits drawn by seed

#: What was drawn when this was written: a published score depends on it.
TESTED = ["1.wav", "41.wav", "48.wav", "53.wav", "57.wav", "58.wav"]


def clips(n: int, labels: int = 3, group: int = 4) -> list[Recording]:
    return [Recording(Path(f"{i}"), f"{i}.wav", f"c{i % labels}", group=f"g{i // group}") for i in range(n)]


@settings(max_examples=50, deadline=None)
@given(st.integers(30, 300), st.integers(1, 5), st.integers(1, 9), st.booleans(), st.randoms(use_true_random=False))
def test_a_draw_keeps_every_clip_and_does_not_depend_on_order(
    n: int, labels: int, group: int, whole: bool, shuffler: random.Random
) -> None:
    given_clips = clips(n, labels, group)
    shares = {"valid": 0.1, "test": 0.1}
    drawn = {item.file: item.split for item in draw(given_clips, shares, whole_groups=whole)}
    assert set(drawn) == {item.file for item in given_clips}
    assert set(drawn.values()) <= {"train", "valid", "test"}
    mixed = given_clips[:]
    shuffler.shuffle(mixed)
    assert {item.file: item.split for item in draw(mixed, shares, whole_groups=whole)} == drawn
    if whole:
        splits = {
            item.group: {drawn[other.file] for other in given_clips if other.group == item.group} for item in mixed
        }
        assert all(len(found) == 1 for found in splits.values())
    else:
        for label in {item.label for item in given_clips}:
            counted = Counter(drawn[item.file] for item in given_clips if item.label == label)
            share = round(0.1 * sum(counted.values()))
            assert counted["test"] == counted["valid"] == max(1, share)


def test_a_clip_more_moves_few_others() -> None:
    before = {item.file: item.split for item in draw(clips(1000), {"test": 0.1})}
    after = {item.file: item.split for item in draw(clips(1001), {"test": 0.1})}
    assert sum(before[file] != after[file] for file in before) <= 1


def test_the_draw_is_fixed_for_all_time() -> None:
    drawn = draw(clips(60), {"valid": 0.1, "test": 0.1})
    assert sorted(item.file for item in drawn if item.split == "test") == TESTED
    published = Counter(item.split for item in draw_published(clips(300)))
    assert published == {"test": 60, "valid": 24, "train": 216}


def test_a_speaker_larger_than_the_share_stays_in_training() -> None:
    large = [Recording(Path(f"L{i}"), f"L{i}.wav", "c", group="large") for i in range(500)]
    small = [Recording(Path(f"s{i}"), f"s{i}.wav", "c", group=f"s{i // 5}") for i in range(500)]
    drawn = draw(large + small, {"valid": 0.1, "test": 0.1}, whole_groups=True)
    counted = Counter(item.split for item in drawn)
    assert counted == {"train": 800, "valid": 100, "test": 100}
    assert {item.split for item in drawn if item.group == "large"} == {"train"}
