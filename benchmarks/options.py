"""Options that commands of several rooms have: one wording and one set of bounds for each."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from pretrain.inputs.options import whole

__all__ = [
    "AsJson",
    "Control",
    "ControlName",
    "ModelPath",
    "PrecisionName",
    "Quiet",
    "Seeds",
    "Shots",
    "Tasks",
    "TasksDir",
    "require_png",
]


class PrecisionName(str, Enum):
    """What the option --precision takes."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    auto = "auto"


class ControlName(str, Enum):
    """What the option --control takes: runs that must not score better than guesses."""

    shuffled = "shuffled"


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and the result only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
ModelPath = Annotated[
    str | None, typer.Option("--model", "-m", help="Weights for load_model. Default: load_model gets no path.")
]
TasksDir = Annotated[Path, typer.Option(help="The folder that holds the task folders.")]
Tasks = Annotated[
    list[str] | None, typer.Option("--task", "-t", help="A task or task folder; repeat for more. Default: all.")
]
Shots = Annotated[
    int | None, typer.Option(**whole(1), help="Train on N clips per class, drawn by the seed. Default: all clips.")
]
Seeds = Annotated[int, typer.Option(**whole(1, 1000), help="How many seeds to run, from --seed upwards.")]
Control = Annotated[
    ControlName | None,
    typer.Option(help="Permute the labels among the clips of each split by the seed, to see what chance scores."),
]


def require_png(picture: Path) -> None:
    """Raises DeloresError unless ``--picture`` is the path of a PNG file."""
    from hear_delores.errors import DeloresError

    if picture.suffix.lower() != ".png" or picture.is_dir():
        fit = picture / "picture.png" if picture.is_dir() else picture.with_suffix(".png")
        raise DeloresError(f"--picture: expected a PNG file to write, got {picture}; try {fit}")
