"""Two models never share a row, and two results of one model, task, protocol and seed are refused everywhere."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reading.leaderboard.submission import select_records
from benchmarks.reading.report.gather import gather
from benchmarks.reading.statistics.compare import compare_records
from benchmarks.reading.tables.plain import to_csv
from benchmarks.reading.tables.table import comparison_tables
from benchmarks.results.format import ModelInfo, ResultRecord
from benchmarks.results.identity import TOLERANCE, Behaviour, Models
from benchmarks.results.record import load_records, refuse_repeats
from hear_delores.errors import DeloresError
from hear_delores.files import write_json


def behaviour(value: float = 1.0, **changes: Any) -> Behaviour:
    return Behaviour(**{"version": 1, "deterministic": True, "scene": [[1.0, value]], "timestamps": [None], **changes})


def model(**changes: Any) -> ModelInfo:
    return ModelInfo(**{"label": "m", "module": "mod", "weights_hash": "ab" * 32, **changes})


@pytest.mark.parametrize(
    ("one", "other", "names"),
    [
        ({"options": {"pool": "mean"}}, {"options": {"pool": "max"}}, ["m (pool=mean)", "m (pool=max)"]),
        ({"weights_hash": "1" * 64}, {"weights_hash": "2" * 64}, ["m (11111111)", "m (22222222)"]),
        ({"weights_hash": "1" * 64}, {"weights_hash": "1" * 63 + "2"}, ["m", "m #2"]),
        ({}, {"module": "other"}, ["m (mod)", "m (other)"]),
        ({}, {"label": "n"}, ["m", "n"]),
        ({"options": {"a": 1}}, {"options": {"a": "1"}}, ["m", "m #2"]),
    ],
)
def test_names_say_what_differs(one: dict[str, Any], other: dict[str, Any], names: list[str]) -> None:
    pair = model(**one), model(**other)
    found = Models(pair)
    assert [found.name(each) for each in pair] == names
    assert found.name(model(label="never met")) is None


def test_behaviours_tell_models_apart_beyond_rounding_and_unknown_ones_join_the_only_one() -> None:
    near, far, unknown = behaviour(1 + TOLERANCE / 2), behaviour(1 + 3 * TOLERANCE), model()
    known = model(behaviour=behaviour())
    found = Models([known, model(behaviour=near), unknown])
    assert len(found.names) == 1
    assert found.name(unknown) == found.name(model(behaviour=near)) == "m"
    found = Models([unknown, known, model(behaviour=far)])
    assert len({found.name(each) for each in (unknown, known, model(behaviour=far))}) == 3
    assert found.name(unknown) == "m (behaviour unknown)"
    random = [model(behaviour=behaviour(value, deterministic=False)) for value in (1.0, 2.0)]
    assert len(Models(random).names) == 1


def test_an_edited_model_has_a_row_of_its_own(
    saved: Callable[..., ResultRecord], make_fold: Callable[..., Any]
) -> None:
    base = saved({"test": make_fold(20, 2.0, 1)})
    edited = base.model_copy(
        update={
            "model": base.model.model_copy(update={"behaviour": behaviour(2.0)}),
            "task": base.task.model_copy(update={"name": "other"}),
        }
    )
    first = base.model_copy(update={"model": base.model.model_copy(update={"behaviour": behaviour(1.0)})})
    [table] = comparison_tables([first, edited])
    assert len(table.models) == 2
    assert all(name.startswith("ours (behaviour ") for name in table.models)
    [table] = comparison_tables([base, edited])  # of one, nothing is known
    assert table.models == ("ours",)
    rows = list(csv.DictReader(io.StringIO(to_csv([first, edited]))))
    assert rows[0]["behaviour"] != rows[1]["behaviour"]


@pytest.fixture
def twice(saved: Callable[..., ResultRecord], make_fold: Callable[..., Any], tmp_path: Path) -> list[ResultRecord]:
    """The result of one run in two folders."""
    record = saved({"test": make_fold(20, 2.0, 1)}, task="esc50")
    assert record.folder is not None
    shutil.copytree(record.folder, tmp_path / "results" / "copy")
    other = {"scores": {"top1_acc": 0.0}, "folds": [record.folds[0].model_copy(update={"scores": {"top1_acc": 0.0}})]}
    copy = record.model_copy(update=other)
    write_json(tmp_path / "results" / "copy" / "record.json", copy.model_dump())
    return [record, copy]


def test_two_results_of_one_run_are_refused_by_every_reader(twice: list[ResultRecord], tmp_path: Path) -> None:
    readers: list[Callable[[], object]] = [
        lambda: refuse_repeats(load_records([tmp_path / "results"])),
        lambda: select_records(twice),
        lambda: comparison_tables(twice),
        lambda: gather(twice),
        lambda: compare_records(twice, twice[:1]),
    ]
    for read in readers:
        with pytest.raises(
            DeloresError, match=r"there are two results of ours on esc50-v1-full \(hear, seed 42\): "
        ) as caught:
            read()
        assert "\n" not in str(caught.value)
    with pytest.raises(DeloresError, match=r"copy.* and .*ours-abababab.*; remove one, or name the folder of one"):
        refuse_repeats(load_records([tmp_path / "results"]))


@pytest.mark.parametrize("command", ["tables", "report", "standings", "submit", "compare"])
def test_by_every_command_in_one_line(
    command: str, delores: Callable[..., Any], twice: list[ResultRecord], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    words = {
        "report": ["--out", tmp_path / "r.html"],
        "submit": ["--name", "x", "--url", "https://x.org"],
        "compare": [results],
    }
    ran = delores(command, results, *words.get(command, []))
    assert ran.code == 1
    assert ran.err.startswith("error: there are two results of ours on esc50-v1-full (hear, seed 42): ")
    assert ran.err.count("\n") == 1


def test_another_seed_protocol_or_model_is_no_repeat(
    saved: Callable[..., ResultRecord], make_fold: Callable[..., Any], tmp_path: Path
) -> None:
    folds = {"test": make_fold(20, 2.0, 1)}
    for changes in ({}, {"seed": 43}, {"protocol": "knn"}, {"weights": "cd" * 32}, {"label": "other"}):
        saved(folds, **changes)
    assert len(refuse_repeats(load_records([tmp_path / "results"])).names) == 3
