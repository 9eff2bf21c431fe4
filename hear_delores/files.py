"""Files and folders that are either whole or absent, names that are no paths, and content hashes.

Everything that this project writes goes through here: a file through :func:`atomic_path`, a folder through
:func:`atomic_folder`, what is appended to through :func:`writing`. A disk that is full, or a place that may not be
written to, is then one :class:`WriteError`, in whatever way a library says it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hear_delores.documents import to_json
from hear_delores.errors import DeloresError
from hear_delores.temporary import MAX_NAME_BYTES, beside, new_temporary, remove_leftovers

__all__ = [
    "WriteError",
    "atomic_folder",
    "atomic_path",
    "check_name",
    "check_replaceable",
    "explain_fault",
    "file_hash",
    "one_line",
    "remove_leftovers",
    "remove_tree",
    "replace_folder",
    "settle_folder",
    "write_json",
    "writing",
]

UNKNOWN = "is the disk full?"  # of a library that does not tell
THEN = "run the same command again"
#: What a system says when a place cannot be written to, whatever the file.
WRITE_ERRNOS = frozenset(
    getattr(errno, name)
    for name in (
        "EACCES", "EDQUOT", "EEXIST", "EFBIG", "EIO", "EISDIR", "ELOOP", "EMFILE", "ENAMETOOLONG", "ENFILE", "ENOENT",
        "ENOSPC", "ENOTDIR", "ENOTEMPTY", "ENXIO", "EPERM", "EROFS", "ESTALE", "ETXTBSY",
    )
    if hasattr(errno, name)
)  # fmt: skip


class WriteError(DeloresError):
    """A file or folder could not be written; what was there before it is still there."""


# --- names


def check_name(name: Any, what: str, *, hidden: bool = False) -> str:
    """``name``, which an input gave and which is to become one part of a path; it is returned as it is.

    Args:
        what: names the input in the message, e.g. "task_name"; "" where the caller does.
        hidden: whether it may begin with a dot.

    Raises:
        DeloresError: it is no plain name: it could lead out of the folder that it is joined to, or no system would
            take it.

    >>> check_name("esc50", "task_name")
    'esc50'
    >>> check_name("../../precious", "task_name")
    Traceback (most recent call last):
    hear_delores.errors.DeloresError: task_name: expected a plain name, got '../../precious'; it holds '/'
    """
    if fault := _name_fault(name, hidden):
        shown = repr(name) if len(repr(name)) <= 80 else f"{repr(name)[:77]}..."
        raise DeloresError(f"{what}{': ' if what else ''}expected a plain name, got {shown}; {fault}")
    return str(name)


def _name_fault(name: Any, hidden: bool) -> str:
    """What is wrong with ``name`` as one part of a path; "" if nothing."""
    if not isinstance(name, str):
        return f"it is of the type {type(name).__name__}"
    if not name.strip(". "):
        return "it is empty, or consists of dots and blanks"
    for sign in ("/", "\\", *((":",) if os.name == "nt" else ())):
        if sign in name:
            return f"it holds {sign!r}"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        return "it holds a control character"
    if name.startswith(".") and not hidden:
        return "it begins with a dot"
    try:
        length = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return "it is no text in UTF-8"
    return f"it has {length} bytes, and {MAX_NAME_BYTES} is the most" if length > MAX_NAME_BYTES else ""


# --- what goes wrong while something is written


@contextlib.contextmanager
def writing(path: str | os.PathLike[str], what: str = "", then: str = THEN) -> Iterator[None]:
    """While ``path`` is written to: what fails is a :class:`WriteError` that names it, in one line.

    Args:
        what: named before the path, e.g. "the training state ".
        then: what the user is to do when there is room, or the right to write.
    """
    try:
        yield
    except DeloresError:
        raise
    except Exception as error:
        place = _place(error, Path(path))
        reason = None if place is None else explain_fault(error)
        if reason is None:
            raise
        raise WriteError(f"cannot write {what}{place} ({reason}): {_advice(reason)}, and {then}") from None


def _advice(reason: str) -> str:
    if reason in [os.strerror(number) for number in (errno.EACCES, errno.EPERM, errno.EROFS)]:
        return "get the right to write there, or choose another place"
    full = [os.strerror(getattr(errno, name)) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name)]
    return "make room there" if reason in (*full, UNKNOWN) else "choose another place, or move away what is in the way"


def _place(error: BaseException, target: Path) -> Path | None:
    """The path that a failed write is about: ``target`` where the error names none, or one that belongs to it."""
    if not isinstance(error, OSError) or not isinstance(error.filename, (str, os.PathLike)):
        return target
    named = Path(error.filename)
    real = Path(os.path.realpath(target))
    ours = named.name.startswith(f".{real.name[:16]}") or any(".partial" in part for part in named.parts)
    if ours and (named.parent == real.parent or real.parent in named.parents):
        return target  # the user knows nothing of temporary names
    if named in (target, real):
        return target
    return named if named in (*target.parents, *real.parents) or {target, real} & set(named.parents) else None


def explain_fault(error: BaseException) -> str | None:
    """Why something could not be written, if that is what ``error`` is about; None for any other error.

    Each library has its own way of saying that the disk is full: torch's writer a RuntimeError without the reason,
    safetensors an error of its own, zipfile one about its state in the course of the true one.
    """
    found: BaseException | None = error
    while found is not None:
        text = str(found)
        if isinstance(found, OSError) and found.errno is not None and found.errno in WRITE_ERRNOS:
            return os.strerror(found.errno)
        if type(found).__name__ == "SafetensorError" and (match := re.search(r"\(os error (\d+)\)", text)):
            return os.strerror(int(match[1]))
        if isinstance(found, RuntimeError) and re.search("PytorchStreamWriter|inline_container|iostream", text):
            return UNKNOWN
        if type(found).__name__ == "LibsndfileError" and text.rstrip(".").endswith("System error"):
            return UNKNOWN
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
    return None


def one_line(error: BaseException) -> str | None:
    """What a command says of an error that the user can do something about; None for a defect of ours."""
    if isinstance(error, DeloresError):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno is not None:
        reason = error.strerror or os.strerror(error.errno)
        return f"{os.fsdecode(error.filename)}: {reason}" if error.filename else f"cannot read or write: {reason}"
    if isinstance(error, OSError):
        return " ".join(str(error).split()) or type(error).__name__
    fault = explain_fault(error)
    return None if fault is None else f"cannot write ({fault}): {_advice(fault)}, and {THEN}"


# --- one file


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], what: str = "", then: str = THEN) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; it replaces ``path`` when the block ends without an error.

    A process killed at any moment leaves the old file, or none, never half of the new one, and a hidden temporary
    file that the next writer of ``path`` removes. On an error (a full disk included) the temporary file is removed
    and the old file stays. A link is followed: what it leads to is replaced, not the link. A device that is no disk,
    a pipe or /dev/stdout is never replaced, but written to.

    Raises:
        WriteError: it cannot be written; ``what`` and ``then`` as of :func:`writing`.
        DeloresError: a folder, a disk, or a pipe that nobody reads.
    """
    target = Path(path)
    with writing(target, what, then):
        if (mode := _special(target)) is not None:
            with _written_through(target, mode) as temporary:
                yield temporary
            return
        real = Path(os.path.realpath(target))
        if real.is_dir():
            raise DeloresError(f"{path}: expected a file to write, but it is a folder")
        if real.is_symlink():
            raise DeloresError(f"{path}: the link leads back to itself; remove it")
        real.parent.mkdir(parents=True, exist_ok=True)
        with new_temporary(real) as temporary:
            yield temporary
            with open(temporary, "rb+") as written:
                os.fsync(written.fileno())
            os.replace(temporary, real)


def _special(path: Path) -> int | None:
    """The mode of what is there, if it is no file or folder and so not to be replaced; None if it may be."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return None
    plain = stat.S_ISREG(mode) or stat.S_ISDIR(mode)
    return mode if not plain or _descriptor(path) is not None else None


def _descriptor(path: Path) -> int | None:
    """The number of the open file that a path such as /dev/stdout or /dev/fd/3 stands for."""
    match = re.fullmatch(r"/dev/(?:(stdin|stdout|stderr)|fd/(\d+))|/proc/self/fd/(\d+)", os.fspath(path))
    if match is None:
        return None
    return ("stdin", "stdout", "stderr").index(match[1]) if match[1] else int(match[2] or match[3])


@contextlib.contextmanager
def _written_through(path: Path, mode: int) -> Iterator[Path]:
    """Yields a temporary path elsewhere; its content is written to the device or pipe at the end."""
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        kind = "disk" if stat.S_ISBLK(mode) else "socket"
        raise DeloresError(f"{path}: expected a file to write, but it is a {kind}; choose another path")
    number = _descriptor(path)
    if number is not None:
        descriptor = os.dup(number)
    else:
        try:  # a pipe without a reader would otherwise be waited for without end
            descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            raise DeloresError(f"{path}: nobody reads this pipe; start its reader first") from None
        os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "wb") as stream, tempfile.TemporaryDirectory(prefix="delores-") as folder:
        temporary = Path(folder) / "content"
        temporary.touch()
        yield temporary
        with open(temporary, "rb") as content:
            shutil.copyfileobj(content, stream, 1 << 20)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes ``value`` as indented JSON, atomically: valid JSON, see :func:`hear_delores.documents.to_json`."""
    with atomic_path(path) as temporary:
        temporary.write_text(to_json(value, indent=1) + "\n", encoding="utf-8")


# --- one folder


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str], marks: Sequence[str] = ()) -> Iterator[Path]:
    """Yields an empty hidden folder beside ``path``; it becomes ``path`` when the block ends without an error.

    One process at a time may do so (see ``pretrain.locks``): what a killed one left is removed. On an error nothing
    of the new folder stays. A link is followed.

    Args:
        marks: names of which an existing folder must hold one to be replaced, unless it is empty; only what this
            project made is ever removed.

    Raises:
        WriteError: it cannot be written.
        DeloresError: ``path`` holds something else.
    """
    with writing(path):
        target = settle_folder(path)
        check_replaceable(target, marks)
        partial = beside(target, ".partial")
        remove_tree(partial)
        partial.mkdir(parents=True)
        try:
            yield partial
            replace_folder(partial, target, marks)
        except BaseException:
            with contextlib.suppress(OSError):
                remove_tree(partial)
            raise


def settle_folder(path: str | os.PathLike[str]) -> Path:
    """Ends what a process killed in the midst of :func:`replace_folder` began; where ``path`` leads to."""
    target = Path(os.path.realpath(path))
    old = beside(target, ".old")
    if os.path.lexists(old):
        if os.path.lexists(target):
            remove_tree(old)
        else:
            old.rename(target)
    return target


def check_replaceable(target: Path, marks: Sequence[str]) -> None:
    """Raises DeloresError unless there is nothing at ``target``, an empty folder, or one that holds a mark."""
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise DeloresError(f"{target}: expected a folder to write, but it is a file; move it away")
    if any(target.iterdir()) and not any((target / mark).is_file() for mark in marks):
        wanted = f" (it has no {' or '.join(marks)})" if marks else ""
        raise DeloresError(f"{target}: this folder holds something else{wanted} and is not replaced; move it away")


def replace_folder(new: Path, target: Path, marks: Sequence[str] = ()) -> None:
    """Puts the folder ``new`` in the place of ``target``, which must be one that :func:`check_replaceable` passes."""
    check_replaceable(target, marks)
    old = beside(target, ".old")
    if target.exists():
        target.rename(old)
    new.rename(target)
    remove_tree(old)


def remove_tree(path: Path) -> None:
    """Removes a folder with all that is in it, if there is one; of a link, the link alone."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


# --- content


def file_hash(path: str | os.PathLike[str], algorithm: str = "sha256") -> str:
    """The hash of a file's content in hexadecimal digits: 64 of SHA-256."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
