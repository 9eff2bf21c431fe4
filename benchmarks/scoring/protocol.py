"""What a protocol is: options, ``fit`` on a fold, ``predict`` of rows. The loop over folds is :mod:`.fold`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Generic, Literal, TypeVar

import torch

from benchmarks.metrics.registry import find_metrics
from benchmarks.scoring.control import check_control
from benchmarks.scoring.few_shot import check_shots
from benchmarks.scoring.fitting import cuda_devices, derive_seed
from benchmarks.scoring.fold import Data, Fold, Folds, TestedFold
from benchmarks.scoring.work import Fitted
from hear_delores.errors import DeloresError
from hear_delores.settings import require_integer

__all__ = ["Protocol", "is_event", "primary_metric"]

D = TypeVar("D", bound=Data)


class Protocol(Generic[D]):
    """How a model's embeddings of a task become a score. A frozen dataclass of its options, ``seed`` among them.

    A new protocol defines ``name``, :meth:`fit` and :meth:`predict`; the rest has a default.

    Attributes:
        version: raised with every change of code that changes scores; a part of the record's fingerprint.
        takes_events: whether tasks of events can be scored.
        needs: of the clips of a scene task, ``scene`` embeddings or all ``timestamps``: then ``fit`` and ``predict``
            get :class:`~benchmarks.scoring.frames.Frames`.
        on_cpu: whether rows are held on the CPU whatever the device.
        outputs: what ``predict`` returns: ``logits``, or ``probabilities`` (then the loss is the Brier score).
        keeps_outputs: keep a fold's test outputs in the work folder, in place of its weights.
        chooses: what is chosen by the least loss where the primary score is NaN throughout.
        shots: train on so many clips per class, drawn by ``seed``; None takes all.
        score_missing_files: whether a file without predictions costs its events.
        control: ``shuffled`` permutes the labels of training, of validation and of test clips; None keeps them.
        search_seed: the seed whose grid search this run takes over; None where it searches by itself, or has no grid.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    takes_events: ClassVar[bool] = True
    needs: ClassVar[Literal["scene", "timestamps"]] = "scene"
    on_cpu: ClassVar[bool] = False
    outputs: ClassVar[Literal["logits", "probabilities"]] = "logits"
    keeps_outputs: ClassVar[bool] = False
    chooses: ClassVar[str] = "epoch"
    seed: int = 42
    shots: int | None = None
    score_missing_files: bool = True
    control: str | None = None

    def __post_init__(self) -> None:
        require_integer(f"{self.name} protocol", "seed", self.seed, 0)
        check_shots(self.shots)
        check_control(self.control)

    @property
    def search_seed(self) -> int | None:
        """None: every run searches by itself."""
        return None

    def fit(self, fold: Fold[D]) -> Fitted:
        """What is learnt from ``fold.train`` and chosen on ``fold.valid``. torch's random state is the fold's own."""
        raise NotImplementedError

    def predict(self, fitted: Fitted, rows: D, fold: Fold[D]) -> torch.Tensor:
        """Outputs (n, n_labels) float32 of ``rows``; ``fold`` is the one that was fitted on."""
        raise NotImplementedError

    def check(self, task: Any) -> None:
        """Raises DeloresError for a task that cannot be scored, before anything is written or trained."""
        primary_metric(task)
        if is_event(task) and not self.takes_events:
            raise DeloresError(
                f"protocol {self.name} is for clips, and {task.folder_name} is an event task: use hear or linear"
            )
        if is_event(task) and self.shots is not None:
            raise DeloresError(
                "shots counts clips, but the rows of an event task are frames; leave shots out for this task"
            )

    def settlements(self) -> list[Protocol[D]]:
        """What it can become where an option is "auto", likeliest first; nothing where none is."""
        return []

    def settled(self, task: Any, device: torch.device) -> tuple[Protocol[D], str]:
        """Itself with every "auto" decided by a measurement, and a line on what was measured, or ""."""
        return self, ""

    def maximise(self, task: Any) -> bool:
        """Whether more of the score that is chosen by is better."""
        return primary_metric(task).maximise

    def steps(self, folds: Folds[D]) -> int:
        """How many steps of progress there are in all: heads to fit."""
        return len(folds)

    def fit_all(self, folds: Folds[D]) -> Iterator[tuple[int, Fitted]]:
        """Every fold's number and what was fitted on it, in any order; one that an earlier run kept is taken over."""
        numbers = {f"fold-{number:02d}": number for number in range(len(folds))}
        jobs = {key: lambda number=number: folds[number] for key, number in numbers.items()}
        for fitted in folds.fitted(jobs, self.train):
            if numbers[fitted.key] == 0:
                folds.tried = self.tried(fitted, folds[0])
            yield numbers[fitted.key], fitted

    def train(self, jobs: Iterable[Any], n_jobs: int) -> Iterator[Fitted]:
        """Fits jobs (folds, by default), in any order or side by side, and yields each when it is finished.

        ``n_jobs`` is how many there are in all, those that an earlier run has finished included: what is done side
        by side, and so the last bit of a result, must not depend on where a run was interrupted.
        """
        for fold in jobs:
            began = time.perf_counter()
            with torch.random.fork_rng(cuda_devices(fold.device)):
                torch.manual_seed(derive_seed(self.seed, fold.number))
                fitted = self.fit(fold)
            fitted.seconds = fitted.seconds or time.perf_counter() - began
            yield fitted

    def tried(self, fitted: Fitted, fold: Fold[D]) -> list[Fitted]:
        """The points that ``fitted`` was chosen from on the first fold, for the record."""
        return []

    def describe(self, fitted: Fitted) -> str:
        """What was chosen on validation, in a word."""
        return f"at epoch {fitted.epoch}"

    def notes(self, task: Any, tested: Sequence[TestedFold], shortfall: list[str]) -> list[str]:
        """Where the run left the protocol, a line each; ``shortfall`` says which classes had too few clips."""
        if by_loss := sum(math.isnan(fold.head.validation_score) for fold in tested):
            note = f"validation: the primary score was NaN in {by_loss} folds, their {self.chooses} has the least loss"
            return [*shortfall, note]
        return shortfall


def is_event(task: Any) -> bool:
    """Whether a task, as folder or as embeddings, is scored on events."""
    return bool(task.metadata["embedding_type"] == "event")


def primary_metric(task: Any) -> Any:
    """The metric that a task, as folder or as embeddings, is ranked by."""
    return find_metrics(task.metadata["evaluation"], "event" if is_event(task) else "scene")[0]
