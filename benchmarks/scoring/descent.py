"""One head trained by Adam over shuffled batches, its best epoch chosen on validation: linear and the pooling ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from benchmarks.scoring.fitting import ScoreOrLoss, activate, adam_step, logit_loss, predict, snapshot
from benchmarks.scoring.fold import Fold
from benchmarks.scoring.work import Fitted

__all__ = ["Adam", "gradients", "train_head"]


def train_head(
    head: nn.Module, fold: Fold[Any], *, lr: float, batch_size: int, max_epochs: int, patience: int | None
) -> Fitted:
    """The weights of the best validation epoch of ``head``, which is on the fold's device and is trained in place.

    Args:
        head: rows as ``fold.train.take`` gives them -> logits (n, n_labels).
        patience: stop after so many epochs without a better one; None runs all.
    """
    optimizer = Adam(list(head.parameters()), lr)
    best = ScoreOrLoss(fold.maximise, patience or max_epochs, max_epochs)
    for epoch in range(max_epochs):
        head.train()
        for indices in torch.randperm(len(fold.train)).split(batch_size):
            optimizer.step(gradients(head, optimizer.parameters, fold, indices))
        logits = predict(head, fold.valid)
        score, chosen = fold.validator.select(activate(logits, fold.prediction_type))
        loss = float(logit_loss(logits, fold.valid.targets, fold.prediction_type))
        best.update(epoch, score, loss, lambda chosen=chosen: (snapshot(head), chosen))  # type: ignore[misc]
        if best.finished:
            break
    epoch_of_best, score, (state, postprocessing) = best.best()
    training = {"lr": lr, "batch_size": batch_size, "max_epochs": max_epochs, "patience": patience}
    return Fitted(
        key=fold.key,
        epoch=epoch_of_best,
        validation_score=score,
        postprocessing=postprocessing,
        hyperparameters={**training, "input_s": fold.clip_seconds},
        epochs_run=epoch + 1,
        trace=best.trace,
        state=state,
    )


def gradients(
    head: nn.Module, parameters: list[nn.Parameter], fold: Fold[Any], indices: torch.Tensor
) -> list[torch.Tensor]:
    """Of the mean loss of a batch; a batch of rows too large for the memory is summed in portions."""
    total: list[torch.Tensor] = []
    for portion in fold.train.portions(indices):
        logits, targets = head(fold.train.take(portion)), fold.train.targets[portion.to(fold.device)]
        loss = logit_loss(logits, targets, fold.prediction_type) * (len(portion) / len(indices))
        found = torch.autograd.grad(loss, parameters)
        total = [one + other for one, other in zip(total, found, strict=True)] if total else list(found)
    return total


class Adam:
    """torch's Adam at one learning rate, with its moments."""

    def __init__(self, parameters: list[nn.Parameter], lr: float) -> None:
        self.parameters, self.lr = parameters, lr
        self.first = [torch.zeros_like(item, requires_grad=False) for item in parameters]
        self.second = [torch.zeros_like(item, requires_grad=False) for item in parameters]
        self.steps = [torch.zeros((), device=item.device) for item in parameters]

    def step(self, gradients: Sequence[torch.Tensor]) -> None:
        """One step down the gradients of a loss, in the order of the parameters."""
        own = [item.detach() for item in self.parameters]
        adam_step(own, gradients, self.first, self.second, self.steps, self.lr)
