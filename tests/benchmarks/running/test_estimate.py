"""What `delores run --dry-run` says is to be done, and where a run says that it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.running.estimate import BEST_EPOCH, estimate_run
from benchmarks.running.plan_table import plan_lines
from benchmarks.running.run import RunSummary
from benchmarks.running.run_bar import RunStep, RunSteps, _cut
from benchmarks.running.workload import find_work, of_spec
from benchmarks.tasks.demo import write_demo_tasks
from benchmarks.tasks.registry import find_task, list_tasks
from hear_delores.errors import DeloresError


def test_a_dry_run_writes_nothing_and_knows_what_a_run_has_done(
    delores: Callable[..., Any], tasks_dir: Path, tmp_path: Path
) -> None:
    words = ["run", "log-mel", "--tasks-dir", tasks_dir, "--out", tmp_path / "out", "-p", "knn", "-p", "linear"]
    ran = delores(*words, "--dry-run")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["first", "second"]
    assert all("to do" in line for line in lines[2:4])
    assert lines[4].startswith("to do: 2 of 2 jobs, about ")
    assert max(map(len, lines)) <= 90
    assert not (tmp_path / "out").exists()
    assert delores(*words[:-2], "--task", "first", "--quiet").code == 0
    lines = delores(*words, "--dry-run").out.splitlines()
    assert lines[2].endswith("embedded, 1 of 2 scored")
    assert lines[3].endswith("to do")
    assert delores(*words[:-2], "--task", "first", "--dry-run").out.splitlines()[2].endswith("done")
    assert delores(*words[:-2], "--task", "first", "--dry-run", "--force").out.splitlines()[2].endswith("to do")


def test_a_task_that_is_not_there_is_told_from_its_yaml(tmp_path: Path) -> None:
    work = {item.folder_name: item for item in find_work(tmp_path, (), "hear", 16000)}
    assert set(work) == {spec.folder_name for spec in list_tasks("hear")}
    esc = next(item for item in work.values() if item.name == "esc50")
    assert (esc.n_clips, esc.audio_s, esc.labels, esc.path) == (2000, 10000.0, 50, None)
    assert list(esc.folds()) == [(1200, 400, 400)] * 5
    with pytest.raises(DeloresError, match="Did you mean"):
        find_work(tmp_path, (), "haer", 16000)


def test_the_yaml_says_of_a_generated_task_what_its_folder_says(tmp_path: Path) -> None:
    [path] = write_demo_tasks(tmp_path, ["demo_events"])
    [there] = find_work(tmp_path, ["demo_events"], None, 16000)
    told = of_spec(find_task("demo_events"), 16000)
    assert there.path == path
    for name in ("n_clips", "audio_s", "labels", "is_event"):
        assert getattr(there, name) == pytest.approx(getattr(told, name)), name


def test_more_work_costs_more(tmp_path: Path) -> None:
    """Ten times the clips cost more of everything; nothing else is changed, and the speeds are measured once."""
    small = of_spec(find_task("demo_timbre"), 16000)
    large = replace(small, folder_name="large-1-full", clips={name: 10 * n for name, n in small.clips.items()})
    plan = estimate_run(["log-mel"], lambda rate: [small, large], tmp_path, device="cpu")
    one, ten = plan.estimates
    assert ten.disk_bytes == pytest.approx(10 * one.disk_bytes, rel=1e-6)
    assert ten.embedding_s > one.embedding_s > 0
    assert ten.scoring_s > one.scoring_s > 0
    assert plan.seconds == pytest.approx(one.embedding_s + one.scoring_s + ten.embedding_s + ten.scoring_s)
    assert any("to get first: 1 tasks" in line for line in plan_lines(plan))
    assert BEST_EPOCH > 0


def test_the_steps_of_a_run_end_with_all_of_it(measure: Callable[..., RunSummary], tmp_path: Path) -> None:
    steps: list[RunStep] = []
    measure(tmp_path, "log-mel", progress=steps.append)
    shares = [step.share for step in steps]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert (steps[-1].finished, steps[-1].jobs) == (2, 2)
    assert {step.stage for step in steps} == {"embedding", "linear", ""}
    assert {(step.model, step.task) for step in steps} == {("log-mel", "first"), ("log-mel", "second")}
    assert max(step.done for step in steps if step.stage == "embedding") == 18


def test_jobs_weigh_as_much_as_their_audio() -> None:
    steps: list[RunStep] = []
    report = RunSteps([("m", "a"), ("m", "b")], [1.0, 3.0], steps.append)
    report.end(1)
    report.inner(0)("embedding", 0.5, 1, 2)
    assert [step.share for step in steps] == [0.75, 0.875]
    assert _cut(replace(steps[-1], model="a-very-long-name-of-a-model-indeed", task="demo_timbre")).count("…") == 1
