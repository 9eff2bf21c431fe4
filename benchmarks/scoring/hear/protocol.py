"""Protocol ``hear``: grid search on the first fold, the best point on the others, one test each, as heareval does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.metrics.registry import find_metrics
from benchmarks.scoring.few_shot import check_shots, few_shot_fold, shortfall, shortfall_note
from benchmarks.scoring.hear.grid import HeadConfig, grid_configs, postprocessing_configs
from benchmarks.scoring.hear.heads import Head, HeadJob, Trainer, has_single_row_batch
from benchmarks.scoring.hear.stacked import PRECISIONS, train_batched
from benchmarks.scoring.training import (
    Fold,
    Progress,
    ProtocolRun,
    TestedFold,
    TrainedHead,
    WorkFolder,
    as_device,
    cuda_devices,
    derive_seed,
    evaluate_once,
)
from hear_delores.errors import DeloresError
from hear_delores.settings import require_integer

__all__ = ["HearOptions", "run_hear"]

#: What pandas reads as missing in a CSV, but for "nan", which is how heareval then writes it.
READ_AS_MISSING = frozenset([
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "null",
])  # fmt: skip


@dataclass(frozen=True)
class HearOptions:
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
            and the test, stay in float32.
        shots: train on so many clips per class, drawn by the seed; None on all.
    """

    grid: str = "default"
    grid_points: int = 8
    seed: int = 42
    score_missing_files: bool = True
    single_row_batch: Literal["merge", "raise"] = "merge"
    nan_validation: Literal["stop", "worst"] = "stop"
    precision: Literal["float32", "bfloat16"] = "float32"
    na_labels: Literal["keep", "raise"] = field(default="keep", metadata={"added": True})
    shots: int | None = field(default=None, metadata={"added": True})

    def __post_init__(self) -> None:
        for name, known in (
            ("single_row_batch", ("merge", "raise")),
            ("nan_validation", ("stop", "worst")),
            ("precision", PRECISIONS),
            ("na_labels", ("keep", "raise")),
        ):
            if getattr(self, name) not in known:
                raise DeloresError(f"{name}: expected one of {known}, got {getattr(self, name)!r}")
        check_shots(self.shots)
        require_integer("hear protocol", "seed", self.seed, 0)
        require_integer("hear protocol", "grid_points", self.grid_points)


def run_hear(
    task: EmbeddingsTask,
    options: HearOptions,
    work: WorkFolder,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    trainer: Trainer | None = None,
) -> ProtocolRun:
    """Searches the grid on fold 0, retrains the best point on every other fold, tests each fold once.

    The best point is the one with the best validation score, the earlier of equals. ``trainer`` None is
    :func:`~benchmarks.scoring.hear.stacked.train_batched`.
    """
    search = _Search(task, options, work, as_device(device), progress, trainer)
    first = search.fold(0)
    # Deep heads first: they take longest, and no core waits long for the last one.
    by_depth = sorted(range(len(search.configs)), key=lambda point: -search.configs[point].hidden_layers)
    jobs = {f"grid-{point:02d}": partial(search.job, point, 0) for point in by_depth}
    points = {head.key: head for head in search.trained(jobs)}
    grid = [points[key] for key in sorted(jobs)]
    sign = 1.0 if search.maximise else -1.0
    best = max(range(len(grid)), key=lambda point: (sign * grid[point].validation_score, -point))
    tested = {0: _test(task, first, grid[best])}
    search.let_go(0)
    del first
    numbers = {f"fold-{number:02d}": number for number in range(1, search.n_folds)}
    for head in search.trained({key: partial(search.job, best, number) for key, number in numbers.items()}):
        number = numbers[head.key]
        tested[number] = _test(task, search.fold(number), head)
        search.let_go(number)
    folds = [tested[number] for number in range(search.n_folds)]
    deviations = _deviations(task, options, search.configs, folds) + shortfall_note(search.short, options.shots or 0)
    return ProtocolRun(folds, grid, deviations, "max" if search.maximise else "min")


class _Search:
    """A run's folds, jobs and finished heads. No more folds are held than are trained side by side."""

    def __init__(
        self,
        task: EmbeddingsTask,
        options: HearOptions,
        work: WorkFolder,
        device: torch.device,
        progress: Progress | None,
        trainer: Trainer | None,
    ) -> None:
        self.task, self.options, self.work, self.device, self.progress = task, options, work, device, progress
        self.trainer: Trainer = trainer or partial(train_batched, precision=options.precision)
        self.metric = find_metrics(task.metadata["evaluation"], "event" if task.is_event else "scene")[0]
        self.use_score = bool(task.metadata.get("use_scoring_for_early_stopping", True))
        self.maximise = self.metric.maximise and self.use_score
        self.configs = grid_configs(task.metadata, options.grid, options.grid_points)
        self.n_folds = len(task.data_splits())
        self.short: dict[int, int] = {}  # fold -> classes with too few clips
        self.done = 0
        self._held: dict[int, Fold] = {}
        if lost := _lost_labels(task) if options.na_labels == "raise" else []:
            raise DeloresError(
                f"{task.path}: heareval reads the labels {', '.join(lost)} as missing and cannot score this task; "
                "rename them, or use na_labels='keep'"
            )
        choices = len(postprocessing_configs(task.metadata)) if task.is_event else 1
        if choices > 1 and not self.use_score:
            raise DeloresError(
                "task_metadata.json: without use_scoring_for_early_stopping the event_postprocessing_grid must "
                f"hold one combination, got {choices}"
            )

    def fold(self, number: int) -> Fold:
        """A fold's rows, held until they are let go."""
        if number not in self._held:
            options, found = self.options, Fold.of(self.task, number, self.device, self.options.score_missing_files)
            if options.shots is not None:
                found = few_shot_fold(found, options.shots, options.seed, self.task.prediction_type)
                self.short[number] = shortfall(found.train.targets.cpu().numpy(), options.shots)
            self._held[number] = found
        return self._held[number]

    def let_go(self, number: int) -> None:
        """Frees a fold's rows."""
        del self._held[number]

    def job(self, point: int, number: int) -> HeadJob:
        """Grid point ``point`` on a fold."""
        return HeadJob(
            f"fold-{number:02d}" if number else f"grid-{point:02d}",
            self.configs[point],
            self.fold(number),
            derive_seed(self.options.seed, number, point),
            self.task.prediction_type,
            self.metric.maximise,
            self.use_score,
            self.options.single_row_batch,
            self.options.nan_validation == "stop",
        )

    def trained(self, jobs: Mapping[str, Callable[[], HeadJob]]) -> Iterator[TrainedHead]:
        """The heads of jobs by key, as they are finished: from the work folder where kept, else trained and kept."""
        missing = []
        for key, make in jobs.items():
            head = self.work.load(key)
            if head is None:
                missing.append(make)
                continue
            self._report(head)
            yield head
        for head in self.trainer((make() for make in missing), len(jobs)):
            self.work.save(head)
            self._report(head)
            yield head

    def _report(self, head: TrainedHead) -> None:
        self.done += 1
        if self.progress is not None:
            text = f"{head.key}: {head.validation_score:.4f} at epoch {head.epoch}"
            self.progress(self.done, len(self.configs) + self.n_folds - 1, text)


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
    if lost := _lost_labels(task):
        found.append(f"na_labels=keep: heareval reads the labels {', '.join(lost)} as missing, and fails")
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


def _lost_labels(task: EmbeddingsTask) -> list[str]:
    return [label for label in task.vocabulary if label in READ_AS_MISSING]
