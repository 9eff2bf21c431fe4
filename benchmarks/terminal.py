"""What the commands share: consoles, progress bars, JSON, and how the process is set up."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from hear_delores.documents import to_json

__all__ = ["console", "model_spec", "print_json", "progress_bar", "set_up_process", "write_tables"]


def console(quiet: bool = False, stderr: bool = False) -> Console:
    """A command's console; a quiet one prints nothing. Lines are not wrapped, since scripts read them, too."""
    return Console(quiet=quiet, stderr=stderr, highlight=False, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """``value`` as JSON on standard output, without a console's line breaks."""
    sys.stdout.write(to_json(value, indent=1, default=str) + "\n")


def model_spec(module: str, model: str | None = None) -> Any:
    """The model that a command was given, with --model's weights if there are any."""
    from benchmarks.embedding.model import ModelSpec

    set_up_process()
    return ModelSpec.parse(module if model is None else f"{module}@{model}")


def set_up_process() -> None:
    """Sets up the process of a measuring command, before any tensor is made."""
    from hear_delores.memory import keep_freed_memory
    from hear_delores.siblings import current_folder_last

    keep_freed_memory()
    current_folder_last()  # a model module is looked for where the user stands, too


@contextlib.contextmanager
def progress_bar(quiet: bool, title: str, *counts: Any) -> Iterator[Any]:
    """A bar on standard error, with columns ``counts`` (default: items); yields (done, total, text) to move it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), *(counts or [MofNCompleteColumn()]), TimeRemainingColumn()
    shown = console(quiet, stderr=True)
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        job = bar.add_task(title, total=None)
        yield lambda done, total, text="": bar.update(job, completed=done, total=total, description=text or title)


def write_tables(records: list[Any], out: Path, shown: Console) -> None:
    """Writes ``tables.md`` and ``results.csv`` into ``out`` and prints the tables."""
    from benchmarks.reading.tables.plain import to_csv, to_markdown, to_rich
    from benchmarks.reading.tables.table import comparison_tables
    from hear_delores.files import atomic_path

    tables = comparison_tables(records)
    for table in tables:
        shown.print(to_rich(table), soft_wrap=False)
    for name, text in (("tables.md", to_markdown(tables)), ("results.csv", to_csv(records))):
        with atomic_path(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
