"""``delores tasks``: all thirty with their figures at 80 columns, a card for one, what is ready; `prepare` by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from miniatures import sound
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.tasks.demo import demo_tasks, write_demo_tasks
from benchmarks.tasks.find import find_task_folders, load_task
from benchmarks.tasks.listing import list_lines, look_up
from benchmarks.tasks.registry import find_task, list_tasks
from hear_delores.errors import DeloresError


def run(*words: object) -> str:
    ran = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "80"})
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return ran.stdout


def made(folder: Path, name: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "task_metadata.json").write_text("{}")


def test_all_thirty_are_listed_within_80_columns(tmp_path: Path) -> None:
    made(tmp_path, "esc50-v2.0.0-full")
    made(tmp_path, "iemocap_emotion-1-published")
    made(tmp_path, "bird_song-1-honest_subset")
    lines = run("tasks", "--tasks-dir", tmp_path).splitlines()
    assert max(map(len, lines)) <= 80
    assert "hear: 19 tasks in 20 folders" in lines
    assert "delores: 11 tasks" in lines
    tasks = [line.split() for line in lines if not line.startswith(" ") and ": " not in line][1:]
    assert len(tasks) == len(list_tasks())
    figures = {f"{row[0]} {row[1]}" if row[1][0].isdigit() else row[0]: row for row in tasks}
    assert figures["esc50"] == ["esc50", "scene", "50", "2,000", "5-fold", "top1_acc", "ready"]
    assert figures["maestro 5h"][-5:] == ["88", "185", "5-fold", "onset_50ms", "-"]
    assert figures["voxceleb1_speaker"][2:4] == ["1,251", "153,516"]
    assert figures["iemocap_emotion"][-1] == "published"
    assert figures["bird_song"][-1] == "subset"
    facts = {name.split()[0]: lines[index + 1] for index, name in enumerate(lines[:-1])}
    assert facts["librispeech100_speaker"].split() == ["CC", "BY", "4.0", "6.4", "GB", "prepare", "www.openslr.org/12"]
    assert facts["voxceleb1_speaker"].split()[:2] == ["unknown", "unknown"]  # neither licence nor size has a source


def test_a_task_has_a_card(tmp_path: Path) -> None:
    made(tmp_path, "librispeech100_speaker-1-published")
    text = run("tasks", "librispeech100_speaker", "beehive_states_fold0", "--tasks-dir", tmp_path)
    assert all(len(line) <= 80 for line in text.splitlines())
    for words in (
        "LibriSpeech-100 in the paper: 585 classes, 28,538 clips",
        "6.4 GB",
        "librispeech100_speaker-1-published",
        "split published",
        "cited: licence",
        "the leaderboard's column Beehive (with its other hive, their mean)",
    ):
        assert words in " ".join(text.split()), words
    assert run("tasks", "--suite", "delores", "--long").count("  cited: task") == 11


def test_scripts_get_all_of_it_and_wrong_names_a_suggestion(tmp_path: Path) -> None:
    made(tmp_path, "esc50-v2.0.0-full")
    [found] = json.loads(run("tasks", "esc50", "--tasks-dir", tmp_path, "--json"))
    assert (found["ready"], found["folders"], found["licence"]) == (True, ["esc50-v2.0.0-full"], "CC BY-NC 3.0")
    with pytest.raises(DeloresError, match="Did you mean 'tfds_gtzan'"):
        run("tasks", "gtzan")
    with pytest.raises(DeloresError, match=r"could be nsynth_pitch-v2.2.3-50h or nsynth_pitch-v2.2.3-5h"):
        run("tasks", "nsynth_pitch")


def test_names_that_are_longer_than_the_terminal_are_cut() -> None:
    assert max(len(line) for line in list_lines(look_up([find_task("urbansound8k")], Path()), 40) if "…" in line) == 40


def test_prepare_knows_tasks_by_their_full_names_too(tmp_path: Path) -> None:
    for index in range(12):
        sound(tmp_path / "raw" / "test" / f"{index % 11}_{index}.wav")
    for name in ("libricount", "libricount-v1.0.0-hear2021-full"):
        with pytest.raises(DeloresError, match="not the whole corpus of libricount: 12 of 5,720 recordings"):
            run("prepare", name, "--source", tmp_path / "raw", "--out", tmp_path / "out")
    with pytest.raises(DeloresError, match="could be nsynth_pitch"):
        run("prepare", "nsynth_pitch", "--source", tmp_path, "--out", tmp_path / "out")


def test_prepare_takes_a_length_for_a_csv_alone(tmp_path: Path) -> None:
    lines = ["file,label,split"]
    for index, split in enumerate(("train", "valid", "test", "train")):
        sound(tmp_path / "raw" / f"{index}.wav", 0.1 * (index + 1))
        lines.append(f"{index}.wav,{'ab'[index % 2]},{split}")
    (tmp_path / "raw" / "labels.csv").write_text("\n".join(lines))
    words = ("--source", tmp_path / "raw", "--out", tmp_path / "out")
    for name, duration, seconds in (("one", "mean", 0.25), ("two", "0.5", 0.5)):
        run("prepare", name, *words, "--duration", duration)
        metadata = json.loads((tmp_path / "out" / f"{name}-1-full" / "task_metadata.json").read_text())
        assert metadata["sample_duration"] == seconds
    for wrong in ("long", "0", "nan", "-1", "0.00001", "inf", "1e9"):
        with pytest.raises(DeloresError, match=r"expected seconds from 0\.01 to 86400, or mean"):
            run("prepare", "three", *words, f"--duration={wrong}")
    with pytest.raises(DeloresError, match="esc50: --duration is for CSV tasks only"):
        run("prepare", "esc50", *words, "--duration", "mean")


def test_prepare_again_after_a_kill_at_its_very_end_is_no_error(
    delores: Callable[..., Any], corpus: Path, tmp_path: Path
) -> None:
    words = ["prepare", "tones", "--source", corpus / "labels.csv", "--out", tmp_path]
    assert delores(*words).code == 0
    ran = delores(*words)
    assert (ran.code, ran.err) == (0, "")
    assert "note: it was there from before, of the same clips and labels; --overwrite makes it anew" in ran.out
    assert "from before" not in delores(*words, "--overwrite").out
    assert [path.name.startswith("tones-") for path in tmp_path.iterdir()] == [True]


def test_a_corpus_that_is_needed_is_named_with_the_command_that_takes_it(delores: Callable[..., Any]) -> None:
    ran = delores("prepare", "urbansound8k")
    assert ran.code == 1
    for words in ("UrbanSound8K.tar.gz", "delores prepare urbansound8k --source FOLDER"):
        assert words in ran.err
    assert "delores download maestro" in delores("prepare", "maestro").err


@pytest.mark.parametrize(
    ("suite", "way"),
    [("hear", "`delores download hear`"), ("demo", "`delores prepare demo`"), ("delores", "--source CORPUS")],
)
def test_a_suite_without_task_folders_says_how_to_get_them(
    delores: Callable[..., Any], suite: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = delores("run", "log-mel", "--suite", suite)
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert way in ran.err


def test_a_suite_takes_published_splits_and_the_subset_of_what_is_not_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_tasks, "TIMBRE_CLIPS", dict.fromkeys(("train", "valid", "test"), 1))
    [written] = write_demo_tasks(tmp_path, ["demo_timbre"])
    spec = next(spec for spec in list_tasks("delores") if spec.name == "iemocap_emotion")
    for name in (f"{spec.folder_name}_subset", f"{spec.name}-{spec.version}-published"):
        shutil.copytree(written, tmp_path / name)
        metadata = json.loads((written / "task_metadata.json").read_text())
        task, version, mode = name.split("-", 2)
        metadata |= {"task_name": task, "version": version, "mode": mode}
        (tmp_path / name / "task_metadata.json").write_text(json.dumps(metadata))
    said: list[str] = []
    found = find_task_folders(tmp_path, suite="delores", on_skip=said.append)
    assert [task.path.name for task in found] == [
        f"{spec.folder_name}_subset", f"{spec.name}-{spec.version}-published",
    ]  # fmt: skip
    assert any("subsets, whose scores are marked" in line for line in said)
    assert load_task("demo_timbre", tmp_path).path == load_task(written).path == written
