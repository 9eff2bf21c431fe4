"""Protocol hear: the network, its training step by step, early stopping, folds, postprocessing."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from embeddings_folders import write_events, write_scene
from torch import nn

from benchmarks.embedding.folder import EmbeddingsTask, data_splits
from benchmarks.results.means import aggregate
from benchmarks.scoring.fitting import BestEpoch, derive_seed, predict
from benchmarks.scoring.fold import Fold, run_folds
from benchmarks.scoring.hear import heads
from benchmarks.scoring.hear.grid import HeadConfig
from benchmarks.scoring.hear.heads import Head, HeadJob, batch_bounds, train_head
from benchmarks.scoring.hear.protocol import READ_AS_MISSING, Hear
from benchmarks.scoring.work import WorkFolder
from hear_delores.errors import DeloresError

CONFIG = HeadConfig(
    batch_size=16,
    check_val_every_n_epoch=1,
    dropout=0.0,
    hidden_dim=12,
    hidden_layers=1,
    lr=3e-3,
    max_epochs=4,
)


def job_of(task: EmbeddingsTask, config: HeadConfig = CONFIG, **changes) -> HeadJob:
    fold = Fold.of(task, changes.pop("fold", 0), "cpu", True)
    return HeadJob("job", config, fold, 5, task.prediction_type, changes.pop("maximise", True), **changes)


@pytest.fixture
def scene(tmp_path) -> EmbeddingsTask:
    return EmbeddingsTask.open(write_scene(tmp_path / "model" / "toy", noise=2.0))


# --- the network


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_structure(layers):
    head = Head(HeadConfig(hidden_layers=layers, hidden_dim=32, dropout=0.1), 20, 7)
    found = [*head.hidden, head.projection]
    block = [nn.Linear, nn.BatchNorm1d, nn.Dropout, nn.ReLU]
    assert [type(module) for module in found] == block * layers + [nn.Linear]
    assert all(module.p == 0.1 for module in found if isinstance(module, nn.Dropout))
    sizes = [(m.in_features, m.out_features) for m in found if isinstance(m, nn.Linear)]
    assert sizes == [[(20, 7)], [(20, 32), (32, 7)], [(20, 32), (32, 32), (32, 7)]][layers]
    assert head(torch.randn(5, 20)).shape == (5, 7)


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_initialisation_statistics(kind):
    """Standard deviation gain * sqrt(2 / (in + out)); gain 1 for the first layer, sqrt(2) after a ReLU."""
    torch.manual_seed(0)
    head = Head(HeadConfig(hidden_layers=2, initialization=f"xavier_{kind}_"), 512, 100)
    linears = [module for module in [*head.hidden, head.projection] if isinstance(module, nn.Linear)]
    for linear, gain in zip(linears, [1.0, math.sqrt(2), math.sqrt(2)], strict=True):
        expected = gain * math.sqrt(2 / (linear.in_features + linear.out_features))
        weight = linear.weight.detach()
        assert weight.std().item() == pytest.approx(expected, rel=0.02)
        largest = weight.abs().max().item() / expected
        assert largest <= math.sqrt(3) * 1.0001 if kind == "uniform" else largest > 3.5
        bound = 1 / math.sqrt(linear.in_features)  # torch's default for biases
        assert 0.9 * bound < linear.bias.abs().max().item() <= bound
    alone = Head(HeadConfig(hidden_layers=0, initialization=f"xavier_{kind}_"), 512, 100).projection.weight
    assert alone.std().item() == pytest.approx(math.sqrt(2 / 612), rel=0.02)  # the first layer: gain 1


# --- training


def trained_by_hand(job: HeadJob, order: torch.Tensor) -> dict[str, torch.Tensor]:
    """Head, loss and Adam written out, over the rows in ``order``, for every epoch; no dropout."""
    config, train = job.config, job.fold.train
    x = train.embeddings(0, len(train))[order].double()
    y = train.targets.argmax(dim=1)[order]
    torch.manual_seed(job.seed)
    start = Head(config, x.shape[1], train.targets.shape[1]).state_dict()
    names = ["hidden.0.weight", "hidden.0.bias", "hidden.1.weight", "hidden.1.bias"]
    names += ["projection.weight", "projection.bias"]
    w = {name: start[name].double().requires_grad_() for name in names}
    first = {name: torch.zeros_like(value) for name, value in w.items()}
    second = {name: torch.zeros_like(value) for name, value in w.items()}
    step = 0
    for _ in range(config.max_epochs):
        for a in range(0, len(x), config.batch_size):
            batch, label = x[a : a + config.batch_size], y[a : a + config.batch_size]
            h = batch @ w["hidden.0.weight"].T + w["hidden.0.bias"]
            h = (h - h.mean(0)) / torch.sqrt(h.var(0, unbiased=False) + 1e-5)
            h = torch.clamp(h * w["hidden.1.weight"] + w["hidden.1.bias"], min=0)
            logits = h @ w["projection.weight"].T + w["projection.bias"]
            loss = (torch.logsumexp(logits, 1) - logits[torch.arange(len(label)), label]).mean()
            gradients = torch.autograd.grad(loss, list(w.values()))
            step += 1
            for (name, value), gradient in zip(w.items(), gradients, strict=True):
                first[name] = 0.9 * first[name] + 0.1 * gradient
                second[name] = 0.999 * second[name] + 0.001 * gradient**2
                m, v = first[name] / (1 - 0.9**step), second[name] / (1 - 0.999**step)
                value.data -= config.lr * m / (torch.sqrt(v) + 1e-8)
    return {name: value.detach() for name, value in w.items()}


def scores_in_turn(monkeypatch, scores: list[float]) -> list[float]:
    """Lets the n-th validation give the n-th score."""
    left = list(scores)
    monkeypatch.setattr(heads, "validate", lambda job, head: (left.pop(0), {}))
    return left


def test_training_equals_a_hand_written_loop_in_stored_order(scene, monkeypatch):
    job = job_of(scene)
    scores_in_turn(monkeypatch, [0.1, 0.2, 0.3, 0.4])  # so that the last epoch is kept
    [trained] = list(heads.train_sequentially([job]))
    in_order = trained_by_hand(job, torch.arange(len(job.fold.train)))
    for name, value in in_order.items():
        if name != "hidden.0.bias":  # before BatchNorm its gradient is rounding noise, which Adam blows up
            torch.testing.assert_close(trained.state[name].double(), value, atol=2e-4, rtol=1e-3)
    shuffled = trained_by_hand(job, torch.randperm(len(job.fold.train), generator=torch.manual_seed(1)))
    assert (trained.state["projection.weight"] - shuffled["projection.weight"]).abs().max() > 5e-3


def test_rows_are_read_in_stored_order_every_epoch(scene, monkeypatch):
    job, seen = job_of(scene), []
    scores_in_turn(monkeypatch, [0.0] * 4)
    read = job.fold.train.embeddings
    monkeypatch.setattr(job.fold.train, "embeddings", lambda a, b: (seen.append((a, b)), read(a, b))[1])
    train_head(job)
    assert seen[1:] == [(0, 16), (16, 32), (32, 40)] * 4  # the first read asks for the dimension
    stored = np.fromfile(scene.path / "train.embeddings.npy", dtype=np.float32).reshape(40, -1)
    np.testing.assert_array_equal(read(16, 32).numpy(), stored[16:32])


def test_training_is_deterministic_by_seed_and_leaves_the_global_generator_alone(scene):
    config = dataclasses.replace(CONFIG, dropout=0.5)
    jobs = [job_of(scene, config), job_of(scene, config)]
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    one, two = heads.train_sequentially(jobs)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one.state[name], two.state[name]) for name in one.state)
    [other] = heads.train_sequentially([dataclasses.replace(jobs[0], seed=6)])
    assert not torch.equal(one.state["projection.weight"], other.state["projection.weight"])
    assert len({derive_seed(42, fold, point) for fold in range(10) for point in range(16)}) == 160


def test_the_best_epoch_is_restored_for_the_test(scene):
    job = job_of(scene, dataclasses.replace(CONFIG, max_epochs=6))
    trained = train_head(job)
    head = Head(job.config, 8, 3)
    head.load_state_dict(trained.state)
    again, _ = job.fold.validator.select(predict(head, job.fold.valid).softmax(1).numpy())
    assert np.float32(again) == np.float32(trained.validation_score)
    assert trained.validation_score == pytest.approx(max(score for _, score in trained.trace))
    assert trained.epoch == min(e for e, score in trained.trace if np.float32(score) == trained.validation_score)


# --- epochs: Lightning's numbering, patience, best epoch

NAN, INF = math.nan, math.inf
# what a validation scores in turn; every, patience, epochs, maximise -> epoch kept, its score, epochs run
TRACES = [
    ([0.2, 0.5, 0.5, 0.4, 0.9], 3, 2, 500, True, 5, 0.5, 12),  # at epochs 2, 5, 8, 11; equal is not better
    ([0.2, 0.5, 0.4, 0.6, 0.1, 0.1], 3, 2, 500, True, 11, 0.6, 18),  # an improvement resets the patience
    ([0.5, 0.4, 0.3], 1, 2, 3, False, 2, 0.3, 3),
    (
        [0.1, 0.2, 0.3],
        3,
        20,
        11,
        True,
        8,
        0.3,
        11,
    ),  # max_epochs ends training; epochs 9 and 10 are not validated
    ([0.3, 0.3, 0.3, 0.3], 1, 1, 10, True, 0, 0.3, 2),
    ([NAN, 0.9], 3, 20, 500, True, 2, -INF, 3),  # not finite: stop at once
    ([0.4, NAN, 0.9], 3, 20, 500, True, 2, 0.4, 6),
    ([0.4, INF, 0.9], 3, 20, 500, True, 5, INF, 6),  # an infinite d' is kept, and ends training
    ([0.1, 0.1 + 1e-10, 0.1], 1, 2, 10, True, 0, 0.1, 3),  # equal in float32, as Lightning logs scores
    ([0.7, 0.2, 0.5, 0.1, 0.3, 0.4], 10, 2, 500, False, 39, 0.1, 60),
]


@pytest.mark.parametrize("trace", TRACES)
def test_epochs_against_hand_written_traces(scene, monkeypatch, trace):
    scores, every, patience, epochs, maximise, kept, score, run = trace
    config = dataclasses.replace(
        CONFIG,
        check_val_every_n_epoch=every,
        patience=patience,
        max_epochs=epochs,
        batch_size=64,
        hidden_dim=2,
    )
    left = scores_in_turn(monkeypatch, scores)
    trained = train_head(job_of(scene, config, maximise=maximise))
    assert (trained.epoch, trained.epochs_run) == (kept, run)
    assert trained.validation_score == pytest.approx(score)
    validated = len(scores) - len(left)
    assert [epoch for epoch, _ in trained.trace] == [every * (n + 1) - 1 for n in range(validated)]


def test_a_nan_can_count_as_the_worst_score_instead():
    best = BestEpoch(True, 2, stop_on_nan=False)
    assert [best.update(epoch, score) for epoch, score in enumerate([NAN, 0.3, NAN])] == [True, True, False]
    assert not best.stop
    best.update(3, NAN)
    assert best.stop
    assert (best.epoch, best.score) == (1, pytest.approx(0.3))


def test_selection_by_validation_loss(tmp_path):
    folder = write_scene(tmp_path / "m" / "t", use_scoring_for_early_stopping=False, noise=2.0)
    task = EmbeddingsTask.open(folder)
    trained = train_head(job_of(task, use_score=False))
    head = Head(CONFIG, 8, 3)
    head.load_state_dict(trained.state)
    valid = job_of(task).fold.valid
    loss = nn.functional.cross_entropy(predict(head, valid), valid.targets.argmax(1)).item()
    assert trained.validation_score == pytest.approx(loss)
    assert trained.validation_score == pytest.approx(min(score for _, score in trained.trace))
    run = run_folds(task, Hear(grid="faster", grid_points=4), WorkFolder(None, ""))
    assert run.score_mode == "min"
    assert run.folds[0].head is min(run.grid, key=lambda head: head.validation_score)


# --- batches of one row


@pytest.mark.parametrize(
    ("n_rows", "layers", "expected"),
    [
        (32, 1, [(0, 16), (16, 32)]),
        (33, 1, [(0, 16), (16, 33)]),  # merged
        (33, 0, [(0, 16), (16, 32), (32, 33)]),  # without BatchNorm there is nothing to mend
        (34, 2, [(0, 16), (16, 32), (32, 34)]),
        (5, 1, [(0, 5)]),
        (1, 0, [(0, 1)]),
    ],
)
def test_batches(n_rows, layers, expected):
    assert batch_bounds(n_rows, dataclasses.replace(CONFIG, hidden_layers=layers)) == expected


def test_a_last_batch_of_one_row(tmp_path):
    task = EmbeddingsTask.open(write_scene(tmp_path / "m" / "t", sizes={"train": 33, "valid": 9, "test": 9}))
    assert train_head(job_of(task)).epochs_run == 4
    with pytest.raises(DeloresError, match="33 training rows leave a batch of one row"):
        train_head(job_of(task, single_row_batch="raise"))
    with pytest.raises(ValueError, match="more than 1 value per channel"):  # what heareval runs into
        Head(CONFIG, 8, 3).train()(torch.zeros(1, 8))
    with pytest.raises(DeloresError, match="1 training rows"):
        batch_bounds(1, CONFIG)


def test_the_merged_batch_is_named_in_the_result(tmp_path):
    own = {"task_specific_param_grid": {"batch_size": [16]}}
    folder = write_scene(tmp_path / "m" / "t", sizes={"train": 33, "valid": 9, "test": 9}, evaluation_params=own)
    run = run_folds(EmbeddingsTask.open(folder), Hear(grid="faster", grid_points=2), WorkFolder(None, ""))
    assert [text.split(":")[0] for text in run.deviations] == ["single_row_batch=merge"]


def test_labels_that_heareval_reads_as_missing(tmp_path):
    task = EmbeddingsTask.open(write_scene(tmp_path / "m" / "t", labels=("NA", "None", "dog"), noise=0.1))
    quick = {"grid": "faster", "grid_points": 2}
    run = run_folds(task, Hear(**quick), WorkFolder(None, ""))
    assert run.folds[0].scores["top1_acc"] > 0.9
    assert run.deviations == ["na_labels=keep: heareval reads the labels NA, None as missing, and fails"]
    with pytest.raises(DeloresError, match="reads the labels NA, None as missing and cannot score this task"):
        Hear(na_labels="raise", **quick).check(task)
    # Older pandas makes "nan" of them all as text, so that this one label is found again.
    names = [*sorted(READ_AS_MISSING), "nan", "dog"]
    vocabulary = tmp_path / "labelvocabulary.csv"
    vocabulary.write_text("\n".join(["idx,label", *(f"{i},{name}" for i, name in enumerate(names))]))
    missing = pd.read_csv(vocabulary)["label"].isna()
    assert {name for name, lost in zip(names, missing, strict=True) if lost} == READ_AS_MISSING | {"nan"}


# --- folds


def assert_fold_scheme(scheme) -> None:
    """test = fold i, valid = fold i + 1 modulo k, train = the rest in order, over the sorted folds."""
    found = scheme({"split_mode": "presplit_kfold", "splits": ["fold02", "fold00", "fold03", "fold01"]})
    assert found == [
        {"test": ["fold00"], "valid": ["fold01"], "train": ["fold02", "fold03"]},
        {"test": ["fold01"], "valid": ["fold02"], "train": ["fold00", "fold03"]},
        {"test": ["fold02"], "valid": ["fold03"], "train": ["fold00", "fold01"]},
        {"test": ["fold03"], "valid": ["fold00"], "train": ["fold01", "fold02"]},
    ]


def test_the_fold_scheme_and_that_shuffled_folds_are_noticed():
    assert_fold_scheme(data_splits)

    def shuffled(metadata):
        return [data_splits(metadata)[i] for i in (1, 0, 3, 2)]

    def unsorted(metadata):
        names = dict(zip(sorted(metadata["splits"]), metadata["splits"], strict=True))
        return [{role: [names[n] for n in s] for role, s in part.items()} for part in data_splits(metadata)]

    for broken in (shuffled, unsorted):
        with pytest.raises(AssertionError):
            assert_fold_scheme(broken)


def test_bad_folds(tmp_path):
    file = write_scene(tmp_path / "m" / "t", folds=4) / "task_metadata.json"
    metadata = json.loads(file.read_text())
    for change, message in [
        ({"splits": ["fold00", "fold01"], "nfolds": 2}, "needs at least 3 folds"),
        ({"splits": ["fold00", "fold00", "fold01"], "nfolds": 3}, "names a split twice"),
        ({"split_mode": "random"}, "split_mode: .*'trainvaltest', 'new_split_kfold' or 'presplit_kfold'"),
        ({"split_mode": "trainvaltest", "splits": ["train", "test"]}, "needs the splits train, valid, test; missing"),
    ]:
        file.write_text(json.dumps({**metadata, **change}))
        with pytest.raises(DeloresError, match=message):
            EmbeddingsTask.open(file.parent)


def test_the_grid_is_searched_on_the_first_fold_and_the_best_point_retrained_on_the_others(tmp_path, monkeypatch):
    task = EmbeddingsTask.open(write_scene(tmp_path / "m" / "t", folds=4, noise=2.0))
    trained: list[tuple[str, int, float]] = []
    depths: list[int] = []

    def spy(jobs, n_jobs):
        assert n_jobs == (3 if trained else 8)
        jobs = list(jobs)
        for job in jobs:
            trained.append((job.key, job.fold.number, job.config.lr))
            depths.append(job.config.hidden_layers)
        return heads.train_sequentially(jobs, n_jobs)

    monkeypatch.setattr(Hear, "train", lambda self, jobs, n_jobs: spy(jobs, n_jobs))
    run = run_folds(task, Hear(grid="faster"), WorkFolder(None, ""))
    assert depths[:8] == sorted(depths[:8], reverse=True)
    assert [(key, fold) for key, fold, _ in [*sorted(trained[:8]), *trained[8:]]] == [
        *((f"grid-{i:02d}", 0) for i in range(8)),
        ("fold-01", 1),
        ("fold-02", 2),
        ("fold-03", 3),
    ]
    assert [head.key for head in run.grid] == [f"grid-{i:02d}" for i in range(8)]
    scores = [head.validation_score for head in run.grid]
    best = scores.index(max(scores))  # the earlier of equals
    assert run.folds[0].head is run.grid[best]
    assert all(fold.head.hyperparameters == run.grid[best].hyperparameters for fold in run.folds)
    assert [fold.split_names["test"] for fold in run.folds] == [[f"fold{i:02d}"] for i in range(4)]


@pytest.mark.parametrize("use_score", [True, False])
def test_of_equal_grid_points_the_earlier_wins(tmp_path, monkeypatch, use_score):
    """heareval takes the first of the largest; with losses, of the smallest."""
    folder = write_scene(tmp_path / "m" / "t", folds=3, use_scoring_for_early_stopping=use_score)
    best = 0.75 if use_score else 0.25
    scores = [0.5, best, 0.5, best, best, 0.5, best, 0.5]

    def level(jobs, n_jobs):
        for head in heads.train_sequentially(jobs, n_jobs):
            point = int(head.key.rpartition("-")[2]) if head.key.startswith("grid") else 0
            yield dataclasses.replace(head, validation_score=scores[point])

    monkeypatch.setattr(Hear, "train", lambda self, jobs, n_jobs: level(jobs, n_jobs))
    run = run_folds(EmbeddingsTask.open(folder), Hear(grid="faster"), WorkFolder(None, ""))
    assert [head.validation_score for head in run.grid] == scores
    assert run.folds[0].head is run.grid[1]
    assert {fold.head.hyperparameters["lr"] for fold in run.folds} == {run.grid[1].hyperparameters["lr"]}


def test_train_rows_of_a_fold_are_its_training_splits_in_order(tmp_path):
    task = EmbeddingsTask.open(write_scene(tmp_path / "m" / "t", folds=4, sizes=10))
    fold = Fold.of(task, 3, "cpu", True)
    expected = np.concatenate([task.splits["fold01"].embeddings, task.splits["fold02"].embeddings])
    np.testing.assert_array_equal(fold.train.embeddings(0, 20).numpy(), expected)
    np.testing.assert_array_equal(fold.valid.embeddings(0, 10).numpy(), task.splits["fold00"].embeddings)


def test_aggregation_is_mean_and_sample_deviation():
    mean, deviation = aggregate([{"a": 0.5, "b": 1.0}, {"a": 0.7, "b": NAN}, {"a": 0.9, "b": 3.0}])
    assert mean == pytest.approx({"a": 0.7, "b": 2.0})
    assert deviation == pytest.approx({"a": 0.2, "b": math.sqrt(2.0)})  # ddof 1; NaN folds left out, as pandas
    assert aggregate([{"a": 0.5}]) == ({"a": 0.5}, {})
    mean, deviation = aggregate([{"a": INF}, {"a": 1.0}])
    assert mean["a"] == INF
    assert math.isnan(deviation["a"])


# --- events


def test_postprocessing_is_chosen_at_each_validation(tmp_path):
    grid = {"event_postprocessing_grid": {"median_filter_ms": [0], "min_duration": [0, 300, 5000]}}
    task = EmbeddingsTask.open(write_events(tmp_path / "m" / "t", evaluation_params=grid))
    validator = job_of(task).fold.validator
    target = torch.cat([torch.from_numpy(task.splits["valid"].targets)]).numpy()
    # Truth with single-frame blips: only the duration of 300 ms removes them and keeps the events.
    blips = target.copy()
    blips[::9] = 1 - blips[::9]
    clean, _ = validator.select(target)
    assert clean > 0.9
    all_scores = {
        least: validator.scores(blips, {"median_filter_ms": 0, "min_duration": least})["event_onset_200ms_fms"]
        for least in (0, 300, 5000)
    }
    score, chosen = validator.select(blips)
    best = max((0.0 if math.isnan(s) else s, least) for least, s in all_scores.items())
    assert (score, chosen["min_duration"]) == best
    assert len({round(s, 6) for s in all_scores.values() if not math.isnan(s)}) > 1


def test_of_equal_postprocessings_the_larger_wins_and_nothing_predicted_is_nan(tmp_path):
    task = EmbeddingsTask.open(write_events(tmp_path / "m" / "t"))
    validator = job_of(task).fold.validator
    score, chosen = validator.select(task.splits["valid"].targets)
    assert chosen == {"median_filter_ms": 250, "min_duration": 250}
    assert score == 1.0
    score, chosen = validator.select(np.zeros_like(task.splits["valid"].targets))
    assert math.isnan(score)
    assert chosen == {"median_filter_ms": 250, "min_duration": 250}


def test_an_error_rate_as_primary_metric_is_minimised(tmp_path):
    grid = {"event_postprocessing_grid": {"median_filter_ms": [0], "min_duration": [0, 5000]}}
    folder = write_events(tmp_path / "m" / "t", evaluation=("segment_1s_er",), evaluation_params=grid)
    task = EmbeddingsTask.open(folder)
    score, chosen = job_of(task).fold.validator.select(task.splits["valid"].targets)
    assert chosen["min_duration"] == 0
    assert score < 0.2
    run = run_folds(task, Hear(grid="faster", grid_points=3), WorkFolder(None, ""))
    assert run.score_mode == "min"
    assert run.folds[0].head.validation_score == min(head.validation_score for head in run.grid)
    assert [text.split(":")[0] for text in run.deviations] == ["postprocessing"]


def test_loss_selection_needs_one_postprocessing(tmp_path):
    task = EmbeddingsTask.open(write_events(tmp_path / "m" / "t", use_scoring_for_early_stopping=False))
    with pytest.raises(DeloresError, match="must hold one combination, got 2"):
        Hear(grid="faster").check(task)
    own = {"event_postprocessing_grid": {"median_filter_ms": [150], "min_duration": [50]}}
    folder = write_events(tmp_path / "m" / "t2", use_scoring_for_early_stopping=False, evaluation_params=own)
    run = run_folds(EmbeddingsTask.open(folder), Hear(grid="faster", grid_points=2), WorkFolder(None, ""))
    assert run.folds[0].head.postprocessing == {"median_filter_ms": 150, "min_duration": 50}


def test_a_file_without_frames_costs_its_events_unless_asked_not_to(tmp_path):
    import json

    folder = write_events(tmp_path / "m" / "t")
    truth = json.loads((folder / "test.json").read_text())
    truth["unheard.wav"] = [{"label": "dog", "start": 0.0, "end": 900.0}] * 3
    (folder / "test.json").write_text(json.dumps(truth))
    task = EmbeddingsTask.open(folder)
    runs = {}
    for missing in (True, False):
        options = Hear(grid="faster", grid_points=2, score_missing_files=missing)
        runs[missing] = run_folds(task, options, WorkFolder(None, ""))
    recall = {k: run.folds[0].scores["event_onset_200ms_fms_recall"] for k, run in runs.items()}
    assert recall[True] < recall[False]
    assert runs[True].deviations == ["score_missing_files: 1 files without predictions count as missed"]
    assert runs[False].deviations == []
