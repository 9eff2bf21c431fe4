"""The registry of tasks: what its files may say, and how a task is found."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmarks.tasks import registry
from benchmarks.tasks.registry import find_task, list_suites, list_tasks, read_spec
from hear_delores.errors import DeloresError

GOOD = {
    "name": "bark",
    "version": "1",
    "mode": "full",
    "suite": ["demo"],
    "embedding_type": "scene",
    "prediction_type": "multiclass",
    "split_mode": "trainvaltest",
    "sample_duration_s": 1.5,
    "evaluation": ["top1_acc"],
    "classes": 3,
    "clips": 30,
    "description": "Barks.",
    "source": "somewhere",
    "licence": "CC0-1.0",
}


def write(folder: Path, **changes: object) -> Path:
    path = folder / "bark.yaml"
    content = {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_every_shipped_task_is_valid_and_found_by_both_names() -> None:
    tasks = list_tasks()
    assert len(tasks) >= 4
    for spec in tasks:
        assert find_task(spec.folder_name) is spec
    assert find_task("demo_pitch").folder_name == "demo_pitch-1-full"


def test_the_demo_suite_covers_every_kind_of_task() -> None:
    specs = {spec.name: spec for spec in list_tasks("demo")}
    assert set(specs) == {"demo_events", "demo_mixture", "demo_pitch", "demo_timbre"}
    assert (specs["demo_timbre"].prediction_type, specs["demo_timbre"].split_mode) == (
        "multiclass",
        "trainvaltest",
    )
    assert specs["demo_pitch"].splits == ["fold00", "fold01", "fold02", "fold03"]
    assert specs["demo_mixture"].prediction_type == "multilabel"
    assert specs["demo_events"].embedding_type == "event"


def test_unknown_names_come_with_a_suggestion() -> None:
    with pytest.raises(DeloresError, match="Did you mean 'demo_timbre'"):
        find_task("demo_timber")
    with pytest.raises(DeloresError, match="Did you mean 'demo'"):
        list_tasks("demos")
    assert "demo" in list_suites()


def test_one_name_in_two_modes_must_be_given_in_full(tmp_path: Path) -> None:
    specs = [read_spec(write(tmp_path, mode=mode)) for mode in ("5h", "50h")]
    with pytest.raises(DeloresError, match="bark-1-5h or bark-1-50h"):
        registry._find("bark", specs)
    assert registry._find("bark-50h", specs) is specs[1]
    assert registry._find("bark-1-5h", specs) is specs[0]


def test_metadata_of_a_spec_is_what_the_official_tools_read(tmp_path: Path) -> None:
    params = {"event_postprocessing_grid": {"median_filter_ms": [150], "min_duration": [50]}}
    path = write(tmp_path, split_mode="presplit_kfold", nfolds=3, evaluation_params=params)
    assert read_spec(path).to_metadata() == {
        "task_name": "bark",
        "version": "1",
        "embedding_type": "scene",
        "prediction_type": "multiclass",
        "split_mode": "presplit_kfold",
        "nfolds": 3,
        "sample_duration": 1.5,
        "evaluation": ["top1_acc"],
        "mode": "full",
        "splits": ["fold00", "fold01", "fold02"],
        "use_scoring_for_early_stopping": True,
        "evaluation_params": params,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licens": "MIT"}, r"unknown key 'licens'. Did you mean 'licence'"),
        ({"licence": ...}, r"'licence' is missing"),
        ({"version": 1.10}, r"version: .*string"),
        ({"evaluation": ["top1_ac"]}, r"unknown metric 'top1_ac'. Did you mean 'top1_acc'"),
        ({"evaluation": ["segment_1s_er"]}, r"is for event tasks, but this is a scene task"),
        ({"evaluation": []}, r"at least one metric"),
        ({"split_mode": "presplit_kfold"}, r"needs 'nfolds'"),
        ({"split_mode": "presplit_kfold", "nfolds": 2}, r"at least 3 folds"),
        ({"embedding_type": "sound"}, r"embedding_type: .*'sound'"),
        ({"name": "a/b"}, r"name: "),
    ],
)
def test_a_faulty_file_is_named_with_its_fault_in_one_line(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(DeloresError, match=message) as caught:
        read_spec(write(tmp_path, **changes))
    assert "bark.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", ""])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DeloresError, match=r"x\.yaml: ") as caught:
        read_spec(path)
    assert "\n" not in str(caught.value)
