"""The suite of today's papers: ten seeds of the classifier, one embedding, and the table that papers print."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.results.record import load_records
from benchmarks.tasks.registry import list_tasks
from benchmarks.tasks.suites import find_suite

PAPERS = {
    "beijing_opera", "tfds_crema_d", "esc50", "libricount", "mridangam_stroke", "mridangam_tonic", "nsynth_pitch",
    "speech_commands", "fsd50k", "vox_lingua_top10",
}  # fmt: skip


def test_the_suites_are_the_papers_tasks() -> None:
    assert {spec.name for spec in list_tasks("papers")} == PAPERS
    assert {spec.mode for spec in list_tasks("papers") if spec.name in ("nsynth_pitch", "speech_commands")} == {"5h"}
    more = {spec.name for spec in list_tasks("papers+")} - PAPERS
    assert (len(list_tasks("papers")), more) == (10, {"dcase2016_task2", "gunshot_triangulation"})
    assert (find_suite("papers").seeds, find_suite("hear").seeds, find_suite(None).over_seeds) == (10, 1, False)


@pytest.fixture
def esc50(tasks_dir: Path, tmp_path: Path) -> Path:
    """A folder with one small task under the name of ESC-50."""
    [source] = tasks_dir.glob("first-*")
    folder = tmp_path / "tasks" / "esc50-v2.0.0-full"
    shutil.copytree(source, folder)
    metadata = json.loads((folder / "task_metadata.json").read_text())
    metadata |= {"task_name": "esc50", "version": "v2.0.0"}
    (folder / "task_metadata.json").write_text(json.dumps(metadata))
    return folder.parent


def test_ten_seeds_share_one_grid_and_one_embedding(delores: Callable[..., Any], esc50: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = delores(
        "run", "a=benchmarks.baselines.logmel", "--suite", "papers", "--tasks-dir", esc50, "--out", out,
        "--grid", "faster", "--grid-points", "2", "--share-grid", "--device", "cpu",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    records = load_records([out / "results"])
    assert sorted(record.seed for record in records) == list(range(42, 52))
    assert [len(record.grid) for record in records if record.seed == 42] == [2]
    assert {len(record.grid) for record in records if record.seed > 42} == {0}
    text = (out / "tables.md").read_text()
    assert "### Protocol: hear (faster-2points-grid of seed 42)" in text
    assert "| mean | s(m) | leaderboard | mean rank |" in text
    assert "| chance |" in text
    assert ran.out.count("embedded in") == 10


def test_shuffled_labels_have_a_table_of_their_own(delores: Callable[..., Any], esc50: Path, tmp_path: Path) -> None:
    words = ("run", "benchmarks.baselines.logmel", "--tasks-dir", esc50, "--out", tmp_path / "out", "-p", "knn")
    assert delores(*words).code == 0
    assert "knn (shuffled labels)" in delores(*words, "--control", "shuffled").out
    text = delores("tables", tmp_path / "out" / "results").out
    assert "### Protocol: knn\n" in text
    assert "### Protocol: knn (shuffled labels)\n" in text
    wrong = delores(*words, "--control", "none")
    assert (wrong.code, "shuffled" in wrong.err) == (2, True)
