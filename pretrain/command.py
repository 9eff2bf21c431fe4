"""The commands of pre-training: ``python -m pretrain`` and ``delores pretrain`` are one function; ``delores pack``."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from pretrain.inputs.options import whole

__all__ = ["command", "pack"]

DATA_HELP = "A folder of audio, a CSV with a file column, a HEAR task folder or WebDataset tars (shards-{000..009}.tar)"
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings to change, such as optimizer.lr=5e-5 steps=1000."),
]
Preset = Annotated[str, typer.Option(help="The name of a preset, or the path of a YAML configuration.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out files that cannot be read, and list them.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors only.")]


class Content(str, Enum):
    """What a pack holds."""

    audio = "audio"
    log_mel = "log-mel"


def command(
    data: Annotated[
        str,
        typer.Option(
            help=f"{DATA_HELP}, a folder that `delores pack` made, synthetic (generated sounds without end), "
            "or synthetic+DATA."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder of the run.")],
    overrides: Overrides = None,
    preset: Preset = "delores-s-small",
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume from the last saved state, if there is one.")
    ] = False,
    skip_bad: SkipBad = False,
    force: Annotated[
        bool, typer.Option("--force", help="Begin even if free memory is estimated not to be enough.")
    ] = False,
    quiet: Quiet = False,
    picture: Annotated[bool, typer.Option(help="Draw the curves, training.png, at the end.")] = True,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write the log to OUT/tensorboard.")] = False,
    probe: Annotated[
        Path | None, typer.Option(help="A HEAR task folder. Its linear accuracy is logged during training.")
    ] = None,
    probe_every: Annotated[int, typer.Option(**whole(1), help="Steps between two measurements of --probe.")] = 200,
) -> None:
    """Pre-train a DeLoRes encoder on unlabelled audio, and write a checkpoint.

    To train on several devices: torchrun --no-python --nproc-per-node N delores pretrain ... with the same options.
    """
    from hear_delores.errors import DeloresError
    from pretrain.config import load_config  # torch loads when it is needed, not for --help
    from pretrain.distributed.world import ReportedElsewhere
    from pretrain.training.start import Watching, pretrain

    watching = Watching(picture=picture, tensorboard=tensorboard, probe=probe, probe_every=probe_every)
    leads = os.environ.get("RANK", "0") == "0"
    try:
        config = load_config(preset, overrides or [])
    except DeloresError:
        if leads:
            raise
        raise typer.Exit(1) from None  # the other processes of a torchrun have the same command line: one says so
    try:
        path = pretrain(
            config, data, out, resume=resume, skip_bad=skip_bad, quiet=quiet, watching=watching, force=force
        )
    except ReportedElsewhere:
        raise typer.Exit(1) from None
    if not quiet and leads:
        typer.echo(f"checkpoint: {path}")


def pack(
    out: Annotated[Path, typer.Option(help="The folder of the pack: a new one, or a pack to add to.")],
    overrides: Overrides = None,
    data: Annotated[
        str | None, typer.Option(help=f"{DATA_HELP}, or synthetic: generated sounds, as many as --clips says.")
    ] = None,
    clips: Annotated[
        int | None, typer.Option(**whole(1, 2**40), help="With --data synthetic: how many sounds to pack.")
    ] = None,
    content: Annotated[
        Content, typer.Option(help="What to store: 16-bit audio, or log-mel features in half precision.")
    ] = Content.audio,
    preset: Preset = "delores-s-small",
    shard_mb: Annotated[int, typer.Option(**whole(1, 2**20), help="The size of a shard in MiB.")] = 256,
    skip_bad: SkipBad = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read the whole pack, and compare its checksums.")] = False,
    quiet: Quiet = False,
) -> None:
    """Decode and resample audio once, for `delores pretrain --data`. The same command again resumes or adds files."""
    from hear_delores.errors import DeloresError

    if data is None and not verify:
        raise DeloresError("expected --data to pack, or --verify to check a pack")
    from pretrain.config import load_config
    from pretrain.data.pack import pack as pack_data
    from pretrain.data.packed import verify as verify_pack
    from pretrain.watching.progress import Display

    with Display(shown=not quiet) as display:
        if data is not None:
            config = load_config(preset, overrides or [])
            packed = pack_data(
                data,
                out,
                config,
                content=content.value,
                clips=clips,
                shard_mb=shard_mb,
                skip_bad=skip_bad,
                progress=display.phase,
            )
        if verify:
            shards = len(verify_pack(out, display.phase).shards)
    if quiet:
        return
    if data is not None:
        size = f"{packed.shards} shards, {packed.bytes / 2**20:.1f} MiB"
        typer.echo(f"{out}: {packed.added} clips added, {packed.clips} in all, {size}")
        for note in packed.notes:
            typer.echo(f"  note: {note}")
        for name, reason in packed.skipped:
            typer.echo(f"  left out: {name}: {reason}")
    if verify:
        typer.echo(f"{out}: {shards} shards, all as they were written")
