"""Locks that let one process at a time write; they end with their process, however it ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from hear_delores.errors import DeloresError
from hear_delores.files import writing
from hear_delores.temporary import beside

__all__ = ["LOCK_FILE", "folder_lock", "release_all"]

#: In a folder that is locked; gone when the lock is, but after a kill, when it locks nothing.
LOCK_FILE = ".lock"
POLL_SECONDS = 0.2
_HELD: dict[Path, FileLock] = {}  # of this process
MOST_LOST = 1000


@contextlib.contextmanager
def folder_lock(
    path: str | os.PathLike[str],
    what: str,
    *,
    whole: bool = False,
    wait: bool = False,
    on_wait: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Holds a folder that is to be written against other processes, and other threads of this one.

    Under ``torchrun`` the first process alone holds it, for all. A folder that is made for its lock, and is still
    empty at the end, is removed again.

    Args:
        path: the folder.
        what: what is done with it, for the message: "another process is <what>".
        whole: the folder is put in place as a whole, so that the lock lies beside it, as ``.<name>.lock``.
        wait: wait until it is free, rather than fail.
        on_wait: called once before waiting.

    Raises:
        DeloresError: another process holds it, or the lock cannot be written.
    """
    folder = Path(os.path.realpath(path))
    file = beside(folder, ".lock") if whole else folder / LOCK_FILE
    lock, made = FileLock(file), [parent for parent in file.parents if not parent.exists()]
    try:
        with writing(path):
            free = _acquire(lock, file, 0)
            if not free and wait:
                if on_wait is not None:
                    on_wait()
                while not (free := _acquire(lock, file, POLL_SECONDS)):
                    pass
        if not free:
            raise DeloresError(f"{path}: another process is {what}; wait until it has ended, or end it")
        try:
            yield
        finally:
            _release(lock, file)
    finally:
        for parent in made:
            with contextlib.suppress(OSError):  # not empty, mostly
                parent.rmdir()


def _acquire(lock: FileLock, file: Path, timeout: float) -> bool:
    """Whether the lock is held now, and with it the file that has its name.

    Who holds a lock removes its file before letting go, so that nothing stays behind. A lock on a file that has just
    lost its name is worth nothing: then it is tried again.
    """
    lost = 0
    while True:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            before = os.stat(file)
            lock.acquire(timeout=timeout, poll_interval=POLL_SECONDS / 4)
            if os.path.samestat(before, os.stat(file)):
                _HELD[file] = lock
                return True
            lock.release()
        except Timeout:
            return False
        except FileNotFoundError:  # another process has just removed what it had made, or there can be no such folder
            lock.release()
            lost += 1
            if lost == MOST_LOST:
                raise


def release_all() -> None:
    """Releases every lock of this process, which is about to be ended by a signal."""
    for file, lock in list(_HELD.items()):
        _release(lock, file)


def _release(lock: FileLock, file: Path) -> None:
    if _HELD.pop(file, None) is not lock:
        return  # let go of before: the file may be another's by now
    with contextlib.suppress(OSError):  # on Windows an open file cannot be removed: filelock does so afterwards
        file.unlink()
    lock.release()
