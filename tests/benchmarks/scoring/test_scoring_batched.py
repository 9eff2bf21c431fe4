"""Heads trained side by side against the sequential reference."""

from __future__ import annotations

import dataclasses
import threading
import time

import numpy as np
import pytest
import torch
from embeddings_folders import write_events, write_scene

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.scoring.fold import Fold, run_folds
from benchmarks.scoring.hear import stacked as batched
from benchmarks.scoring.hear.grid import HeadConfig
from benchmarks.scoring.hear.heads import HeadJob, train_sequentially
from benchmarks.scoring.hear.protocol import Hear
from benchmarks.scoring.hear.stacked import HeadStack, train_batched, train_stack
from benchmarks.scoring.work import WorkFolder
from hear_delores.errors import DeloresError

SMALL = HeadConfig(batch_size=64, dropout=0.0, hidden_dim=24, max_epochs=30, patience=2)
CASES = {
    "multiclass": lambda folder: write_scene(folder, sizes=150, noise=2.0),
    "multilabel": lambda folder: write_scene(folder, sizes=150, noise=2.0, multilabel=True, evaluation=("mAP",)),
    "loss": lambda folder: write_scene(folder, sizes=150, noise=2.0, use_scoring_for_early_stopping=False),
    "events": lambda folder: write_events(folder, noise=1.0),
}


def fold_of(folder, dtype=torch.float32, number: int = 0) -> Fold:
    fold = Fold.of(EmbeddingsTask.open(folder), number, "cpu", True)
    for rows in (fold.train, fold.valid, fold.test):
        rows._whole, rows.targets = rows._whole.to(dtype), rows.targets.to(dtype)
    return fold


def jobs_on(fold: Fold, case: str = "multiclass", n: int = 3, **changes) -> list[HeadJob]:
    """Jobs whose early stopping ends them at different epochs."""
    prediction_type = "multilabel" if case in ("multilabel", "events") else "multiclass"
    settings = [(1e-2, 1), (1e-3, 3), (3e-3, 2), (1e-4, 2)][:n]
    return [
        HeadJob(
            f"job-{seed}",
            dataclasses.replace(SMALL, **{"lr": lr, "patience": patience, **changes}),
            fold,
            seed,
            prediction_type,
            maximise=True,
            use_score=case != "loss",
        )
        for seed, (lr, patience) in enumerate(settings)
    ]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("how", ["cores", "stack"])
def test_equals_the_sequential_reference_in_float64_without_dropout(tmp_path, case, layers, how):
    fold = fold_of(CASES[case](tmp_path / "m" / "t"), torch.float64)
    jobs = jobs_on(fold, case, hidden_layers=layers)
    expected = {head.key: head for head in train_sequentially(jobs)}
    found = {head.key: head for head in (train_batched(jobs, len(jobs)) if how == "cores" else train_stack(jobs))}
    assert found.keys() == expected.keys()
    if case == "multiclass" and layers:
        assert len({head.epochs_run for head in found.values()}) > 1  # heads did leave the stack at different epochs
    for key, head in expected.items():
        other = found[key]
        assert (other.epoch, other.epochs_run) == (head.epoch, head.epochs_run)
        assert other.postprocessing == head.postprocessing
        assert other.hyperparameters == head.hyperparameters
        np.testing.assert_allclose(other.trace, head.trace, rtol=0, atol=1e-8)
        assert other.state.keys() == head.state.keys()
        for name, value in head.state.items():
            torch.testing.assert_close(other.state[name], value, rtol=0, atol=1e-8)


@pytest.mark.parametrize("how", ["cores", "stack"])
def test_scores_are_distributed_as_those_of_the_reference_with_dropout(tmp_path, how):
    """Mean validation scores over 24 seeds, with a dropout that costs a lot, and what no dropout gives beside them."""
    folder = write_scene(tmp_path / "m" / "t", sizes=150, noise=2.5, dim=16)
    fold = fold_of(folder)

    def mean(train, dropout: float) -> tuple[float, float]:
        jobs = [
            dataclasses.replace(job, key=str(seed), seed=seed)
            for seed in range(24)
            for job in jobs_on(fold, n=1, dropout=dropout, max_epochs=6, patience=9)
        ]
        losses = np.array([head.trace[-1][1] for head in train(jobs)])
        return float(losses.mean()), float(losses.std(ddof=1) / np.sqrt(len(losses)))

    def trainer(jobs):
        return train_batched(jobs, len(jobs)) if how == "cores" else train_stack(jobs)

    expected, error = mean(train_sequentially, 0.7)
    found, other_error = mean(trainer, 0.7)
    assert abs(found - expected) < 3 * np.hypot(error, other_error)
    without, _ = mean(train_sequentially, 0.0)
    assert abs(without - expected) > 3 * np.hypot(error, other_error)  # so that a lost dropout would be seen


def test_the_dropout_mask():
    mask = batched._DropoutMask(0.1, seed=3)
    draw = mask.draw(1000, 999)
    assert draw.shape == (1000, 999)
    zero = float((draw == 0).double().mean())
    assert abs(zero - 0.1) < 4 * np.sqrt(0.09 / draw.numel())
    assert float(draw.max()) == pytest.approx(1 / 0.9, rel=2e-5)
    assert set(draw.unique().tolist()) == {0.0, float(draw.max())}
    for axis in (0, 1):  # no row or column is treated otherwise, and neighbours are independent
        means = (draw == 0).double().mean(dim=axis)
        assert float((means - 0.1).abs().max()) < 6 * np.sqrt(0.09 / 1000)
    neighbours = float(((draw[:, 1:] == 0) & (draw[:, :-1] == 0)).double().mean())
    assert abs(neighbours - 0.01) < 5e-4
    assert not torch.equal(draw, mask.draw(1000, 999))
    assert torch.equal(draw, batched._DropoutMask(0.1, seed=3).draw(1000, 999))
    assert not torch.equal(draw, batched._DropoutMask(0.1, seed=4).draw(1000, 999))


def test_a_result_does_not_depend_on_the_number_of_cores_nor_on_what_runs_beside(tmp_path):
    fold = fold_of(write_scene(tmp_path / "m" / "t", sizes=150, noise=2.0))
    jobs = jobs_on(fold, n=4, dropout=0.1)
    states = []
    for cores, chosen in ((1, jobs), (2, jobs), (4, jobs), (4, jobs[2:])):
        torch.set_num_threads(cores)
        states.append({head.key: head.state for head in train_batched(iter(chosen), len(jobs))})
        assert torch.get_num_threads() == cores
    for other in states[1:]:
        for key, state in other.items():
            assert all(torch.equal(value, states[0][key][name]) for name, value in state.items())


def test_jobs_are_taken_as_cores_fall_free(tmp_path):
    fold = fold_of(write_scene(tmp_path / "m" / "t", sizes=60))
    torch.set_num_threads(2)
    taken: list[str] = []

    def jobs():
        for job in [*jobs_on(fold, n=4), *[dataclasses.replace(j, key=f"{j.key}b") for j in jobs_on(fold, n=4)]]:
            taken.append(job.key)
            yield job

    for done, _ in enumerate(train_batched(jobs(), 8), start=1):
        assert len(taken) <= done + 2


def test_a_caller_that_stops_leaves_no_thread_behind(tmp_path):
    fold = fold_of(write_scene(tmp_path / "m" / "t", sizes=150))
    torch.set_num_threads(2)
    endless = [
        dataclasses.replace(job, config=dataclasses.replace(job.config, max_epochs=10**6, patience=10**6))
        for job in jobs_on(fold)
    ]
    heads = train_batched([jobs_on(fold, max_epochs=3)[0], *endless], 4)
    next(heads)
    assert any(thread.name.startswith("head") for thread in threading.enumerate())
    heads.close()
    assert not any(thread.name.startswith("head") for thread in threading.enumerate())


def test_an_error_in_one_head_is_the_callers(tmp_path, monkeypatch):
    fold = fold_of(write_scene(tmp_path / "m" / "t", sizes=65))
    broken = dataclasses.replace(jobs_on(fold)[0], single_row_batch="raise")
    with pytest.raises(DeloresError, match="leave a batch of one row"):
        list(train_batched([*jobs_on(fold)[1:], broken], 3))


def test_the_calling_thread_keeps_its_state(tmp_path):
    fold = fold_of(write_scene(tmp_path / "m" / "t", sizes=60))
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    list(train_batched(jobs_on(fold, dropout=0.2), 3))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert float(torch.tensor(1e-39).mul(1.0)) != 0.0  # denormal numbers are flushed in the workers only


def test_no_jobs():
    assert list(train_batched([], 0)) == []


def test_folds_side_by_side_are_the_folds_one_by_one(tmp_path, monkeypatch):
    folder = write_scene(tmp_path / "m" / "t", folds=5, sizes=90, noise=2.0)
    runs = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        task = EmbeddingsTask.open(folder)
        runs.append(run_folds(task, Hear(grid="faster", grid_points=4), WorkFolder(None, "")))
    one, three = runs
    assert [fold.split_names for fold in one.folds] == [fold.split_names for fold in three.folds]
    for a, b in zip(one.folds, three.folds, strict=True):
        assert a.scores == b.scores
        np.testing.assert_array_equal(a.probabilities, b.probabilities)


needs_bfloat16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor has no bfloat16 products"
)


@needs_bfloat16
@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("how", ["cores", "stack"])
def test_bfloat16_products_stay_near_float32(tmp_path, layers, how):
    folder = write_scene(tmp_path / "m" / "t", sizes=150, noise=2.0)
    fold = fold_of(folder)
    for rows in (fold.train, fold.valid):
        rows._whole = rows._whole + 20.0  # far from zero, as log-mel statistics are: bfloat16 alone would lose it
    jobs = jobs_on(fold, hidden_layers=layers, max_epochs=12)
    expected = {head.key: head for head in train_sequentially(jobs)}
    found = train_batched(jobs, 3, "bfloat16") if how == "cores" else train_stack(jobs, precision="bfloat16")
    for head in found:
        assert head.state["projection.weight"].dtype == torch.float32
        difference = [a[1] - b[1] for a, b in zip(head.trace, expected[head.key].trace, strict=False)]
        assert max(map(abs, difference)) < 0.06
    stack = HeadStack(jobs, [batched._first_head(job) for job in jobs], "bfloat16")
    exact = HeadStack(jobs, [batched._first_head(job) for job in jobs]).predict(fold.valid).detach()

    def error() -> float:
        """Of the logits before training, in units of their spread over rows."""
        return float((stack.predict(fold.valid) - exact).pow(2).mean().sqrt() / exact.std(dim=1).mean())

    centred = error()
    stack.centre = torch.zeros_like(stack.centre)
    assert layers == 2 or centred < 0.8 * error()  # with two layers the rounding of the second is as large
    assert layers or centred < 0.01


def test_bfloat16_where_there_is_none(tmp_path, monkeypatch):
    fold = fold_of(write_scene(tmp_path / "m" / "t", sizes=60))
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False, raising=False)
    with pytest.raises(DeloresError, match="precision: this cpu has no bfloat16 matrix products; use float32"):
        list(train_batched(jobs_on(fold), 3, "bfloat16"))
    with pytest.raises(DeloresError, match="precision: expected one of"):
        Hear(precision="float16")  # type: ignore[arg-type]


def test_heads_are_trained_at_the_same_time(tmp_path):
    """Two heads of two threads overlap: neither waits for the other's end."""
    fold = fold_of(write_scene(tmp_path / "m" / "t", sizes=150))
    torch.set_num_threads(2)
    seen: list[tuple[str, float]] = []
    whole = HeadStack.step

    def step(self, *args):
        seen.append((threading.current_thread().name, time.perf_counter()))
        whole(self, *args)

    HeadStack.step = step
    try:
        list(train_batched(jobs_on(fold, n=2, max_epochs=30, patience=30), 2))
    finally:
        HeadStack.step = whole
    names = [name for name, _ in seen]
    assert len(set(names)) == 2
    first = {name: names.index(name) for name in set(names)}
    last = {name: len(names) - 1 - names[::-1].index(name) for name in set(names)}
    assert max(first.values()) < min(last.values())
