"""The task folders that a command was asked for, by name or suite."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.listing import SUBSET, look_up
from benchmarks.tasks.metadata import METADATA_FILE
from benchmarks.tasks.registry import list_tasks
from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["find_task_folders", "load_task"]

Say = Callable[[str], None]


def find_task_folders(
    tasks_dir: Path, names: Sequence[str] = (), suite: str | None = None, on_skip: Say | None = None
) -> list[TaskFolder]:
    """The task folders of ``tasks_dir`` that were asked for, opened and checked.

    Args:
        tasks_dir: holds task folders ``<name>-<version>-<mode>``.
        names: task names or folder names; empty takes the suite, or every task folder there is.
        suite: a suite of the registry. Of each task all splits that are there are taken, and a ``_subset`` of one
            where its whole corpus is not there.
        on_skip: told which tasks of the suite are not in ``tasks_dir``, and which are subsets.

    Raises:
        DeloresError: ``tasks_dir`` is no folder, a name is not there, or nothing was found.
    """
    if not tasks_dir.is_dir():
        raise DeloresError(f"expected a folder of tasks, but there is none at {tasks_dir}; {_way(suite, tasks_dir)}")
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
        raise DeloresError(f"no task of {suite or 'any suite'} is in {tasks_dir}; {_way(suite, tasks_dir)}")
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
    """The folders of the suite's tasks: every split that is there; of one whose corpus is not whole, the subset."""
    names = {path.name for path in folders}
    found: list[str] = []
    missing = []
    for listed in look_up(list_tasks(suite), names):
        own = [
            name for name in listed.folders if name.removesuffix(SUBSET) == name or name[: -len(SUBSET)] not in names
        ]
        found += own
        if not own:
            missing.append(listed.spec.folder_name)
    if on_skip is not None:
        if found and missing:
            on_skip(f"not in the tasks folder, left out: {', '.join(missing)}")
        if subsets := [name for name in found if name.endswith(SUBSET)]:
            on_skip(f"subsets, whose scores are marked: {', '.join(subsets)}")
    by_name = {path.name: path for path in folders}
    return [by_name[name] for name in found]


def _way(suite: str | None, tasks_dir: Path) -> str:
    """What to do where no task of a suite is there."""
    out = "" if tasks_dir == Path("tasks") else f" --out {tasks_dir}"
    ways = {way for spec in list_tasks(suite) for way in spec.obtain} if suite else set()
    if suite == "hear":
        return f"run `delores download hear{out}` first"
    if ways == {"generated"}:
        return f"run `delores prepare {suite}{out}` first"
    if suite:
        example = list_tasks(suite)[0].name
        return f"run `delores prepare TASK --source CORPUS{out}` for its tasks first, such as {example}"
    return "run `delores prepare` or `delores download` first"


def load_task(path: str | os.PathLike[str], tasks_dir: str | os.PathLike[str] = "tasks") -> TaskFolder:
    """The task folder at ``path``, or the one of that name in ``tasks_dir``, checked whole.

    Raises:
        DeloresError: no such folder or name, or anything that would fail, or score wrongly, later.
    """
    folder = Path(path)
    if folder.is_dir() or len(folder.parts) != 1 or not Path(tasks_dir).is_dir():
        return TaskFolder.open(folder)
    return find_task_folders(Path(tasks_dir), [str(path)])[0]
