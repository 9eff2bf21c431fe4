"""The command `delores report`. Libraries load when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["report"]


def report(
    results: Annotated[list[Path], typer.Argument(help="Folders that hold result records.")],
    out: Annotated[Path, typer.Option(help="The HTML file to write.")],
    pretrain: Annotated[
        list[Path] | None, typer.Option(help="The folder of a pre-training run, to draw its curves; repeat for more.")
    ] = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="Embeddings to draw maps of: a folder of all models, one model or one task.")
    ] = None,
    tasks_dir: Annotated[
        Path | None, typer.Option(help="The folder of the task folders, if --embeddings has no class names.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option("--task", "-t", help="Show this task only; repeat for more. Default: all.")
    ] = None,
    paper: Annotated[
        str | None,
        typer.Option(help="delores or hear: show that paper's columns. Default: the measured tasks."),
    ] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(help="A CSV of more published figures: model,task,metric,score,protocol,split,source."),
    ] = None,
    title: Annotated[str, typer.Option(help="The page's title.")] = "DeLoRes report",
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Leave out records that cannot be read, and name them on the page.")
    ] = False,
) -> None:
    """Write one self-contained HTML page of results: tables, charts, confusions, maps, learning curves and costs."""
    from benchmarks.reading.report.gather import gather
    from benchmarks.reading.report.page import Sources, render_report
    from benchmarks.results.record import load_records
    from hear_delores.errors import DeloresError
    from hear_delores.files import atomic_path

    if out.is_dir():
        raise DeloresError(f"--out: expected the HTML file to write, got the folder {out}; try {out / 'report.html'}")
    damaged: list[str] = []
    if skip_damaged:
        records, damaged = load_records(results, skip_damaged=True)
    else:
        records = load_records(results)
    found = gather(
        records, tasks=task, paper=paper, overlay=overlay, skip_damaged=skip_damaged, left_out=damaged
    )  # fmt: skip
    for message in found.left_out:
        typer.echo(f"left out: {message}", err=True)
    text = render_report(found, Sources(pretrain or (), embeddings, tasks_dir), title=title)
    with atomic_path(out) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    typer.echo(str(out))
