"""The shallow classifier of HEAR 2021 as heareval 2021.1.3 trains it, one head at a time.

This is the reference: plain, sequential, tested step by step. ``stacked.py`` is the faster trainer that is
used by default and must give the same scores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from benchmarks.scoring.fitting import BestEpoch, activate, cuda_devices, logit_loss, predict, snapshot
from benchmarks.scoring.fold import Fold
from benchmarks.scoring.hear.grid import HeadConfig
from benchmarks.scoring.rows import Rows
from benchmarks.scoring.work import Fitted
from hear_delores.errors import DeloresError

__all__ = ["BestOfHead", "Head", "HeadJob", "batch_bounds", "initial_head", "judge", "train_sequentially"]


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
    fold: Fold[Rows]
    seed: int
    prediction_type: str
    maximise: bool
    use_score: bool = True
    single_row_batch: str = "merge"
    stop_on_nan: bool = True


def initial_head(job: HeadJob) -> Head:
    """The job's head with its first weights, drawn from the job's seed, on the device and in the dtype of its rows."""
    rows = job.fold.train.embeddings(0, 1)
    torch.manual_seed(job.seed)
    return Head(job.config, rows.shape[1], job.fold.train.targets.shape[1]).to(rows)


def train_sequentially(jobs: Iterable[HeadJob], n_jobs: int = 0) -> Iterator[Fitted]:
    """Trains one job after another; torch's own random state is left as it was."""
    for job in jobs:
        with torch.random.fork_rng(cuda_devices(job.fold.train.device)):
            head = train_head(job)
        yield head


def train_head(job: HeadJob) -> Fitted:
    """Adam over the rows in stored order (heareval never shuffles them), validated every few epochs.

    Epochs count from 0, as in Lightning: with a validation every 3 epochs the first is at epoch 2.
    """
    began = time.perf_counter()
    config, train = job.config, job.fold.train
    head = initial_head(job)
    optimizer = torch.optim.Adam(head.parameters(), lr=config.lr, fused=True)
    batches = batch_bounds(len(train), config, job.single_row_batch)
    found = BestOfHead(job)
    for epoch in range(config.max_epochs):
        head.train()
        for start, stop in batches:
            logits = head(train.embeddings(start, stop))
            optimizer.zero_grad(set_to_none=True)
            logit_loss(logits, train.targets[start:stop], job.prediction_type).backward()
            optimizer.step()
        if (epoch + 1) % config.check_val_every_n_epoch == 0:
            found.update(epoch, *validate(job, head), partial(snapshot, head))
            if found.best.stop:
                break
    return found.fitted(epoch + 1, time.perf_counter() - began)


class BestOfHead:
    """One head's early stopping, the weights and the postprocessing of its best epoch, and its trace."""

    def __init__(self, job: HeadJob) -> None:
        self.job = job
        self.best = BestEpoch(job.maximise and job.use_score, job.config.patience, job.stop_on_nan)
        self.trace: list[tuple[int, float]] = []
        self.state: dict[str, torch.Tensor] = {}
        self.postprocessing: dict[str, Any] = {}

    def update(
        self, epoch: int, score: float, chosen: dict[str, Any], take: Callable[[], dict[str, torch.Tensor]]
    ) -> None:
        """Takes the next validation and the postprocessing chosen by it; ``take()`` gives the weights."""
        self.trace.append((epoch, score))
        if self.best.update(epoch, score):
            self.state, self.postprocessing = take(), chosen

    def fitted(self, epochs_run: int, seconds: float) -> Fitted:
        """The head at its best epoch."""
        return Fitted(
            key=self.job.key,
            epoch=self.best.epoch,
            validation_score=self.best.score,
            postprocessing=self.postprocessing,
            hyperparameters=self.job.config.to_dict(),
            epochs_run=epochs_run,
            trace=self.trace,
            seconds=seconds,
            state=self.state,
        )


def validate(job: HeadJob, head: nn.Module) -> tuple[float, dict[str, Any]]:
    """:func:`judge` of one forward pass over the validation rows."""
    return judge(job, predict(head, job.fold.valid))


def judge(job: HeadJob, logits: torch.Tensor) -> tuple[float, dict[str, Any]]:
    """What selects epochs and grid points, and the postprocessing chosen with it, from validation logits."""
    validator = job.fold.validator
    if job.use_score:
        return validator.select(activate(logits, job.prediction_type))
    loss = float(logit_loss(logits, job.fold.valid.targets, job.prediction_type))
    return loss, validator.postprocessings[0]


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
