"""The task folders that a command was asked for, by name or suite."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.metadata import METADATA_FILE
from benchmarks.tasks.registry import list_tasks
from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["find_task_folders"]

Say = Callable[[str], None]


def find_task_folders(
    tasks_dir: Path, names: Sequence[str] = (), suite: str | None = None, on_skip: Say | None = None
) -> list[TaskFolder]:
    """The task folders of ``tasks_dir`` that were asked for, opened and checked.

    Args:
        tasks_dir: holds task folders ``<name>-<version>-<mode>``.
        names: task names or folder names; empty takes the suite, or every task folder there is.
        suite: a suite of the registry.
        on_skip: told which tasks of the suite are not in ``tasks_dir``.

    Raises:
        DeloresError: ``tasks_dir`` is no folder, a name is not there, or nothing was found.
    """
    if not tasks_dir.is_dir():
        raise DeloresError(f"expected a folder of tasks, but there is none at {tasks_dir}; run `delores prepare` first")
    if suite is not None:
        list_tasks(suite)  # a suite that there is not is refused beside names, too
    folders = sorted(path for path in tasks_dir.iterdir() if os.path.lexists(path / METADATA_FILE))
    if names:
        chosen = [_named(name, folders) for name in names]
    elif suite is not None:
        chosen = _suite_folders(suite, folders, on_skip)
    else:
        chosen = folders
    if not chosen:
        raise DeloresError(f"no task of {suite or 'any suite'} is in {tasks_dir}; run `delores prepare` first")
    tasks = [TaskFolder.open(path) for path in chosen]
    by_name: dict[str, TaskFolder] = {}
    for task in tasks:  # embeddings and records are kept by this name
        if (other := by_name.setdefault(task.folder_name, task)) is not task:
            raise DeloresError(
                f"{task.path} and {other.path} are both the task {task.folder_name} by their {METADATA_FILE}; "
                "remove one of them, or name one by --task"
            )
    return tasks


def _named(name: str, folders: list[Path]) -> Path:
    matches = [path for path in folders if path.name == name or path.name.split("-", 1)[0] == name]
    matches = matches or [path for path in folders if path.name.startswith(f"{name}-")]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise DeloresError(
            f"{name!r} names several task folders: {', '.join(p.name for p in matches)}; give the full name of one"
        )
    raise DeloresError(f"no task folder is called {name!r}. {did_you_mean(name, [p.name for p in folders])}")


def _suite_folders(suite: str, folders: list[Path], on_skip: Say | None) -> list[Path]:
    by_name = {path.name: path for path in folders}
    specs = list_tasks(suite)
    missing = [spec.folder_name for spec in specs if spec.folder_name not in by_name]
    if missing and on_skip is not None:
        on_skip(f"not in the tasks folder, left out: {', '.join(missing)}")
    return [by_name[spec.folder_name] for spec in specs if spec.folder_name in by_name]
