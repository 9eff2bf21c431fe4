"""``precision``: auto takes what is faster, the record says what that was, and a slow choice is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from embeddings_folders import write_scene

from benchmarks.scoring.hear import protocol as module
from benchmarks.scoring.score import score_embeddings
from pretrain.training.precision import ProductTimes

QUICK = {"grid": "faster", "grid_points": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "e" / "model" / "toy", sizes=60, noise=1.0)


@pytest.fixture
def bfloat16_takes(monkeypatch: pytest.MonkeyPatch):
    """Sets how long bfloat16 takes where float32 takes 1 s; gives the shapes that were timed."""
    asked: list[tuple[int, int, int]] = []

    def setting(seconds: float) -> list[tuple[int, int, int]]:
        def times(rows: int, inputs: int, outputs: int, device: object) -> ProductTimes:
            asked.append((rows, inputs, outputs))
            return ProductTimes(rows, inputs, outputs, 1.0, seconds)

        monkeypatch.setattr(module, "time_products", times)
        monkeypatch.setattr(module, "has_bfloat16", lambda device: True)
        return asked

    return setting


def test_auto_is_the_faster_one_and_stays_so(folder, tmp_path, bfloat16_takes):
    asked = bfloat16_takes(3.0)
    said: list[str] = []
    kept = {"results_dir": tmp_path / "r", "say": said.append, **QUICK}
    record = score_embeddings(folder, precision="auto", **kept)
    assert record.protocol.options["precision"] == "float32"
    assert asked == [(60, 8, 64)]  # rows of the split, as many as a batch holds, embedding size, hidden units
    [line] = said
    assert line == (
        "precision: float32, since a product of 60 x 8 by 8 x 64 takes 3e+03 ms in bfloat16, 1e+03 ms in float32"
    )
    # The record of float32 itself, which is made once whoever asks for it.
    assert score_embeddings(folder, precision="float32", **kept).created == record.created
    bfloat16_takes(0.1)
    again = score_embeddings(folder, precision="auto", **kept)
    assert (again.fingerprint, again.created) == (record.fingerprint, record.created)
    assert len(said) == 1


def test_a_processor_that_cannot(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "has_bfloat16", lambda device: False)
    said: list[str] = []
    record = score_embeddings(folder, precision="auto", results_dir=tmp_path / "r", say=said.append, **QUICK)
    assert record.protocol.options["precision"] == "float32"
    assert said == ["precision: float32, since this cpu has no bfloat16"]


@pytest.mark.skipif(not module.has_bfloat16(module.torch.device("cpu")), reason="no bfloat16 products here")
@pytest.mark.parametrize(("seconds", "precision", "words"), [
    (0.2, "auto", "precision: bfloat16, since a product of"),
    (3.0, "bfloat16", "precision: bfloat16 is slower here than float32: a product of"),
    (0.2, "bfloat16", None),
])  # fmt: skip
def test_bfloat16(folder, tmp_path, bfloat16_takes, seconds, precision, words):
    bfloat16_takes(seconds)
    said: list[str] = []
    record = score_embeddings(folder, precision=precision, results_dir=tmp_path / "r", say=said.append, **QUICK)
    assert record.protocol.options["precision"] == "bfloat16"
    assert len(said) == (words is not None)
    assert words is None or said[0].startswith(words)
