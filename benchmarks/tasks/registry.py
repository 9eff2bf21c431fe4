"""The registry: one YAML file per task, ``tasks/<suite>/<task>.yaml``, data only.

A file states what the task is and where its audio comes from. Adding a task means adding a file.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr, model_validator

from benchmarks.metrics.registry import find_metrics
from benchmarks.tasks.metadata import EmbeddingType, PredictionType, SplitMode, check_splits, split_names, validated
from hear_delores.errors import DeloresError, did_you_mean
from pretrain.inputs.yaml_file import read_yaml

__all__ = [
    "Archive",
    "Column",
    "CorpusSource",
    "PaperFigures",
    "SplitVariant",
    "TaskSpec",
    "find_task",
    "is_task",
    "join_columns",
    "list_columns",
    "list_suites",
    "list_tasks",
    "read_spec",
]

REGISTRY_DIR = Path(__file__).parent


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SplitVariant(_Part):
    """One way to split a corpus; what is null is as the task states it."""

    description: str = Field(min_length=1)
    #: False for a split that is named for what was published but cannot be made again.
    available: bool = True
    split_mode: SplitMode | None = None
    nfolds: int | None = None
    classes: int | None = Field(default=None, gt=1)
    clips: int | None = Field(default=None, gt=0)
    #: Recordings of the corpus by split (some or all), which a complete corpus gives exactly.
    counts: dict[StrictStr, int] = Field(default_factory=dict)


class CorpusSource(_Part):
    """Which module of ``tasks/corpora`` reads the raw corpus, and what it is told."""

    module: StrictStr = Field(pattern=r"^[a-z0-9_]+$")
    options: dict[str, Any] = Field(default_factory=dict)
    #: Recordings that the whole corpus gives this task, in all splits.
    recordings: int = Field(gt=0)
    #: True for a corpus that has grown since it was counted: more recordings are no fault.
    grows: bool = False


class PaperFigures(_Part):
    """The task as the DeLoRes paper's tables state it."""

    name: StrictStr
    classes: int
    clips: int
    mean_duration_s: float | None = None


class Archive(_Part):
    """Where the official task archive lies."""

    zenodo_record: int
    sample_rate: int


class Column(_Part):
    """The leaderboard's column for the task, and how tasks that share one are joined."""

    name: StrictStr
    join: Literal["only", "mean"] = "only"


class TaskSpec(_Part):
    """One task of the registry."""

    name: StrictStr = Field(pattern=r"^[A-Za-z0-9_.]+$")
    # Strict: an unquoted 1.10 in YAML is the number 1.1.
    version: StrictStr = Field(pattern=r"^[A-Za-z0-9_.-]+$")
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
    #: Null where no source states it.
    licence: str | None = Field(min_length=1)
    #: Bytes of the corpus to download; null where nothing is downloaded or no source states it.
    size_bytes: int | None = None
    #: Where the figures come from, by what they are of: a corpus's facts must not be told from memory.
    cited: dict[Literal["task", "counts", "licence", "size", "rules"], StrictStr] = Field(default_factory=dict)
    evaluation_params: dict[str, Any] = Field(default_factory=dict)
    use_scoring_for_early_stopping: bool = True
    #: How a user gets the task folder; the first is the way to take.
    obtain: list[Literal["generated", "prepare", "download"]] = Field(default_factory=list)
    #: What to know before getting it: the files to fetch, a form to fill in, why only one way is offered.
    obtain_note: str = ""
    #: The splits by name; the one that ``mode`` names is this task's own.
    variants: dict[StrictStr, SplitVariant] = Field(default_factory=dict)
    corpus: CorpusSource | None = None
    archive: Archive | None = None
    paper: PaperFigures | None = None
    leaderboard: Column | None = None

    @model_validator(mode="after")
    def _consistent(self) -> TaskSpec:
        find_metrics(self.evaluation, self.embedding_type)
        if self.split_mode != "trainvaltest" and self.nfolds is None:
            raise DeloresError(f"split_mode {self.split_mode} needs 'nfolds'")
        check_splits(self.split_mode, self.splits, self.nfolds)
        if self.variants and self.mode not in self.variants:
            raise DeloresError(f"the mode {self.mode!r} is not one of the 'variants': {', '.join(self.variants)}")
        if "prepare" in self.obtain and self.corpus is None:
            raise DeloresError("'obtain' says prepare, but no 'corpus' says how")
        if "download" in self.obtain and self.archive is None:
            raise DeloresError("'obtain' says download, but no 'archive' says from where")
        if uncited := [what for what in self._stated() if what not in self.cited]:
            raise DeloresError(
                f"'cited' does not say where the {uncited[0]} comes from; cite a source, or leave it out"
            )
        for name, variant in self.variants.items():
            full = self._of_variant(name)
            if unknown := sorted(set(variant.counts) - set(split_names(full["split_mode"], full["nfolds"]))):
                raise DeloresError(f"variants.{name}.counts: {unknown[0]!r} is not one of its splits")
        return self

    def _stated(self) -> list[str]:
        """The figures that need a source: those of a corpus that others made."""
        if "generated" in self.obtain or not self.obtain:
            return []
        stated = {
            "task": True,
            "counts": any(variant.counts for variant in self.variants.values()),
            "licence": self.licence is not None,
            "size": self.size_bytes is not None,
        }
        return [what for what, is_stated in stated.items() if is_stated]

    @property
    def folder_name(self) -> str:
        """``<name>-<version>-<mode>``: the task's folder, among tasks, embeddings and results alike."""
        return f"{self.name}-{self.version}-{self.mode}"

    @property
    def splits(self) -> list[str]:
        """The names of its splits, in the order of the official tools."""
        return split_names(self.split_mode, self.nfolds)

    @property
    def options(self) -> dict[str, Any]:
        """What the corpus module is told; empty where there is none."""
        return self.corpus.options if self.corpus is not None else {}

    @property
    def counts(self) -> dict[str, int]:
        """Recordings of a complete corpus by split, as far as they are fixed; empty where nothing is stated."""
        return dict(self.variants[self.mode].counts) if self.mode in self.variants else {}

    @property
    def split_description(self) -> str:
        """How the clips are split, in words; empty where the task's description says it."""
        return self.variants[self.mode].description if self.mode in self.variants else ""

    def for_split(self, name: str | None) -> TaskSpec:
        """This task with the split of that name; ``mode``, and so the folder's name, says which. None: its own.

        Raises:
            DeloresError: no such split, or one that was never published in a form that can be made again.
        """
        if name is None or name == self.mode:
            return self
        if name not in self.variants:
            known = ", ".join(self.variants) or "one split only"
            raise DeloresError(f"{self.name}: no split is called {name!r}; it has {known}")
        variant = self.variants[name]
        if not variant.available:
            raise DeloresError(f"{self.name}: the split {name!r} cannot be made: {variant.description}")
        # What the other splits leave to the task must stay what it was.
        variants = {key: item.model_copy(update=self._of_variant(key)) for key, item in self.variants.items()}
        return self.model_copy(update={**self._of_variant(name), "mode": name, "variants": variants})

    def _of_variant(self, name: str) -> dict[str, Any]:
        variant = self.variants[name]
        mode = variant.split_mode or self.split_mode
        return {
            "classes": variant.classes or self.classes,
            "clips": variant.clips or self.clips,
            "split_mode": mode,
            "nfolds": None if mode == "trainvaltest" else variant.nfolds or self.nfolds,
        }

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
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise DeloresError(f"{path}: expected keys and values, got {type(content).__name__}")
    return validated(TaskSpec, content, path)


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

    A split's name may stand for the mode (``iemocap_emotion-published``): the task then has that split.

    Raises:
        DeloresError: no task, or more than one, is called so.
    """
    return _find(name, _registry())


def is_task(name: str) -> bool:
    """Whether the registry has a task of this name, or several."""
    return bool(_matches(name, _registry()))


def _matches(name: str, specs: Sequence[TaskSpec]) -> list[TaskSpec]:
    found = [spec for spec in specs if name in (spec.name, spec.folder_name, f"{spec.name}-{spec.mode}")]
    if not found and "-" in name:
        found = [
            spec.for_split(variant)
            for spec in specs
            for variant in spec.variants
            if name in (f"{spec.name}-{variant}", f"{spec.name}-{spec.version}-{variant}")
        ]
    return found


def _find(name: str, specs: Sequence[TaskSpec]) -> TaskSpec:
    found = _matches(name, specs)
    if len(found) > 1:
        raise DeloresError(f"{name!r} could be {' or '.join(spec.folder_name for spec in found)}; give the full name")
    if not found:
        known = {spec.name for spec in specs} | ({spec.folder_name for spec in specs} if "-" in name else set())
        raise DeloresError(f"unknown task {name!r}. {did_you_mean(name, known)}")
    return found[0]


def list_columns() -> dict[str, list[TaskSpec]]:
    """The leaderboard's columns, each with the task or tasks behind it."""
    columns: dict[str, list[TaskSpec]] = {}
    for spec in list_tasks():
        if spec.leaderboard is not None:
            columns.setdefault(spec.leaderboard.name, []).append(spec)
    return columns


def join_columns(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores by leaderboard column, from primary scores by task name or folder name.

    A column of several tasks (Beehive: two, with the hives of training and test exchanged) is their plain
    mean, as heareval takes the mean over folds; it stays out while one of them has no score.
    """
    joined = {}
    for column, specs in list_columns().items():
        found = [scores.get(spec.folder_name, scores.get(spec.name)) for spec in specs]
        values = [value for value in found if value is not None]
        if len(values) == len(specs):
            joined[column] = sum(values) / len(values)
    return joined
