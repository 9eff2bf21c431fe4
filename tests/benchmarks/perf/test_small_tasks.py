"""The measurement of small tasks does what it says with one task, and names the rooms that time is spent in."""

from __future__ import annotations

import json
import pstats
from pathlib import Path

import pytest

from benchmarks.perf.small_tasks import make_tasks, model_names, rooms, run_here


def test_a_run_is_timed_twice_and_profiled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = make_tasks(tmp_path, count=1, clips=16)
    run_here(tasks, tmp_path / "out", models=1, jobs=1, protocols=["knn"], profile=200)
    first, again = json.loads((tmp_path / "out" / "seconds.json").read_text())
    assert first > 0
    assert again > 0
    assert list((tmp_path / "out" / "results").rglob("record.json"))
    assert "benchmarks/" in capsys.readouterr().err


def test_rooms_are_packages_of_ours_and_libraries() -> None:
    stats = pstats.Stats()
    stats.stats = {  # type: ignore[attr-defined]
        ("/x/site-packages/numpy/core/a.py", 1, "f"): (1, 1, 2.0, 2.0, {}),
        ("/x/lib/python3.11/json/b.py", 1, "g"): (1, 1, 0.5, 0.5, {}),
        ("/x/benchmarks/scoring/hear/c.py", 1, "h"): (1, 1, 1.0, 1.0, {}),
        ("/x/benchmarks/scoring/hear/d.py", 1, "h"): (1, 1, 3.0, 3.0, {}),
        ("~", 0, "<fsync>"): (1, 1, 0.25, 0.25, {}),
    }
    assert rooms(stats) == [
        ("benchmarks/scoring/hear", 4.0), ("numpy", 2.0), ("json", 0.5), ("built in: <fsync>", 0.25),
    ]  # fmt: skip
    assert model_names(3) == ["log-mel", "random1=random?seed=1", "random2=random?seed=2"]
