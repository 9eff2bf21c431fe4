"""``delores layers``: each layer as if it had been run by itself, chosen on validation, in one pass over the audio."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torchaudio import pipelines

from benchmarks.embedding.embed import embed_task
from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.embedding.layered import embed_layers, load_layers
from benchmarks.embedding.model import load_model
from benchmarks.reading.report.gather import gather
from benchmarks.reading.report.layer_bars import layer_bars
from benchmarks.reading.report.page import Sources, render_report
from benchmarks.reading.tables.layer_table import LayerScores, to_markdown
from benchmarks.results.record import load_records
from benchmarks.tasks.folder import TaskFolder
from hear_delores.errors import DeloresError


@pytest.fixture
def task(tasks_dir: Path, few_probe_sounds: None) -> TaskFolder:
    """18 clips of 0.1 s."""
    [folder] = tasks_dir.glob("first-*")
    return TaskFolder.open(folder)


@pytest.mark.parametrize("kind", ["torchaudio", "ours"])
def test_each_layer_has_the_embeddings_of_its_own_and_one_pass_serves_all(
    task: TaskFolder,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    small_wav2vec2: dict[str, Any],
) -> None:
    bundle = pipelines.Wav2Vec2Bundle("small.pth", small_wav2vec2, 16000, False, "Wav2Vec2")
    monkeypatch.setattr(pipelines, "SMALL", bundle, raising=False)
    if kind == "ours":
        text, options = f"hear_delores@{checkpoint}", [f"?scene={part}_mean" for part in ("layer1", "layer3", "frames")]
    else:
        text, options = "torchaudio:SMALL?seed=1&pool=mean+std", ["&layer=0", "&layer=1", "&layer=2"]
    model = load_layers(text, device="cpu")
    passes: list[int] = []
    embedded = type(model.whole).scene

    def counted(self: Any, audio: np.ndarray) -> np.ndarray:
        passes.append(len(audio))
        return embedded(self, audio)

    for loaded in (model.whole, *model.layers.values()):
        assert loaded.behaviour.deterministic  # seen before the passes are counted
    monkeypatch.setattr(type(model.whole), "scene", counted)
    paths = embed_layers(model, task, tmp_path / "embeddings")
    assert sum(passes) == 18  # each clip once
    assert embed_layers(model, task, tmp_path / "embeddings") == paths
    assert sum(passes) == 18
    for option in options:
        alone = load_model(text + option, "cpu")
        found = embed_task(alone, task, tmp_path / "embeddings")
        assert found.cached, option  # as `run` of the layer finds it
        assert found.path in paths.values()
        again = EmbeddingsTask.open(embed_task(alone, task, tmp_path / "alone").path)
        for name, split in EmbeddingsTask.open(found.path).splits.items():
            np.testing.assert_allclose(split.embeddings, again.splits[name].embeddings, atol=1e-5)
            assert split.files == again.splits[name].files
            np.testing.assert_array_equal(split.targets, again.splits[name].targets)


def test_the_command_shows_the_test_score_of_the_layer_that_validation_chose(
    delores: Callable[..., Any], task: TaskFolder, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    words = ("--tasks-dir", task.path.parent, "--task", task.path.name, "--out", out, "-p", "knn", "-q")
    ran = delores("layers", f"hear_delores@{checkpoint}", *words)
    assert ran.code == 0, ran.err
    assert (out / "layers.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((out / "layers.csv").open()))
    assert [row["layer"] for row in rows] == ["layer1", "layer2", "layer3", "frames"]
    assert [bool(row["test"]) for row in rows] == [row["chosen"] == "1" for row in rows]
    best = max(float(row["validation"]) for row in rows)
    [chosen] = [row for row in rows if row["chosen"] == "1"]
    assert float(chosen["validation"]) == best
    by_part = {record.model.options["scene"]: record for record in load_records([out / "results"])}
    for row in rows:
        record = by_part[f"{row['layer']}_mean"]
        assert float(row["validation"]) == np.mean([fold.validation_score for fold in record.folds])
    assert float(chosen["test"]) == by_part[f"{chosen['layer']}_mean"].primary_score
    found = gather(list(by_part.values()))
    [card] = layer_bars(found, out / "embeddings")
    names = ("effective rank", "isotropy", "mean cosine")
    assert card.figures == (
        ("layer", *names), *((row["layer"], *(f"{float(row[name]):.3f}" for name in names)) for row in rows)
    )  # fmt: skip
    assert ">effective rank</th>" in render_report(found, Sources(embeddings=out / "embeddings"))
    assert ">effective rank</th>" not in render_report(found, Sources())


def scores(**changes: Any) -> LayerScores:
    values: dict[str, Any] = {
        "model": "m", "task": "t", "protocol": "knn", "metric": "top1_acc", "maximise": True,
        "layers": ("0", "1", "2", "3"), "validation": (0.2, 0.5, 0.4, 0.5), "test": (0.9, 0.1, 0.8, 0.7),
        "indicators": {"rank": (1.0, 4.0, 3.0, 2.0)},
    }  # fmt: skip
    return LayerScores(**{**values, **changes})


def test_the_choice_is_made_on_validation_whatever_the_test_scores() -> None:
    assert scores().chosen == 1  # the first of equals, and the worst on test
    assert scores(maximise=False).chosen == 0
    assert scores(validation=(float("nan"), 0.1, 0.3, 0.2)).chosen == 2
    assert scores(validation=(float("nan"),) * 4).chosen is None
    text = to_markdown([scores()])
    assert "0.100" in text
    assert not [hidden for hidden in ("0.900", "0.800", "0.700") if hidden in text]
    asked = to_markdown([scores()], all_tests=True)
    assert all(shown in asked for shown in ("0.900", "0.100", "0.800", "0.700"))


def test_the_correlation_is_scipys_with_better_scores() -> None:
    expected = spearmanr((1, 4, 3, 2), (0.2, 0.5, 0.4, 0.5)).statistic
    assert scores().correlation("rank") == pytest.approx(expected, abs=1e-12)
    assert scores(maximise=False).correlation("rank") == pytest.approx(-expected, abs=1e-12)
    assert np.isnan(scores(validation=(0.5,) * 4).correlation("rank"))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("log-mel", "its layers are not known; expected hf:ORG/NAME"),
        ("delores-m-1024?scene=pooled", "the option scene=pooled names some; leave it out"),
        ("torchaudio:HUBERT_BASE?layer=3", "the option layer=3 names some"),
    ],
)
def test_a_model_without_known_layers_is_one_line(model: str, message: str) -> None:
    with pytest.raises(DeloresError, match=message) as caught:
        load_layers(model, device="cpu")
    assert "\n" not in str(caught.value)
    assert torch.is_grad_enabled()
