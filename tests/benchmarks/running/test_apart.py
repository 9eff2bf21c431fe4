"""Models whose packages have the same top-level names, in one run: each has its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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


def test_each_model_is_given_its_own_module(measure: Callable[..., RunSummary], tmp_path: Path) -> None:
    for name, columns in (("one", 128), ("two", 1)):
        (tmp_path / name / "src").mkdir(parents=True)
        (tmp_path / name / "src" / "shared_name.py").write_text(f"COLUMNS = {columns}\n")
        (tmp_path / name / "hear.py").write_text(SOURCE)
    specs = [f"{name}={tmp_path / name / 'hear.py'}" for name in ("one", "two")]
    found = measure(tmp_path / "out", *specs, "log-mel", tasks=("first",))
    assert found.failures == []
    scores = {(record.model.label, record.task.name, record.seed): record.scores for record in found.records}
    plain = {key: value for key, value in scores.items() if key[0] == "log-mel"}
    assert plain
    for (_, task, seed), value in plain.items():
        assert scores["one", task, seed] == value
    behaviours = {record.model.label: record.model.behaviour for record in found.records}
    assert behaviours["one"] == behaviours["log-mel"] != behaviours["two"]
