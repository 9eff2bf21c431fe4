"""The command line of pre-training: ``python -m pretrain`` and ``delores pretrain`` are this one function."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["command"]


def command(
    data: Annotated[Path, typer.Option(help="A folder of audio, a CSV manifest or a HEAR task folder.")],
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Configuration overrides: optimizer.lr=5e-5 steps=1000."),
    ] = None,
    preset: Annotated[
        str, typer.Option(help="A preset's name, or the path of a YAML configuration.")
    ] = "delores-s-small",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last saved state, if any.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Pass over bad files; list them.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing.")] = False,
) -> None:
    """Pre-trains a DeLoRes encoder on unlabelled audio and writes a checkpoint."""
    from pretrain.config import load_config  # torch loads when it is needed, not for --help
    from pretrain.loop import pretrain

    path = pretrain(load_config(preset, overrides or []), data, out, resume=resume, skip_bad=skip_bad, quiet=quiet)
    if not quiet:
        typer.echo(f"checkpoint: {path}")
