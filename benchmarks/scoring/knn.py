"""Protocol ``knn``: k nearest neighbours of the training embeddings; nothing is learnt but k and the distance."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import numpy as np
import torch

from benchmarks.scoring.choice import best_of, tried_points
from benchmarks.scoring.fitting import share_loss
from benchmarks.scoring.fold import Fold
from benchmarks.scoring.protocol import Protocol
from benchmarks.scoring.rows import Rows, standardisation
from benchmarks.scoring.work import Fitted
from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["K_GRID", "METRICS", "Knn", "Neighbours", "knn_grid"]

K_GRID = (1, 3, 5, 10, 20, 50)
METRICS = ("cosine", "euclidean")


@dataclass(frozen=True)
class Knn(Protocol[Rows]):
    """``k`` and ``metric`` None are chosen on the validation split, from ``K_GRID`` and ``METRICS``. On the CPU.

    Attributes:
        metric: ``cosine`` compares L2-normalised embeddings; ``euclidean`` embeddings standardised by the mean
            and the deviation of the training rows.
        shots: train on so many clips per class, drawn by ``seed``; None takes all.
        control: ``shuffled`` permutes the labels within training, validation and test by ``seed``; None keeps them.
            Nothing else is random.
    """

    name = "knn"
    takes_events = False
    on_cpu = True
    outputs = "probabilities"  # a share of the neighbours may be 0: no cross-entropy is finite
    chooses = "k"

    k: int | None = None
    metric: str | None = None
    seed: int = 42
    shots: int | None = None
    control: str | None = field(default=None, metadata={"added": True})

    def __post_init__(self) -> None:
        if self.k is not None and (isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1):
            raise DeloresError(f"knn protocol: expected k to be a whole number of neighbours >= 1, got {self.k!r}")
        if self.metric is not None and self.metric not in METRICS:
            raise DeloresError(f"knn protocol: unknown metric {self.metric!r}. {did_you_mean(self.metric, METRICS)}")
        super().__post_init__()

    def fit(self, fold: Fold[Rows]) -> Fitted:
        """k and the distance with the best score on the validation rows."""
        grid = knn_grid(self, len(fold.train))
        probabilities: list[np.ndarray] = []
        for metric, same_metric in itertools.groupby(grid, key=itemgetter("metric")):
            ks = [point["k"] for point in same_metric]
            probabilities += Neighbours(fold.train, metric).probabilities(fold.valid, ks).values()
        losses = [share_loss(item, fold.valid.targets.numpy()) for item in probabilities]
        points = [
            Fitted(key=fold.key, validation_score=fold.validator.select(item)[0], hyperparameters=point)
            for point, item in zip(grid, probabilities, strict=True)
        ]
        return best_of(points, losses, fold.maximise)

    def predict(self, fitted: Fitted, rows: Rows, fold: Fold[Rows]) -> torch.Tensor:
        """The share of the nearest training rows that hold each label."""
        k, metric = int(fitted.hyperparameters["k"]), str(fitted.hyperparameters["metric"])
        return torch.from_numpy(Neighbours(fold.train, metric).probabilities(rows, [k])[k])

    def tried(self, fitted: Fitted, fold: Fold[Rows]) -> list[Fitted]:
        """Every k and distance, where there was a choice."""
        grid = knn_grid(self, len(fold.train))
        return tried_points(fitted, grid) if len(grid) > 1 else []

    def describe(self, fitted: Fitted) -> str:
        """What was chosen."""
        return f"with k {fitted.hyperparameters['k']}, {fitted.hyperparameters['metric']}"


def knn_grid(options: Knn, n_rows: int) -> list[dict[str, Any]]:
    """The points to choose from, in the order in which the first of equals wins; k is at most ``n_rows``.

    Raises DeloresError when a k was asked for and there are fewer training rows.
    """
    if options.k is not None and options.k > n_rows:
        raise DeloresError(f"knn protocol: expected k of at most the {n_rows} training clips, got {options.k}")
    ks = [k for k in K_GRID if k <= n_rows] if options.k is None else [options.k]
    metrics = METRICS if options.metric is None else (options.metric,)
    return [{"k": k, "metric": metric} for metric in metrics for k in ks]


class Neighbours:
    """The training rows under one distance: one search serves every k.

    Equal to scikit-learn's KNeighborsClassifier(k, metric=..., algorithm="brute") with uniform weights. The rows
    are held in memory as float32, whatever their number.
    """

    def __init__(self, train: Rows, metric: str) -> None:
        from sklearn.neighbors import NearestNeighbors  # half a second to import: not for every command

        self.targets = train.targets.cpu().numpy()
        self._moments = standardisation(train) if metric == "euclidean" else (0.0, 1.0)
        self._search = NearestNeighbors(algorithm="brute", metric=metric).fit(train.standardised(*self._moments))

    def probabilities(self, rows: Rows, ks: Sequence[int]) -> dict[int, np.ndarray]:
        """{k: (n, n_labels) float32}: the share of the k nearest training rows that hold each label."""
        nearest = self._search.kneighbors(rows.standardised(*self._moments), n_neighbors=max(ks), return_distance=False)
        return {k: self._shares(nearest[:, :k]) for k in ks}

    def _shares(self, nearest: np.ndarray) -> np.ndarray:
        found = np.zeros((len(nearest), self.targets.shape[1]), dtype=np.float32)
        for column in nearest.T:  # not targets[nearest]: with hundreds of labels that is k times the memory
            found += self.targets[column]
        return found / np.float32(nearest.shape[1])
