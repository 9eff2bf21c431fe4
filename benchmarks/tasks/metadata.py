"""``task_metadata.json`` of a HEAR task, validated, and the train/valid/test splits that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from benchmarks.metrics.limits import MAX_CLIP_MS, check_postprocessing
from benchmarks.metrics.registry import find_metrics
from hear_delores.documents import read_json
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.files import check_name
from hear_delores.settings import shown

__all__ = [
    "METADATA_FILE",
    "TVT_SPLITS",
    "EmbeddingType",
    "PredictionType",
    "SplitMode",
    "TaskMetadata",
    "check_split_name",
    "check_splits",
    "data_splits",
    "read_metadata",
    "split_names",
    "tested_splits",
    "validated",
]

METADATA_FILE = "task_metadata.json"
TVT_SPLITS = ("train", "valid", "test")
#: Files of a task folder or of its embeddings that a split of this name would replace.
NO_SPLITS = ("task_metadata", "embedding-info", "labelvocabulary")
MAX_FOLDS = 10_000

EmbeddingType = Literal["scene", "event"]
PredictionType = Literal["multiclass", "multilabel"]
Name = Annotated[str, Field(min_length=1), AfterValidator(lambda name: check_name(name, ""))]
SplitName = Annotated[str, Field(min_length=1)]
Model = TypeVar("Model", bound=BaseModel)
SplitMode = Literal["trainvaltest", "new_split_kfold", "presplit_kfold"]


class TaskMetadata(BaseModel):
    """The fields of ``task_metadata.json`` that embedding and scoring use; others are kept untouched."""

    # Strict: "true" is no number and 1 is no name. NaN and infinity are no durations.
    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)

    task_name: Name
    version: Name
    mode: Name
    embedding_type: EmbeddingType
    prediction_type: PredictionType
    split_mode: SplitMode
    splits: list[SplitName]
    evaluation: list[str]
    sample_duration: float | None = Field(default=None, gt=0, le=MAX_CLIP_MS / 1000)
    nfolds: int | None = Field(default=None, ge=0, le=MAX_FOLDS)
    evaluation_params: dict[str, Any] = Field(default_factory=dict)
    use_scoring_for_early_stopping: bool = True

    @field_validator("evaluation_params", mode="before")
    @classmethod
    def _null_is_empty(cls, value: Any) -> Any:
        return {} if value is None else value

    @field_validator("splits")
    @classmethod
    def _are_names(cls, value: list[str]) -> list[str]:
        for split in value:
            check_split_name(split)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> TaskMetadata:
        find_metrics(self.evaluation, self.embedding_type)
        check_splits(self.split_mode, self.splits, self.nfolds)
        check_name(self.folder_name, "task_name-version-mode")
        if (grid := self.evaluation_params.get("event_postprocessing_grid")) is not None:
            check_postprocessing(grid)
        return self

    @property
    def folder_name(self) -> str:
        """``<task_name>-<version>-<mode>``, the name of the task's folder everywhere."""
        return f"{self.task_name}-{self.version}-{self.mode}"


def check_split_name(split: str) -> None:
    """Raises DeloresError for a split whose files would lead out of the folder, or take another file's name."""
    check_name(split, "splits")
    if split in NO_SPLITS or "." in split:
        raise DeloresError(f"splits: {split!r} cannot be a split's name: its files would be taken for others")


def read_metadata(path: Path, advice: str = "is this a HEAR task folder?") -> tuple[dict[str, Any], TaskMetadata]:
    """``task_metadata.json`` as it is, and validated.

    Args:
        advice: what to do about a file that is missing or damaged.

    Raises:
        DeloresError: it cannot be read, or a field is missing or not what it must be.
    """
    content: dict[str, Any] = read_json(path, advice=advice)
    return content, validated(TaskMetadata, content, path)


def check_splits(split_mode: str, splits: Sequence[str], nfolds: int | None) -> None:
    """Raises DeloresError unless the splits are those that ``split_mode`` needs, no more and no fewer."""
    if len(set(splits)) != len(splits):
        raise DeloresError(f"'splits' names a split twice: {', '.join(splits[:12])}")
    if split_mode == "trainvaltest":
        if missing := [name for name in TVT_SPLITS if name not in splits]:
            raise DeloresError(f"split_mode trainvaltest needs the splits train, valid, test; missing: {missing[0]}")
        if extra := [name for name in splits if name not in TVT_SPLITS]:
            raise DeloresError(
                "split_mode trainvaltest has the splits train, valid, test; extra splits are never used: "
                f"{', '.join(extra)}"
            )
        return
    if len(splits) < 3:
        raise DeloresError(f"split_mode {split_mode} needs at least 3 folds (train, valid, test); got {len(splits)}")
    if nfolds is not None and nfolds != len(splits):
        raise DeloresError(f"'nfolds' is {nfolds}, but 'splits' lists {len(splits)}: {', '.join(splits)}")


def data_splits(split_mode: str, splits: Sequence[str]) -> list[dict[str, list[str]]]:
    """The rounds of training and testing, each ``{"train": [...], "valid": [...], "test": [...]}``.

    One round for trainvaltest. For k folds (sorted by name) round i tests fold i, validates on fold
    i + 1 (cyclic) and trains on the others, as heareval's ``get_splits_from_metadata`` does.

    >>> data_splits("presplit_kfold", ["fold01", "fold00", "fold02"])[2]
    {'train': ['fold01'], 'valid': ['fold00'], 'test': ['fold02']}
    """
    if split_mode == "trainvaltest":
        return [{name: [name] for name in TVT_SPLITS}]
    folds = sorted(splits)
    rounds = []
    for index, test in enumerate(folds):
        valid = folds[(index + 1) % len(folds)]
        train = [fold for fold in folds if fold not in (test, valid)]
        rounds.append({"train": train, "valid": [valid], "test": [test]})
    return rounds


def tested_splits(rounds: list[dict[str, list[str]]]) -> list[str]:
    """The splits that some round of :func:`data_splits` is tested on, each once."""
    return list(dict.fromkeys(name for names in rounds for name in names["test"]))


def split_names(split_mode: str, nfolds: int | None) -> list[str]:
    """The names of the splits that a task of this kind has: train, valid, test or fold00, fold01, ..."""
    if split_mode == "trainvaltest":
        return list(TVT_SPLITS)
    return [f"fold{index:02d}" for index in range(nfolds or 0)]


def validated(model: type[Model], content: Any, where: str | Path, advice: str = "") -> Model:
    """``content`` as ``model``. Raises DeloresError naming ``where`` and the first fault, with ``advice`` after it."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise DeloresError(f"{where}: {_explain(error, model)}{f'; {advice}' if advice else ''}") from None


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first fault that pydantic found, in one line, with a suggestion where a key is unknown."""
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key {where!r}. {did_you_mean(where, model.model_fields)}"
    if fault["type"] == "missing":
        return f"the key {where!r} is missing"
    message = " ".join(str(fault["msg"]).removeprefix("Value error, ").split())
    if not where or ", got " in message:
        return f"{where}: {message}" if where else message
    return f"{where}: {message}; got {shown(fault['input'])}"
