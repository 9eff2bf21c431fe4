"""``delores ablate`` on a toy pool and task: what it trains, what it shows, what it does after a failure or a stop."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev

import pytest
import torch

from benchmarks.reading.tables.ablation_table import AblationRow, ablation_tables, on_validation, to_markdown, to_rich
from benchmarks.results.format import ResultRecord
from benchmarks.results.record import load_records
from benchmarks.running.ablation import Ablation, read_settings
from benchmarks.tasks.find import find_task_folders
from hear_delores.errors import DeloresError
from pretrain.config import load_config
from pretrain.training.start import pretrain

Delores = Callable[..., "object"]
TINY = ["encoder.channels=8", "encoder.embedding_size=16", "projector.widths=[16,16]", "augment.mixup_memory=20"]
TINY += ["segment_s=0.3", "batch_size=8", "steps=6", "save_every=2", "log_every=2", "precision=float32"]
SETTINGS = ["no-mixup: augment.mixup=false", "wide: encoder.embedding_size=24 loss.lambd=5e-5"]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def tasks(delores: Delores, corpus: Path, tmp_path: Path) -> Path:
    assert delores("prepare", "tones", "--source", corpus / "labels.csv", "--out", tmp_path / "tasks").code == 0
    return tmp_path / "tasks"


@pytest.fixture
def ablate(
    delores: Delores, corpus: Path, tasks: Path, tmp_path: Path, few_probe_sounds: None
) -> Callable[..., object]:
    """Runs the command on the toy data; the shared overrides make it small."""
    shared = [word for override in TINY for word in ("--set", override)]
    words = ("--preset", "demo-s", "--data", corpus, "--tasks-dir", tasks, *shared)
    return lambda *more, out="out": delores("ablate", *more, *words, "--out", tmp_path / out)


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as stream:
        return {row["setting"]: row for row in csv.DictReader(stream)}


def validation(record: ResultRecord) -> float:
    return 100 * fmean(fold.validation_score for fold in record.folds)


def test_a_grid_is_trained_scored_on_validation_beside_random_and_tabulated(
    ablate: Callable[..., object], tmp_path: Path
) -> None:
    ran = ablate(*SETTINGS)
    assert ran.code == 0, ran.err
    rows, out = rows_of(tmp_path / "out" / "ablation.csv"), tmp_path / "out"
    assert list(rows) == ["random", "random-wide", "base", "no-mixup", "wide"]
    assert [row["differs"] for row in rows.values()][2:] == [
        "",
        "augment.mixup=false",
        "encoder.embedding_size=24 loss.lambd=5.0e-05",
    ]
    records = {record.model.label: record for record in load_records([out / "results"])}
    assert records.keys() == rows.keys()
    for name, row in rows.items():
        assert float(row["tones"]) == pytest.approx(validation(records[name]))
        assert float(row["mean"]) == pytest.approx(validation(records[name]))
        log = out / "runs" / name / "log.jsonl"
        if not name.startswith("random"):
            last = json.loads(log.read_text().splitlines()[-1])
            assert [int(row["steps"]), int(row["clips"])] == [6, 48]
            assert float(row["loss"]) == last["loss"]
            assert (float(row["diagonal"]), float(row["rank"])) == (last["mean_diagonal"], last["rank_embedding"])
            assert float(row["hours"]) == pytest.approx(last["seconds"] / 3600)
        else:
            assert row["steps"] == row["loss"] == ""
    text = (out / "ablation.md").read_text()
    assert "### Protocol: linear, validation scores" in text
    assert text.count("\n| ") == 2 + 5
    assert "tones (top1_acc, one split)" in text

    made = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name in ("checkpoint.safetensors",)}
    again = ablate(*SETTINGS)
    assert again.code == 0
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert rows_of(out / "ablation.csv") == rows


def test_the_test_scores_are_shown_on_request_alone(ablate: Callable[..., object], tmp_path: Path) -> None:
    assert ablate("short: steps=3").code == 0
    files = list((tmp_path / "out" / "results").rglob("record.json"))
    for file in files:  # as if every test had gone otherwise than its validation
        values = json.loads(file.read_text())
        for part in (values, *values["folds"]):
            part["scores"] = dict.fromkeys(part["scores"], 0.12345)
        file.write_text(json.dumps(values))
    ran = ablate("short: steps=3")
    assert "12.3" not in (tmp_path / "out" / "ablation.md").read_text() + ran.out + ran.err
    assert ablate("short: steps=3", "--split", "test").code == 0
    assert (tmp_path / "out" / "ablation.md").read_text().count("12.3") == 3 * 2
    assert "test scores" in (tmp_path / "out" / "ablation.md").read_text()


def test_a_setting_that_fails_does_not_stop_the_others(ablate: Callable[..., object], tmp_path: Path) -> None:
    ran = ablate("wild: optimizer.kind=sgd optimizer.lr=1000 optimizer.weight_decay=1000", "last: seed=5")
    assert ran.code == 1
    *listed, error = [line for line in ran.err.splitlines() if line.startswith(("failed", "error"))]
    assert len(listed) == 1
    assert listed[0].startswith("failed: wild: the loss is")
    assert error == "error: 1 of the jobs failed (listed above); run the same command again to retry"
    rows = rows_of(tmp_path / "out" / "ablation.csv")
    assert list(rows) == ["random", "base", "wild", "last"]
    assert rows["wild"]["tones"] == ""
    assert rows["last"]["tones"] != ""
    assert "- wild: the loss is" in (tmp_path / "out" / "ablation.md").read_text()


def test_a_stopped_grid_goes_on_where_it_was(
    ablate: Callable[..., object], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pretrain.training.loop import Run

    steps, optimize = 0, Run._optimize

    def stop(self: Run, *views: torch.Tensor) -> dict[str, float]:
        nonlocal steps
        steps += 1
        if steps == 6 + 5:  # in the second run, after its state of step 4
            raise KeyboardInterrupt
        return optimize(self, *views)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_optimize", stop)
        ran = ablate("other: seed=3")
    assert ran.code == 130
    runs = tmp_path / "out" / "runs"
    assert (runs / "base" / "checkpoint.safetensors").is_file()
    assert not (runs / "other" / "checkpoint.safetensors").exists()
    assert list(rows_of(tmp_path / "out" / "ablation.csv")) == ["random", "base"]  # a look at it so far
    assert ablate("other: seed=3").code == 0
    whole = pretrain(load_config("demo-s", [*TINY, "seed=3"]), corpus, tmp_path / "whole", quiet=True)
    assert (runs / "other" / "checkpoint.safetensors").read_bytes() == whole.read_bytes()


def test_settings_come_from_a_file_and_may_name_another_preset(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("narrow: projector.widths=[8,8] projector.dropout=0.1\nm: [preset=demo-m, seed=4]\n")
    base, narrow, m, more = read_settings("demo-s", ["steps=7"], ["more: 'scene=[pooled, frames_std]'"], file)
    assert (base.name, base.config, base.difference) == ("base", load_config("demo-s", ["steps=7"]), "")
    assert narrow.config == load_config("demo-s", ["steps=7", "projector.widths=[8,8]", "projector.dropout=0.1"])
    assert narrow.difference == "projector.widths=[8,8] projector.dropout=0.1"
    assert m.config == load_config("demo-m", ["steps=7", "seed=4"])
    assert m.differs["method"] == "delores-m"
    assert more.config.scene == ("pooled", "frames_std")
    for setting in (narrow, m, more):  # what the table says is what one would type
        assert load_config("demo-s", ["steps=7", *setting.difference.split(" ")]) == setting.config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("augment.mixup=false", "expected a setting of the form 'NAME: KEY=VALUE ...'"),
        ("no-mixup", "expected a setting of the form"),
        ("a/b: seed=1", "a setting cannot be called 'a/b'"),
        ("random2: seed=1", "a setting cannot be called 'random2'"),
        ("base: seed=1", "a setting cannot be called 'base'"),
        ("one: seed=2", "two settings are called 'one'"),
        ("same: seed=0", "setting 'same' is the same as the base"),
        ("two: augment.mixupp=false", "'two': unknown configuration key 'augment.mixupp'. Did you mean 'mixup'"),
        ("two: preset=demo-x", "setting 'two': there is no preset 'demo-x'"),
        ("two: 'seed=1", "setting 'two': No closing quotation"),
    ],
)
def test_a_setting_that_cannot_be_read_is_one_line_before_anything_is_trained(text: str, message: str) -> None:
    with pytest.raises(DeloresError, match=message.replace(".", r"\.").replace("(", r"\(")) as caught:
        read_settings("demo-s", [], ["one: seed=1", text])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["- a\n", "a: 3\n", "a: [1]\n", "", "a: [\n"])
def test_a_file_of_something_else_is_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(content)
    with pytest.raises(DeloresError, match=r"s\.yaml") as caught:
        read_settings("demo-s", file=tmp_path / "s.yaml")
    assert "\n" not in str(caught.value)


def test_wrong_protocols_tasks_and_several_processes_are_refused_before_training(
    ablate: Callable[..., object], tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = ablate("--protocol", "liner")
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "Did you mean 'linear'" in ran.err
    assert "no task folder is called 'tunes'" in ablate("--task", "tunes").err
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(DeloresError, match="without torchrun"):
        Ablation(read_settings("demo-s"), tmp_path, tmp_path, find_task_folders(tasks))


def test_folds_and_several_protocols(record_factory: Callable[..., ResultRecord]) -> None:
    record = record_factory("base", "linear", [0.5, 0.75, 1.0], test=0.1)
    seen = on_validation(record)
    assert seen.scores == {"top1_acc": 0.75}
    assert seen.scores_std == {"top1_acc": pytest.approx(stdev([0.5, 0.75, 1.0]))}
    assert record.scores == {"top1_acc": 0.1}
    rows = [AblationRow("base", ""), AblationRow("gone", "seed=1", 3, 12000, 1.5, 12.345678, 0.5, 3.14)]
    other = record_factory("base", "knn", [0.25], test=0.2)
    linear, knn = ablation_tables(rows, [record, other], "valid")
    assert linear.body()[0][-2:] == ["75.0 ± 25.0", "75.0"]
    assert linear.body()[1] == ["gone", "seed=1", "3", "12,000", "1.50", "12.35", "0.500", "3.1", "", ""]
    assert knn.body()[0][-1] == "25.0"
    [test] = ablation_tables(rows, [other], "test")
    assert test.body()[0][-1] == "20.0"
    assert [column.header for column in to_rich(linear).columns] == [
        "setting", "clips", "hours", "loss", "diagonal", "rank", "t", "mean",
    ]  # fmt: skip
    assert list(to_rich(linear).columns[6].cells) == ["75.0 ± 25.0", ""]
    text = to_markdown([linear, knn], ["gone: a | b"])
    assert text.count("###") == 2
    assert "- gone: a | b" in text
    [empty] = ablation_tables(rows, [], "valid")
    assert empty.body()[1][0] == "gone"
    assert len(empty.body()[1]) == len(empty.heads())


@pytest.fixture
def record_factory() -> Callable[..., ResultRecord]:
    def make(label: str, protocol: str, scores: list[float], test: float) -> ResultRecord:
        fold = {"loss": 0.0, "epoch": 0, "epochs_run": 1, "hyperparameters": {}, "n_train_rows": 1, "n_test_rows": 1}
        values = {
            "fingerprint": "f", "embeddings_hash": "e", "seed": 1, "device": "cpu", "versions": {}, "created": "",
            "model": {"label": label, "module": "m", "weights_hash": "w"},
            "task": {
                "name": "t", "version": "v1", "mode": "full", "revision": "r", "embedding_type": "scene",
                "prediction_type": "multiclass", "primary_metric": "top1_acc", "metrics": ["top1_acc"],
                "maximise": True, "n_clips": 3,
            },
            "protocol": {"name": protocol},
            "scores": {"top1_acc": test},
            "folds": [
                {**fold, "test_split": f"{i}", "scores": {"top1_acc": test}, "validation_score": s, "seconds": 0.0}
                for i, s in enumerate(scores)
            ],
        }  # fmt: skip
        return ResultRecord.model_validate(values)

    return make
