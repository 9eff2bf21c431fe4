"""The commands that read records and embeddings: ``tables``, ``compare``, ``report`` and more. Libraries load late."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.options import AsJson
from pretrain.inputs.options import whole

__all__ = ["compare", "geometry", "report", "standings", "submit", "tables"]

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
Label = Annotated[
    str | None, typer.Option("--model", "-m", help="The model's label. Needed if the folders hold several models.")
]
OneSeed = Annotated[
    int | None, typer.Option("--seed", **whole(), help="The seed. Needed if the folders hold several seeds.")
]
LeaderboardFile = Annotated[
    Path | None,
    typer.Option("--leaderboard", help="The current leaderboard CSV. Default: the bundled copy."),
]


def tables(
    results: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders that hold result records. With --paper, none shows the published figures alone."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder to write the tables into. Default: print them.")] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format", help="md, csv, tex or html, with commas. Default: md; on a terminal, tables that fit."
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
    if out is None and formats is None and sys.stdout.isatty():
        _print_tables(found.tables)
        return
    for name in wanted:
        text = found.text(name)
        if out is None:
            sys.stdout.write(text)
            continue
        with atomic_path(out / FORMATS[name]) as temporary:
            temporary.write_text(text, encoding="utf-8")


def compare(
    result_a: Annotated[Path, typer.Argument(help="A result record's folder, or a folder of one model's results.")],
    result_b: Annotated[Path, typer.Argument(help="The same for the other model.")],
    protocol: Annotated[
        str | None, typer.Option("--protocol", "-p", help="The protocol to compare. Needed if the two share several.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two models clip by clip: difference, 95 % interval and p-value, for each task and over all."""
    from benchmarks.reading.read_results import compare as compare_results
    from benchmarks.terminal import print_json

    found = compare_results(result_a, result_b, protocol=protocol)
    if as_json:
        print_json(found.to_json())
        return
    _print_comparison(found)


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


def submit(
    results: Results,
    name: Annotated[str, typer.Option(help="A short name of the model. The row puts the team's name before it.")],
    url: Annotated[str, typer.Option(help="Where others can get the model.")],
    out: Annotated[
        Path, typer.Option(help="The folder to write the CSV, the pull request's text and the steps into.")
    ] = Path("submission"),
    date: Annotated[str | None, typer.Option(help="The submission date, such as 2026-01-31. Default: today.")] = None,
    model: Label = None,
    seed: OneSeed = None,
    leaderboard: LeaderboardFile = None,
    team: Annotated[
        str, typer.Option(help="The name of the team: the title, the branch and the row's name come from it.")
    ] = "",
    authors: Annotated[str, typer.Option(help="Pull request: the authors.")] = "",
    paper: Annotated[str, typer.Option(help="Pull request: the model's paper.")] = "",
    description: Annotated[str, typer.Option(help="Pull request: a sentence on the model.")] = "",
    pretraining_data: Annotated[str, typer.Option(help="Pull request: the training data, such as AudioSet.")] = "",
    data_kind: Annotated[
        list[str] | None,
        typer.Option(help="Pull request: tick this kind of training data: speech, broad-domain or music; repeatable."),
    ] = None,
    why_missing: Annotated[str, typer.Option(help="Pull request: why some tasks have no score.")] = "",
    template: Annotated[
        Path | None,
        typer.Option(help="The site's newest pull-request template. Default: its fields as of 2023."),
    ] = None,
) -> None:
    """Prepare a leaderboard submission: the CSV with a row appended, and the site's template filled in."""
    from datetime import datetime, timezone

    from benchmarks.reading.leaderboard.pull_request import pull_request, write_submission
    from benchmarks.reading.leaderboard.submission import SubmissionFacts, prepare_submission
    from benchmarks.results.record import load_records

    text, form = _read(leaderboard), _read(template)
    facts = SubmissionFacts(
        name, url, date or datetime.now(timezone.utc).date().isoformat(), team, authors, paper, description,
        pretraining_data, why_missing, tuple(data_kind or ()),
    )  # fmt: skip
    found = prepare_submission(load_records(results), facts, leaderboard=text, model=model, seed=seed)
    for path in write_submission(found, out, text, form):
        typer.echo(str(path))
    request = pull_request(found, form)
    typer.echo(
        f"title: {request.title or '(the name of the team)'}; branch: {request.branch}; one pull request a model"
    )
    for field in request.left:
        typer.echo(f"left for you to fill in: {field}")
    if found.missing:
        typer.echo(
            f"without a score: {', '.join(found.missing)}; the site ranks by the sum, so each costs its whole score"
        )


def standings(
    results: Annotated[
        list[Path] | None, typer.Argument(help="Result folders of your model. Default: no model is added.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name in the standings. Default: its label.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder for standings.csv, a heatmap and correlations. Default: print the standings only."
        ),
    ] = None,
    model: Label = None,
    seed: OneSeed = None,
    leaderboard: LeaderboardFile = None,
    as_json: AsJson = False,
) -> None:
    """Compute the normalised scores of all leaderboard models, with your model among them.

    The page's own rank, by the plain sum in which a blank counts as 0, stands beside them.
    """
    from benchmarks.reading.leaderboard.standings import compute_standings, write_standings
    from benchmarks.reading.leaderboard.submission import column_scores, select_records
    from benchmarks.results.record import load_records
    from benchmarks.terminal import print_json

    ours = None
    if results:
        chosen = select_records(load_records(results), model=model, seed=seed)
        ours = (name or chosen[0].model.label, column_scores(chosen))
    found = compute_standings(_read(leaderboard), ours)
    if out is not None:
        for path in write_standings(found, out):
            typer.echo(str(path), err=as_json)
    if as_json:
        keys = ("rank", "model", "score", "imputed_tasks", "page_rank", "sum")
        columns = (found.models, found.score.tolist(), found.blanks.tolist(), found.page_rank, found.plain_sum.tolist())
        print_json([dict(zip(keys, (i, *row), strict=True)) for i, row in enumerate(zip(*columns, strict=True), 1)])
        return
    _print_standings(found)


def _load(results: list[Path], skip_damaged: bool) -> tuple[list[Any], list[str]]:
    """The records, and one line for each damaged one that is skipped."""
    from benchmarks.results.record import load_records

    return load_records(results, skip_damaged=True) if skip_damaged else (load_records(results), [])


def _say_left_out(messages: Iterable[str]) -> None:
    for message in messages:
        typer.echo(f"left out: {message}", err=True)


def _read(path: Path | None) -> str | None:
    """A CSV's text, its line ends as they are; None for None."""
    from hear_delores.documents import read_text

    return None if path is None else read_text(path)


def _print_comparison(found: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    console.print(f"A = {found.label_a}, B = {found.label_b}, protocol {found.protocol}", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    table.add_column("task", overflow="fold")
    for column in ("A", "B", "A - B [95 % interval]", "p", "p Holm"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in found.tasks:
        about = [row.metric, *([] if row.maximise else ["lower is better"]), f"{row.n_clips:,} clips"]
        if row.n_folds > 1:
            about.append(f"A ahead on {row.folds_a} of {row.n_folds} folds")
        table.add_row(
            f"{row.task}\n  {', '.join(about)}", f"{row.score_a:.3f}", f"{row.score_b:.3f}",
            f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]", f"{row.p:.4f}", f"{row.p_holm:.4f}",
        )  # fmt: skip
    console.print(table)
    count = len(found.tasks) - len(found.left_out)
    if count:
        typer.echo(
            f"over {count} tasks: A - B {found.difference:+.3f}, 95 % interval {found.low:+.3f} to {found.high:+.3f};"
            f" p = {found.p_clips:.4f} over clips, {found.p_tasks:.4f} over tasks;"
            f" A better on {found.wins_a}, B on {found.wins_b}"
        )
    for text, names in (
        ("not in the mean over tasks", found.left_out),
        ("scored for one model only", found.only_in_one),
    ):
        if names:
            typer.echo(f"{text}: {', '.join(names)}")


def _print_tables(found: list[Any]) -> None:
    """On a terminal: no line is wrapped, where Markdown of many tasks would be."""
    from rich.console import Console

    from benchmarks.reading.tables.plain import to_rich_blocks
    from benchmarks.reading.tables.shown import notes

    console = Console(highlight=False, markup=False)
    for table in found:
        for block in to_rich_blocks(table, console):
            console.print(block)
        for note in notes(table):
            console.print(f"- {note}")


def _print_standings(found: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("rank", "model", "normalised score", "imputed tasks", "page's rank", "sum"):
        table.add_column(column, justify="left" if column == "model" else "right")
    rows = zip(found.models, found.score, found.blanks, found.page_rank, found.plain_sum, strict=True)
    for i, (model, score, blanks, place, total) in enumerate(rows):
        name, style = (f"{model} (yours)", "bold") if i == found.ours else (model, None)
        table.add_row(str(i + 1), name, f"{score:+.4f}", str(blanks or ""), str(place), f"{total:.3f}", style=style)
    Console(highlight=False, markup=False).print(table)


def geometry(
    embeddings: Annotated[
        list[Path], typer.Argument(help="Embeddings folders, or folders that hold some, from `delores embed` or `run`.")
    ],
    permutations: Annotated[
        int, typer.Option(**whole(1, 100_000), help="Shuffles of the labels that separation is compared with.")
    ] = 999,
    as_json: AsJson = False,
) -> None:
    """Measure how stored embeddings lie, without training: neighbours, clusters, rank, likeness. No score of a task."""
    from dataclasses import asdict

    from benchmarks.reading.tables.plain import markdown_table
    from benchmarks.reading.training_free import MEASURES, likenesses, measure, open_embeddings
    from benchmarks.terminal import print_json

    tasks = open_embeddings(embeddings)
    measured, alike = [measure(task, permutations) for task in tasks], likenesses(tasks)
    if as_json:
        print_json({"measures": [asdict(item) for item in measured], "linear_cka": [asdict(item) for item in alike]})
        return
    rows = [
        [
            item.task,
            item.model,
            str(item.clips),
            str(item.dimensions),
            *(_figure(item.values[name]) for name in MEASURES),
        ]
        for item in measured
    ]
    heads = ["task", "model", "clips", "dimensions", *(name.replace("_", " ") for name in MEASURES)]
    text = markdown_table("Geometry of embeddings (no score of a task)", heads, rows, texts=2)
    if alike:
        pairs = [[item.task, *item.models, str(item.clips), _figure(item.linear_cka)] for item in alike]
        text += "\n" + markdown_table("Linear CKA", ["task", "model", "other", "clips", "CKA"], pairs, texts=3)
    sys.stdout.write(text)


def _figure(value: float) -> str:
    """To four digits; "" for what does not apply."""
    return "" if value != value else f"{value:.4g}"
