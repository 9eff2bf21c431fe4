"""The control of shuffled labels: a run that can learn nothing about the classes, whose score shows what chance gives.

Within each fold the labels of the training clips are permuted among them, those of the validation clips among those,
and those of the test clips among those. How often each label occurs stays as it is, and so does everything else of the
protocol. The test is permuted, too, as all of the labels are in scikit-learn's ``permutation_test_score`` (Ojala and
Garriga 2010): whatever a head answers, each test clip is then as likely to be right as a guess.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from benchmarks.metrics.events import EventTable
from benchmarks.scoring.evaluation import Evaluator
from benchmarks.scoring.fitting import derive_seed
from hear_delores.errors import DeloresError, did_you_mean

if TYPE_CHECKING:
    from benchmarks.scoring.fold import Data, Fold

__all__ = ["CONTROLS", "check_control", "with_shuffled_labels", "with_shuffled_test"]

CONTROLS = ("shuffled",)
DRAW = 0x5AFF  # sets these random numbers apart from those of heads and of few-shot draws

D = TypeVar("D", bound="Data")


def check_control(control: str | None) -> None:
    """Raises DeloresError unless ``control`` is None or the name of one."""
    if control is not None and control not in CONTROLS:
        raise DeloresError(f"unknown control {control!r}. {did_you_mean(str(control), CONTROLS)}")


def with_shuffled_labels(fold: Fold[D], seed: int) -> Fold[D]:
    """The fold with the labels of its training, its validation and its test rows permuted by ``seed``.

    Clips exchange their labels. Of a task of events whole files do: each file takes the labels of another, frame by
    frame from its start, and frames beyond the other's end have none.
    """
    train, _ = _shuffled(fold.train, derive_seed(seed, fold.number, DRAW, 0))
    valid, given = _shuffled(fold.valid, derive_seed(seed, fold.number, DRAW, 1))
    validator = _shuffled_truth(fold.validator, valid, given)
    return with_shuffled_test(replace(fold, train=train, valid=valid, validator=validator), seed)


def with_shuffled_test(fold: Fold[D], seed: int) -> Fold[D]:
    """The fold with the labels of its test rows alone permuted, as ``with_shuffled_labels`` does."""
    test, given = _shuffled(fold.test, derive_seed(seed, fold.number, DRAW, 2))
    return replace(fold, test=test, tester=_shuffled_truth(fold.tester, test, given))


def _shuffled(data: D, seed: int) -> tuple[D, np.ndarray]:
    """The data with permuted targets, and from which of its rows (of events: files) each takes them."""
    generator, own = np.random.default_rng(seed), data.targets
    targets, files = torch.as_tensor(own).cpu(), getattr(data, "file_of_row", None)
    if files is None:
        given = generator.permutation(len(targets))
        chosen = targets[torch.from_numpy(given)]
    else:
        given = generator.permutation(int(files.max()) + 1)
        chosen = torch.zeros_like(targets)
        for file, other in enumerate(given.tolist()):
            here, there = np.flatnonzero(files == file), np.flatnonzero(files == other)
            length = min(len(here), len(there))
            chosen[torch.from_numpy(here[:length])] = targets[torch.from_numpy(there[:length])]
    found = copy.copy(data)
    found.targets = chosen.to(own.device) if isinstance(own, torch.Tensor) else chosen.numpy()
    return found, given


def _shuffled_truth(evaluator: Evaluator, data: Data, given: np.ndarray) -> Evaluator:
    """The evaluator of the shuffled rows: its truth is exchanged as theirs."""
    found, truth = copy.copy(evaluator), evaluator.target
    if isinstance(truth, EventTable):
        place = {file: number for number, file in enumerate(truth.files)}
        names = list(getattr(data, "files", ()))
        takes = np.arange(len(truth.files))  # a file without rows keeps its own events
        for number, other in enumerate(given.tolist()):
            if names[number] in place and names[other] in place:
                takes[place[names[number]]] = place[names[other]]
        rows = [(file, *row) for file, other in enumerate(takes.tolist()) for row in _events_of(truth, other)]
        found.target = EventTable.from_rows(np.array(rows), truth.files, truth.labels)
    else:
        found.target = np.asarray(torch.as_tensor(data.targets).cpu())
    return found


def _events_of(table: EventTable, file: int) -> list[tuple[float, float, float]]:
    here = table.file == file
    columns = (table.label[here].tolist(), table.start_ms[here].tolist(), table.end_ms[here].tolist())
    return list(zip(*columns, strict=True))
