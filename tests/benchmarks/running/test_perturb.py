"""``run --perturb``: the same heads on perturbed test clips, cached, recorded, compared with clean, and tabulated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sklearn.neighbors import KNeighborsClassifier

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.embedding.model import load_model
from benchmarks.perturbing.perturbation import parse_perturbations
from benchmarks.reading.read_results import tables
from benchmarks.reading.report.gather import gather
from benchmarks.reading.report.perturbed_bars import perturbed_bars
from benchmarks.reading.statistics.robustness import robustness_of
from benchmarks.reading.tables.robustness_table import draw_robustness, robustness_tables
from benchmarks.reading.training_free import open_embeddings
from benchmarks.results.format import ResultRecord
from benchmarks.results.perturbed import as_perturbed
from benchmarks.results.record import fold_predictions, load_record, load_records
from benchmarks.running.run import run
from benchmarks.tasks.find import load_task
from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.writer import Clip, write_task_folder
from hear_delores.errors import DeloresError

WORDS = ("noise:10,-10", "band:1k")
NAMES = ["noise:10", "noise:-10", "band:1k"]


def tone(label: int, random: np.random.Generator, samples: int = 1600) -> np.ndarray:
    return 0.1 * np.sin(np.arange(samples) * (0.1, 0.5)[label]) + 0.05 * random.standard_normal(samples)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tasks: clips in one split, clips in folds, and events."""
    folder, random = tmp_path_factory.mktemp("perturb"), np.random.default_rng(0)
    common = {"version": "1", "mode": "full", "prediction_type": "multiclass", "evaluation": ["top1_acc"]}
    for name, mode, splits in (
        ("split", "trainvaltest", ("train", "valid", "test")),
        ("folds", "new_split_kfold", ("fold00", "fold01", "fold02")),
    ):
        clips = {s: [Clip(f"{s}{i}.wav", ["ab"[i % 2]], tone(i % 2, random)) for i in range(8)] for s in splits}
        more = {"nfolds": 3} if mode != "trainvaltest" else {}
        about = {"task_name": name, "embedding_type": "scene", "split_mode": mode, **more}
        write_task_folder(folder / "tasks", {**common, **about}, clips)
    events = {
        s: [Clip(f"{s}{i}.wav", [{"label": "ab"[i % 2], "start": 200.0, "end": 600.0}], tone(i % 2, random, 16000))
            for i in range(2)]
        for s in ("train", "valid", "test")
    }  # fmt: skip
    about = {
        **common, "task_name": "events", "embedding_type": "event", "split_mode": "trainvaltest",
        "prediction_type": "multilabel", "evaluation": ["event_onset_200ms_fms", "segment_1s_er"],
    }  # fmt: skip
    write_task_folder(folder / "tasks", about, events)
    return folder


def measured(home: Path, out: str, *tasks: str, **more: Any) -> list[ResultRecord]:
    options: dict[str, Any] = {
        "protocols": ["linear"], "options": {"linear": {"max_epochs": 3}, "hear": {"grid": "faster", "grid_points": 2}},
        "device": "cpu",
    }  # fmt: skip
    folders = [load_task(home / "tasks" / f"{task}-1-full") for task in tasks]
    summary = run(["log-mel"], folders, home / out, **{**options, **more})
    assert not summary.failures
    return summary.records


@pytest.fixture(scope="module")
def with_perturbed(home: Path) -> list[ResultRecord]:
    return measured(home, "perturbed", "split", "folds", "events", perturb=WORDS)


def same_clean(one: ResultRecord, other: ResultRecord) -> bool:
    alike = [getattr(one, name) == getattr(other, name) for name in ("fingerprint", "scores", "scores_std")]
    losses = [[fold.loss for fold in record.folds] for record in (one, other)]
    pairs = zip(fold_predictions(one), fold_predictions(other), strict=True)
    return all(alike) and losses[0] == losses[1] and all(np.array_equal(a.prediction, b.prediction) for a, b in pairs)


def test_clean_scores_are_those_of_a_run_without_perturbations(home: Path, with_perturbed: list[ResultRecord]) -> None:
    plain = measured(home, "plain", "split", "folds", "events")
    assert [record.perturbed for record in plain] == [[], [], []]
    for with_them, without in zip(with_perturbed, plain, strict=True):
        assert [each.name for each in with_them.perturbed] == NAMES
        assert same_clean(with_them, without)
    # Embeddings of the clean clips, and of test clips alone, each in a folder of its own.
    assert sorted(path.name for path in (home / "perturbed" / "perturbed").iterdir()) == [
        "band_1k", "noise_-10", "noise_10",
    ]  # fmt: skip
    [folder] = (home / "perturbed" / "perturbed" / "noise_10").glob("*/split-1-full")
    assert sorted(EmbeddingsTask.open(folder, perturbed=True).splits) == ["test"]
    [folder] = (home / "perturbed" / "perturbed" / "noise_10").glob("*/folds-1-full")
    assert sorted(EmbeddingsTask.open(folder, perturbed=True).splits) == ["fold00", "fold01", "fold02"]


def embeddings_of(task: TaskFolder, split: str, word: str) -> tuple[list[str], np.ndarray]:
    """The scene embeddings of a split, made here of audio that is read and perturbed clip by clip."""
    model, [perturbation] = load_model("log-mel", "cpu"), parse_perturbations([word])
    files, rows = [], []
    for file in sorted(task.labels(split), reverse=True):
        samples, rate = soundfile.read(task.audio_file(split, file, 16000), dtype="float32")
        rows.append(model.scene(perturbation.apply(samples, rate, file)[None])[0])
        files.append(file)
    return files, np.stack(rows)


def test_the_same_neighbours_judge_perturbed_clips(home: Path) -> None:
    """scikit-learn on clean training clips, tested on clips that are perturbed here, one by one in another order."""
    options = {"knn": {"k": 3, "metric": "cosine"}}
    [record] = measured(home, "knn", "split", protocols=["knn"], options=options, perturb=["noise:-10"])
    task = load_task(home / "tasks" / "split-1-full")
    [folder] = (home / "knn" / "embeddings").glob("*/split-1-full")
    train = EmbeddingsTask.open(folder).splits["train"]
    judge = KNeighborsClassifier(3, metric="cosine", algorithm="brute")
    judge.fit(np.asarray(train.embeddings), train.targets.argmax(axis=1))
    files, rows = embeddings_of(task, "test", "noise:-10")
    expected = dict(zip(files, judge.predict_proba(rows), strict=True))
    [found] = fold_predictions(as_perturbed(record, "noise:-10"))
    for file, probabilities in zip(found.files, found.prediction, strict=True):
        np.testing.assert_allclose(probabilities, expected[str(file)], atol=1e-6)


@pytest.mark.parametrize("protocol", ["hear", "attentive", "prototype"])
def test_every_protocol_tests_its_heads_again(home: Path, protocol: str) -> None:
    """Noise 100 dB below the clip changes nothing that a head could tell; noise 40 dB above it leaves nothing."""
    options = {"hear": {"grid": "faster", "grid_points": 2}, protocol: {"max_epochs": 4}} | (
        {"hear": {"grid": "faster", "grid_points": 2}} if protocol == "hear" else {}
    )
    [record] = measured(home, protocol, "split", protocols=[protocol], options=options, perturb=["noise:100,-40"])
    faint, loud = record.perturbed
    assert faint.scores == record.scores
    assert faint.folds[0].loss == pytest.approx(record.folds[0].loss, abs=1e-3)
    assert loud.folds[0].loss != pytest.approx(record.folds[0].loss, abs=1e-3)


@pytest.mark.parametrize("task", ["split", "events"])
def test_shuffled_labels_are_those_of_the_clean_test(home: Path, task: str) -> None:
    controlled = {"linear": {"max_epochs": 3, "control": "shuffled"}}
    [record] = measured(home, "shuffled", task, options=controlled, perturb=["noise:100"])
    for clean, perturbed in zip(
        fold_predictions(record), fold_predictions(as_perturbed(record, "noise:100")), strict=True
    ):
        np.testing.assert_array_equal(clean.target, perturbed.target)
        np.testing.assert_array_equal(clean.target_events, perturbed.target_events)


def test_what_is_added_later_keeps_the_heads_and_what_was_there(home: Path) -> None:
    first = measured(home, "later", "split", perturb=["noise:10"])[0]
    both = measured(home, "later", "split", perturb=["band:1k"])[0]
    assert [each.name for each in both.perturbed] == ["noise:10", "band:1k"]
    assert both.perturbed[0] == first.perturbed[0]
    assert same_clean(first, both)
    again = measured(home, "later", "split", perturb=["band:1k", "noise:10"])[0]
    assert again.created == both.created  # nothing was done again
    assert again.perturbed == both.perturbed
    assert measured(home, "later", "split")[0].perturbed == both.perturbed
    assert fold_predictions(as_perturbed(load_record(both.folder), "noise:10"))
    seeded = measured(home, "later", "split", perturb=["noise:10"], perturb_seed=1)[0]
    assert [each.name for each in seeded.perturbed] == ["noise:10", "band:1k", "noise:10 (seed 1)"]
    assert seeded.perturbed[2].embeddings_hash != seeded.perturbed[0].embeddings_hash


def test_order_batches_and_processes_change_nothing(home: Path, with_perturbed: list[ResultRecord]) -> None:
    turned = measured(home, "turned", "folds", "split", perturb=["band:1k", "noise:-10", "noise:10"], batch_seconds=0.1)
    by_name = {record.task.name: record for record in with_perturbed}
    for record in turned:
        other = {each.name: each for each in by_name[record.task.name].perturbed}
        assert {each.name: each.scores for each in record.perturbed} == {n: e.scores for n, e in other.items()}


def test_intervals_are_paired(home: Path, with_perturbed: list[ResultRecord]) -> None:
    [found] = robustness_of(with_perturbed)
    assert found.perturbations == tuple(NAMES)
    assert found.tasks == ("split", "folds", "events")
    record = with_perturbed[0]
    [clean], [noisy] = (fold_predictions(each) for each in (record, as_perturbed(record, "noise:-10")))
    truth = clean.target.argmax(axis=1)
    right = [np.mean(each.prediction.argmax(axis=1) == truth) for each in (clean, noisy)]
    cell = found.cells["log-mel", "split", "noise:-10"]
    assert cell.score == pytest.approx(100 * right[1])
    assert cell.difference == pytest.approx(100 * (right[1] - right[0]))
    assert cell.low <= cell.difference <= cell.high
    assert found.cells["log-mel", "split", ""].low is None
    mean = found.means["log-mel", "band:1k"]
    scores = [found.cells["log-mel", task, "band:1k"].score for task in found.averaged]
    assert mean.score == pytest.approx(np.mean(scores))


def test_models_tested_under_other_perturbations_or_tasks_have_blanks(
    with_perturbed: list[ResultRecord], tmp_path: Path
) -> None:
    """Every perturbation of every model is a column; a mean is over the same tasks for all models."""
    split, folds, _ = with_perturbed
    only = {"noise:10": split, "band:1k": folds}  # of the other model, which has no events
    other = [
        record.model_copy(
            update={
                "model": record.model.model_copy(update={"label": "other"}),
                "perturbed": [each for each in record.perturbed if each.name == name],
            }
        )
        for name, record in only.items()
    ]
    for copy, record in zip(other, only.values(), strict=True):
        copy._folder = record.folder
    [alone], [found] = robustness_of([split, folds]), robustness_of([*with_perturbed, *other])
    assert found.perturbations == tuple(NAMES)
    assert {key: cell for key, cell in found.cells.items() if key[0] == "other"} == {
        ("other", task, name): alone.cells["log-mel", task, name]
        for task, own in (("split", "noise:10"), ("folds", "band:1k"))
        for name in ("", own)
    }
    assert (found.averaged, set(found.means)) == (
        ("split", "folds"), {("other", ""), *(("log-mel", name) for name in ("", *NAMES))}
    )  # fmt: skip
    assert found.means["log-mel", "band:1k"] == alone.means["log-mel", "band:1k"]
    mean, first, *_ = robustness_tables([found])
    assert [row[2:] for row in mean.rows if row[0] == "other"] == [["", "", ""]]
    assert [bool(text) for row in first.rows if row[0] == "other" for text in row] == [True, True, True, False, False]
    assert "Blank: not tested." in mean.notes
    assert draw_robustness(tmp_path / "r.png", [found]).stat().st_size > 0
    assert len(perturbed_bars(gather([*with_perturbed, *other]))) == 4


def test_tables_have_a_column_for_each_and_old_records_none(
    home: Path, with_perturbed: list[ResultRecord], delores: Callable[..., Any], tmp_path: Path
) -> None:
    results = home / "perturbed" / "results"
    ran = delores("tables", results, "--format", "md,csv,tex,html", "--out", tmp_path, "--picture", tmp_path / "r.png")
    assert ran.code == 0, ran.err
    text = (tmp_path / "tables.md").read_text()
    assert "| model | clean | noise:10 | noise:-10 | band:1k |" in text
    assert text.count("### Robustness: linear") == 4  # the mean, and each task
    for name in ("tables.tex", "tables.html"):
        assert "noise:-10" in (tmp_path / name).read_text()
    assert (tmp_path / "r.png").read_bytes()[:4] == b"\x89PNG"
    rows = (tmp_path / "results.csv").read_text().splitlines()
    assert rows[0].endswith(",perturbation,difference")
    assert sum(",noise:10," in row for row in rows) == sum(len(each.scores) for each in with_perturbed)
    plain = [record.model_copy(update={"perturbed": []}) for record in with_perturbed]
    assert "Robustness" not in str(tables(plain))
    assert "perturbation" not in tables(plain).text("csv")
    folder = delores("tables", results, "--picture", tmp_path)
    assert (folder.code, f"try {tmp_path / 'picture.png'}" in folder.err) == (1, True)
    measured(home, "plain", "split")  # as another test may have done
    refused = delores("tables", home / "plain" / "results", "--picture", tmp_path / "none.png")
    assert (refused.code, "delores run --perturb" in refused.err) == (1, True)


def test_perturbed_embeddings_are_never_trained_on_or_measured(home: Path, with_perturbed: list[ResultRecord]) -> None:
    [folder] = (home / "perturbed" / "perturbed" / "noise_10").glob("*/split-1-full")
    with pytest.raises(DeloresError, match="perturbed test clips, on which nothing is trained"):
        EmbeddingsTask.open(folder)
    assert all("perturbation" not in task.info for task in open_embeddings([home / "perturbed"]))


def test_a_record_that_contradicts_itself_is_refused(
    home: Path, with_perturbed: list[ResultRecord], tmp_path: Path
) -> None:
    file = with_perturbed[0].folder / "record.json"
    for change, said in (
        (lambda own: own["scores"].update(top1_acc=0.99), "noise:10: scores.top1_acc is 0.990000, but the mean"),
        (lambda own: own["folds"][0].update(test_split="other"), "noise:10: its folds are not those of the record"),
        (lambda own: own.update(embeddings_hash="x"), "noise:10: expected embeddings_hash"),
        (lambda own: own.update(name="band:1k"), "the perturbation 'band:1k' twice"),
    ):
        values = json.loads(file.read_text())
        change(values["perturbed"][0])
        (tmp_path / "record.json").write_text(json.dumps(values))
        with pytest.raises(DeloresError, match=said):
            load_record(tmp_path)
    del values["perturbed"]  # as records were before there were perturbations
    (tmp_path / "record.json").write_text(json.dumps(values))
    assert load_record(tmp_path).perturbed == []


def test_the_command_refuses_in_one_line(home: Path, delores: Callable[..., Any], tmp_path: Path) -> None:
    common = ("--tasks-dir", home / "tasks", "--out", tmp_path, "-p", "knn", "--device", "cpu", "-q")
    ran = delores("run", "log-mel", *common, "--perturb", "nosie:20")
    assert (ran.code, ran.err.strip()) == (
        1, "error: --perturb: unknown perturbation 'nosie'. Did you mean 'noise'? Available: "
        "band, codec, noise, pink, reverb.",
    )  # fmt: skip
    ran = delores("run", "log-mel", *common, "--perturb", "noise:20", "reverb:0.3")
    assert (ran.code, "reverb:0.3 is a perturbation and not a model; write --perturb reverb:0.3" in ran.err) == (
        1,
        True,
    )
    assert not load_records([tmp_path])
