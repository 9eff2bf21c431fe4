"""Models whose packages have the same top-level names, in one run: each has its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.running.run import RunSummary

SOURCE = """
import os, sys
import torch
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "src"))
from benchmarks.encoders.log_mel import *
from benchmarks.encoders import log_mel
from shared_name import COLUMNS

def get_scene_embeddings(audio, model):
    return log_mel.get_scene_embeddings(audio, model) * (torch.arange(128) < COLUMNS)
"""


@pytest.mark.parametrize(("jobs", "names"), [(1, ("one", "two")), (2, ("one", "two", "three"))])
def test_each_model_is_given_its_own_module(
    measure: Callable[..., RunSummary], jobs: int, names: tuple[str, ...], tmp_path: Path
) -> None:
    """In turn, and side by side: of two processes, one is given two of the three models, and runs one of them apart."""
    for number, name in enumerate(names):
        (tmp_path / name / "src").mkdir(parents=True)
        (tmp_path / name / "src" / "shared_name.py").write_text(f"COLUMNS = {128 >> number}\n")
        (tmp_path / name / "hear.py").write_text(SOURCE)
    specs = [f"{name}={tmp_path / name / 'hear.py'}" for name in names]
    found = measure(tmp_path / "out", *specs, "log-mel", tasks=("first",), jobs=jobs)
    assert found.failures == []
    scores = {(record.model.label, record.task.name, record.seed): record.scores for record in found.records}
    plain = {key: value for key, value in scores.items() if key[0] == "log-mel"}
    assert plain
    for (_, task, seed), value in plain.items():
        assert scores["one", task, seed] == value
    behaviours = {record.model.label: record.model.behaviour for record in found.records}
    assert behaviours["one"] == behaviours["log-mel"]
    assert all(behaviours[a] != behaviours[b] for a, b in itertools.combinations(names, 2))
