"""What each command imports: no large library that it does without. In one child, with a fork for each command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.results.format import FoldPredictions, ResultRecord

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="each command is a fork of one process")

HEAVY = ("torch", "torchaudio", "transformers", "scipy.stats", "sklearn", "matplotlib", "pandas", "soundfile")

#: Runs each of the commands on standard input, [[word, ...], ...], and prints what it imported and how it ended.
CHILD = """
import json, os, sys
heavy, commands = json.load(sys.stdin)
import benchmarks.cli, benchmarks.encoders.catalogue, benchmarks.tasks.listing, benchmarks.tasks.registry
benchmarks.tasks.registry.list_tasks()
assert "numpy" not in sys.modules, "what lists tasks and models"
import numpy, pydantic  # which all others may use: once, not in each fork
assert not [name for name in heavy if name in sys.modules], "the command line itself"
answers = []
for words in commands:
    inside, outside = os.pipe()
    if os.fork() == 0:
        code = 0
        sys.argv = ["delores", *words]
        sys.stdout = sys.stderr = open(os.devnull, "w")
        try:
            benchmarks.cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        answer = json.dumps([code, [name for name in heavy if name in sys.modules]])
        os.write(outside, answer.encode())
        os._exit(0)
    os.close(outside)
    with open(inside, "rb") as stream:
        answers.append(json.loads(stream.read() or "null"))
    os.wait()
print(json.dumps(answers))
"""


def test_commands_import_what_they_need(
    saved: Callable[..., ResultRecord], make_fold: Callable[..., FoldPredictions], corpus: Path, tmp_path: Path
) -> None:
    folders = {
        label: saved({"test": make_fold(40, 2.0, seed)}, label=label, weights=label * 64).folder
        for seed, label in enumerate("ab")
    }
    for folder in folders.values():
        assert folder is not None
    results, tasks = tmp_path / "results", tmp_path / "tasks"
    allowed: list[tuple[list[object], set[str]]] = [
        (["--help"], set()),
        (["--version"], set()),
        (["tasks"], set()),
        (["tasks", "esc50"], set()),
        (["models"], set()),
        (["tables", results, "--format", "md,csv,tex,html", "--out", tmp_path / "tables"], set()),
        (["compare", folders["a"], folders["b"]], set()),
        (["report", results, "--out", tmp_path / "report.html"], set()),
        (["prepare", "tones", "--source", corpus / "labels.csv", "--out", tasks], {"soundfile"}),
        # scikit-learn fills the blanks as the leaderboard's own summary does, with pandas
        (["standings"], {"pandas", "sklearn", "scipy.stats"}),
    ]
    refused: list[tuple[list[object], set[str]]] = [
        (["submit", results, "--name", "x", "--url", "https://example.org"], set()),  # no result of a HEAR task
        (["download", "esk50"], {"soundfile"}),
    ]
    commands = [[str(word) for word in words] for words, _ in (*allowed, *refused)]
    run = subprocess.run(
        [sys.executable, "-c", CHILD], input=json.dumps([HEAVY, commands]), cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    answers = json.loads(run.stdout)
    expected = [(0, more) for _, more in allowed] + [(1, more) for _, more in refused]
    for words, answer, (code, more) in zip(commands, answers, expected, strict=True):
        assert answer is not None, words
        assert answer[0] == code, words
        assert set(answer[1]) <= more, words
        assert words[0] != "standings" or "sklearn" in answer[1]  # the list does show what is there
