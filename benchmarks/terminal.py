"""What the commands share: consoles, progress bars, JSON, and how the process is set up."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console

from hear_delores.documents import to_json
from hear_delores.errors import DeloresError

__all__ = ["console", "print_json", "progress_bar", "refuse_failures", "set_up_process"]


def console(quiet: bool = False, stderr: bool = False) -> Console:
    """A command's console; a quiet one prints nothing. Lines are not wrapped, since scripts read them, too."""
    return Console(quiet=quiet, stderr=stderr, highlight=False, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """``value`` as JSON on standard output, without a console's line breaks."""
    sys.stdout.write(to_json(value, indent=1, default=str) + "\n")


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


def refuse_failures(failures: Iterable[Any]) -> None:
    """Names the jobs that failed on standard error. Raises DeloresError if there is one."""
    failures = list(failures)
    for failure in failures:
        name = f"{failure.model} {failure.task}".rstrip()
        console(stderr=True).print(f"failed: {name}: {failure.message}")
    if failures:
        raise DeloresError(f"{len(failures)} of the jobs failed (listed above); run the same command again to retry")
