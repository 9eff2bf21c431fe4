"""What files hold, as hashes that are remembered: a file that has not changed since is not read again.

The memory is one small database for all projects of a user, in ``$XDG_CACHE_HOME/hear-delores`` or
``~/.cache/hear-delores``. Where it cannot be read or written, every file is hashed anew and the answers are the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

__all__ = ["Part", "Stopped", "content_hashes"]

THREADS = 2  # SHA-256 of different files at once: hashlib lets go of the interpreter
BLOCK = 1 << 20  # bytes
BATCH_FILES, BATCH_BYTES = 1024, 4 << 30  # are written down at once
SETTLED_NS = 2_000_000_000
"""A file that changed less than two seconds before it was read is not remembered: within the clock of its file system
(2 s on FAT) it could change again and look the same."""


class Part(NamedTuple):
    """The ``size`` bytes of a file from ``offset`` on, such as a member of a tar."""

    path: Path
    offset: int
    size: int


class Stopped(Exception):
    """Hashing was called off."""


def content_hashes(
    paths: Sequence[Path | Part],
    progress: Callable[[int, int], None] | None = None,
    *,
    threads: int = THREADS,
    stop: threading.Event | None = None,
) -> list[bytes | None]:
    """SHA-256 (32 bytes) of the content of each file, or part of one; None where it is no regular file or unreadable.

    Args:
        progress: called with the number of files done and their total.
        stop: set from another thread, it ends the work within a megabyte.

    Raises:
        Stopped: ``stop`` was set.
    """
    found: list[bytes | None] = []
    with _Memory() as memory, ThreadPoolExecutor(threads, thread_name_prefix="hash") as pool:
        for batch in _batches(paths):
            known = [None if stamp is None else memory.recall(path, stamp) for path, stamp in batch]
            jobs = [
                pool.submit(_hash, path, stop) if digest is None and stamp is not None else None
                for (path, stamp), digest in zip(batch, known, strict=True)
            ]
            fresh = []
            for (path, _), digest, job in zip(batch, known, jobs, strict=True):
                if job is not None:
                    digest, settled = job.result()
                    if digest is not None and settled is not None:
                        fresh.append((path, settled, digest))
                found.append(digest)
                if progress is not None:
                    progress(len(found), len(paths))
            memory.keep(fresh)
    return found


def _batches(paths: Iterable[Path | Part]) -> Iterator[list[tuple[Path | Part, str | None]]]:
    batch: list[tuple[Path | Part, str | None]] = []
    size = 0
    for path in paths:
        try:
            status = os.stat(path.path if isinstance(path, Part) else path)
        except (OSError, ValueError):
            batch.append((path, None))
            continue
        batch.append((path, _stamp(status) if stat.S_ISREG(status.st_mode) else None))
        size += path.size if isinstance(path, Part) else status.st_size
        if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _stamp(status: os.stat_result) -> str:
    """What changes when the content does. The change time also when the modification time was set back."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def _hash(path: Path | Part, stop: threading.Event | None) -> tuple[bytes | None, str | None]:
    """The content's hash, and the stamp under which it may be remembered, if any."""
    began = time.time_ns()
    digest = hashlib.sha256()
    try:
        with open(path.path if isinstance(path, Part) else path, "rb", buffering=0) as stream:
            before = os.fstat(stream.fileno())
            left = before.st_size + 1  # the end of the file ends it
            if isinstance(path, Part):
                left = path.size
                stream.seek(path.offset)
            view = memoryview(bytearray(min(BLOCK, left)))
            while count := stream.readinto(view[:left]):
                digest.update(view[:count])
                left -= count if isinstance(path, Part) else 0
                if stop is not None and stop.is_set():
                    raise Stopped
            after = os.fstat(stream.fileno())
    except OSError:
        return None, None
    is_settled = max(before.st_mtime_ns, before.st_ctime_ns) + SETTLED_NS < began and _stamp(before) == _stamp(after)
    return digest.digest(), _stamp(after) if is_settled else None


class _Memory:
    """The hashes of an earlier time. Several processes may use it; it never fails, but then remembers nothing."""

    def __init__(self) -> None:
        self._base: sqlite3.Connection | None = None

    def __enter__(self) -> _Memory:
        place = _place()
        if place is None:
            return self
        for _ in range(2):
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                self._base = sqlite3.connect(place, timeout=5)
                self._base.execute("PRAGMA synchronous=NORMAL")
                self._base.execute(
                    "CREATE TABLE IF NOT EXISTS files (place BLOB PRIMARY KEY, stamp TEXT, sha256 BLOB) WITHOUT ROWID"
                )
                return self
            except (OSError, sqlite3.OperationalError):  # cannot be opened, read-only, locked for long
                break
            except sqlite3.DatabaseError:  # damaged: begun anew
                self.__exit__()
                with contextlib.suppress(OSError):
                    place.unlink()
        return self

    def __exit__(self, *_: object) -> None:
        if self._base is not None:
            self._base.close()
            self._base = None

    def recall(self, path: Path | Part, stamp: str) -> bytes | None:
        if self._base is None:
            return None
        try:
            query = "SELECT sha256 FROM files WHERE place = ? AND stamp = ?"
            row = self._base.execute(query, (_key(path), stamp)).fetchone()
        except sqlite3.Error:
            return None
        return row[0] if row and isinstance(row[0], bytes) and len(row[0]) == hashlib.sha256().digest_size else None

    def keep(self, rows: Sequence[tuple[Path | Part, str, bytes]]) -> None:
        if self._base is None or not rows:
            return
        values = [(_key(path), stamp, digest) for path, stamp, digest in rows]
        with contextlib.suppress(sqlite3.Error), self._base:
            self._base.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", values)


def _key(path: Path | Part) -> bytes:
    file = path.path if isinstance(path, Part) else path
    digest = hashlib.sha256(os.fsencode(os.path.abspath(file)))
    if isinstance(path, Part):
        digest.update(f"\0{path.offset} {path.size}".encode())
    return digest.digest()[:16]


def _place() -> Path | None:
    """Where the memory is; None where the user has no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        folder = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    except RuntimeError:
        return None
    return folder / "hear-delores" / "content.sqlite3"
