"""What ``import benchmarks`` gives a program."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import benchmarks
from hear_delores.errors import DeloresError


def test_public_names_are_those_of_their_modules() -> None:
    assert sorted([*benchmarks._HOMES, "validate"]) == benchmarks.__all__
    for name, home in benchmarks._HOMES.items():
        module = importlib.import_module(home)
        assert getattr(benchmarks, name) is getattr(module, name)
        assert getattr(benchmarks, name).__module__ == home
        assert name in module.__all__
    with pytest.raises(AttributeError, match="no attribute 'runs'"):
        _ = benchmarks.runs


def test_importing_it_imports_nothing_large() -> None:
    code = (
        "import sys, benchmarks; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'pandas', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_front_door_does_what_the_commands_do(delores: Callable[..., Any], corpus: Path, tmp_path: Path) -> None:
    assert delores("prepare", "tones", "--source", corpus / "labels.csv", "--out", tmp_path / "tasks").code == 0
    task = benchmarks.load_task("tones", tmp_path / "tasks")
    done = benchmarks.run(["log-mel"], [task.path], tmp_path / "runs", protocols=["knn"], device="cpu")
    apart = benchmarks.score(
        benchmarks.embed("log-mel", task, tmp_path / "embeddings", device="cpu"),
        "knn",
        results_dir=tmp_path / "results",
    )
    assert done.records[0].scores == apart.scores
    printed = delores("tables", tmp_path / "results").out
    assert str(benchmarks.tables(apart)) == str(benchmarks.tables(tmp_path / "results")) == printed
    assert "<table" in benchmarks.tables(done.records)._repr_html_()
    with pytest.raises(DeloresError, match="Did you mean 'md'"):
        benchmarks.tables(apart).text("mdd")


def test_validate_is_a_function_and_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no_model_here.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    report = benchmarks.validate("no_model_here")
    assert not report.passed
    assert report.failed == report.of("fail") != []
    assert str(report).startswith("fail")
    assert report.to_json()["passed"] is False
    assert benchmarks.validate is importlib.import_module("benchmarks.validate")
