"""The commands that read records and embeddings: ``tables``, ``report``, ``geometry``. Libraries load late."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.options import AsJson, require_png
from pretrain.inputs.options import whole

__all__ = ["geometry", "report", "tables"]

FORMATS = {"md": "tables.md", "csv": "results.csv", "tex": "tables.tex", "html": "tables.html"}
Results = Annotated[list[Path], typer.Argument(help="Folders that hold result records.")]
OnlyTasks = Annotated[
    list[str] | None, typer.Option("--task", "-t", help="Show this task only; repeat for more. Default: all.")
]
Overlay = Annotated[
    Path | None,
    typer.Option(
        help="More figures: a CSV of model,task,metric,score,protocol,split,source, heareval's result folders or JSON."
    ),
]
Paper = Annotated[
    str | None,
    typer.Option(
        help="Show the tasks and published figures of delores, hear, papers, papers+ or audio-barlow-twins. "
        "papers has intervals over seeds and overall scores."
    ),
]


def tables(
    results: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders that hold result records. Without one, --paper shows the published figures alone."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder to write the tables into. Default: print them.")] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="md, csv, tex or html, separated by commas. Default: md; on a terminal, tables that fit its width.",
        ),
    ] = None,
    task: OnlyTasks = None,
    paper: Paper = None,
    overlay: Overlay = None,
    intervals: Annotated[
        bool, typer.Option("--intervals", help="Show 95 % intervals instead of standard deviations.")
    ] = False,
    over_seeds: Annotated[
        bool,
        typer.Option("--over-seeds", help="Show 95 % intervals over seeds, and the overall scores that papers report."),
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Draw scores against the perturbations of --perturb into this PNG file.")
    ] = None,
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Leave out records that cannot be read, and list them.")
    ] = False,
) -> None:
    """Make comparison tables from result records, with published figures beside them if wanted."""
    from benchmarks.reading.tables.result_tables import ResultTables
    from hear_delores.errors import DeloresError
    from hear_delores.files import atomic_path

    named = "md" if formats is None else formats
    wanted = [name.strip() for name in named.split(",") if name.strip()] or [named]
    if unknown := [name for name in wanted if name not in FORMATS]:
        raise DeloresError(f"--format: expected some of {', '.join(FORMATS)}, separated by commas; got {unknown[0]!r}")
    if overlay is not None and paper is None:
        raise DeloresError("--overlay needs published figures to add to; give --paper delores or --paper hear, too")
    if not results and paper is None:
        raise typer.BadParameter("expected folders of results, or --paper to show published figures alone")
    records, damaged = _load(results or [], skip_damaged)
    _say_left_out(damaged)
    found = ResultTables.of(records, task, paper=paper, overlay=overlay, intervals=intervals, over_seeds=over_seeds)
    if picture is not None:
        _draw_robustness(picture, found.records)
    if out is None and formats is None and sys.stdout.isatty():
        _print_tables(found.tables, found.others)
        return
    for name in wanted:
        text = found.text(name)
        if out is None:
            sys.stdout.write(text)
            continue
        with atomic_path(out / FORMATS[name]) as temporary:
            temporary.write_text(text, encoding="utf-8")


def report(
    results: Results,
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
    task: OnlyTasks = None,
    paper: Annotated[
        str | None,
        typer.Option(help="Show that paper's columns: delores, hear, papers or papers+. Default: the measured tasks."),
    ] = None,
    overlay: Overlay = None,
    title: Annotated[str, typer.Option(help="The page's title.")] = "DeLoRes report",
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Leave out records that cannot be read, and name them on the page.")
    ] = False,
) -> None:
    """Write one self-contained HTML page of results: tables, charts, confusions, maps, learning curves and costs."""
    from benchmarks.reading.report.gather import gather
    from benchmarks.reading.report.page import Sources, render_report
    from hear_delores.errors import DeloresError
    from hear_delores.files import atomic_path

    if out.is_dir():
        raise DeloresError(f"--out: expected the HTML file to write, got the folder {out}; try {out / 'report.html'}")
    records, damaged = _load(results, skip_damaged)
    found = gather(records, tasks=task, paper=paper, overlay=overlay, skip_damaged=skip_damaged, left_out=damaged)
    _say_left_out(found.left_out)
    text = render_report(found, Sources(pretrain or (), embeddings, tasks_dir), title=title)
    with atomic_path(out) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    typer.echo(str(out))


def _load(results: list[Path], skip_damaged: bool) -> tuple[list[Any], list[str]]:
    """The records, and one line for each damaged one that is skipped."""
    from benchmarks.results.record import load_records

    return load_records(results, skip_damaged=True) if skip_damaged else (load_records(results), [])


def _say_left_out(messages: Iterable[str]) -> None:
    for message in messages:
        typer.echo(f"left out: {message}", err=True)


def _draw_robustness(picture: Path, records: list[Any]) -> None:
    from benchmarks.reading.statistics.robustness import robustness_of
    from benchmarks.reading.tables.robustness_table import draw_robustness
    from hear_delores.errors import DeloresError

    require_png(picture)
    if not (found := robustness_of(records)):
        raise DeloresError("--picture: no result is of perturbed clips; make some with 'delores run --perturb'")
    typer.echo(str(draw_robustness(picture, found)), err=True)


def _print_tables(found: list[Any], others: Sequence[Any]) -> None:
    """On a terminal: no line is wrapped, where Markdown of many tasks would be."""
    from rich.console import Console

    from benchmarks.reading.tables.plain import to_rich_blocks
    from benchmarks.reading.tables.robustness_table import robustness_blocks
    from benchmarks.reading.tables.shown import notes

    console = Console(highlight=False, markup=False)
    for table in found:
        for block in to_rich_blocks(table, console):
            console.print(block)
        for note in notes(table):
            console.print(f"- {note}")
    for other in others:
        for block in robustness_blocks(other, console):
            console.print(block)
        for note in other.notes:
            console.print(f"- {note}")


def geometry(
    embeddings: Annotated[
        list[Path], typer.Argument(help="Embeddings folders, or folders that hold some, from `delores embed` or `run`.")
    ],
    permutations: Annotated[
        int, typer.Option(**whole(1, 100_000), help="How many shuffles of the labels to compare the separation with.")
    ] = 999,
    as_json: AsJson = False,
) -> None:
    """Measure stored embeddings, without training: neighbours, clusters, rank, similarity. It scores no task."""
    from benchmarks.reading import training_free
    from benchmarks.terminal import print_json

    found = training_free.geometry(embeddings, permutations=permutations)
    if as_json:
        print_json(found.to_json())
    else:
        sys.stdout.write(str(found))
