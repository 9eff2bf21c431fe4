"""Protocol ``linear``: one linear layer on frozen embeddings, chosen on validation, tested once."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.adam import adam

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.metrics.registry import find_metrics
from benchmarks.scoring.choice import tried_points
from benchmarks.scoring.few_shot import check_shots, few_shot_fold, shortfall, shortfall_note
from benchmarks.scoring.linear.logistic import LOGISTIC_GRID, MAX_ITERATIONS, train_logistic
from benchmarks.scoring.rows import Rows
from benchmarks.scoring.training import (
    BestEpoch,
    Fold,
    Progress,
    ProtocolRun,
    TestedFold,
    TrainedHead,
    WorkFolder,
    activate,
    as_device,
    cuda_devices,
    derive_seed,
    evaluate_once,
    logit_loss,
    predict,
    snapshot,
)
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.settings import require_integer, require_training

__all__ = ["LinearHead", "LinearOptions", "run_linear", "standardisation"]

SOLVERS = ("adam", "logistic")
TRAINING = ("lr", "batch_size", "max_epochs", "patience")
ADDED = {"added": True}  # after records had been written: at its default such an option is not fingerprinted


@dataclass(frozen=True)
class LinearOptions:
    """Adam at ``lr`` over shuffled batches of ``batch_size`` rows for ``max_epochs`` epochs.

    Every epoch is validated. ``patience``: stop after so many without a better one; None runs all.

    Attributes:
        solver: ``adam`` trains as said; ``logistic`` is scikit-learn's logistic regression, its C chosen on the
            validation split of each fold (see ``logistic.py``). The options of training are Adam's alone.
        shots: train on so many clips per class, drawn by ``seed``; None takes all.
    """

    lr: float = 1e-3
    batch_size: int = 64
    max_epochs: int = 100
    patience: int | None = None
    seed: int = 42
    score_missing_files: bool = True
    solver: str = field(default="adam", metadata=ADDED)
    shots: int | None = field(default=None, metadata=ADDED)

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise DeloresError(f"linear protocol: unknown solver {self.solver!r}. {did_you_mean(self.solver, SOLVERS)}")
        check_shots(self.shots)
        defaults = {item.name: item.default for item in fields(self)}
        if self.solver == "logistic" and any(getattr(self, name) != defaults[name] for name in TRAINING):
            raise DeloresError(
                f"linear protocol: {', '.join(TRAINING)} belong to solver adam; leave them out with solver logistic"
            )
        require_training("linear protocol", self.lr, self.seed)
        for name in ("batch_size", "max_epochs", *(("patience",) if self.patience is not None else ())):
            require_integer("linear protocol", name, getattr(self, name))


class LinearHead(nn.Module):
    """Standardised embeddings (n, d) -> logits (n, n_labels); mean and scale (d,) are buffers."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, mean: torch.Tensor, scale: torch.Tensor, n_labels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(len(mean), n_labels)
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Logits (n, n_labels) float32."""
        return self.linear((embeddings - self.mean) / self.scale)


def standardisation(rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (ddof 0) of each dimension over ``rows``, (d,) float32, in float64 sums.

    A constant dimension gets the scale 1, so that it becomes 0 on the training rows.
    """
    size = rows.embeddings(0, 1).shape[1]
    mean = torch.zeros(size, dtype=torch.float64)
    for start, stop in rows.blocks():
        mean += rows.embeddings(start, stop).double().sum(dim=0).cpu()
    mean /= len(rows)
    square = torch.zeros(size, dtype=torch.float64)
    for start, stop in rows.blocks():
        square += (rows.embeddings(start, stop).double().cpu() - mean).square().sum(dim=0)
    scale = (square / len(rows)).sqrt()
    # Below the resolution of float32 around the mean, a dimension is constant.
    constant = scale <= 1e-6 * mean.abs()
    return mean.float(), torch.where(constant, 1.0, scale).float()


def run_linear(
    task: EmbeddingsTask,
    options: LinearOptions,
    work: WorkFolder,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
) -> ProtocolRun:
    """Trains and tests one linear layer a fold; there is nothing to search but the epoch (or C)."""
    metric = find_metrics(task.metadata["evaluation"], "event" if task.is_event else "scene")[0]
    where = as_device(device)
    n_folds = len(task.data_splits())
    tested = []
    short: dict[int, int] = {}
    for number in range(n_folds):
        fold = Fold.of(task, number, where, options.score_missing_files)
        if options.shots is not None:
            fold = few_shot_fold(fold, options.shots, options.seed, task.prediction_type)
            short[number] = shortfall(fold.train.targets.cpu().numpy(), options.shots)
        key = f"fold-{number:02d}"
        head = work.load(key)
        if head is None:
            with torch.random.fork_rng(cuda_devices(where)):
                torch.manual_seed(derive_seed(options.seed, number))
                head = _train(key, task, fold, options, metric.maximise)
            work.save(head)
        if progress is not None:
            progress(number + 1, n_folds, f"{key}: {head.validation_score:.4f} {_chosen(head)}")
        tested.append(_test(task, fold, head))
    mode: Literal["max", "min"] = "max" if metric.maximise else "min"
    by_loss = sum(math.isnan(item.head.validation_score) for item in tested)
    notes = shortfall_note(short, options.shots or 0)
    if by_loss:
        what = "C" if options.solver == "logistic" else "epoch"
        notes.append(f"validation: the primary score was NaN in {by_loss} folds, their {what} has the least loss")
    if options.solver == "adam":
        return ProtocolRun(tested, [], notes, mode)
    if unfinished := sum(not item.head.hyperparameters["converged"] for item in tested):
        notes.append(f"logistic: not converged after {MAX_ITERATIONS} iterations in {unfinished} folds")
    return ProtocolRun(tested, tried_points(tested[0].head, LOGISTIC_GRID), notes, mode)


def _train(key: str, task: EmbeddingsTask, fold: Fold, options: LinearOptions, maximise: bool) -> TrainedHead:
    began = time.perf_counter()
    mean, scale = standardisation(fold.train)
    if options.solver == "logistic":
        return train_logistic(key, fold, task.prediction_type, maximise, (mean, scale))
    head = LinearHead(mean, scale, len(task.vocabulary)).to(fold.train.device)
    optimizer = Adam(list(head.parameters()), options.lr)
    patience = options.patience or options.max_epochs
    # The second tracker serves where the primary score is NaN throughout: a class that no validation row
    # has (ROC AUC), or no event predicted in any epoch (F-measure).
    trackers = {
        "score": BestEpoch(maximise, patience, stop_on_nan=False),
        "loss": BestEpoch(False, options.max_epochs, stop_on_nan=False),
    }
    kept: dict[str, tuple[dict[str, torch.Tensor], dict[str, Any]]] = {}
    trace: list[tuple[int, float]] = []
    for epoch in range(options.max_epochs):
        _train_epoch(head, optimizer, fold.train, options.batch_size, task.prediction_type)
        logits = predict(head, fold.valid)
        score, chosen = fold.validator.select(activate(logits, task.prediction_type))
        loss = float(logit_loss(logits, fold.valid.targets, task.prediction_type))
        trace.append((epoch, score))
        for name, value in (("score", score), ("loss", loss)):
            if trackers[name].update(epoch, value):
                kept[name] = (snapshot(head), chosen)
        # BestEpoch's ``stop`` also ends at an infinite score (a perfect d'); here that is no reason to.
        if trackers["score"].waited >= patience:
            break
    used = "loss" if all(math.isnan(score) for _, score in trace) else "score"
    return TrainedHead(
        key=key,
        epoch=trackers[used].epoch,
        validation_score=trackers["score"].score if used == "score" else math.nan,
        postprocessing=kept[used][1],
        hyperparameters=_hyperparameters(options, task),
        epochs_run=epoch + 1,
        trace=trace,
        seconds=time.perf_counter() - began,
        state=kept[used][0],
    )


class Adam:
    """torch's fused Adam as a function of its moments: making the class imports torch's compiler, two seconds."""

    def __init__(self, parameters: list[nn.Parameter], lr: float) -> None:
        self.parameters, self.lr = parameters, lr
        self.first = [torch.zeros_like(item, requires_grad=False) for item in parameters]
        self.second = [torch.zeros_like(item, requires_grad=False) for item in parameters]
        self.steps = [torch.zeros((), device=item.device) for item in parameters]

    def step(self, loss: torch.Tensor) -> None:
        """One step down the gradient of ``loss``."""
        gradients = torch.autograd.grad(loss, self.parameters)
        adam(
            [item.detach() for item in self.parameters],
            [gradient.contiguous() for gradient in gradients],  # fused: takes no strides
            self.first, self.second, [], self.steps,
            fused=True, amsgrad=False, maximize=False, weight_decay=0.0, lr=self.lr, beta1=0.9, beta2=0.999, eps=1e-8,
        )  # fmt: skip


def _train_epoch(head: LinearHead, optimizer: Adam, rows: Rows, batch_size: int, prediction_type: str) -> None:
    """One pass over the rows in a new random order (torch's generator)."""
    head.train()
    for indices in torch.randperm(len(rows)).split(batch_size):
        logits = head(rows.take(indices))
        optimizer.step(logit_loss(logits, rows.targets[indices.to(rows.device)], prediction_type))


def _chosen(head: TrainedHead) -> str:
    """What was chosen on validation, in a word."""
    return f"with C {head.hyperparameters['C']:g}" if "C" in head.hyperparameters else f"at epoch {head.epoch}"


def _hyperparameters(options: LinearOptions, task: EmbeddingsTask) -> dict[str, Any]:
    """What it was trained with, the length of its input among it: seconds, None where clips keep their own."""
    kept = asdict(options)
    return {**{name: kept[name] for name in TRAINING}, "input_s": task.metadata.get("sample_duration")}


def _test(task: EmbeddingsTask, fold: Fold, trained: TrainedHead) -> TestedFold:
    with torch.random.fork_rng(cuda_devices(fold.test.device)):  # building a layer draws random numbers
        head = LinearHead(trained.state["mean"], trained.state["scale"], len(task.vocabulary))
    return evaluate_once(task, fold, trained, head.to(fold.test.device))
