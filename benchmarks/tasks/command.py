"""The commands ``delores tasks``, ``prepare`` and ``download``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmarks.options import AsJson, Quiet, TasksDir
from benchmarks.terminal import console, print_json, progress_bar
from pretrain.inputs.options import SECONDS_OF_A_DAY, finite, whole

if TYPE_CHECKING:
    from benchmarks.tasks.download import Plan

__all__ = ["download", "prepare", "tasks"]


def tasks(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="TASK", help="Tasks to describe in full. Default: list all tasks."),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="List only this suite: hear, delores, demo, papers or papers+.")
    ] = None,
    long: Annotated[
        bool, typer.Option("--long", help="Describe each task in full: splits, counts and sources.")
    ] = False,
    tasks_dir: TasksDir = Path("tasks"),
    as_json: AsJson = False,
) -> None:
    """List the tasks: what each measures, how to get it, and whether it is ready on this machine."""
    from benchmarks.tasks.listing import card, list_lines, look_up
    from benchmarks.tasks.registry import find_task, list_tasks

    specs = [find_task(name) for name in names] if names else list_tasks(suite)
    found = look_up(specs, tasks_dir)
    if as_json:
        print_json([{**task.spec.model_dump(), "ready": task.is_ready, "folders": task.folders} for task in found])
        return
    shown = console()
    width = min(shown.width, 100)
    if not (names or long):
        shown.print("\n".join(list_lines(found, width)))
        return
    shown.print("\n\n".join("\n".join(card(task, width)) for task in found))


def prepare(
    task: Annotated[
        str,
        typer.Argument(
            help="A task of `delores tasks`, `demo` for all generated tasks, or a name for a task from a CSV."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write the task folder into.")] = Path("tasks"),
    source: Annotated[
        Path | None,
        typer.Option(help="The unpacked corpus, or a CSV with the columns file,label[,group],split|fold."),
    ] = None,
    audio: Annotated[
        Path | None, typer.Option(help="CSV tasks only: the folder of the audio. Default: the folder of the CSV.")
    ] = None,
    sample_rate: Annotated[
        int, typer.Option(**whole(1000, 768_000), help="The sample rate of the task's audio in Hz.")
    ] = 16000,
    duration: Annotated[
        str | None,
        typer.Option(help="CSV tasks only: clip length in seconds, or `mean` for their mean. Default: unchanged."),
    ] = None,
    multilabel: Annotated[
        bool, typer.Option("--multilabel", help="CSV tasks only: a clip has any number of labels, separated by ';'.")
    ] = False,
    mixtures: Annotated[
        int | None,
        typer.Option(
            **whole(10, 100_000),
            help="CSV tasks only: make an event task of N mixtures of 10 s, the clips at random times over those "
            "labelled `background`.",
            metavar="N",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Use another split of the task, such as published. `delores tasks TASK` lists them."),
    ] = None,
    subset: Annotated[
        bool, typer.Option("--subset", help="Accept a corpus that lacks files. Its scores are marked.")
    ] = False,
    shared_groups: Annotated[
        bool,
        typer.Option("--shared-groups", help="CSV tasks only: allow a group (such as a speaker) in several splits."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the task folder if it exists.")] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out audio that cannot be read, and list it.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Make a HEAR task folder from a corpus, or from audio with a CSV of labels."""
    from benchmarks.tasks.corpora import event_mixtures, labels_csv, prepare_corpus
    from benchmarks.tasks.registry import is_task
    from hear_delores.errors import DeloresError

    shown = console(quiet)
    length = _seconds(duration)
    if length is not None and (source is None or is_task(task)):
        raise DeloresError(f"{task}: --duration is for CSV tasks only; this task states its own clip length")
    if (split is not None or subset) and not is_task(task):
        raise DeloresError(f"{task}: --split and --subset are for the tasks of `delores tasks`, but this is a CSV task")
    unfit = length is not None or multilabel or skip_bad or shared_groups
    if mixtures is not None and (source is None or is_task(task) or unfit):
        raise DeloresError(
            f"{task}: --mixtures is for CSV tasks with --source, without --duration, --multilabel, --skip-bad and "
            "--shared-groups"
        )
    with progress_bar(quiet, task) as report:
        if source is None:
            for path in _generate(task, out, sample_rate, report):
                shown.print(str(path))
            return
        common: dict[str, Any] = {
            "sample_rate": sample_rate, "skip_bad": skip_bad, "overwrite": overwrite, "progress": report,
        }  # fmt: skip
        if is_task(task):
            summary = prepare_corpus(task, source, out, split=split, subset=subset, **common)
        elif mixtures is not None:
            del common["skip_bad"]
            summary = event_mixtures.prepare(source, out, task, mixtures, audio_dir=audio, **common)
        else:
            common |= {"audio_dir": audio, "multilabel": multilabel, "shared_groups": shared_groups}
            summary = labels_csv.prepare(source, out, task, sample_duration_s=length, **common)
    shown.print(f"{summary.path}: {summary.clips:,} clips, {summary.classes} classes, {summary.splits} splits")
    for note in summary.warnings:
        shown.print(f"  note: {note}")
    for name in summary.skipped:
        shown.print(f"  left out: {name}")


def _generate(task: str, out: Path, sample_rate: int, progress: Any) -> list[Path]:
    """The task folders that need no source: of one task, or of ``demo`` all."""
    from benchmarks.tasks.demo import write_demo_tasks
    from benchmarks.tasks.registry import find_task
    from hear_delores.errors import DeloresError

    if task != "demo" and "generated" not in (spec := find_task(task)).obtain:
        ways = []
        if "prepare" in spec.obtain:
            ways.append(
                f"unpack {spec.source.rstrip('.')}, and pass its folder: delores prepare {task} --source FOLDER"
            )
        if "download" in spec.obtain:
            ways.append(f"fetch its official archive: delores download {task}")
        note = f" ({spec.obtain_note.rstrip('.')})" if spec.obtain_note else ""
        raise DeloresError(f"{task} needs its corpus; {'; or '.join(ways) or 'see its source'}{note}")
    names = None if task == "demo" else [find_task(task).name]
    return write_demo_tasks(out, names, sample_rate=sample_rate, progress=progress)


def _seconds(text: str | None) -> Any:
    """A positive number of seconds, ``mean``, or None."""
    from hear_delores.errors import DeloresError
    from pretrain.inputs.csv_table import read_number

    if text is None or text == "mean":
        return text
    seconds = read_number(text)
    if not 0.01 <= seconds <= SECONDS_OF_A_DAY:
        raise DeloresError(f"--duration: expected seconds from 0.01 to {SECONDS_OF_A_DAY:g}, or mean; got {text!r}")
    return seconds


def download(
    tasks: Annotated[
        list[str], typer.Argument(help="Tasks of `delores tasks`, or `hear` for all that have an archive.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to write the task folders into.")] = Path("tasks"),
    sample_rate: Annotated[
        int | None,
        typer.Option(**whole(1000, 768_000), help="The sample rate in Hz, if archives of several rates exist."),
    ] = None,
    record_url: Annotated[
        str | None, typer.Option(help="The address of a mirror's record: JSON with files[], as Zenodo has it.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be downloaded, and how large it is.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(**finite(0.1, SECONDS_OF_A_DAY), help="Try again after this many seconds without data.")
    ] = 60.0,
    attempts: Annotated[
        int, typer.Option(**whole(1, 1000), help="Give up after this many attempts in a row without data.")
    ] = 5,
    quiet: Quiet = False,
) -> None:
    """Download and unpack official task archives. Checksums are verified. The same command again resumes."""
    from rich.progress import DownloadColumn, TransferSpeedColumn

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
            with progress_bar(quiet, plan.spec.folder_name, DownloadColumn(), TransferSpeedColumn()) as report:
                path = fetching.download_task(plan, out, options, report)
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
