"""The commands of this room: ``delores download``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from benchmarks.tasks.download import Fetch, Plan

__all__ = ["download"]


def download(
    tasks: Annotated[list[str], typer.Argument(help="Tasks by name, or `hear` for all that have an archive.")],
    out: Annotated[Path, typer.Option(help="Folder that the task folders are written into.")] = Path("tasks"),
    sample_rate: Annotated[int | None, typer.Option(help="Rate of the archive, if the record has several.")] = None,
    record_url: Annotated[
        str | None, typer.Option(help="Another record of the same form (JSON with files[]), such as a mirror's.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be fetched, and how large.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds without a byte that count as a stall.")] = 60.0,
    attempts: Annotated[int, typer.Option(min=1, help="Connections in a row that may bring nothing.")] = 5,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors and the result.")] = False,
) -> None:
    """Fetch official task archives: resumes, verifies checksums, unpacks safely, keeps what is whole."""
    from benchmarks.tasks import download as fetching
    from benchmarks.tasks.registry import find_task, list_tasks
    from hear_delores.errors import DeloresError

    specs = [spec for name in tasks for spec in (list_tasks("hear") if name == "hear" else [find_task(name)])]
    specs = list({spec.folder_name: spec for spec in specs}.values())
    for spec in specs:
        if spec.archive is None:
            raise DeloresError(f"{spec.name}: there is no official archive; {spec.obtain_note or 'see its source'}")
    options = fetching.Fetch(timeout_s=timeout, attempts=attempts)
    plans = []
    for record in dict.fromkeys(spec.archive.zenodo_record for spec in specs if spec.archive):
        url = record_url or fetching.RECORD_URL.format(record=record)
        files = fetching.list_record(url, options)
        of_record = [spec for spec in specs if spec.archive and spec.archive.zenodo_record == record]
        plans += fetching.plan_downloads(of_record, out, files, sample_rate)
    missing, free = fetching.check_space(plans, out)
    if not quiet:
        for plan in plans:
            typer.echo(f"{plan.spec.folder_name}: {_state(plan)}")
        typer.echo(f"to fetch: {missing / 1e9:.2f} GB; free in {out}: {free / 1e9:.2f} GB")
    if dry_run:
        return
    failures = []
    for plan in plans:
        try:
            path = _with_bar(plan, out, options, quiet)
        except DeloresError as error:  # the other tasks are still wanted
            failures.append(f"{plan.spec.folder_name}: {error}")
            continue
        typer.echo(str(path))
    if failures:
        raise DeloresError(f"{len(failures)} of {len(plans)} tasks could not be fetched: {'; '.join(failures)}")


def _state(plan: Plan) -> str:
    if plan.is_ready:
        return "ready"
    size = f"{plan.file.size / 1e9:.3f} GB"
    return f"{size}, {plan.present / 1e9:.3f} GB of it here" if plan.present else size


def _with_bar(plan: Plan, out: Path, options: Fetch, quiet: bool) -> Path:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from benchmarks.tasks.download import download_task

    shown = Console(stderr=True, quiet=quiet)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=shown, transient=True, disable=not shown.is_terminal) as bar:
        job = bar.add_task(plan.spec.folder_name, total=plan.file.size)
        return download_task(plan, out, options, lambda done, total: bar.update(job, completed=done, total=total))
