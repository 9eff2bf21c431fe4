"""In a repository of somebody else that has its own ``benchmarks/`` (the layout of asv), ``pretrain.py`` and tests."""

from __future__ import annotations

import importlib.metadata
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from hear_delores import siblings
from hear_delores.errors import DeloresError

ROOT = Path(__file__).resolve().parents[2]
#: What the command ``delores`` runs; a test that is run from a checkout may have no command.
DELORES = "import sys; sys.path.pop(0); from hear_delores.siblings import delores; sys.exit(delores())"
#: A sound model, written into their repository.
MODEL = runpy.run_path(str(Path(__file__).parent / "validate" / "faulty_models.py"))["GOOD"]
THEIR_TEST = """
import benchmarks, pretrain

def test_own():
    import sys
    assert benchmarks.WHOSE == pretrain.WHOSE == "theirs"
    assert "torch" not in sys.modules
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The repository."""
    place = tmp_path / "theirs"
    (place / "benchmarks").mkdir(parents=True)
    (place / "benchmarks" / "__init__.py").write_text("WHOSE = 'theirs'\n")
    (place / "benchmarks" / "benchmarks.py").write_text("class TimeSuite:\n    def time_nothing(self): pass\n")
    (place / "pretrain.py").write_text("WHOSE = 'theirs'\nif __name__ == '__main__':\n    print('their pretrain')\n")
    (place / "tests").mkdir()
    (place / "tests" / "test_own.py").write_text(THEIR_TEST)
    (place / "my_module.py").write_text(MODEL)
    return place


def python(folder: Path, *words: object, paths: str = "") -> subprocess.CompletedProcess[str]:
    """Ours is found behind everything else of the path, as an installed package is."""
    entries = [entry for entry in (paths, os.environ.get("PYTHONPATH", ""), str(ROOT)) if entry]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entries), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *map(str, words)], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )


def delores(folder: Path, *words: object, paths: str = "") -> subprocess.CompletedProcess[str]:
    return python(folder, "-c", DELORES, *words, paths=paths)


def pytest_with(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """An installed project is found by its entry point, and pytest refuses to load a plugin twice."""
    name = "hear_delores.pytest_plugin"
    installed = any(point.value == name for point in importlib.metadata.entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", name]
    return python(folder, "-m", "pytest", "-q", *plugin, "-p", "no:cacheprovider", *words)


def test_their_tests_run_and_import_their_own(folder: Path) -> None:
    ran = pytest_with(folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed" in ran.stdout


def test_their_model_is_checked_beside_their_tests(folder: Path) -> None:
    ran = pytest_with(folder, "--hear-model", "my_module", "--hear-device", "cpu", "--hear-fast")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "failed" not in ran.stdout
    assert "skipped" in ran.stdout  # the checks that need --hear-long


def test_a_model_that_ends_its_process_fails_checks_and_not_pytest(folder: Path) -> None:
    call = "return model.frames(audio).mean(1)"
    assert call in MODEL
    text = MODEL.replace(call, "__import__('os')._exit(7)")
    (folder / "my_module.py").write_text(text)
    ran = pytest_with(folder, "--hear-model", "my_module", "-k", "scene or own")
    assert ran.returncode == 1
    assert "the process of the checks ended with exit code 7" in ran.stdout
    assert "1 passed" in ran.stdout  # their test


def test_their_model_is_validated(folder: Path) -> None:
    ran = delores(folder, "validate", "my_module", "--device", "cpu")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "pass import-side-effects" in ran.stdout


def make_task(folder: Path, command: Callable[..., Any]) -> None:
    """Tones and noise, in three splits."""
    rng = np.random.default_rng(0)
    lines = ["file,label,split"]
    (folder / "sounds").mkdir()
    for number in range(18):
        tone = np.sin(np.arange(8000) * (0.05 + 0.001 * number))
        kind, wave = ("tone", tone) if number % 2 else ("noise", rng.standard_normal(8000) / 4)
        soundfile.write(folder / "sounds" / f"{number}.wav", wave / 2, 16000)
        lines.append(f"sounds/{number}.wav,{kind},{('train', 'valid', 'test')[number // 2 % 3]}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    ran = command("prepare", "kinds", "--source", folder / "labels.csv", "--out", folder / "tasks")
    assert ran.code == 0, ran.err


def test_their_model_runs_in_a_process_of_its_own(folder: Path, request: pytest.FixtureRequest) -> None:
    make_task(folder, request.getfixturevalue("delores"))
    words = ["--tasks-dir", "tasks", "--out", "runs", "--protocol", "knn", "--jobs", 2, "--device", "cpu"]
    ran = delores(folder, "run", "my_module", *words, paths=".")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "died" not in ran.stdout + ran.stderr
    assert (folder / "runs" / "results.csv").read_text().count("my_module") >= 1


def test_pretrain_is_ours(folder: Path) -> None:
    ran = delores(folder, "pretrain", "--help", paths=".")
    assert ran.returncode == 0, ran.stderr
    assert "--preset" in ran.stdout
    assert "theirs" not in ran.stdout


def test_a_process_that_has_theirs_already_is_told_so(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    siblings.take_siblings()
    theirs = type(sys)("benchmarks")
    theirs.__file__ = str(folder / "benchmarks" / "__init__.py")
    monkeypatch.setitem(sys.modules, "benchmarks", theirs)
    with pytest.raises(DeloresError, match="start from another folder"):
        siblings.take_siblings()


def test_the_current_folder_comes_last_and_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["a", "b"])
    siblings.current_folder_last()
    siblings.current_folder_last()
    assert sys.path == ["a", "b", str(tmp_path)]
