"""Other people's results beside ours, as their tools wrote them: heareval's folders and JSON files of scores."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reading.foreign_results import foreign_figures
from benchmarks.reading.published import PAPERS, published_figures
from benchmarks.results.format import ResultRecord
from benchmarks.tasks.registry import list_columns
from hear_delores.errors import DeloresError


def heareval_folder(root: Path) -> Path:
    """As heareval 2021.1.3 leaves it: NaN, fold names, strings and lists beside the scores."""
    results: dict[str, Any] = {
        "esc50-v2.0.0-full": {
            "fold00": {"test_score": 0.5, "test_loss": float("nan")},
            "fold01": {"test_score": 0.7},
            "aggregated_scores": {"test_score_mean": 0.6, "test_score_std": 0.1414},
            "hparams": {"lr": 0.001}, "postprocessing": [], "score_mode": "max", "embedding_path": "x",
        },
        "fsd50k-v1.0-full": {"test": {"test_mAP": 0.4, "test_score": 0.4}, "score_mode": "max"},
        "beehive_states_fold0-v2-full": {"test": {"test_score": 0.8}},
        "beehive_states_fold1-v2-full": {"test": {"test_score": 0.6}},
        "my_own-v1-full": {"test": {"test_score": 0.9}},
    }  # fmt: skip
    for task, values in results.items():
        (root / "their_model" / task).mkdir(parents=True)
        (root / "their_model" / task / "test.predicted-scores.json").write_text(json.dumps(values, indent=4))
    return root


def test_heareval_s_folders_as_they_are(tmp_path: Path) -> None:
    root = heareval_folder(tmp_path / "embeddings")
    expected = {"ESC-50": 60.0, "FSD50K": 40.0, "Beehive": 70.0}
    for place in (root, root / "their_model"):
        found = foreign_figures(place)
        assert {figure.model for figure in found} == {"their_model"}
        assert {figure.task: figure.score for figure in found} == pytest.approx(expected)
    [one] = foreign_figures(root / "their_model" / "esc50-v2.0.0-full")
    assert (one.model, one.score, one.metric) == ("their_model", pytest.approx(60.0), "top1_acc")


def test_json_of_models_groups_and_tasks(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    tasks = {"esc50-v2.0.0-full": 0.25, "AVERAGE": 0.3}
    file.write_text(
        json.dumps({"a": {"environmental": tasks, "other": {"maestro-v3.0.0-5h": float("nan")}}, "b": {**tasks}})
    )
    found = {(figure.model, figure.task): figure.score for figure in foreign_figures(file)}
    assert found == {("a", "ESC-50"): 25.0, ("a", "Maestro 5h"): None, ("b", "ESC-50"): 25.0}
    file.write_text(json.dumps(tasks))
    assert [(figure.model, figure.score) for figure in foreign_figures(file)] == [("results", 25.0)]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"esc50-v2.0.0-full": 25.0}, "expected the top1_acc of esc50-v2.0.0-full from 0 to 1, got 25.0"),
        ({"m": {"esc50-v2.0.0-full": None}}, "from 0 to 1, got None"),
        ({"m": {"unknown-v1-full": 0.5}}, "expected scores by task folder of a known task"),
    ],
)
def test_what_is_no_score_is_one_line(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(values))
    with pytest.raises(DeloresError, match=words):
        foreign_figures(file)


def test_records_of_ours_are_results_and_no_figures_of_others(
    saved: Callable[..., ResultRecord], make_fold: Callable[..., Any]
) -> None:
    record = saved({"test": make_fold(20, 1.0, 1)}, task="esc50", version="v2.0.0")
    assert record.folder is not None
    (record.folder / "test.predicted-scores.json").write_text("{}")
    with pytest.raises(DeloresError, match="give its folder as RESULTS, not to --overlay"):
        foreign_figures(record.folder.parent)


def test_they_stand_in_the_table_of_a_paper(delores: Callable[..., Any], tmp_path: Path) -> None:
    root = heareval_folder(tmp_path / "embeddings")
    ran = delores("tables", "--paper", "hear", "--overlay", root, "--format", "csv")
    rows = [row for row in csv.DictReader(ran.out.splitlines()) if row["model"] == "their_model"]
    assert {(row["task"], row["score"], row["protocol"]) for row in rows} == {
        (task, score, "hear (heareval's results)")
        for task, score in (("ESC-50", "0.6"), ("FSD50K", "0.4"), ("Beehive", "0.7"))
    }


@pytest.mark.parametrize("paper", PAPERS)
def test_every_published_set_is_shown_without_results(delores: Callable[..., Any], paper: str) -> None:
    ran = delores("tables", "--paper", paper)
    for model in ("DeLoRes", "BYOL-A 512-d") if paper == "delores" else ("audiontt_random",) if paper != "hear" else ():
        assert f"| {model} |" in ran.out
    assert ("| CP-JKU PaSST 2lvl |" in ran.out) == (paper in ("hear", "papers", "papers+"))


def test_the_figures_of_audio_barlow_twins() -> None:
    figures = published_figures("audio-barlow-twins")
    assert len(figures) == 585
    assert {figure.task for figure in figures} == set(list_columns()) - {"Beehive"}
    assert all("a5544e6" in figure.source and figure.split == "official" for figure in figures)
    found = {(figure.model, figure.task): figure.score for figure in figures}
    assert found["audiontt_Gnoise+RRC+RLF_model_100", "ESC-50"] == 70.75
