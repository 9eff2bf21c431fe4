"""Models that are plain objects, with the API as methods: one true line each, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.validate.checks.contract import functions, load
from benchmarks.validate.subject import Subject

PLAIN = """
from dataclasses import dataclass

@dataclass
class Plain:
    sample_rate: int = 16000
    def get_scene_embeddings(self, audio): return audio[:, :4]
    def get_timestamp_embeddings(self, audio): return audio[:, None, :4], audio[:, :1] * 0

def load_model(path=""):
    return Plain()
"""
FORWARDED = """
def get_scene_embeddings(audio, model): return model.get_scene_embeddings(audio)
def get_timestamp_embeddings(audio, model): return model.get_timestamp_embeddings(audio)
"""


def subject(tmp_path: Path, text: str) -> Subject:
    (tmp_path / "plain.py").write_text(text)
    return Subject(str(tmp_path / "plain.py"))


def test_methods_are_named_with_the_line_that_makes_functions_of_them(tmp_path: Path) -> None:
    found = subject(tmp_path, PLAIN)
    found.find()
    messages = [finding.message for finding in functions.run(found)]
    assert len(messages) == 2
    for message, name in zip(messages, ("get_scene_embeddings", "get_timestamp_embeddings"), strict=True):
        assert f"add def {name}(audio, model): return model.{name}(audio)" in message
        assert "\n" not in message


def test_a_plain_object_is_told_to_be_a_module(tmp_path: Path) -> None:
    found = subject(tmp_path, PLAIN + FORWARDED)
    found.find()
    assert list(functions.run(found)) == []
    [finding] = load.run(found)
    assert finding.message.startswith(
        "load_model returned Plain; expected a torch.nn.Module or tf.Module: let its class"
    )


@pytest.mark.parametrize("text", ["load_model = print\n", "class Other:\n    pass\n"])
def test_without_methods_nothing_is_said_of_them(tmp_path: Path, text: str) -> None:
    found = subject(tmp_path, text)
    found.find()
    assert not any("method" in finding.message for finding in functions.run(found))
