"""The command ``delores pool``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["pool"]

SHOWN_FAULTS = 10


def pool(
    out: Annotated[Path, typer.Option(help="The folder of the pool: a new one, or a pool to continue.")],
    recipe: Annotated[str, typer.Argument(help="A YAML file of sources, or the name of a bundled recipe.")] = "free",
    debs: Annotated[
        list[Path] | None, typer.Option(help="A folder with .deb files, used before any download; repeat for more.")
    ] = None,
    without: Annotated[
        list[Path] | None,
        typer.Option(
            help="A task folder, or another folder of audio: the pool gets no near duplicate of its clips; "
            "repeat for more."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Make a pool of freely licensed audio for pre-training: packages, folders, sound fonts, speech synthesis.

    The same command again resumes where it stopped.
    """
    from pretrain.pools.pool import make_pool
    from pretrain.watching.progress import Display

    with Display(shown=not quiet) as display:
        made = make_pool(recipe, out, debs=debs or (), without=without or (), progress=display.phase)
    if quiet:
        return
    for (source, licence), hours in made.hours.items():
        typer.echo(f"{source:12}{hours:8.3f} h  {licence}")
    total = f"{made.clips:,} clips, {sum(made.hours.values()):.3f} hours"
    typer.echo(f"{made.table}: {total}; left out: {made.near:,} near duplicates, {made.capped:,} above max_hours")
    for source, name, reason in made.skipped[:SHOWN_FAULTS]:
        typer.echo(f"  left out: {source}: {name}: {reason}")
    if len(made.skipped) > SHOWN_FAULTS:
        typer.echo(f"  and {len(made.skipped) - SHOWN_FAULTS:,} more files, listed in skipped.csv")
