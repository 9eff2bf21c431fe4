"""What the training of every classifier shares: seeds, the best epoch, losses, prediction, the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.adam import adam

from hear_delores.errors import DeloresError

__all__ = ["BestEpoch", "ScoreOrLoss", "activate", "derive_seed", "logit_loss", "predict", "share_loss"]


def derive_seed(*numbers: int) -> int:
    """A seed for torch from the run's seed, fold and grid point: no two of them share random numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1


class BestEpoch:
    """Lightning 1.8's EarlyStopping and ModelCheckpoint together, as heareval uses them.

    The first validation is always kept; a later one when it is strictly better (scores are compared in
    float32, as Lightning logs them). Training stops after ``patience`` validations in a row without a
    better one, and at once when a score is not finite: an event task whose first validation predicts no
    event (F-measure NaN) ends there. ``stop_on_nan=False`` lets NaN count as the worst score instead.
    """

    def __init__(self, maximise: bool, patience: int, stop_on_nan: bool = True) -> None:
        self.sign = 1.0 if maximise else -1.0
        self.patience, self.stop_on_nan = patience, stop_on_nan
        self.kept: float | None = None  # signed; what the checkpoint compares with
        self.best, self.waited = -math.inf, 0  # signed; what early stopping compares with
        self.epoch = -1
        self.stop = False

    @property
    def score(self) -> float:
        """The validation score of the kept epoch."""
        assert self.kept is not None
        return self.sign * self.kept

    def update(self, epoch: int, score: float) -> bool:
        """Takes the next validation score; True when this epoch is now the best. Sets ``stop``."""
        current = self.sign * float(np.float32(score))
        if math.isnan(current):
            current = -math.inf
        is_best = self.kept is None or current > self.kept
        if is_best:
            self.kept, self.epoch = current, epoch
        if not math.isfinite(score) and (self.stop_on_nan or not math.isnan(score)):
            self.stop = True
        elif current > self.best:
            self.best, self.waited = current, 0
        else:
            self.waited += 1
            self.stop = self.waited >= self.patience
        return is_best


class ScoreOrLoss:
    """The best epoch by score, and by loss where the score is NaN throughout.

    A class that no validation row has makes ROC AUC so, and no event predicted in any epoch the F-measure.

    Attributes:
        kept: what the best epochs gave, by ``score`` and ``loss``.
        trace: (epoch, score) of every validation.
    """

    def __init__(self, maximise: bool, patience: int, max_epochs: int) -> None:
        self.patience = patience
        self.trackers = {
            "score": BestEpoch(maximise, patience, stop_on_nan=False),
            "loss": BestEpoch(False, max_epochs, stop_on_nan=False),
        }
        self.kept: dict[str, Any] = {}
        self.trace: list[tuple[int, float]] = []

    @property
    def finished(self) -> bool:
        """Whether ``patience`` epochs in a row were no better. An infinite score (a perfect d') is no end."""
        return self.trackers["score"].waited >= self.patience

    def update(self, epoch: int, score: float, loss: float, take: Callable[[], Any]) -> None:
        """Takes the next validation; ``take()`` is what is kept of an epoch that is better."""
        self.trace.append((epoch, score))
        for name, value in (("score", score), ("loss", loss)):
            if self.trackers[name].update(epoch, value):
                self.kept[name] = take()
        if math.isfinite(self.trackers["score"].score):
            self.kept.pop("loss", None)  # a score was found: the loss will not be needed

    def best(self) -> tuple[int, float, Any]:
        """The best epoch, its score (NaN where the loss chose it), and what was kept of it."""
        by_loss = all(math.isnan(score) for _, score in self.trace)
        used = "loss" if by_loss else "score"
        return self.trackers[used].epoch, math.nan if by_loss else self.trackers["score"].score, self.kept[used]


def logit_loss(logits: torch.Tensor, target: torch.Tensor, prediction_type: str) -> torch.Tensor:
    """Cross-entropy (multiclass) or binary cross-entropy of logits (multilabel), averaged.

    ``logits`` and ``target`` are (n, n_labels) float32; multiclass targets are one-hot.
    """
    if prediction_type == "multiclass":
        return nn.functional.cross_entropy(logits, target.argmax(dim=1))
    return nn.functional.binary_cross_entropy_with_logits(logits, target)


@torch.no_grad()
def predict(head: nn.Module, rows: Any) -> torch.Tensor:
    """Logits (n, n_labels) float32 of all rows (or clips of frames), the head in eval mode."""
    head.eval()
    return torch.cat([head(rows.embeddings(start, stop)) for start, stop in rows.blocks()])


def adam_step(
    parameters: list[torch.Tensor],
    gradients: Sequence[torch.Tensor],
    first: list[torch.Tensor],
    second: list[torch.Tensor],
    steps: list[torch.Tensor],
    lr: float,
) -> None:
    """One step of torch's fused Adam, in place; ``first`` and ``second`` are its moments.

    The function, not the class: making the class imports torch's compiler, two seconds and 900 modules.
    """
    gradients = [gradient.contiguous() for gradient in gradients]  # fused: takes no strides
    adam(
        parameters, gradients, first, second, [], steps,
        fused=True, amsgrad=False, maximize=False, weight_decay=0.0, lr=lr, beta1=0.9, beta2=0.999, eps=1e-8,
    )  # fmt: skip


def activate(logits: torch.Tensor, prediction_type: str) -> np.ndarray:
    """Probabilities (n, n_labels) float32 on the CPU: softmax (multiclass) or sigmoid (multilabel)."""
    probabilities = logits.softmax(dim=1) if prediction_type == "multiclass" else logits.sigmoid()
    return probabilities.cpu().numpy()


def share_loss(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean squared error of the shares (the Brier score per label): finite where no neighbour holds the label."""
    return float(nn.functional.mse_loss(torch.from_numpy(probabilities), torch.from_numpy(targets)))


def snapshot(head: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the head's state on the CPU."""
    return {name: value.detach().to("cpu", copy=True) for name, value in head.state_dict().items()}


def as_device(device: str) -> torch.device:
    """``auto`` is CUDA when torch sees it, else the CPU; anything else as torch reads it."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise DeloresError(f"device: expected auto, cpu, cuda or cuda:N, got {device!r}") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise DeloresError("device: expected a CUDA device, but torch sees none; use cpu or auto")
    return found


def cuda_devices(device: torch.device) -> list[int]:
    """The devices whose random state a fork must keep: the used CUDA device, or none."""
    if device.type != "cuda":
        return []
    return [device.index if device.index is not None else torch.cuda.current_device()]
