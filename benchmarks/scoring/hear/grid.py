"""The hyper-parameters of heareval's shallow classifier and the order in which its grid is searched."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from benchmarks.metrics.limits import check_postprocessing
from benchmarks.scoring.protocols import MAX_POINTS
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.settings import require_integer, shown

__all__ = ["GRIDS", "HeadConfig", "grid_configs", "postprocessing_configs"]

MAX_COMBINATIONS = 100_000  # that a grid is made of
GRID_SEED = 42  # heareval: seed_everything(42), then random.shuffle of the whole grid

#: What a head's parameters may be: one of some values, or the kind of number, the least and the most.
_CHOICES: dict[str, tuple[Any, ...]] = {
    "embedding_norm": ("Identity",),
    "hidden_norm": ("BatchNorm1d",),
    "initialization": ("xavier_uniform_", "xavier_normal_"),
    "norm_after_activation": (False,),
    "optim": ("Adam",),
}
_RANGES: dict[str, tuple[type, float, float]] = {
    "batch_size": (int, 1, 1 << 24),
    "check_val_every_n_epoch": (int, 1, 1_000_000),
    "dropout": (float, 0.0, 0.999),
    "hidden_dim": (int, 1, 1 << 16),
    "hidden_layers": (int, 0, 64),
    "lr": (float, 1e-12, 1e6),
    "max_epochs": (int, 1, 1_000_000),
    "patience": (int, 1, 1_000_000),
}


@dataclass(frozen=True)
class HeadConfig:
    """One point of the grid, under heareval's names; ``hidden_norm``, ``optim`` and so on have one choice."""

    batch_size: int = 1024
    check_val_every_n_epoch: int = 3
    dropout: float = 0.1
    embedding_norm: str = "Identity"
    hidden_dim: int = 1024
    hidden_layers: int = 2
    hidden_norm: str = "BatchNorm1d"
    initialization: str = "xavier_uniform_"
    lr: float = 1e-3
    max_epochs: int = 500
    norm_after_activation: bool = False
    optim: str = "Adam"
    patience: int = 20

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                known = " or ".join(choices) if len(choices) > 1 else f"{choices[0]!r}, the only known value"
                raise DeloresError(f"head parameter {name}: expected {known}, got {value!r}")
        for name, (kind, least, most) in _RANGES.items():
            value = getattr(self, name)
            fits = isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
            if not fits or not least <= value <= most:
                number = "number" if kind is float else "whole number"
                raise DeloresError(
                    f"head parameter {name}: expected a {number} from {least:,} to {most:,}, got {shown(value)}"
                )
        if self.max_epochs < self.check_val_every_n_epoch:
            raise DeloresError(
                f"head parameter max_epochs: {self.max_epochs} epochs end before the first validation, which comes "
                f"after {self.check_val_every_n_epoch}; raise max_epochs"
            )

    def to_dict(self) -> dict[str, Any]:
        """{parameter: value}, alphabetical."""
        return asdict(self)


_DEFAULT: dict[str, list[Any]] = {
    "hidden_layers": [1, 2],
    "hidden_dim": [1024],
    "dropout": [0.1],
    "lr": [3.2e-3, 1e-3, 3.2e-4, 1e-4],
    "patience": [20],
    "max_epochs": [500],
    "check_val_every_n_epoch": [3],
    "batch_size": [1024],
    "initialization": ["xavier_uniform_", "xavier_normal_"],
}
GRIDS: dict[str, dict[str, list[Any]]] = {
    "default": _DEFAULT,
    "fast": {**_DEFAULT, "max_epochs": [10, 50], "check_val_every_n_epoch": [3, 10]},
    "faster": {
        **_DEFAULT,
        "hidden_layers": [0, 1],
        "hidden_dim": [64, 128],
        "patience": [1, 3],
        "max_epochs": [10],
        "check_val_every_n_epoch": [1],
    },
}
# sed_eval was too slow to validate more often; the published scores carry it.
_BY_TASK: dict[str, dict[str, list[Any]]] = {"dcase2016_task2": {"check_val_every_n_epoch": [10]}}
_POSTPROCESSING: dict[str, list[Any]] = {"median_filter_ms": [250], "min_duration": [125, 250]}


def grid_configs(metadata: Mapping[str, Any], grid: str = "default", grid_points: int = 8) -> list[HeadConfig]:
    """The points that are searched, in heareval's order: the first ``grid_points`` of the shuffled grid.

    The task's own ``evaluation_params.task_specific_param_grid`` takes precedence over the grid.
    """
    if grid not in GRIDS:
        raise DeloresError(f"unknown grid {grid!r}. {did_you_mean(grid, GRIDS)}")
    require_integer("hear protocol", "grid_points", grid_points, 1, MAX_POINTS)
    own = (metadata.get("evaluation_params") or {}).get("task_specific_param_grid") or {}
    if not isinstance(own, Mapping):
        raise DeloresError(f"task_specific_param_grid: expected an object of lists, got {shown(own)}")
    values = {**GRIDS[grid], **_BY_TASK.get(str(metadata.get("task_name")), {}), **own}
    known = [field.name for field in fields(HeadConfig)]
    for name in values:
        if name not in known:
            raise DeloresError(f"task_specific_param_grid: unknown parameter {name!r}. {did_you_mean(name, known)}")
        if not isinstance(values[name], list) or not values[name]:
            raise DeloresError(f"task_specific_param_grid: expected a list of {name}, got {shown(values[name])}")
    if math.prod(map(len, values.values())) > MAX_COMBINATIONS:
        raise DeloresError(
            f"task_specific_param_grid: expected at most {MAX_COMBINATIONS:,} combinations; list fewer values"
        )
    points = _product(values)
    random.Random(GRID_SEED).shuffle(points)
    return [HeadConfig(**point) for point in points[:grid_points]]


def postprocessing_configs(metadata: Mapping[str, Any]) -> list[dict[str, float]]:
    """The ways from frames to events that every validation chooses from: the task's own, or heareval's."""
    own = (metadata.get("evaluation_params") or {}).get("event_postprocessing_grid")
    values = _POSTPROCESSING if own is None else own
    check_postprocessing(values)
    return _product(values)


def _product(values: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination, keys alphabetical, the last varying fastest (as scikit-learn's ParameterGrid)."""
    names = sorted(values)
    return [dict(zip(names, point, strict=True)) for point in itertools.product(*(values[n] for n in names))]
