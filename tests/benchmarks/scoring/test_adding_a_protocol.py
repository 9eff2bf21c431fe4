"""A new protocol is one file and one line: the example of CONTRIBUTING.md, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from embeddings_folders import write_events, write_scene
from sklearn.neighbors import NearestCentroid

import benchmarks.scoring
from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.results.record import load_predictions
from benchmarks.scoring.protocols import PROTOCOLS
from benchmarks.scoring.score import score_embeddings
from hear_delores.errors import DeloresError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def centroid(tmp_path, monkeypatch):
    """The one file, on the path of the package, and the one line."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text[text.index("## Add a protocol") : text.index("## Add a check")]
    file, line = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "centroid.py").write_text(file, encoding="utf-8")
    monkeypatch.setattr(benchmarks.scoring, "__path__", [*benchmarks.scoring.__path__, str(tmp_path / "room")])
    name, where = re.fullmatch(r' *"(.*)": "(.*)",\n', line).groups()
    monkeypatch.setitem(PROTOCOLS, name, where)
    return name


def test_the_example_scores_as_scikit_learn_does(centroid, tmp_path):
    folder = write_scene(tmp_path / "e" / "m" / "t", folds=3, noise=2.0)
    record = score_embeddings(folder, protocol=centroid, results_dir=tmp_path / "r")
    task = EmbeddingsTask.open(folder)
    for fold, names in zip(record.folds, task.data_splits(), strict=True):
        [train], [test] = ([task.splits[name] for name in names[role]] for role in ("train", "test"))
        model = NearestCentroid().fit(train.embeddings, train.targets.argmax(1))
        prediction = load_predictions(record.folder)[fold.test_split].prediction
        np.testing.assert_array_equal(prediction.argmax(1), model.predict(test.embeddings))
        assert fold.seconds > 0
    assert record.folder.name == "centroid-seed42"
    assert score_embeddings(folder, protocol=centroid, results_dir=tmp_path / "r").created == record.created


def test_few_shots_an_interruption_and_the_name_of_its_variant_are_shared(centroid, tmp_path):
    folder = write_scene(tmp_path / "e" / "m" / "t", folds=3, noise=2.0)
    seen: list[str] = []

    def stop(done, total, text):
        seen.append(text)
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_embeddings(folder, protocol=centroid, results_dir=tmp_path / "r", progress=stop, shots=4, scale=2.0)
    [work] = (tmp_path / "r").rglob("work")
    assert sorted(path.stem for path in work.glob("*.safetensors")) == ["fold-00", "fold-01"]
    record = score_embeddings(folder, protocol=centroid, results_dir=tmp_path / "r", shots=4, scale=2.0)
    assert record.folder.name == "centroid-scale=2.0-4-shot-seed42"
    assert [fold.n_train_rows for fold in record.folds] == [12, 12, 12]
    assert not work.exists()
    whole = score_embeddings(folder, protocol=centroid, results_dir=tmp_path / "w", shots=4, scale=2.0)
    assert whole.scores == record.scores


def test_what_it_cannot_do_is_refused(centroid, tmp_path):
    events = write_events(tmp_path / "e" / "m" / "t")
    with pytest.raises(DeloresError, match="protocol centroid is for clips, and toy_events-v1-full is an event task"):
        score_embeddings(events, protocol=centroid, results_dir=tmp_path / "r")
    with pytest.raises(DeloresError, match=r"unknown option 'scales' of protocol centroid\. Did you mean 'scale'"):
        score_embeddings(events, protocol=centroid, results_dir=tmp_path / "r", scales=2)
