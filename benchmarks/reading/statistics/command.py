"""The command ``compare``: two models, or many, on the same clips. Libraries load late."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.options import AsJson, require_png
from pretrain.inputs.options import finite

__all__ = ["compare"]


def compare(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="Two folders, each with one record or one model's results; more folders compare all models."
        ),
    ],
    protocol: Annotated[
        str | None, typer.Option("--protocol", "-p", help="The protocol to compare. Needed if they share several.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Compare every model in the folders with every other, and rank them.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Write the critical-difference picture of all models to this PNG file.")
    ] = None,
    level: Annotated[
        float, typer.Option(**finite(0.0001, 0.5), help="The level of the critical difference of ranks.")
    ] = 0.05,
    as_json: AsJson = False,
) -> None:
    """Compare models clip by clip: difference, 95 % interval and p-value, for each task and over all.

    Two folders are compared with each other. With --all, or with more folders, every pair of models is tested, the
    p-values are corrected for the number of pairs, and the models are ranked over tasks.
    """
    from benchmarks.terminal import print_json

    if every or picture is not None or len(results) > 2:
        found: Any = _compare_all(results, protocol, picture, level, as_json)
    elif len(results) < 2:
        raise typer.BadParameter("expected two folders, or --all to compare the models within one")
    else:
        from benchmarks.reading.read_results import compare as compare_results

        found = compare_results(results[0], results[1], protocol=protocol)
        if not as_json:
            _print_comparison(found)
    if as_json:
        print_json(found.to_json())


def _compare_all(results: list[Path], protocol: str | None, picture: Path | None, level: float, as_json: bool) -> Any:
    """The matrix of all models, printed unless as JSON, and drawn where wanted."""
    from benchmarks.reading.statistics.matrix import compare_all
    from benchmarks.reading.statistics.rank_picture import draw_ranks
    from benchmarks.results.record import load_records
    from benchmarks.terminal import progress_bar
    from hear_delores.errors import DeloresError

    if picture is not None:
        require_png(picture)
    with progress_bar(as_json, "comparing pairs") as show:
        found = compare_all(load_records(results), protocol=protocol, alpha=level, progress=show)
    if not as_json:
        _print_matrix(found)
    if picture is not None:
        if found.ranks is None:
            raise DeloresError("--picture: the models share one task only; ranks need at least two")
        typer.echo(str(draw_ranks(found.ranks, picture)), err=as_json)
    return found


def _print_matrix(found: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    console.print(f"protocol {found.protocol}; tasks: {', '.join(found.tasks)}", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    table.add_column("row - column", overflow="fold")
    for number in range(1, len(found.models) + 1):
        table.add_column(str(number), justify="right", no_wrap=True)
    for number, model in enumerate(found.models, 1):
        table.add_row(f"{number} {model}", *("" if o == model else _cell(found, model, o) for o in found.models))
    console.print(table)
    pairs = len(found.pairs)
    typer.echo(
        f"each cell: mean difference over tasks; its p over clips by Holm for {pairs} pair{'s' * (pairs > 1)}; tasks on"
        f" which the row's model is better : worse, p < 0.05 by Holm for {pairs * len(found.tasks)} tests"
    )
    if out := found.pairs[0].comparison.left_out:
        typer.echo(f"not in the mean over tasks: {', '.join(out)}")
    if found.left_out:
        typer.echo(f"left out, not scored for all models: {', '.join(found.left_out)}")
    if found.models_left_out:
        typer.echo(f"left out, no results of {found.protocol}: {', '.join(found.models_left_out)}")
    if found.ranks is None:
        typer.echo("no ranks: the models share one task only")
        return
    _print_ranks(found.ranks)


def _cell(found: Any, first: str, second: str) -> str:
    pair, sign = found.pair(first, second)
    about = pair.comparison
    sure = [sign * (1 if row.maximise else -1) * row.difference for row in about.tasks if row.p_holm < 0.05]
    counts = f"{sum(value > 0 for value in sure)} : {sum(value < 0 for value in sure)}"
    if len(about.left_out) == len(about.tasks):
        return counts
    return f"{sign * about.difference:+.3f}\np {pair.p_clips_holm:.4f}\n{counts}"


def _print_ranks(ranks: Any) -> None:
    for model, rank in zip(ranks.models, ranks.average_ranks, strict=True):
        typer.echo(f"average rank {rank:.2f}: {model}")
    typer.echo(
        f"ranks over {ranks.n_tasks} tasks: Friedman chi2 {ranks.chi2:.2f}, p = {ranks.p_chi2:.4f};"
        f" Iman-Davenport F {ranks.f:.2f}, p = {ranks.p_f:.4f};"
        f" critical difference {ranks.critical_difference:.2f} (Nemenyi, level {ranks.alpha:g})"
    )
    for group in ranks.groups:
        typer.echo(f"not separated by ranks: {', '.join(group)}")


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
