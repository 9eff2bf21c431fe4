"""Protocol ``linear``: one linear layer on frozen embeddings, chosen on validation, tested once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import nn

from benchmarks.scoring.choice import tried_points
from benchmarks.scoring.descent import train_head
from benchmarks.scoring.fitting import predict
from benchmarks.scoring.fold import Fold, TestedFold
from benchmarks.scoring.linear.logistic import C_GRID, MAX_ITERATIONS, train_logistic
from benchmarks.scoring.protocol import Protocol
from benchmarks.scoring.rows import Rows, standardisation
from benchmarks.scoring.work import Fitted
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.settings import require_integer, require_number

__all__ = ["Linear", "LinearHead"]

SOLVERS = ("adam", "logistic")
TRAINING = ("lr", "batch_size", "max_epochs", "patience")
ADDED = {"added": True}  # after records had been written: at its default such an option is not fingerprinted


@dataclass(frozen=True)
class Linear(Protocol[Rows]):
    """Adam at ``lr`` over shuffled batches of ``batch_size`` rows for ``max_epochs`` epochs.

    Every epoch is validated. ``patience``: stop after so many without a better one; None runs all.

    Attributes:
        solver: ``adam`` trains as said; ``logistic`` is scikit-learn's logistic regression, its C chosen on the
            validation split of each fold (see ``logistic.py``). The options of training are Adam's alone.
        shots: train on so many clips per class, drawn by ``seed``; None takes all.
        control: ``shuffled`` permutes the labels within training, validation and test by ``seed``; None keeps them.
    """

    name = "linear"

    lr: float = 1e-3
    batch_size: int = 64
    max_epochs: int = 100
    patience: int | None = None
    seed: int = 42
    score_missing_files: bool = True
    solver: str = field(default="adam", metadata=ADDED)
    shots: int | None = field(default=None, metadata=ADDED)
    control: str | None = field(default=None, metadata=ADDED)

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise DeloresError(f"linear protocol: unknown solver {self.solver!r}. {did_you_mean(self.solver, SOLVERS)}")
        super().__post_init__()
        defaults = {item.name: item.default for item in fields(self)}
        if self.solver == "logistic" and any(getattr(self, name) != defaults[name] for name in TRAINING):
            raise DeloresError(
                f"linear protocol: {', '.join(TRAINING)} belong to solver adam; leave them out with solver logistic"
            )
        require_number("linear protocol", "lr", self.lr, 0.0, above=True, maximum=1e3)
        for name in TRAINING[1:] if self.patience is not None else TRAINING[1:-1]:
            require_integer("linear protocol", name, getattr(self, name))

    @property
    def chooses(self) -> str:  # type: ignore[override]
        """What is chosen on the validation split."""
        return "C" if self.solver == "logistic" else "epoch"

    def fit(self, fold: Fold[Rows]) -> Fitted:
        """The layer of the best validation epoch (or C), of standardised rows."""
        mean, scale = standardisation(fold.train)
        if self.solver == "logistic":
            return train_logistic(fold, (mean, scale))
        head = LinearHead(mean, scale, fold.train.targets.shape[1]).to(fold.device)
        training = {name: getattr(self, name) for name in TRAINING}
        return train_head(head, fold, **training)

    def predict(self, fitted: Fitted, rows: Rows, fold: Fold[Rows]) -> torch.Tensor:
        """Logits."""
        head = LinearHead(fitted.state["mean"], fitted.state["scale"], rows.targets.shape[1])
        head.load_state_dict(fitted.state)
        return predict(head.to(rows.device), rows)

    def tried(self, fitted: Fitted, fold: Fold[Rows]) -> list[Fitted]:
        """Every C."""
        return tried_points(fitted, [{"C": strength} for strength in C_GRID]) if self.solver == "logistic" else []

    def describe(self, fitted: Fitted) -> str:
        """What was chosen on validation, in a word."""
        return f"with C {fitted.hyperparameters['C']:g}" if self.solver == "logistic" else super().describe(fitted)

    def notes(self, task: Any, tested: Sequence[TestedFold], shortfall: list[str]) -> list[str]:
        """Those of every protocol, and fits that did not converge."""
        found = super().notes(task, tested, shortfall)
        if unfinished := sum(not item.head.hyperparameters.get("converged", True) for item in tested):
            found = [*found, f"logistic: not converged after {MAX_ITERATIONS} iterations in {unfinished} folds"]
        return found


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
