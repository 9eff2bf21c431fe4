"""Temporary files beside what they are to become: no living process loses its own, no dead one leaves any.

Each is locked by its writer for as long as it is written, where the system has ``flock``. A lock ends with its process,
so that a temporary file without one is a dead process's, and whoever comes next may remove it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

__all__ = ["beside", "new_temporary", "remove_leftovers"]

MAX_NAME_BYTES = 255
_BUSY = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK)


def beside(path: Path, ending: str) -> Path:
    """The hidden path ``.<name><ending>`` beside ``path``; a name that is too long for it is shortened to a hash."""
    name = f".{path.name}{ending}"
    if len(os.fsencode(name)) > MAX_NAME_BYTES:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]}{ending}"
    return path.with_name(name)


@contextlib.contextmanager
def new_temporary(target: Path) -> Iterator[Path]:
    """Yields an empty new file beside ``target``, with the rights of any new file; at the end it is gone, or renamed.

    Removes those that dead writers of ``target`` have left.
    """
    _remove_dead(target.parent, re.escape(beside(target, "").name) + r"\.[a-z0-9_]{8}\.tmp")
    temporary, descriptor = _create(target)
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files of dead processes in a folder that is this project's own."""
    if folder.is_dir():
        _remove_dead(folder, r"\..+\.tmp", unlocked=fcntl is None)


def _create(target: Path) -> tuple[Path, int | None]:
    """A new file, and the descriptor that holds its lock where there are locks."""
    while True:
        temporary = beside(target, f".{secrets.token_hex(4)}.tmp")
        # not mkstemp, which needs a chmod by the umask: that can only be read by setting it, beside other threads
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if fcntl is None:
            os.close(descriptor)
            return temporary, None
        if _lock(descriptor) is not False and _is_same(temporary, descriptor):
            return temporary, descriptor
        os.close(descriptor)  # somebody took it for a dead process's before it was locked


def _lock(descriptor: int) -> bool | None:
    """Whether the file could be locked: False when another process has it, None on a file system without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _BUSY else None
    return True


def _is_same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove_dead(folder: Path, pattern: str, *, unlocked: bool = False) -> None:
    """Removes files of that name whose writer has ended; with ``unlocked`` also where that cannot be known."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        found = [Path(entry.path) for entry in entries if re.fullmatch(pattern, entry.name)]
        for path in found:
            with contextlib.suppress(OSError):  # somebody else's, or removed by another process just now
                if unlocked:
                    path.unlink()
                elif fcntl is not None:
                    _remove_if_dead(path)


def _remove_if_dead(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if _lock(descriptor) and _is_same(path, descriptor):
            path.unlink()
    finally:
        os.close(descriptor)
