"""Two small tasks, models that die at work, and a run of both that can be compared with another."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.embedding.model import ModelSpec
from benchmarks.results.record import load_predictions
from benchmarks.running.run import RunSummary, run
from benchmarks.tasks.find import find_task_folders
from benchmarks.tasks.writer import Clip, write_task_folder
from hear_delores import spawned

#: The log-mel baseline, but what it does first with the clips of ``second``, and only once where MARK says so.
DEADLY = """
import os, signal, time
from benchmarks.encoders.log_mel import get_timestamp_embeddings, load_model
from benchmarks.encoders.log_mel import get_scene_embeddings as scene

def get_scene_embeddings(audio, model):
    if audio.shape[1] == 2400:
        again = os.path.exists("MARK")
        with open("MARK", "a") as stream:
            stream.write(f"{os.getpid()}\\n")
        WHAT
    return scene(audio, model)
"""
DEEDS = {
    "dies_once": "again or os.kill(os.getpid(), signal.SIGKILL)",
    "dies_always": "os.kill(os.getpid(), signal.SIGKILL)",
    "sleeps_once": "again or time.sleep(600)",
}


class Forks:
    """multiprocessing, but that the processes of :class:`hear_delores.spawned.Spawned` are those of ``warm``."""

    def __init__(self, context: Any) -> None:
        self.get_context = lambda method: context

    def __getattr__(self, name: str) -> Any:
        return getattr(multiprocessing, name)


@pytest.fixture(autouse=True)
def _warm_processes(warm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs side by side and models apart need not import torch first; those of whole commands still do."""
    monkeypatch.setattr(spawned, "multiprocessing", Forks(warm.context))


@pytest.fixture(scope="session")
def tasks_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``first`` and ``second``: 18 clips each, of 0.1 s and 0.15 s."""
    folder = tmp_path_factory.mktemp("tasks")
    random = np.random.default_rng(0)
    for name, samples in (("first", 1600), ("second", 2400)):
        splits = {
            split: [
                Clip(f"{split}{i}.wav", ["ab"[i % 2]], 0.1 * (1 + i % 2) * random.standard_normal(samples))
                for i in range(6)
            ]
            for split in ("train", "valid", "test")
        }
        metadata = {
            "task_name": name, "version": "1", "mode": "full", "embedding_type": "scene",
            "prediction_type": "multiclass", "split_mode": "trainvaltest", "evaluation": ["top1_acc"],
        }  # fmt: skip
        write_task_folder(folder, metadata, splits)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of model modules where the user stands; each module notes its processes in ``<module>.log``."""
    for name, what in DEEDS.items():
        (tmp_path / f"{name}.py").write_text(
            DEADLY.replace("MARK", str(tmp_path / f"{name}.log")).replace("WHAT", what)
        )
    (tmp_path / "faulty.py").write_text(
        "def load_model(path=''):\n    raise RuntimeError('no weights today')\n"
        "get_scene_embeddings = get_timestamp_embeddings = print\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def measure(tasks_dir: Path) -> Callable[..., RunSummary]:
    """Runs models on both tasks (or the named ones), in two epochs of ``linear`` with two seeds."""

    def measured(out: Path, *models: str, tasks: tuple[str, ...] = (), **more: Any) -> RunSummary:
        common: dict[str, Any] = {
            "protocols": ["linear"], "seeds": [1, 2], "options": {"linear": {"max_epochs": 2}}, "device": "cpu",
        }  # fmt: skip
        folders = find_task_folders(tasks_dir, tasks)
        return run([ModelSpec.parse(model) for model in models], folders, out, **{**common, **more})

    return measured


@pytest.fixture(scope="session")
def assert_same(
    measure: Callable[..., RunSummary], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[RunSummary, str], None]:
    """Asserts that a model's records are those, bit for bit, of the log-mel baseline run in turn in this process."""
    expected = measure(tmp_path_factory.mktemp("in-turn"), "log-mel").records

    def same(found: RunSummary, label: str, tasks: tuple[str, ...] = ("first", "second")) -> None:
        records = [record for record in found.records if record.model.label == label]
        wanted = [record for record in expected if record.task.name in tasks]
        assert [(r.task.name, r.seed) for r in records] == [(r.task.name, r.seed) for r in wanted]
        for mine, theirs in zip(records, wanted, strict=True):
            assert (mine.scores, mine.embeddings_hash) == (theirs.scores, theirs.embeddings_hash)
            assert [fold.loss for fold in mine.folds] == [fold.loss for fold in theirs.folds]
            assert mine.folder is not None
            assert theirs.folder is not None
            ours, reference = (load_predictions(folder)["test"] for folder in (mine.folder, theirs.folder))
            np.testing.assert_array_equal(ours.prediction, reference.prediction)
            np.testing.assert_array_equal(ours.files, reference.files)

    return same
