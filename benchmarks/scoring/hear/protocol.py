"""Protocol ``hear``: grid search on the first fold, the best point on the others, one test each, as heareval does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch

from benchmarks.scoring.fitting import derive_seed, predict
from benchmarks.scoring.fold import Fold, Folds, TestedFold
from benchmarks.scoring.hear.grid import HeadConfig, grid_configs, postprocessing_configs
from benchmarks.scoring.hear.heads import Head, HeadJob, has_single_row_batch
from benchmarks.scoring.hear.stacked import PRECISIONS, has_bfloat16, train_batched
from benchmarks.scoring.protocol import Protocol, is_event, primary_metric
from benchmarks.scoring.rows import Rows
from benchmarks.scoring.work import Fitted
from hear_delores.errors import DeloresError
from hear_delores.settings import require_integer
from pretrain.training.precision import time_products

__all__ = ["Hear"]

#: What pandas reads as missing in a CSV, but for "nan", which is how heareval then writes it.
READ_AS_MISSING = frozenset([
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "null",
])  # fmt: skip


@dataclass(frozen=True)
class Hear(Protocol[Rows]):
    """The protocol's choices; the defaults are the protocol, but where a line says otherwise.

    Attributes:
        grid: ``default``, ``fast`` or ``faster``; grid_points: how many of its points are searched.
        seed: seeds initialisation and dropout. The choice of grid points is heareval's whatever the seed.
        score_missing_files: a file without predictions costs its events (heareval: it costs nothing).
        single_row_batch: ``merge`` a last batch of one row into the one before (heareval: BatchNorm
            raises, so there is no score to differ from).
        na_labels: ``keep`` reads labels such as "NA" and "None" as they stand (heareval's vocabulary lacks them,
            read as missing by pandas, and its run ends in a KeyError: ``raise``).
        nan_validation: ``stop`` ends training when a validation score is NaN, as Lightning does;
            ``worst`` lets it count as the worst score and goes on.
        precision: ``float32``, or ``bfloat16`` for the matrix products of training and validation; the rest,
            and the test, stay in float32. ``auto`` times a product of the task's shape; the record says what it chose.
        shots: train on so many clips per class, drawn by the seed; None on all.
        control: ``shuffled`` permutes the labels within training, validation and test by the seed; None keeps them.
        grid_seed: the seed whose grid search every seed shares: its best point is trained on every fold with the random
            numbers of the run's own seed. None searches the grid anew for each seed, as heareval does.
    """

    name = "hear"
    version = 2  # dropout from raw words, heads side by side

    grid: str = "default"
    grid_points: int = 8
    seed: int = 42
    score_missing_files: bool = True
    single_row_batch: Literal["merge", "raise"] = "merge"
    nan_validation: Literal["stop", "worst"] = "stop"
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    na_labels: Literal["keep", "raise"] = field(default="keep", metadata={"added": True})
    shots: int | None = field(default=None, metadata={"added": True})
    control: str | None = field(default=None, metadata={"added": True})
    grid_seed: int | None = field(default=None, metadata={"added": True})

    def __post_init__(self) -> None:
        for name, known in (
            ("single_row_batch", ("merge", "raise")),
            ("nan_validation", ("stop", "worst")),
            ("precision", (*PRECISIONS, "auto")),
            ("na_labels", ("keep", "raise")),
        ):
            if getattr(self, name) not in known:
                raise DeloresError(f"{name}: expected one of {known}, got {getattr(self, name)!r}")
        super().__post_init__()
        require_integer("hear protocol", "grid_points", self.grid_points)
        if self.grid_seed is not None:
            require_integer("hear protocol", "grid_seed", self.grid_seed, 0)

    @property
    def search_seed(self) -> int | None:
        """The seed whose search is taken over; the run of that seed searches itself."""
        return self.grid_seed if self.grid_seed != self.seed else None

    def check(self, task: Any) -> None:
        """A grid, labels and a postprocessing that the protocol can work with."""
        super().check(task)
        self._points(task)
        choices = len(postprocessing_configs(task.metadata)) if is_event(task) else 1
        if lost := _lost_labels(task) if self.na_labels == "raise" else []:
            raise DeloresError(
                f"{task.path}: heareval reads the labels {', '.join(lost)} as missing and cannot score this task; "
                "rename them, or use na_labels='keep'"
            )
        if choices > 1 and not _uses_score(task):
            raise DeloresError(
                "task_metadata.json: without use_scoring_for_early_stopping the event_postprocessing_grid must "
                f"hold one combination, got {choices}"
            )

    def settlements(self) -> list[Protocol[Rows]]:
        """Both precisions, where it is to be decided."""
        return [replace(self, precision=each) for each in PRECISIONS] if self.precision == "auto" else []

    def settled(self, task: Any, device: torch.device) -> tuple[Protocol[Rows], str]:
        """The precision decided; a line also where bfloat16 was asked for and is slower."""
        if self.precision == "float32" or (self.precision == "bfloat16" and not has_bfloat16(device)):
            return self, ""
        if not has_bfloat16(device):
            return replace(self, precision="float32"), f"precision: float32, since this {device.type} has no bfloat16"
        point, split = self._points(task)[0], next(iter(task.splits.values()))
        n_rows, size = split.embeddings.shape
        times = time_products(min(point.batch_size, n_rows), size, point.hidden_dim, device)
        if self.precision == "auto":
            return replace(self, precision=times.faster), f"precision: {times.faster}, since {times.describe()}"
        slower = f"precision: bfloat16 is slower here than float32: {times.describe()}"
        return self, slower if times.bfloat16_is_slower else ""

    def maximise(self, task: Any) -> bool:
        """Not where the validation loss is chosen by."""
        return super().maximise(task) and _uses_score(task)

    def steps(self, folds: Folds[Rows]) -> int:
        """Every point on the first fold, one on each of the others; without a search one on each."""
        if folds.searched is not None:
            return len(folds)
        return len(self._points(folds.task)) + len(folds) - 1

    def fit_all(self, folds: Folds[Rows]) -> Iterator[tuple[int, Fitted]]:
        """Searches the grid on fold 0 and retrains the best point on every other fold.

        The best point is the one with the best validation score, the earlier of equals. Where another seed has
        searched, its point is trained on every fold.
        """
        task = folds.task
        configs = self._points(task)

        def job(point: int, number: int) -> HeadJob:
            return HeadJob(
                f"fold-{number:02d}" if number or folds.searched is not None else f"grid-{point:02d}",
                configs[point],
                folds[number],
                derive_seed(self.seed, number, point),
                task.prediction_type,
                primary_metric(task).maximise,
                _uses_score(task),
                self.single_row_batch,
                self.nan_validation == "stop",
            )

        if folds.searched is not None:
            yield from self._of_point(folds, self._searched_point(folds), 0, job)
            return
        # Deep heads first: they take longest, and no core waits long for the last one.
        by_depth = sorted(range(len(configs)), key=lambda point: -configs[point].hidden_layers)
        jobs = {f"grid-{point:02d}": partial(job, point, 0) for point in by_depth}
        points = {head.key: head for head in folds.fitted(jobs, self.train)}
        folds.tried = [points[key] for key in sorted(jobs)]
        sign = 1.0 if self.maximise(task) else -1.0
        best = max(range(len(configs)), key=lambda point: (sign * folds.tried[point].validation_score, -point))
        yield 0, folds.tried[best]
        yield from self._of_point(folds, best, 1, job)

    def _of_point(
        self, folds: Folds[Rows], point: int, first: int, job: Callable[[int, int], HeadJob]
    ) -> Iterator[tuple[int, Fitted]]:
        """One point trained on the folds from ``first`` on."""
        numbers = {f"fold-{number:02d}": number for number in range(first, len(folds))}
        for head in folds.fitted({key: partial(job, point, number) for key, number in numbers.items()}, self.train):
            yield numbers[head.key], head

    def _searched_point(self, folds: Folds[Rows]) -> int:
        """The number in the grid of the point that the other seed's search has chosen."""
        points = [config.to_dict() for config in self._points(folds.task)]
        if folds.searched not in points:
            raise DeloresError(
                f"the point that seed {self.grid_seed} chose is not in this grid; delete its record and score again"
            )
        return points.index(dict(folds.searched))

    def train(self, jobs: Iterable[HeadJob], n_jobs: int) -> Iterator[Fitted]:
        """Heads side by side; :func:`~benchmarks.scoring.hear.heads.train_sequentially` is the plain reference."""
        return train_batched(jobs, n_jobs, self.precision)

    def predict(self, fitted: Fitted, rows: Rows, fold: Fold[Rows]) -> torch.Tensor:
        """Logits, in float32."""
        size, n_labels = rows.embeddings(0, 1).shape[1], rows.targets.shape[1]
        head = Head(HeadConfig(**fitted.hyperparameters), size, n_labels)
        head.load_state_dict(fitted.state)
        return predict(head.to(rows.device), rows)

    def notes(self, task: Any, tested: Sequence[TestedFold], shortfall: list[str]) -> list[str]:
        """Each way in which this run left heareval's protocol. A switch that changed nothing is none."""
        missing = {file for item in tested for file in item.missing_files}
        found = []
        if any(has_single_row_batch(item.n_train_rows, point) for item in tested for point in self._points(task)):
            found.append("single_row_batch=merge: the last training batch of one row joins the batch before")
        if lost := _lost_labels(task):
            found.append(f"na_labels=keep: heareval reads the labels {', '.join(lost)} as missing, and fails")
        if is_event(task) and self.nan_validation == "worst":
            found.append("nan_validation=worst: a NaN validation score does not end training")
        if is_event(task) and not primary_metric(task).maximise and len(postprocessing_configs(task.metadata)) > 1:
            found.append("postprocessing: the smallest error rate is chosen, heareval takes the largest")
        if self.search_seed is not None:
            found.append(
                f"grid_seed: the grid was searched by seed {self.grid_seed} alone, its best point trained here"
            )
        if missing and self.score_missing_files:
            found.append(f"score_missing_files: {len(missing)} files without predictions count as missed")
        return [*found, *shortfall]

    def _points(self, task: Any) -> list[HeadConfig]:
        return grid_configs(task.metadata, self.grid, self.grid_points)


def _uses_score(task: Any) -> bool:
    return bool(task.metadata.get("use_scoring_for_early_stopping", True))


def _lost_labels(task: Any) -> list[str]:
    return [label for label in task.vocabulary if label in READ_AS_MISSING]
