"""The registry: one YAML file per task, ``tasks/<suite>/<task>.yaml``, data only.

A file states what the task is and where its audio comes from. Adding a task means adding a file.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError, model_validator

from benchmarks.tasks.metadata import (
    EmbeddingType,
    PredictionType,
    SplitMode,
    check_metrics,
    check_splits,
    explain,
    split_names,
)
from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["TaskSpec", "find_task", "list_suites", "list_tasks", "read_spec"]

REGISTRY_DIR = Path(__file__).parent


class TaskSpec(BaseModel):
    """One task of the registry."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: StrictStr = Field(pattern=r"^[A-Za-z0-9_.]+$")
    # Strict: an unquoted 1.10 in YAML is the number 1.1.
    version: StrictStr = Field(pattern=r"^[A-Za-z0-9_.]+$")
    mode: StrictStr = Field(pattern=r"^[A-Za-z0-9_.]+$")
    suite: list[StrictStr] = Field(min_length=1)
    embedding_type: EmbeddingType
    prediction_type: PredictionType
    split_mode: SplitMode
    nfolds: int | None = None
    #: Length that every clip is cut or zero-padded to; null keeps each clip's own.
    sample_duration_s: float | None = Field(default=None, gt=0)
    #: Names of the metrics; the first is the primary one.
    evaluation: list[str]
    classes: int = Field(gt=1)
    clips: int = Field(gt=0)
    description: str = Field(min_length=1)
    source: str = Field(min_length=1)
    licence: str = Field(min_length=1)
    #: Bytes to download; null where nothing is downloaded.
    size_bytes: int | None = None
    evaluation_params: dict[str, Any] = Field(default_factory=dict)
    use_scoring_for_early_stopping: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> TaskSpec:
        check_metrics(self.evaluation, self.embedding_type)
        if self.split_mode != "trainvaltest" and self.nfolds is None:
            raise DeloresError(f"split_mode {self.split_mode} needs 'nfolds'")
        check_splits(self.split_mode, self.splits, self.nfolds)
        return self

    @property
    def folder_name(self) -> str:
        """``<name>-<version>-<mode>``: the task's folder, among tasks, embeddings and results alike."""
        return f"{self.name}-{self.version}-{self.mode}"

    @property
    def splits(self) -> list[str]:
        """The names of its splits, in the order of the official tools."""
        return split_names(self.split_mode, self.nfolds)

    def to_metadata(self) -> dict[str, Any]:
        """The ``task_metadata.json`` of this task, as the official tools expect it."""
        metadata: dict[str, Any] = {
            "task_name": self.name,
            "version": self.version,
            "embedding_type": self.embedding_type,
            "prediction_type": self.prediction_type,
            "split_mode": self.split_mode,
            "nfolds": self.nfolds,
            "sample_duration": self.sample_duration_s,
            "evaluation": list(self.evaluation),
            "mode": self.mode,
            "splits": self.splits,
            "use_scoring_for_early_stopping": self.use_scoring_for_early_stopping,
        }
        if self.evaluation_params:
            metadata["evaluation_params"] = self.evaluation_params
        return metadata


def read_spec(path: str | Path) -> TaskSpec:
    """The task that a YAML file states. Raises DeloresError naming the file and the fault."""
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DeloresError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise DeloresError(f"{path}: expected keys and values, got {type(content).__name__}")
    try:
        return TaskSpec.model_validate(content)
    except ValidationError as error:
        raise DeloresError(f"{path}: {explain(error, list(TaskSpec.model_fields))}") from None


@functools.lru_cache(maxsize=1)
def _registry() -> tuple[TaskSpec, ...]:
    specs = tuple(read_spec(path) for path in sorted(REGISTRY_DIR.glob("*/*.yaml")))
    names = [spec.folder_name for spec in specs]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise DeloresError(f"{REGISTRY_DIR}: two files state the task {sorted(doubled)[0]}; remove one")
    return specs


def list_suites() -> list[str]:
    """The names of the suites that have a task."""
    return sorted({suite for spec in _registry() for suite in spec.suite})


def list_tasks(suite: str | None = None) -> list[TaskSpec]:
    """The tasks of a suite (of all suites for None), in the order of their folder names.

    Raises:
        DeloresError: no task belongs to such a suite.
    """
    tasks = [spec for spec in _registry() if suite is None or suite in spec.suite]
    if not tasks:
        raise DeloresError(f"unknown suite {suite!r}. {did_you_mean(str(suite), list_suites())}")
    return sorted(tasks, key=lambda spec: spec.folder_name)


def find_task(name: str) -> TaskSpec:
    """The task of this name, or of this folder name where a name has several versions or modes.

    Raises:
        DeloresError: no task, or more than one, is called so.
    """
    return _find(name, _registry())


def _find(name: str, specs: Iterable[TaskSpec]) -> TaskSpec:
    specs = tuple(specs)
    found = [spec for spec in specs if name in (spec.name, spec.folder_name, f"{spec.name}-{spec.mode}")]
    if len(found) > 1:
        raise DeloresError(f"{name!r} could be {' or '.join(spec.folder_name for spec in found)}; give the full name")
    if not found:
        known = {spec.name for spec in specs} | ({spec.folder_name for spec in specs} if "-" in name else set())
        raise DeloresError(f"unknown task {name!r}. {did_you_mean(name, known)}")
    return found[0]
