"""What every classifier's training shares: a job and its result, the best epoch, prediction, kept work."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.metrics.events import EventTable
from benchmarks.results.record import WORK_MARK, remove_work
from benchmarks.scoring.evaluation import EventEvaluator, SceneEvaluator, make_evaluator
from benchmarks.scoring.rows import Rows
from hear_delores.documents import parse_json
from hear_delores.errors import DeloresError
from hear_delores.files import atomic_path, remove_leftovers

__all__ = [
    "BestEpoch",
    "Fold",
    "Progress",
    "ProtocolRun",
    "TestedFold",
    "TrainedHead",
    "WorkFolder",
    "activate",
    "derive_seed",
    "evaluate_once",
    "logit_loss",
    "predict",
]

Progress = Callable[[int, int, str], None]
"""Called as progress(done, total, text) whenever a head is finished."""


def derive_seed(*numbers: int) -> int:
    """A seed for torch from the run's seed, fold and grid point: no two of them share random numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1


@dataclass(frozen=True)
class Fold:
    """One train/valid/test combination as tensors, with what scores its validation and its test rows."""

    number: int
    split_names: Mapping[str, list[str]]
    train: Rows
    valid: Rows
    test: Rows
    validator: SceneEvaluator | EventEvaluator
    tester: SceneEvaluator | EventEvaluator

    @classmethod
    def of(cls, task: EmbeddingsTask, number: int, device: torch.device | str, score_missing_files: bool) -> Fold:
        """Fold ``number`` of ``task.data_splits()``."""
        names = task.data_splits()[number]
        rows = {role: Rows(task, names[role], device) for role in ("train", "valid", "test")}
        evaluators = [make_evaluator(task, names[role], score_missing_files) for role in ("valid", "test")]
        return cls(number, names, rows["train"], rows["valid"], rows["test"], *evaluators)


@dataclass
class TrainedHead:
    """A classifier after training: its best epoch (0-based), how it scored there, and its weights then.

    ``trace`` holds (epoch, validation score) of every validation.
    """

    key: str
    epoch: int
    validation_score: float
    postprocessing: dict[str, Any]
    hyperparameters: dict[str, Any]
    epochs_run: int
    trace: list[tuple[int, float]]
    seconds: float
    state: dict[str, torch.Tensor] = field(repr=False)


@dataclass(frozen=True)
class TestedFold:
    """One fold's result: the selected head and its one test. ``probabilities`` (n, n_labels) float32.

    ``missing_files`` are files of the validation or test truth that have no row.
    """

    __test__ = False  # not a test case, whatever pytest thinks of the name

    split_names: Mapping[str, list[str]]
    n_train_rows: int
    head: TrainedHead
    scores: dict[str, float]
    loss: float
    probabilities: np.ndarray
    events: EventTable | None
    missing_files: tuple[str, ...]


@dataclass(frozen=True)
class ProtocolRun:
    """What a protocol found: every fold tested, every grid point tried, and where it left the protocol."""

    folds: list[TestedFold]
    grid: list[TrainedHead]
    deviations: list[str]
    score_mode: Literal["max", "min"]


class BestEpoch:
    """Lightning 1.8's EarlyStopping and ModelCheckpoint together, as heareval uses them.

    The first validation is always kept; a later one when it is strictly better (scores are compared in
    float32, as Lightning logs them). Training stops after ``patience`` validations in a row without a
    better one, and at once when a score is not finite: an event task whose first validation predicts no
    event (F-measure NaN) ends there. ``stop_on_nan=False`` lets NaN count as the worst score instead.
    """

    def __init__(self, maximise: bool, patience: int, stop_on_nan: bool = True) -> None:
        self.sign = 1.0 if maximise else -1.0
        self.patience, self.stop_on_nan = patience, stop_on_nan
        self.kept: float | None = None  # signed; what the checkpoint compares with
        self.best, self.waited = -math.inf, 0  # signed; what early stopping compares with
        self.epoch = -1
        self.stop = False

    @property
    def score(self) -> float:
        """The validation score of the kept epoch."""
        assert self.kept is not None
        return self.sign * self.kept

    def update(self, epoch: int, score: float) -> bool:
        """Takes the next validation score; True when this epoch is now the best. Sets ``stop``."""
        current = self.sign * float(np.float32(score))
        if math.isnan(current):
            current = -math.inf
        is_best = self.kept is None or current > self.kept
        if is_best:
            self.kept, self.epoch = current, epoch
        if not math.isfinite(score) and (self.stop_on_nan or not math.isnan(score)):
            self.stop = True
        elif current > self.best:
            self.best, self.waited = current, 0
        else:
            self.waited += 1
            self.stop = self.waited >= self.patience
        return is_best


def logit_loss(logits: torch.Tensor, target: torch.Tensor, prediction_type: str) -> torch.Tensor:
    """Cross-entropy (multiclass) or binary cross-entropy of logits (multilabel), averaged.

    ``logits`` and ``target`` are (n, n_labels) float32; multiclass targets are one-hot.
    """
    if prediction_type == "multiclass":
        return nn.functional.cross_entropy(logits, target.argmax(dim=1))
    return nn.functional.binary_cross_entropy_with_logits(logits, target)


@torch.no_grad()
def predict(head: nn.Module, rows: Rows) -> torch.Tensor:
    """Logits (n, n_labels) float32 of all rows, the head in eval mode."""
    head.eval()
    return torch.cat([head(rows.embeddings(start, stop)) for start, stop in rows.blocks()])


def activate(logits: torch.Tensor, prediction_type: str) -> np.ndarray:
    """Probabilities (n, n_labels) float32 on the CPU: softmax (multiclass) or sigmoid (multilabel)."""
    probabilities = logits.softmax(dim=1) if prediction_type == "multiclass" else logits.sigmoid()
    return probabilities.cpu().numpy()


def evaluate_once(task: EmbeddingsTask, fold: Fold, trained: TrainedHead, head: nn.Module) -> TestedFold:
    """The one test of a fold, with the weights and the postprocessing of the best validation epoch.

    ``head`` is a module of the right shape; its weights are replaced.
    """
    head.load_state_dict(trained.state)
    logits = predict(head, fold.test)
    probabilities = activate(logits, task.prediction_type)
    events, missing = None, []
    if isinstance(fold.tester, EventEvaluator) and isinstance(fold.validator, EventEvaluator):
        events = fold.tester.events(probabilities, trained.postprocessing)
        missing = fold.validator.missing_files + fold.tester.missing_files
    return TestedFold(
        split_names=fold.split_names,
        n_train_rows=len(fold.train),
        head=trained,
        scores=fold.tester.scores(probabilities, trained.postprocessing),
        loss=float(logit_loss(logits, fold.test.targets, task.prediction_type)),
        probabilities=probabilities,
        events=events,
        missing_files=tuple(missing),
    )


def snapshot(head: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the head's state on the CPU."""
    return {name: value.detach().to("cpu", copy=True) for name, value in head.state_dict().items()}


class WorkFolder:
    """Finished heads of a run that may be interrupted: one file a head, whole or absent.

    ``path`` None keeps nothing. A folder of another run (``fingerprint``) is emptied first.
    """

    def __init__(self, path: Path | None, fingerprint: str) -> None:
        self.path = path
        if path is None:
            return
        mark = path / WORK_MARK
        if not mark.exists() or mark.read_text(encoding="utf-8") != fingerprint:
            self.remove()
        remove_leftovers(path)
        with atomic_path(mark) as temporary:
            temporary.write_text(fingerprint, encoding="utf-8")

    def load(self, key: str) -> TrainedHead | None:
        """The finished head of that key, None when there is none."""
        if self.path is None or not (self.path / f"{key}.safetensors").exists():
            return None
        try:
            with safe_open(self.path / f"{key}.safetensors", framework="pt") as stream:
                kept = parse_json(stream.metadata()["head"], self.path / f"{key}.safetensors", nan=True)
                state = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise DeloresError(f"{self.path / key}.safetensors: damaged ({error}); delete {self.path}") from None
        kept["trace"] = [(epoch, score) for epoch, score in kept["trace"]]
        return TrainedHead(**kept, state=state)

    def save(self, head: TrainedHead) -> None:
        """Keeps a finished head."""
        if self.path is None:
            return
        values = {item.name: getattr(head, item.name) for item in fields(head) if item.name != "state"}
        with atomic_path(self.path / f"{head.key}.safetensors", "the finished head ") as temporary:
            save_file(head.state, temporary, metadata={"head": json.dumps(values)})

    def remove(self) -> None:
        """Deletes the folder, and nothing in it that no run has made: the run's record is written."""
        if self.path is not None:
            remove_work(self.path)


def as_device(device: str) -> torch.device:
    """``auto`` is CUDA when torch sees it, else the CPU; anything else as torch reads it."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise DeloresError(f"device: expected auto, cpu, cuda or cuda:N, got {device!r}") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise DeloresError("device: expected a CUDA device, but torch sees none; use cpu or auto")
    return found


def cuda_devices(device: torch.device) -> list[int]:
    """The devices whose random state a fork must keep: the used CUDA device, or none."""
    if device.type != "cuda":
        return []
    return [device.index if device.index is not None else torch.cuda.current_device()]


def peak_memory_bytes() -> int | None:
    """The most resident memory this process has held so far; None where the system does not say."""
    if os.name == "nt":
        return None
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
