"""The commands of the leaderboard: ``submit`` and ``standings``. Libraries load late."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.options import AsJson
from pretrain.inputs.options import finite, whole

__all__ = ["standings", "submit"]

#: Of --redundancy.
KEEP, ALIKE, CORRELATION = 0.95, 0.9, "spearman"

Results = Annotated[list[Path], typer.Argument(help="Folders that hold result records.")]
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
            f"without a score: {', '.join(found.missing)}; the site ranks by the sum, so a missing score counts as 0"
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
    redundancy: Annotated[
        bool, typer.Option("--redundancy", help="Show tasks that are alike, and the fewest that keep the ranking.")
    ] = False,
    keep: Annotated[
        float,
        typer.Option(
            **finite(0.01, 1), help="The least correlation of the fewest tasks' ranking with the ranking by all tasks."
        ),
    ] = KEEP,
    alike: Annotated[
        float, typer.Option(**finite(0.01, 1), help="The correlation from which tasks count as alike.")
    ] = ALIKE,
    correlation: Annotated[str, typer.Option(help="The correlation of rankings: spearman or kendall.")] = CORRELATION,
    as_json: AsJson = False,
) -> None:
    """Compute the normalised scores of all leaderboard models, with your model among them.

    The rank that the page itself shows, by the plain sum with 0 for a blank, is printed, too.
    """
    from benchmarks.reading.leaderboard.standings import compute_standings, write_standings
    from benchmarks.reading.leaderboard.submission import column_scores, select_records
    from benchmarks.results.record import load_records
    from benchmarks.terminal import print_json

    if correlation not in ("spearman", "kendall"):
        raise typer.BadParameter(f"--correlation: expected spearman or kendall, got {correlation!r}")
    if not redundancy and (keep, alike, correlation) != (KEEP, ALIKE, CORRELATION):
        raise typer.BadParameter("--keep, --alike and --correlation are of --redundancy, which is missing")
    if not results and (name, model, seed) != (None, None, None):
        raise typer.BadParameter("--name, --model and --seed are of your model, but there is no folder of its results")
    ours = None
    if results:
        chosen = select_records(load_records(results), model=model, seed=seed)
        ours = (name or chosen[0].model.label, column_scores(chosen))
    found = compute_standings(_read(leaderboard), ours)
    if out is not None:
        for path in write_standings(found, out):
            typer.echo(str(path), err=as_json)
    rows = [] if not as_json else _standings_rows(found)
    if not redundancy:
        print_json(rows) if as_json else _print_standings(found)
        return
    from benchmarks.reading.leaderboard.redundancy import find_redundancy, write_redundancy

    fewer = find_redundancy(found, keep=keep, alike=alike, kind=correlation)  # type: ignore[arg-type]
    if out is not None:
        for path in write_redundancy(fewer, out):
            typer.echo(str(path), err=as_json)
    if as_json:
        print_json({"standings": rows, "redundancy": fewer.to_json()})
        return
    _print_redundancy(fewer, len(found.models))


def _standings_rows(found: Any) -> list[dict[str, Any]]:
    keys = ("rank", "model", "score", "imputed_tasks", "page_rank", "sum")
    columns = (found.models, found.score.tolist(), found.blanks.tolist(), found.page_rank, found.plain_sum.tolist())
    return [dict(zip(keys, (i, *row), strict=True)) for i, row in enumerate(zip(*columns, strict=True), 1)]


def _print_redundancy(found: Any, n_models: int) -> None:
    typer.echo(f"tasks that are alike (Spearman {found.alike:g} or more between any two of a group):")
    for group in found.groups:
        pairs = [found.correlation.loc[a, b] for a, b in itertools.combinations(group, 2)]
        typer.echo(f"  {', '.join(group)}: {min(pairs):.3f} or more")
    if not found.groups:
        typer.echo("  none")
    typer.echo(f"best subset of each size ({found.kind.capitalize()} correlation with the ranking by all tasks):")
    for number, subset in enumerate(found.curve, 1):
        greedy = "" if subset.is_smallest else " (found by adding tasks one by one; a better one may exist)"
        typer.echo(f"  {number}: {subset.correlation:.3f} {', '.join(subset.tasks)}{greedy}")
    size, least = len(found.subset.tasks), found.subset.at_least
    proof = "the fewest that do"
    if not found.subset.is_smallest:
        proof = f"at least {least} are needed, and fewer than {size} may do"
    typer.echo(f"{size} of {len(found.correlation)} tasks keep a correlation of {found.keep:g}: {proof}")
    typer.echo(f"chosen on these {n_models} models: others may need other or more tasks")


def _read(path: Path | None) -> str | None:
    """A CSV's text, its line ends as they are; None for None."""
    from hear_delores.documents import read_text

    return None if path is None else read_text(path)


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
