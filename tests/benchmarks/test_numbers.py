"""Numbers on the command line: what is out of all bounds is wrong usage, before anything is read or written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest
import typer
from typer.models import OptionInfo
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.scoring.finetune.train import Finetune
from benchmarks.scoring.hear.grid import HeadConfig, grid_configs
from benchmarks.scoring.hear.protocol import Hear
from benchmarks.scoring.knn import Knn
from benchmarks.scoring.linear.protocol import Linear
from benchmarks.tasks.download import Fetch
from hear_delores import settings
from hear_delores.errors import DeloresError
from pretrain.inputs import options

WHOLE = ["-1", "100000000000000000000000", "nan", "inf", "1.5", "", "9" * 5000]
FLOATS = ["nan", "inf", "-inf", "-1", "0", "1e-300", "1e300", "", "1e9999", "0x10"]


def numeric_options() -> list[tuple[str, str, bool]]:
    """(command, option, whether it is a float) of every option that is a number."""
    found = []
    for command in app.registered_commands:
        assert command.callback is not None
        for name, hint in get_type_hints(command.callback, include_extras=True).items():
            for kind, option in [get_args(hint)] if get_origin(hint) is Annotated else []:
                numbers = {kind, *get_args(kind)} & {int, float}
                if numbers and isinstance(option, OptionInfo):
                    declared = [text for text in option.param_decls or () if text.startswith("--")]
                    shown = declared[0] if declared else f"--{name.replace('_', '-')}"
                    found.append((command.name or command.callback.__name__, shown, float in numbers))
    return found


OPTIONS = numeric_options()


def test_the_numeric_options_are_found() -> None:
    assert {("embed", "--batch-seconds", True), ("run", "--jobs", False), ("score", "--seed", False)} <= set(OPTIONS)
    assert len(OPTIONS) > 25
    assert options.LARGEST == settings.LARGEST


def arguments(command: str, tmp_path: Path) -> list[str]:
    """What the command needs beside the number; nothing of it is there."""
    missing = str(tmp_path / "missing")
    return {
        "embed": [missing], "score": [missing], "run": [missing], "finetune": [missing], "submit": [missing],
        "standings": [missing], "download": ["esc50"], "prepare": ["demo"], "convert": [missing, missing],
        "ablate": ["--data", missing, "--out", missing], "pretrain": ["--data", missing, "--out", missing],
        "pack": ["--data", missing, "--out", missing],
    }.get(command, [])  # fmt: skip


@pytest.mark.parametrize(("command", "option", "is_float"), OPTIONS)
def test_out_of_bounds_is_wrong_usage(command: str, option: str, is_float: bool, tmp_path: Path) -> None:
    for text in FLOATS if is_float else WHOLE:
        if option == "--mean" and text in ("-1", "0", "1e-300"):
            continue
        found = CliRunner().invoke(app, [command, *arguments(command, tmp_path), f"{option}={text}"])
        assert found.exit_code == 2, (text, found.output, found.exception)
        assert option in found.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["0.00001", "nan", "inf", "-1", "1e9", "a"])
def test_duration(text: str, tmp_path: Path) -> None:
    arguments = ["prepare", "mine", "--source", str(tmp_path), f"--duration={text}", "--out", str(tmp_path / "t")]
    found = CliRunner().invoke(app, arguments)
    assert isinstance(found.exception, DeloresError)
    assert "--duration: expected seconds from 0.01" in str(found.exception)


def test_nan_is_refused_whatever_the_bounds() -> None:
    with pytest.raises(typer.BadParameter):
        options.finite(-1.0, 1.0)["callback"](math.nan)
    assert options.finite(-1.0, 1.0)["callback"](0.5) == 0.5


@pytest.mark.parametrize(
    "make",
    [
        lambda: Linear(lr=math.nan), lambda: Linear(lr=math.inf), lambda: Linear(batch_size=2.5),
        lambda: Linear(patience=True), lambda: Linear(max_epochs=10**23), lambda: Linear(seed=-1),
        lambda: Linear(patience=0), lambda: Knn(seed=10**23), lambda: Hear(seed=-1),
        lambda: Hear(grid_points=0), lambda: Hear(grid_points=True), lambda: Hear(shots=0),
        lambda: Finetune(lr=math.inf), lambda: Finetune(crop_seconds=1e-9),
        lambda: Finetune(crop_seconds=math.nan), lambda: Finetune(batch_size=0),
        lambda: Finetune(seed=-1), lambda: Fetch(timeout_s=math.inf), lambda: Fetch(attempts=0),
        lambda: Fetch(pause_s=math.nan), lambda: HeadConfig(lr=math.inf), lambda: HeadConfig(dropout=math.nan),
        lambda: HeadConfig(dropout=1.0), lambda: HeadConfig(hidden_dim=10**9), lambda: HeadConfig(hidden_layers=-1),
        lambda: HeadConfig(hidden_layers=1.0), lambda: HeadConfig(batch_size=True), lambda: HeadConfig(patience="3"),
        lambda: HeadConfig(max_epochs=2),
    ],
)  # fmt: skip
def test_the_python_functions_refuse_them_as_well(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DeloresError) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_more_points_than_any_grid_has() -> None:
    assert len(grid_configs({}, "default", 1000)) == 16
    with pytest.raises(DeloresError, match=r"`grid_points` to be at most 10000, but got 1000000000"):
        grid_configs({}, "default", 10**9)
