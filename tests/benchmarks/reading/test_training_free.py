"""``delores geometry``: which folders are measured, what is compared with what, and what is printed."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from benchmarks.metrics import geometry
from benchmarks.reading import training_free
from benchmarks.reading.training_free import MEASURES, likenesses, measure, open_embeddings
from hear_delores.errors import DeloresError

LOGMEL = "benchmarks.baselines.logmel"


@pytest.fixture
def embedded(corpus, tmp_path, delores):
    """One task, embedded by two models as scenes and by one as frames."""
    source = corpus if corpus.is_file() else corpus / "labels.csv"
    assert delores("prepare", "tones", "--source", source, "--out", tmp_path / "tasks", "-q").code == 0
    words = ("--tasks-dir", tmp_path / "tasks", "--embeddings-dir", tmp_path / "e", "--device", "cpu", "-q")
    for model, *more in ((f"a={LOGMEL}",), (f"b={LOGMEL}",), (f"a={LOGMEL}", "--needs", "timestamps")):
        assert delores("embed", model, *words, *more).code == 0
    return tmp_path / "e"


def test_measures_are_of_all_clips_and_models_are_matched_by_clip(embedded, delores, monkeypatch):
    answer = delores("geometry", embedded, "--json", "--permutations", "19")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert [item["rows"] for item in found["measures"]] == ["scene", "timestamps", "scene"]
    one, frames, other = open_embeddings([embedded, embedded])
    rows = np.concatenate([split.embeddings for split in one.splits.values()])
    targets = np.concatenate([split.targets for split in one.splits.values()])
    values = found["measures"][0]["values"]
    assert list(values) == list(MEASURES)
    assert values["precision_at_1"] == pytest.approx(geometry.precision_at(rows, targets)[1])
    assert values["silhouette"] == pytest.approx(geometry.silhouette(rows, targets))
    assert values["effective_rank"] == pytest.approx(geometry.effective_rank(rows), rel=1e-6)
    assert math.isnan(measure(one, 1).values["alignment"])
    # A and b are one model under two names: their likeness is 1. Frames of log-mel are their means, without deviations.
    alike = {tuple(item["models"]): item["linear_cka"] for item in found["linear_cka"]}
    assert len(alike) == 3
    names = [path.resolve().parent.name for path in (one.path, other.path)]
    assert alike[(names[0], names[1])] == pytest.approx(1, abs=1e-9)
    assert all(0 < value < 1 for pair, value in alike.items() if pair != tuple(names))
    halves = measure(frames, 1).values["alignment"]
    assert 0 < halves < 1
    monkeypatch.setattr(training_free, "MAX_CLIPS", 9)
    assert measure(one, 1).clips == 9
    assert likenesses([one, other])[0].clips == 9
    answer = delores("geometry", embedded, "--permutations", "5")
    assert answer.out.startswith("### Geometry of embeddings (no score of a task)")
    assert "### Linear CKA" in answer.out
    rows = [line for line in answer.out.splitlines() if line.startswith("| tones")]
    assert len(rows) == 3 + 3
    assert "nan" not in answer.out


def test_folders_without_embeddings_of_clips_are_refused(tmp_path, delores):
    with pytest.raises(DeloresError, match="expected embeddings of clips, as 'delores embed' writes them"):
        open_embeddings([tmp_path])
    assert delores("geometry", tmp_path / "absent").code == 1
