"""What the validator does in processes of its own, and a TensorFlow module."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from faulty_models import GALLERY, GOOD

from benchmarks import validate
from benchmarks.validate.checks import edge_cases, side_effects
from benchmarks.validate.child import in_fresh_process

NAME = "gallery_model"


def test_an_import_is_watched_in_a_fresh_process(model_folder: Path) -> None:
    (model_folder / f"{NAME}.py").write_text(GALLERY["import switches gradients off"][0])
    changes = in_fresh_process(side_effects.import_changes, NAME, 1, timeout=60)
    assert changes == {"settings": ["gradient mode"], "random": {}}


@pytest.mark.parametrize(("gigabytes", "bound", "verdict"), [(0, 16e9, "pass"), (1, 1e9, "fail")])
def test_long_audio_is_embedded_within_a_bound_of_memory(
    gigabytes: int, bound: float, verdict: str, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A minute and 1 GB stand for 20 minutes and 16 GB: the same code, in its own process.
    monkeypatch.setattr(edge_cases, "LONG_S", 60)
    monkeypatch.setattr(edge_cases, "MEMORY_BYTES", bound)
    take = f"held = torch.zeros({gigabytes} * 250_000_000 if audio.shape[1] > 40 * 16000 else 1).add_(1)\n        "
    (model_folder / f"{NAME}.py").write_text(GOOD.replace("n = 1 + audio", take + "n = 1 + audio"))
    outcome = validate.Validation(NAME, device="cpu", long=True).outcome("long-audio")
    assert outcome.verdict == verdict, outcome
    assert [" GB of memory; at most 1 GB" in finding.message for finding in outcome.findings] == [True] * (
        verdict == "fail"
    )


def test_a_process_that_is_killed_or_raises_is_a_failure_with_its_last_word(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_cases, "LONG_S", 60)
    for code, words in (("import os; os.kill(os.getpid(), 9)", "ran out of memory"), ("1 / 0", "ZeroDivisionError")):
        line = f"\n        if audio.shape[1] > 40 * 16000: {code}\n"
        (model_folder / f"{NAME}.py").write_text(GOOD.replace("(self, audio):\n", f"(self, audio):{line}"))
        sys.modules.pop(NAME, None)
        importlib.invalidate_caches()
        outcome = validate.Validation(NAME, device="cpu", long=True).outcome("long-audio")
        assert outcome.verdict == "fail"
        assert words in outcome.findings[0].message


def test_a_tensorflow_module_is_called_as_one(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for TensorFlow; the real one was tried by hand with hearbaseline.tf."""
    (model_folder / "tensorflow.py").write_text(STAND_IN)
    (model_folder / f"{NAME}.py").write_text(TENSORFLOW)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    outcomes = {outcome.check.name: outcome for outcome in validate.validate(NAME, device="/CPU:0")}
    sys.modules.pop("tensorflow", None)
    assert {name: [f.message for f in o.findings] for name, o in outcomes.items() if o.findings} == {
        "state": ["a call changes the model's '0: calls'"]
    }


STAND_IN = """
import contextlib
import numpy

class Module:
    pass

class Tensor:
    def __init__(self, value, name=""):
        self.value, self.name, self.device = value, name, placed
    def numpy(self):
        return self.value

placed = ""
convert_to_tensor = Tensor

@contextlib.contextmanager
def device(name):
    global placed
    placed = name
    yield
    placed = ""
"""

TENSORFLOW = """
import numpy
import tensorflow as tf

class Model(tf.Module):
    sample_rate = 16000
    scene_embedding_size = timestamp_embedding_size = 2
    def __init__(self):
        self.variables = [tf.Tensor(numpy.zeros(1), name="calls")]

def load_model(path=""):
    return Model()

def get_timestamp_embeddings(audio, model):
    assert type(audio) is tf.Tensor and tf.placed == "/CPU:0"
    model.variables[0].value += 1
    samples = audio.numpy()
    n = 1 + samples.shape[1] // 640
    blocks = numpy.pad(samples, ((0, 0), (0, 640)))[:, : n * 640].reshape(len(samples), n, 640)
    times = numpy.tile(numpy.arange(n, dtype=numpy.float32) * 40, (len(samples), 1))
    return tf.Tensor(numpy.stack([blocks.max(2), blocks.min(2)], 2)), tf.Tensor(times)

def get_scene_embeddings(audio, model):
    return tf.Tensor(get_timestamp_embeddings(audio, model)[0].numpy().mean(1))
"""
