"""The command line of pre-training: ``python -m pretrain`` and ``delores pretrain`` are this one function."""

from __future__ import annotations

import os
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
    picture: Annotated[bool, typer.Option(help="Draw training.png at the end.")] = True,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the log's numbers to OUT/tensorboard, too.")
    ] = False,
    probe: Annotated[
        Path | None, typer.Option(help="A HEAR task folder: linear accuracy on it while training goes on.")
    ] = None,
    probe_every: Annotated[int, typer.Option(min=1, help="Steps between two probes.")] = 200,
) -> None:
    """Pre-trains a DeLoRes encoder on unlabelled audio and writes a checkpoint.

    On several devices: torchrun --nproc-per-node N -m pretrain ... with the same options.
    """
    from hear_delores.errors import DeloresError
    from pretrain.config import load_config  # torch loads when it is needed, not for --help
    from pretrain.distributed import ReportedElsewhere
    from pretrain.loop import Watching, pretrain

    watching = Watching(picture=picture, tensorboard=tensorboard, probe=probe, probe_every=probe_every)
    leads = os.environ.get("RANK", "0") == "0"
    try:
        config = load_config(preset, overrides or [])
    except DeloresError:
        if leads:
            raise
        raise typer.Exit(1) from None  # the other processes of a torchrun have the same command line: one says so
    try:
        path = pretrain(config, data, out, resume=resume, skip_bad=skip_bad, quiet=quiet, watching=watching)
    except ReportedElsewhere:
        raise typer.Exit(1) from None
    if not quiet and leads:
        typer.echo(f"checkpoint: {path}")
