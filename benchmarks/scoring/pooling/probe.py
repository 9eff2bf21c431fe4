"""The base of the pooling protocols: their options, training as under ``linear``, and standardisation of frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from benchmarks.scoring.descent import train_head
from benchmarks.scoring.fitting import predict
from benchmarks.scoring.fold import Fold
from benchmarks.scoring.frames import Frames, Padded
from benchmarks.scoring.protocol import Protocol
from benchmarks.scoring.rows import standardisation
from benchmarks.scoring.work import Fitted
from hear_delores.settings import require_integer, require_number

__all__ = ["PoolingHead", "PoolingProbe"]


class PoolingHead(nn.Module):
    """Padded frames -> logits (n, n_labels). The buffers ``mean`` and ``scale`` (d,) standardise the frames."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, mean: torch.Tensor, scale: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, padded: Padded) -> torch.Tensor:
        """Logits (n, n_labels) float32 of ``padded``: embeddings (n, t, d) float32, mask (n, t) bool."""
        frames, mask = padded
        return self.pooled((frames - self.mean) / self.scale, mask)

    def pooled(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Logits (n, n_labels) of standardised frames (n, t, d); where ``mask`` (n, t) is False they do not count."""
        raise NotImplementedError


@dataclass(frozen=True)
class PoolingProbe(Protocol[Frames]):
    """Adam at ``lr`` over shuffled batches of ``batch_size`` clips for ``max_epochs`` epochs, as under ``linear``.

    Every epoch is validated. ``patience``: stop after so many epochs without a better one; None runs all.
    """

    takes_events: ClassVar[bool] = False
    needs = "timestamps"

    lr: float = 1e-3
    batch_size: int = 64
    max_epochs: int = 100
    patience: int | None = None
    seed: int = 42
    shots: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        concern = f"{self.name} protocol"
        require_number(concern, "lr", self.lr, 0.0, above=True, maximum=1e3)
        require_integer(concern, "batch_size", self.batch_size)
        require_integer(concern, "max_epochs", self.max_epochs)
        if self.patience is not None:
            require_integer(concern, "patience", self.patience)

    def head(self, mean: torch.Tensor, scale: torch.Tensor, n_labels: int) -> PoolingHead:
        """The classifier before training, initialised from torch's random state."""
        raise NotImplementedError

    def standardisation(self, train: Frames) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and scale (d,) for the frames: mean and deviation of all training frames."""
        return standardisation(train)

    def fit(self, fold: Fold[Frames]) -> Fitted:
        """The classifier of the best validation epoch."""
        head = self.head(*self.standardisation(fold.train), fold.train.targets.shape[1]).to(fold.device)
        return train_head(
            head, fold, lr=self.lr, batch_size=self.batch_size, max_epochs=self.max_epochs, patience=self.patience
        )

    def predict(self, fitted: Fitted, rows: Frames, fold: Fold[Frames]) -> torch.Tensor:
        """Logits (n, n_labels) of the clips."""
        head = self.head(fitted.state["mean"], fitted.state["scale"], rows.targets.shape[1])
        head.load_state_dict(fitted.state)
        return predict(head.to(rows.device), rows)
