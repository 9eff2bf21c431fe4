"""A part of a corpus: only by an option, and then marked from the task folder to every table."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from miniatures import sound


def birds(root: Path) -> Path:
    for folder, table in (("ff1010bird", "ff1010bird_metadata"), ("warblrb10k", "warblrb10k_public_metadata")):
        lines = ["itemid,datasetid,hasbird"] + [f"{folder}{i},{folder},{i % 2}" for i in range(20)]
        for index in range(20):
            sound(root / folder / "wav" / f"{folder}{index}.wav", 0.2)
        (root / folder / f"{table}_2018.csv").write_text("\n".join(lines))
    return root


def test_a_subset_is_refused_accepted_and_marked_to_the_end(delores: Callable, tmp_path: Path) -> None:
    words = ("prepare", "bird_song", "--source", birds(tmp_path / "raw"), "--out", tmp_path / "tasks")
    refused = delores(*words)
    assert refused.code == 1
    assert "not the whole corpus of bird_song: 40 of 15,690 recordings" in refused.err
    assert not list((tmp_path / "tasks").glob("*/"))
    made = delores(*words, "--subset")
    assert made.code == 0, made.err
    assert "note: a subset: 40 of 15,690 recordings" in made.out
    assert "subset" in delores("tasks", "bird_song", "--tasks-dir", tmp_path / "tasks").out
    out = tmp_path / "runs"
    model = "log-mel"
    ran = delores("run", model, "--tasks-dir", tmp_path / "tasks", "--out", out, "--protocol", "knn")
    assert ran.code == 0, ran.err
    assert "\u2020" in ran.out
    note = "on a subset of bird_song: 40 of 15,690 recordings."
    assert note in (out / "tables.md").read_text(encoding="utf-8")
    rows = list(csv.DictReader((out / "results.csv").read_text(encoding="utf-8").splitlines()))
    assert rows[0]["split"] == "one split, honest_subset; subset: 40 of 15,690 recordings"
    paper = delores("tables", out / "results", "--paper", "delores", "--format", "md,tex,html").out
    for form in (paper, paper[paper.index("booktabs") :], paper[paper.lower().index("<!doctype") :]):
        assert "40 of 15,690 recordings" in form
    assert "bird_song-honest_subset (top1_acc, one split, honest_subset)" in paper
