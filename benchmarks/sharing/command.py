"""The command ``push``. Libraries load when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["push"]


def push(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint of this project, or the name of bundled weights.")],
    repository: Annotated[str, typer.Argument(metavar="ORG/NAME", help="The repository on the Hugging Face Hub.")],
    results: Annotated[
        list[Path] | None,
        typer.Option(help="A folder of results for the model card; repeat for more. Default: a card without scores."),
    ] = None,
    licence: Annotated[
        str, typer.Option("--license", help="The licence of the weights, by its name on the Hub, such as cc-by-4.0.")
    ] = "unknown",
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
    revision: Annotated[
        str, typer.Option(help="The branch to upload to; it is created if needed. Default: the main branch.")
    ] = "",
    message: Annotated[str, typer.Option(help="The message of the commit. Default: one that says what it is.")] = "",
    out: Annotated[Path | None, typer.Option(help="The folder for the files to upload. Default: hub/ORG/NAME.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write the folder, and upload nothing.")] = False,
) -> None:
    """Share a checkpoint on the Hugging Face Hub: its weights, its configuration and a model card with its scores.

    Anybody then loads it as hf:ORG/NAME.
    """
    from benchmarks.results.record import load_records
    from benchmarks.sharing.push import prepare_repository
    from benchmarks.sharing.push import push as push_folder
    from hear_delores.hub import PREFIX

    target = Path("hub", *repository.split("/")) if out is None else out
    records = load_records(results) if results else []
    folder = prepare_repository(checkpoint, repository, target, records, licence=licence)
    for path in sorted(folder.iterdir()):
        typer.echo(str(path))
    if licence == "unknown":
        typer.echo("note: the card says that the licence is unknown; state it with --license", err=True)
    if dry_run:
        return
    done = push_folder(folder, repository, private=private, revision=revision, message=message)
    typer.echo(f"{done.url}\n{PREFIX}{repository}@{done.commit}")
