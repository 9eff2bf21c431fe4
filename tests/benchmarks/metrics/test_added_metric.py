"""The metric that CONTRIBUTING.md adds as an example works everywhere after one file and one line."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from benchmarks import metrics
from benchmarks.metrics import registry
from benchmarks.metrics.registry import METRICS, Metric, find_metrics, metric_bounds, metric_scale
from benchmarks.reading.statistics.intervals import clip_interval
from benchmarks.reading.statistics.weighted import statistic
from benchmarks.results.format import FoldPredictions
from hear_delores.errors import DeloresError

CONTRIBUTING = Path(__file__).resolve().parents[3] / "CONTRIBUTING.md"


@pytest.fixture
def top3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Metric:
    """The metric: its one file and its one line, put where the page says."""
    section = CONTRIBUTING.read_text(encoding="utf-8").split("## Add a metric\n")[1].split("\n## ")[0]
    file, line = re.findall(r"^```python\n(.*?)^```$", section, re.M | re.S)
    assert file.startswith("# benchmarks/metrics/top3.py\n")
    (tmp_path / "top3.py").write_text(file, encoding="utf-8")
    monkeypatch.setattr(metrics, "__path__", [*metrics.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    module = importlib.import_module("benchmarks.metrics.top3")
    del sys.modules["benchmarks.metrics.top3"]
    metric: Metric = eval(line.strip().removesuffix(","), {**vars(registry), "top3": module})
    monkeypatch.setitem(METRICS, metric.name, metric)
    return metric


def made(n: int = 60, labels: int = 8) -> FoldPredictions:
    random = np.random.default_rng(0)
    target = np.eye(labels, dtype=np.float32)[random.integers(0, labels, n)]
    prediction = (random.normal(size=(n, labels)) + target).astype(np.float32)
    return FoldPredictions(prediction, target, np.arange(n).astype(str))


def test_it_equals_scikit_learn(top3: Metric) -> None:
    fold = made()
    expected = top_k_accuracy_score(fold.target.argmax(axis=1), fold.prediction, k=3)
    assert 0.4 < expected < 0.9
    assert top3.scores(fold.prediction, fold.target) == {"top3_acc": pytest.approx(expected, abs=1e-12)}


def test_tasks_tables_and_intervals_know_it(top3: Metric) -> None:
    assert find_metrics(["top3_acc"], "scene") == [top3]
    assert (metric_scale("top3_acc"), metric_bounds("top3_acc")) == (100.0, (0.0, 1.0))
    found = statistic("top3_acc", fold := made())
    assert found.value == pytest.approx(top3.scores(fold.prediction, fold.target)["top3_acc"])
    interval = clip_interval([found])
    assert interval is not None
    assert interval.low < found.value < interval.high


def test_a_metric_without_terms_has_a_score_and_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "first", Metric("first", lambda prediction, target: float(prediction[0, 0])))
    assert METRICS["first"].scores(np.ones((1, 1)), np.ones((1, 1))) == {"first": 1.0}
    with pytest.raises(DeloresError, match="first has no intervals"):
        statistic("first", made())
