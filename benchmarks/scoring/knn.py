"""Protocol ``knn``: k nearest neighbours of the training embeddings; nothing is learnt but k and the distance."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.metrics.registry import find_metrics
from benchmarks.scoring.choice import best_point, tried_points
from benchmarks.scoring.few_shot import check_shots, few_shot_fold, shortfall, shortfall_note
from benchmarks.scoring.linear.protocol import standardisation
from benchmarks.scoring.rows import Rows
from benchmarks.scoring.training import Fold, Progress, ProtocolRun, TestedFold, TrainedHead, WorkFolder
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.settings import require_integer

__all__ = ["K_GRID", "METRICS", "KnnOptions", "Neighbours", "knn_grid", "run_knn"]

K_GRID = (1, 3, 5, 10, 20, 50)
METRICS = ("cosine", "euclidean")


@dataclass(frozen=True)
class KnnOptions:
    """``k`` and ``metric`` None are chosen on the validation split, from ``K_GRID`` and ``METRICS``.

    Attributes:
        metric: ``cosine`` compares L2-normalised embeddings; ``euclidean`` embeddings standardised by the mean
            and the deviation of the training rows.
        shots: train on so many clips per class, drawn by ``seed``; None takes all. Nothing else is random.
    """

    k: int | None = None
    metric: str | None = None
    seed: int = 42
    shots: int | None = None

    def __post_init__(self) -> None:
        if self.k is not None and (isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1):
            raise DeloresError(f"knn protocol: expected k to be a whole number of neighbours >= 1, got {self.k!r}")
        if self.metric is not None and self.metric not in METRICS:
            raise DeloresError(f"knn protocol: unknown metric {self.metric!r}. {did_you_mean(self.metric, METRICS)}")
        check_shots(self.shots)
        require_integer("knn protocol", "seed", self.seed, 0)


def knn_grid(options: KnnOptions, n_rows: int) -> list[dict[str, Any]]:
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

        self.metric = metric
        self.targets = train.targets.cpu().numpy()
        self._moments = standardisation(train) if metric == "euclidean" else None
        self._search = NearestNeighbors(algorithm="brute", metric=metric).fit(self._prepared(train))

    def probabilities(self, rows: Rows, ks: Sequence[int]) -> dict[int, np.ndarray]:
        """{k: (n, n_labels) float32}: the share of the k nearest training rows that hold each label."""
        nearest = self._search.kneighbors(self._prepared(rows), n_neighbors=max(ks), return_distance=False)
        return {k: self._shares(nearest[:, :k]) for k in ks}

    def _shares(self, nearest: np.ndarray) -> np.ndarray:
        found = np.zeros((len(nearest), self.targets.shape[1]), dtype=np.float32)
        for column in nearest.T:  # not targets[nearest]: with hundreds of labels that is k times the memory
            found += self.targets[column]
        return found / np.float32(nearest.shape[1])

    def _prepared(self, rows: Rows) -> np.ndarray:
        blocks = []
        for start, stop in rows.blocks():
            block = rows.embeddings(start, stop).cpu()
            if self._moments is not None:
                block = (block - self._moments[0]) / self._moments[1]
            blocks.append(block.numpy())
        return np.concatenate(blocks)


def run_knn(
    task: EmbeddingsTask, options: KnnOptions, work: WorkFolder, *, progress: Progress | None = None
) -> ProtocolRun:
    """Chooses k and the distance on the validation split of each fold and tests it once. On the CPU."""
    maximise = find_metrics(task.metadata["evaluation"], "scene")[0].maximise
    n_folds = len(task.data_splits())
    tested: list[TestedFold] = []
    tried: list[TrainedHead] = []
    short: dict[int, int] = {}
    for number in range(n_folds):
        fold = Fold.of(task, number, "cpu", score_missing_files=True)
        if options.shots is not None:
            fold = few_shot_fold(fold, options.shots, options.seed, task.prediction_type)
            short[number] = shortfall(fold.train.targets.numpy(), options.shots)
        grid = knn_grid(options, len(fold.train))
        key = f"fold-{number:02d}"
        head = work.load(key)
        if head is None:
            head = _choose(key, fold, grid, maximise)
            work.save(head)
        if progress is not None:
            chosen = f"k {head.hyperparameters['k']}, {head.hyperparameters['metric']}"
            progress(number + 1, n_folds, f"{key}: {head.validation_score:.4f} with {chosen}")
        if number == 0 and len(grid) > 1:
            tried = tried_points(head, grid)
        tested.append(_test(fold, head))
    mode: Literal["max", "min"] = "max" if maximise else "min"
    by_loss = sum(item.head.validation_score != item.head.validation_score for item in tested)
    notes = shortfall_note(short, options.shots or 0)
    if by_loss:
        notes.append(f"validation: the primary score was NaN in {by_loss} folds, their k has the least loss")
    return ProtocolRun(tested, tried, notes, mode)


def _choose(key: str, fold: Fold, grid: Sequence[dict[str, Any]], maximise: bool) -> TrainedHead:
    began = time.perf_counter()
    found: dict[tuple[int, str], np.ndarray] = {}
    for metric in dict.fromkeys(point["metric"] for point in grid):
        ks = [point["k"] for point in grid if point["metric"] == metric]
        shares = Neighbours(fold.train, metric).probabilities(fold.valid, ks)
        found.update({(k, metric): value for k, value in shares.items()})
    probabilities = [found[point["k"], point["metric"]] for point in grid]
    scores = [fold.validator.select(item)[0] for item in probabilities]
    losses = [share_loss(item, fold.valid.targets.numpy()) for item in probabilities]
    best = best_point(scores, losses, maximise)
    return TrainedHead(
        key=key,
        epoch=0,
        validation_score=scores[best],
        postprocessing={},
        hyperparameters=dict(grid[best]),
        epochs_run=0,  # there are none
        trace=list(enumerate(scores)),
        seconds=time.perf_counter() - began,
        state={},
    )


def _test(fold: Fold, head: TrainedHead) -> TestedFold:
    k, metric = int(head.hyperparameters["k"]), str(head.hyperparameters["metric"])
    probabilities = Neighbours(fold.train, metric).probabilities(fold.test, [k])[k]
    return TestedFold(
        split_names=fold.split_names,
        n_train_rows=len(fold.train),
        head=head,
        scores=fold.tester.scores(probabilities, {}),
        loss=share_loss(probabilities, fold.test.targets.numpy()),
        probabilities=probabilities,
        events=None,
        missing_files=(),
    )


def share_loss(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean squared error of the shares (the Brier score per label): finite where no neighbour holds the label."""
    return float(torch.nn.functional.mse_loss(torch.from_numpy(probabilities), torch.from_numpy(targets)))
