"""The format of a result record: what it states of the model, the task, the protocol and each fold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from benchmarks.results.identity import Behaviour
from hear_delores.files import check_name
from pretrain.inputs.schema import Figure, Schema

__all__ = [
    "RECORD_FORMAT",
    "ChanceInfo",
    "FoldPredictions",
    "FoldResult",
    "GridPoint",
    "ModelInfo",
    "PerturbedResult",
    "ProtocolInfo",
    "ResultRecord",
    "TaskInfo",
]

RECORD_FORMAT = 1


class _Part(Schema, BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ModelInfo(_Part):
    """The model that made the embeddings. ``weights_hash`` is "" if a folder of other software does not state it.

    ``n_trainable`` counts the parameters that were not frozen when the model was loaded; None where it is not known.
    ``behaviour`` is None in records and embeddings from before it was recorded: it is unknown then. ``revision`` is
    the commit of a model of the Hub.
    """

    label: str = Field(min_length=1)
    module: str
    file: str | None = None
    weights_hash: str = ""
    options: dict[str, Any] = {}
    sample_rate: int | None = None
    sizes: dict[str, int] = {}
    n_parameters: int | None = None
    n_trainable: int | None = None
    behaviour: Behaviour | None = None
    source_hash: str = ""
    revision: str = ""


class TaskInfo(_Part):
    """The task: ``metrics[0]`` is ``primary_metric``, ``maximise`` whether more of it is better.

    ``n_clips`` counts the clips with embeddings in all splits; ``subset`` says which were left out, if any.
    """

    name: str
    version: str
    mode: str
    revision: str
    embedding_type: Literal["scene", "event"]
    prediction_type: Literal["multiclass", "multilabel"]
    primary_metric: str
    metrics: list[str]
    maximise: bool
    n_clips: int
    subset: str | None = None

    @field_validator("name", "version", "mode")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        return check_name(value, "")

    @property
    def folder_name(self) -> str:
        """``<name>-<version>-<mode>``."""
        return f"{self.name}-{self.version}-{self.mode}"


class ProtocolInfo(_Part):
    """The protocol, its resolved options, those not at their default, and how the run deviated from it."""

    name: str
    options: dict[str, Any] = {}
    variant: str = ""
    deviations: list[str] = []

    @property
    def title(self) -> str:
        """As tables show it: the name, and what differs from the protocol's defaults."""
        return f"{self.name} ({self.variant})" if self.variant else self.name


class ChanceInfo(_Part):
    """What guesses score in a metric: see :class:`~benchmarks.metrics.chance.Chance`."""

    level: Figure
    constant: Figure
    low: Figure
    high: Figure


class FoldResult(_Part):
    """One fold, tested once. ``epoch`` counts from 0; ``scores`` hold each metric and its parts.

    ``chance`` says what guesses score on the fold's test clips, by metric; empty in records from before it was stored.
    """

    test_split: str
    scores: dict[str, Figure]
    loss: Figure
    validation_score: Figure
    epoch: int
    epochs_run: int
    hyperparameters: dict[str, Any]
    postprocessing: dict[str, Any] = {}
    n_train_rows: int
    n_test_rows: int
    seconds: float
    chance: dict[str, ChanceInfo] = {}


class PerturbedFold(_Part):
    """One fold's head on its perturbed test clips."""

    test_split: str
    scores: dict[str, Figure]
    loss: Figure


class PerturbedResult(_Part):
    """The heads of a record on perturbed test clips; its predictions lie beside those of the record.

    ``embeddings_hash`` is of the perturbed embeddings, ``scores`` and ``scores_std`` as in the record.
    """

    name: str
    embeddings_hash: str
    scores: dict[str, Figure]
    scores_std: dict[str, Figure] = {}
    folds: list[PerturbedFold]


class GridPoint(_Part):
    """One point of the grid, trained on the first fold; ``trace`` holds (epoch, validation score)."""

    hyperparameters: dict[str, Any]
    validation_score: Figure
    epoch: int
    epochs_run: int
    postprocessing: dict[str, Any] = {}
    trace: list[tuple[int, Figure]] = []
    seconds: float


class ResultRecord(_Part):
    """One model's result on one task under one protocol.

    ``scores`` are means over folds, ``scores_std`` their standard deviations (ddof 1; empty for one fold).
    ``embeddings_hash`` is "" where there are none: ``finetune`` goes from audio to scores.
    ``untrained`` is a line that says that no head learnt anything, "" where one did.
    ``perturbed`` holds what the same heads score on perturbed test clips, where that was asked for.
    ``fingerprint`` is a hash of everything the scores depend on: a run with the same one is not repeated.
    """

    format_version: int = RECORD_FORMAT
    fingerprint: str
    embeddings_hash: str
    model: ModelInfo
    task: TaskInfo
    protocol: ProtocolInfo
    seed: int
    scores: dict[str, Figure]
    scores_std: dict[str, Figure] = {}
    folds: list[FoldResult]
    grid: list[GridPoint] = []
    seconds: dict[str, float] = {}
    peak_memory_bytes: int | None = None
    untrained: str = ""
    perturbed: list[PerturbedResult] = []
    device: str
    versions: dict[str, str]
    created: str

    _folder: Path | None = PrivateAttr(default=None)
    _perturbation: str = PrivateAttr(default="")

    @property
    def folder(self) -> Path | None:
        """Where the record was saved or loaded, None for one in memory only."""
        return self._folder

    @property
    def perturbation(self) -> str:
        """What the test clips were perturbed by in a view of :func:`~benchmarks.results.perturbed.as_perturbed`."""
        return self._perturbation

    @property
    def primary_score(self) -> float:
        """The mean of the task's primary metric over folds."""
        return self.scores[self.task.primary_metric]


@dataclass(frozen=True)
class FoldPredictions:
    """One fold's test rows: ``prediction`` and ``target`` (n, n_labels) float32, ``files`` (n,) str.

    Event tasks add ``timestamps_ms`` (n,) float64 and ``predicted_events`` and ``target_events``
    (m, 4) float64: index into ``event_files``, label index, start and end in ms.
    """

    prediction: np.ndarray
    target: np.ndarray
    files: np.ndarray
    timestamps_ms: np.ndarray | None = None
    event_files: np.ndarray | None = None
    predicted_events: np.ndarray | None = None
    target_events: np.ndarray | None = None
