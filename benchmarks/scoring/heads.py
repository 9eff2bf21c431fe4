"""Protocol ``hear``: the shallow classifier of HEAR 2021 as heareval 2021.1.3 trains it, one head at a time.

This is the reference: plain, sequential, tested step by step. A faster trainer takes the place of
:func:`train_sequentially` in :func:`run_hear` and must give the same scores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from benchmarks.scoring.embeddings import EmbeddingsTask
from benchmarks.scoring.evaluation import EventEvaluator
from benchmarks.scoring.grid import HeadConfig, grid_configs, postprocessing_configs
from benchmarks.scoring.metrics import find_metrics
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
from hear_delores.errors import DeloresError

__all__ = ["Head", "HeadJob", "HearOptions", "run_hear", "train_sequentially"]


@dataclass(frozen=True)
class HearOptions:
    """The protocol's choices; the defaults are the protocol, but for the two lines that say so.

    Attributes:
        grid: ``default``, ``fast`` or ``faster``; grid_points: how many of its points are searched.
        seed: seeds initialisation and dropout. The choice of grid points is heareval's whatever the seed.
        score_missing_files: a file without predictions costs its events (heareval: it costs nothing).
        single_row_batch: ``merge`` a last batch of one row into the one before (heareval: BatchNorm
            ``raise``s, so there is no score to differ from).
        nan_validation: ``stop`` ends training when a validation score is NaN, as Lightning does;
            ``worst`` lets it count as the worst score and goes on.
    """

    grid: str = "default"
    grid_points: int = 8
    seed: int = 42
    score_missing_files: bool = True
    single_row_batch: Literal["merge", "raise"] = "merge"
    nan_validation: Literal["stop", "worst"] = "stop"

    def __post_init__(self) -> None:
        for name, known in (("single_row_batch", ("merge", "raise")), ("nan_validation", ("stop", "worst"))):
            if getattr(self, name) not in known:
                raise DeloresError(f"{name}: expected one of {known}, got {getattr(self, name)!r}")


class Head(nn.Module):
    """[Linear, BatchNorm1d, Dropout, ReLU] x hidden_layers, then Linear: (n, d) -> logits (n, n_labels).

    Weights are Xavier (uniform or normal) with the gain of "linear" for the first layer and of "relu"
    for the others; biases are torch's default. The embedding is not normalised.
    """

    def __init__(self, config: HeadConfig, embedding_size: int, n_labels: int) -> None:
        super().__init__()
        initialise = getattr(nn.init, config.initialization)
        layers: list[nn.Module] = []
        size = embedding_size
        before: Literal["linear", "relu"] = "linear"
        for _ in range(config.hidden_layers):
            linear = nn.Linear(size, config.hidden_dim)
            initialise(linear.weight, gain=nn.init.calculate_gain(before))
            layers += [linear, nn.BatchNorm1d(config.hidden_dim), nn.Dropout(config.dropout), nn.ReLU()]
            size, before = config.hidden_dim, "relu"
        self.hidden = nn.Sequential(*layers)
        self.projection = nn.Linear(size, n_labels)
        initialise(self.projection.weight, gain=nn.init.calculate_gain(before))

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Logits (n, n_labels) float32."""
        return self.projection(self.hidden(embeddings))


@dataclass(frozen=True)
class HeadJob:
    """One head to train: the grid point ``config`` on ``fold``, its random numbers from ``seed``.

    ``use_score`` selects epochs by the primary score, else by the validation loss.
    """

    key: str
    config: HeadConfig
    fold: Fold
    seed: int
    prediction_type: str
    maximise: bool
    use_score: bool = True
    single_row_batch: str = "merge"
    stop_on_nan: bool = True


Trainer = Callable[[Sequence[HeadJob]], Iterator[TrainedHead]]
"""Trains jobs, in any order or side by side, and yields each head when it is finished."""


def train_sequentially(jobs: Sequence[HeadJob]) -> Iterator[TrainedHead]:
    """Trains one job after another; torch's own random state is left as it was."""
    for job in jobs:
        with torch.random.fork_rng(cuda_devices(job.fold.train.device)):
            torch.manual_seed(job.seed)
            head = train_head(job)
        yield head


def train_head(job: HeadJob) -> TrainedHead:
    """Adam over the rows in stored order (heareval never shuffles them), validated every few epochs.

    Epochs count from 0, as in Lightning: with a validation every 3 epochs the first is at epoch 2.
    """
    began = time.perf_counter()
    config, fold = job.config, job.fold
    train, device = fold.train, fold.train.device
    head = Head(config, train.embeddings(0, 1).shape[1], train.targets.shape[1]).to(device)
    optimizer = torch.optim.Adam(head.parameters(), lr=config.lr, fused=True)
    batches = batch_bounds(len(train), config, job.single_row_batch)
    best = BestEpoch(job.maximise if job.use_score else False, config.patience, job.stop_on_nan)
    trace: list[tuple[int, float]] = []
    state: dict[str, torch.Tensor] = {}
    postprocessing: dict[str, Any] = {}
    for epoch in range(config.max_epochs):
        head.train()
        for start, stop in batches:
            logits = head(train.embeddings(start, stop))
            optimizer.zero_grad(set_to_none=True)
            logit_loss(logits, train.targets[start:stop], job.prediction_type).backward()
            optimizer.step()
        if (epoch + 1) % config.check_val_every_n_epoch:
            continue
        score, chosen = validate(job, head)
        trace.append((epoch, score))
        if best.update(epoch, score):
            state, postprocessing = snapshot(head), chosen
        if best.stop:
            break
    return TrainedHead(
        key=job.key,
        epoch=best.epoch,
        validation_score=best.score,
        postprocessing=postprocessing,
        hyperparameters=config.to_dict(),
        epochs_run=epoch + 1,
        trace=trace,
        seconds=time.perf_counter() - began,
        state=state,
    )


def validate(job: HeadJob, head: nn.Module) -> tuple[float, dict[str, Any]]:
    """What selects epochs and grid points, and the postprocessing chosen with it, from one forward pass."""
    logits = predict(head, job.fold.valid)
    validator = job.fold.validator
    if job.use_score:
        return validator.select(activate(logits, job.prediction_type))
    loss = float(logit_loss(logits, job.fold.valid.targets, job.prediction_type))
    return loss, validator.postprocessings[0] if isinstance(validator, EventEvaluator) else {}


def batch_bounds(n_rows: int, config: HeadConfig, single_row_batch: str = "merge") -> list[tuple[int, int]]:
    """(start, stop) of the batches, in stored order.

    BatchNorm cannot train on one row, so with hidden layers a last batch of one row joins the batch before.

    Raises DeloresError for one row in all, and for a last batch of one row under single_row_batch="raise".
    """
    starts = list(range(0, n_rows, config.batch_size))
    if has_single_row_batch(n_rows, config):
        if len(starts) < 2 or single_row_batch == "raise":
            raise DeloresError(
                f"{n_rows} training rows leave a batch of one row, which BatchNorm cannot train on; "
                "use single_row_batch='merge' and at least two rows"
            )
        starts.pop()
    return list(zip(starts, [*starts[1:], n_rows], strict=True))


def has_single_row_batch(n_rows: int, config: HeadConfig) -> bool:
    """Whether heareval would fail on the last batch of ``n_rows`` training rows."""
    return config.hidden_layers > 0 and (n_rows - 1) % config.batch_size == 0


# --- the whole protocol


def run_hear(
    task: EmbeddingsTask,
    options: HearOptions,
    work: WorkFolder,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    trainer: Trainer = train_sequentially,
) -> ProtocolRun:
    """Searches the grid on fold 0, retrains the best point on every other fold, tests each fold once.

    The best point is the one with the best validation score, the earlier of equals.
    """
    metric = find_metrics(task.metadata["evaluation"], "event" if task.is_event else "scene")[0]
    use_score = bool(task.metadata.get("use_scoring_for_early_stopping", True))
    maximise = metric.maximise and use_score
    configs = grid_configs(task.metadata, options.grid, options.grid_points)
    where = as_device(device)
    n_folds = len(task.data_splits())
    first = Fold.of(task, 0, where, options.score_missing_files)
    if isinstance(first.validator, EventEvaluator) and not use_score and len(first.validator.postprocessings) > 1:
        raise DeloresError(
            "task_metadata.json: without use_scoring_for_early_stopping the event_postprocessing_grid must "
            f"hold one combination, got {len(first.validator.postprocessings)}"
        )

    def job(key: str, point: int, fold: Fold) -> HeadJob:
        return HeadJob(
            key,
            configs[point],
            fold,
            derive_seed(options.seed, fold.number, point),
            task.prediction_type,
            metric.maximise,
            use_score,
            options.single_row_batch,
            options.nan_validation == "stop",
        )

    total = len(configs) + n_folds - 1
    report = _Reporter(progress, total)
    jobs = [job(f"grid-{point:02d}", point, first) for point in range(len(configs))]
    points = _train_kept(jobs, work, trainer, report)
    sign = 1.0 if maximise else -1.0
    best = max(range(len(points)), key=lambda point: (sign * points[point].validation_score, -point))
    tested = [_test(task, first, points[best])]
    for number in range(1, n_folds):
        fold = Fold.of(task, number, where, options.score_missing_files)
        [head] = _train_kept([job(f"fold-{number:02d}", best, fold)], work, trainer, report)
        tested.append(_test(task, fold, head))
    deviations = _deviations(task, options, configs, tested)
    return ProtocolRun(tested, points, deviations, "max" if maximise else "min")


class _Reporter:
    """Counts finished heads."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self, head: TrainedHead) -> None:
        self.done += 1
        if self.progress is not None:
            text = f"{head.key}: {head.validation_score:.4f} at epoch {head.epoch}"
            self.progress(self.done, self.total, text)


def _train_kept(
    jobs: Sequence[HeadJob], work: WorkFolder, trainer: Trainer, report: Callable[[TrainedHead], None]
) -> list[TrainedHead]:
    """The heads of all jobs in their order: from the work folder where finished, else trained and kept."""
    done = {job.key: work.load(job.key) for job in jobs}
    for head in done.values():
        if head is not None:
            report(head)
    for head in trainer([job for job in jobs if done[job.key] is None]):
        work.save(head)
        done[head.key] = head
        report(head)
    return [head for head in (done[job.key] for job in jobs) if head is not None]


def _test(task: EmbeddingsTask, fold: Fold, trained: TrainedHead) -> TestedFold:
    device = fold.test.device
    with torch.random.fork_rng(cuda_devices(device)):  # building a head draws random numbers
        head = Head(HeadConfig(**trained.hyperparameters), task.embedding_size, len(task.vocabulary))
    return evaluate_once(task, fold, trained, head.to(device))


def _deviations(
    task: EmbeddingsTask, options: HearOptions, configs: Sequence[HeadConfig], tested: Sequence[TestedFold]
) -> list[str]:
    """Each way in which this run left heareval's protocol. A switch that changed nothing is none."""
    found = []
    if any(has_single_row_batch(item.n_train_rows, config) for item in tested for config in configs):
        found.append("single_row_batch=merge: the last training batch of one row joins the batch before")
    if not task.is_event:
        return found
    if options.nan_validation == "worst":
        found.append("nan_validation=worst: a NaN validation score does not end training")
    metric = find_metrics(task.metadata["evaluation"], "event")[0]
    if not metric.maximise and len(postprocessing_configs(task.metadata)) > 1:
        found.append("postprocessing: the smallest error rate is chosen, heareval takes the largest")
    missing = {file for item in tested for file in item.missing_files}
    if missing and options.score_missing_files:
        found.append(f"score_missing_files: {len(missing)} files without predictions count as missed")
    return found
