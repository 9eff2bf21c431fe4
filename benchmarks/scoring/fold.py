"""The one loop over folds: a protocol fitted on each fold's training rows, chosen on validation, tested once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar
from typing import Protocol as Shape

import numpy as np
import torch

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.metrics.chance import Chance, chance_levels
from benchmarks.metrics.events import EventTable
from benchmarks.scoring.control import with_shuffled_labels, with_shuffled_test
from benchmarks.scoring.evaluation import Evaluator, make_evaluator
from benchmarks.scoring.few_shot import draw_shots, shortfall, shortfall_note
from benchmarks.scoring.fitting import activate, as_device, cuda_devices, logit_loss, share_loss
from benchmarks.scoring.frames import Frames
from benchmarks.scoring.rows import Rows
from benchmarks.scoring.untrained import untrained_line
from benchmarks.scoring.work import Fitted, WorkFolder
from pretrain.distributed.world import ALONE, World

if TYPE_CHECKING:
    from benchmarks.scoring.protocol import Protocol

__all__ = ["Data", "Fold", "Folds", "Progress", "ProtocolRun", "TestedFold", "evaluate", "run_folds", "run_protocol"]

Progress = Callable[[int, int, str], None]
"""Called as progress(done, total, text) whenever a head is finished."""


class Data(Shape):
    """Rows of embeddings, or clips of audio."""

    targets: Any

    def __len__(self) -> int: ...
    def subset(self, rows: torch.Tensor) -> Any: ...


D = TypeVar("D", bound=Data)
J = TypeVar("J")


@dataclass(frozen=True)
class Fold(Generic[D]):
    """One train/valid/test combination, with what scores its validation and its test rows."""

    number: int
    split_names: Mapping[str, list[str]]
    train: D
    valid: D
    test: D
    validator: Evaluator
    tester: Evaluator
    prediction_type: str
    device: torch.device
    clip_seconds: float | None = None  # that clips were cut or padded to, if they were

    @classmethod
    def of(
        cls, task: EmbeddingsTask, number: int, device: torch.device | str = "cpu", score_missing_files: bool = True
    ) -> Fold[Any]:
        """Fold ``number`` of ``task.data_splits()``, its rows on ``device``: Frames where the task has them."""
        names, kind = task.data_splits()[number], Frames if task.has_frames else Rows
        train, valid, test = (kind(task, names[role], device) for role in ("train", "valid", "test"))
        validator, tester = (make_evaluator(task, names[role], score_missing_files) for role in ("valid", "test"))
        return Fold(
            number, names, train, valid, test, validator, tester, task.prediction_type,
            torch.device(device), task.metadata.get("sample_duration"),
        )  # fmt: skip

    @property
    def key(self) -> str:
        """Names what is fitted on it."""
        return f"fold-{self.number:02d}"

    @property
    def maximise(self) -> bool:
        """Whether more of the primary score is better."""
        return self.validator.metrics[0].maximise


def with_test_of(fold: Fold[Any], task: EmbeddingsTask, score_missing_files: bool = True) -> Fold[Any]:
    """The fold with the test rows of ``task``, which has other embeddings of the same clips."""
    names, kind = fold.split_names["test"], Frames if task.has_frames else Rows
    return replace(fold, test=kind(task, names, fold.device), tester=make_evaluator(task, names, score_missing_files))


@dataclass(frozen=True)
class TestedFold:
    """One fold's result: the selected head and its one test.

    ``probabilities`` and ``targets`` are (n, n_labels) float32, ``truth`` are the events of an event task.

    ``missing_files`` are files of the validation or test truth that have no row; ``chance`` is what guesses score by
    metric, and ``validation_chance`` what they score in the primary metric on the validation rows. ``perturbed`` are
    the tests of the same head on perturbed clips, by the name of the perturbation.
    """

    __test__ = False  # not a test case, whatever pytest thinks of the name

    split_names: Mapping[str, list[str]]
    n_train_rows: int
    head: Fitted
    scores: dict[str, float]
    loss: float
    probabilities: np.ndarray
    targets: np.ndarray
    events: EventTable | None
    truth: EventTable | None
    missing_files: tuple[str, ...]
    chance: dict[str, Chance] = field(default_factory=dict)
    validation_chance: Chance | None = None
    perturbed: dict[str, TestedFold] = field(default_factory=dict)


@dataclass(frozen=True)
class ProtocolRun:
    """What a protocol found: every fold tested, every grid point tried, and where it left the protocol.

    ``untrained`` says in a line that no head learnt anything, where none did.
    """

    folds: list[TestedFold]
    grid: list[Fitted]
    deviations: list[str]
    score_mode: Literal["max", "min"]
    untrained: str = ""


@dataclass(eq=False)
class Folds(Generic[D]):
    """The folds of one run, each made when it is asked for and held until it is tested; and what is kept of them.

    Attributes:
        world: several processes that fit one head together.
        searched: the hyper-parameters that the grid search of another seed has chosen on this task, where the protocol
            takes them over.
        tried: the points of a grid that were tried on the first fold.
        short: by fold, how many classes have too few clips.
        perturbed: by name, the fold with perturbed test clips in place of its own.
    """

    task: Any
    protocol: Protocol[D]
    work: WorkFolder
    make: Callable[[int], Fold[D]]
    progress: Progress | None = None
    world: World = ALONE
    searched: Mapping[str, Any] | None = None
    tried: list[Fitted] = field(default_factory=list)
    short: dict[int, int] = field(default_factory=dict)
    perturbed: Mapping[str, Callable[[Fold[D]], Fold[D]]] = field(default_factory=dict)
    _held: dict[int, Fold[D]] = field(default_factory=dict)
    _done: int = 0

    def __len__(self) -> int:
        return len(self.task.data_splits())

    def __getitem__(self, number: int) -> Fold[D]:
        """A fold, few-shot or with shuffled labels if the protocol says so."""
        if number not in self._held:
            self._held[number] = self.world.share(partial(self._fold, number))
        return self._held[number]

    def _fold(self, number: int) -> Fold[D]:
        fold = self._few_shot(self.make(number), number)
        return fold if self.protocol.control is None else with_shuffled_labels(fold, self.protocol.seed)

    def _few_shot(self, fold: Fold[D], number: int) -> Fold[D]:
        if (shots := self.protocol.shots) is None:
            return fold
        targets, multilabel = torch.as_tensor(fold.train.targets).cpu().numpy(), fold.prediction_type == "multilabel"
        rows = draw_shots(targets, shots, self.protocol.seed, number, multilabel=multilabel)
        self.short[number] = shortfall(targets[rows], shots)
        return replace(fold, train=fold.train.subset(torch.from_numpy(rows)))

    def fitted(
        self, jobs: Mapping[str, Callable[[], J]], train: Callable[[Iterable[J], int], Iterator[Fitted]]
    ) -> Iterator[Fitted]:
        """The heads of jobs by key, as they are finished: from the work folder where kept, else trained and kept."""
        missing = []
        for key, make in jobs.items():
            if (head := self.world.from_leader(partial(self.work.load, key))) is None:
                missing.append(make)
            else:
                self._report(head)
                yield head
        for head in train((make() for make in missing), len(jobs)):
            if not self.protocol.keeps_outputs:
                self.work.save(head)
            self._report(head)
            yield head

    def test(self, number: int, fitted: Fitted) -> TestedFold:
        """The one test of a fold, with the weights and the postprocessing of the best validation; lets the fold go.

        The same weights and postprocessing are tested on its perturbed clips.
        """
        fold, outputs = self[number], fitted.outputs
        del self._held[number]
        if outputs is None:
            with torch.random.fork_rng(cuda_devices(fold.device)):  # building a head draws random numbers
                outputs = self.protocol.predict(fitted, fold.test, fold)
            if self.protocol.keeps_outputs:
                fitted.outputs, fitted.model = outputs, None
                self.world.share(partial(self.work.save, fitted))
        tested = evaluate(fold, fitted, outputs, self.protocol.outputs)
        return replace(tested, perturbed=dict(self._tested_again(fold, fitted)))

    def _tested_again(self, fold: Fold[D], fitted: Fitted) -> Iterator[tuple[str, TestedFold]]:
        for name, perturb in self.perturbed.items():
            other = perturb(fold)
            if self.protocol.control is not None:
                other = with_shuffled_test(other, self.protocol.seed)
            with torch.random.fork_rng(cuda_devices(fold.device)):
                outputs = self.protocol.predict(fitted, other.test, other)
            yield name, evaluate(other, fitted, outputs, self.protocol.outputs)

    def _report(self, fitted: Fitted) -> None:
        self._done += 1
        if self.progress is not None:
            text = f"{fitted.key}: {fitted.validation_score:.4f} {self.protocol.describe(fitted)}"
            self.progress(self._done, self.protocol.steps(self), text)


def evaluate(fold: Fold[D], fitted: Fitted, outputs: torch.Tensor, kind: str = "logits") -> TestedFold:
    """The scores of outputs (n, n_labels) of a fold's test rows: ``logits``, or ``probabilities``."""
    targets = torch.as_tensor(fold.test.targets)
    if kind == "logits":
        probabilities = activate(outputs, fold.prediction_type)
        loss = float(logit_loss(outputs, targets, fold.prediction_type))
    else:
        probabilities = outputs.cpu().numpy()
        loss = share_loss(probabilities, targets.cpu().numpy())
    predicted = fold.tester.predicted(probabilities, fitted.postprocessing)
    return TestedFold(
        split_names=fold.split_names,
        n_train_rows=len(fold.train),
        head=fitted,
        scores=fold.tester.scores(probabilities, fitted.postprocessing),
        loss=loss,
        probabilities=probabilities,
        targets=targets.cpu().numpy(),
        events=predicted if isinstance(predicted, EventTable) else None,
        truth=fold.tester.target if isinstance(fold.tester.target, EventTable) else None,
        missing_files=(*fold.validator.missing_files, *fold.tester.missing_files),
        chance=chance_levels(fold.tester.metrics, fold.tester.target),
        validation_chance=next(iter(chance_levels(fold.validator.metrics[:1], fold.validator.target).values()), None),
    )


def run_protocol(folds: Folds[D]) -> ProtocolRun:
    """Fits and tests the protocol on every fold."""
    protocol, task = folds.protocol, folds.task
    by_number = {number: folds.test(number, fitted) for number, fitted in protocol.fit_all(folds)}
    found = [by_number[number] for number in range(len(folds))]
    notes = protocol.notes(task, found, shortfall_note(folds.short, protocol.shots or 0))
    untrained = untrained_line(found, folds.tried) if protocol.control is None else ""
    return ProtocolRun(found, folds.tried, notes, "max" if protocol.maximise(task) else "min", untrained)


def run_folds(
    task: EmbeddingsTask,
    protocol: Protocol[Rows],
    work: WorkFolder,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    searched: Mapping[str, Any] | None = None,
    perturbed: Mapping[str, EmbeddingsTask] | None = None,
) -> ProtocolRun:
    """Fits and tests a protocol on every fold of an embedded task; ``perturbed`` has its perturbed test clips."""
    where = torch.device("cpu") if protocol.on_cpu else as_device(device)
    make = partial(Fold.of, task, device=where, score_missing_files=protocol.score_missing_files)
    again = {
        name: partial(with_test_of, task=other, score_missing_files=protocol.score_missing_files)
        for name, other in (perturbed or {}).items()
    }
    return run_protocol(Folds(task, protocol, work, make, progress, searched=searched, perturbed=again))
