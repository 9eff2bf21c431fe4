"""The control of shuffled labels: a run in which there is nothing to learn about the classes, and chance alone scores.

Within each fold, the labels of the training clips are permuted, and so are those of the validation clips and those of
the test clips, each among themselves. How often a label occurs in each does not change, and neither does the rest of
the protocol. The test labels are permuted, too, as scikit-learn's ``permutation_test_score`` does (Ojala and Garriga
2010): so the predictions are scored as guesses, whatever the embeddings hold.
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
DRAW = 0x5AFF  # a part of the seed: these random numbers differ from those of heads and of few-shot draws

D = TypeVar("D", bound="Data")


def check_control(control: str | None) -> None:
    """Raises DeloresError unless ``control`` is None or one of :data:`CONTROLS`."""
    if control is not None and control not in CONTROLS:
        raise DeloresError(f"unknown control {control!r}. {did_you_mean(str(control), CONTROLS)}")


def with_shuffled_labels(fold: Fold[D], seed: int) -> Fold[D]:
    """The fold with the labels of its training, validation and test rows permuted by ``seed``, each among themselves.

    In a task of events, whole files exchange their labels: each file takes those of another, frame by frame from its
    start, and frames beyond the other's end have none.
    """
    train, _ = _shuffled(fold.train, derive_seed(seed, fold.number, DRAW, 0))
    valid, origin = _shuffled(fold.valid, derive_seed(seed, fold.number, DRAW, 1))
    validator = _shuffled_truth(fold.validator, valid, origin)
    return with_shuffled_test(replace(fold, train=train, valid=valid, validator=validator), seed)


def with_shuffled_test(fold: Fold[D], seed: int) -> Fold[D]:
    """The fold with only its test labels permuted, in the way of :func:`with_shuffled_labels`."""
    test, origin = _shuffled(fold.test, derive_seed(seed, fold.number, DRAW, 2))
    return replace(fold, test=test, tester=_shuffled_truth(fold.tester, test, origin))


def _shuffled(data: D, seed: int) -> tuple[D, np.ndarray]:
    """The data with permuted targets, and the permutation: row i (of events: file i) takes those of ``origin[i]``."""
    generator, own = np.random.default_rng(seed), data.targets
    targets, files = torch.as_tensor(own).cpu(), getattr(data, "file_of_row", None)
    if files is None:
        origin = generator.permutation(len(targets))
        chosen = targets[torch.from_numpy(origin)]
    else:
        origin = generator.permutation(int(files.max()) + 1)
        chosen = torch.zeros_like(targets)
        for file, other in enumerate(origin.tolist()):
            here, there = np.flatnonzero(files == file), np.flatnonzero(files == other)
            length = min(len(here), len(there))
            chosen[torch.from_numpy(here[:length])] = targets[torch.from_numpy(there[:length])]
    found = copy.copy(data)
    found.targets = chosen.to(own.device) if isinstance(own, torch.Tensor) else chosen.numpy()
    return found, origin


def _shuffled_truth(evaluator: Evaluator, data: Data, origin: np.ndarray) -> Evaluator:
    """The evaluator with the truth of the shuffled ``data``: labels of clips, or events of files by ``origin``."""
    found, truth = copy.copy(evaluator), evaluator.target
    if isinstance(truth, EventTable):
        place = {file: number for number, file in enumerate(truth.files)}
        names = list(getattr(data, "files", ()))
        takes = np.arange(len(truth.files))  # a file without rows keeps its own events
        for number, other in enumerate(origin.tolist()):
            if names[number] in place and names[other] in place:
                takes[place[names[number]]] = place[names[other]]
        rows = [(file, *row) for file, other in enumerate(takes.tolist()) for row in _events_of(truth, other)]
        found.target = EventTable.from_rows(np.array(rows), truth.files, truth.labels)
    else:
        found.target = np.asarray(torch.as_tensor(data.targets).cpu())
    return found


def _events_of(table: EventTable, file: int) -> list[tuple[float, float, float]]:
    """(label, start, end) of the events of a file, times in ms."""
    here = table.file == file
    columns = (table.label[here].tolist(), table.start_ms[here].tolist(), table.end_ms[here].tolist())
    return list(zip(*columns, strict=True))
