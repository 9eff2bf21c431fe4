"""A task archive -> its task folder: nothing is ever written outside of it, and it is whole or absent."""

from __future__ import annotations

import contextlib
import errno
import gzip
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.metadata import METADATA_FILE
from benchmarks.tasks.registry import TaskSpec
from hear_delores.errors import DeloresError
from hear_delores.files import WriteError, explain_fault, remove_tree, replace_folder, writing
from hear_delores.temporary import beside
from pretrain.data.bounded import TAR_FAULTS, BoundedReader, TooLarge, check_member

__all__ = ["unpack_task"]

#: An archive may unpack to so many times its size, and to so many bytes more. Audio, padded with silence, takes 2 to 8
#: times; gzip can reach 1000.
MOST_TIMES, MORE_BYTES = 20, 64 << 20
#: Files and folders: so many, and one more for each so many bytes of the archive; and never more than the last.
MEMBERS, BYTES_PER_MEMBER, MOST_MEMBERS = 10_000, 256, 1_000_000
#: Folders within each other, with the file.
MOST_PARTS = 32
#: What an archive's names may cause; any other error of the system is the disk's.
_ERRORS_OF_NAMES = (
    errno.EEXIST, errno.EINVAL, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ENOENT, errno.EILSEQ
)  # fmt: skip


def unpack_task(archive: str | Path, target: str | Path, spec: TaskSpec) -> TaskFolder:
    """Unpacks the task of ``spec`` from a tar archive to ``target``, checked, and returns it.

    The folder of ``task_metadata.json`` in the archive, whatever lies above it, becomes ``target``. Only plain
    files and folders are accepted, within bounds of size, number and depth. It is built beside and renamed when it is
    whole.

    Raises:
        DeloresError: a damaged archive, a link or device in it, a name that leads out of it, more in it than an archive
            of its size may hold, another task.
    """
    archive, target = Path(archive), Path(target)
    partial = beside(target, ".partial")
    with writing(target):
        remove_tree(partial)
        partial.mkdir(parents=True)
    try:
        try:
            with _opened(archive) as tar:
                _extract(tar, archive, partial)
        except TooLarge as error:
            raise DeloresError(f"{archive}: {error}; it is not the archive of a task") from None
        except TAR_FAULTS as error:
            if isinstance(error, DeloresError):
                raise
            named = isinstance(error, OSError) and error.errno in _ERRORS_OF_NAMES
            if not named and (reason := explain_fault(error)):  # a full disk is no fault of the archive
                message = f"cannot unpack {archive} into {target} ({reason}): make room there"
                raise WriteError(f"{message}, and run the same command again") from None
            raise DeloresError(
                f"{archive}: damaged archive: {' '.join(str(error).split())}; remove it and fetch it again"
            ) from None
        found = TaskFolder.open(_root(partial, archive))
        if found.folder_name != spec.folder_name:
            raise DeloresError(f"{archive}: holds the task {found.folder_name}, expected {spec.folder_name}")
        replace_folder(found.path, target)
    finally:
        with contextlib.suppress(OSError):
            remove_tree(partial)
    return TaskFolder.open(target)


@contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    """The tar in the archive, plain or compressed by gzip, read to its end when the block is done."""
    with open(archive, "rb") as stored:
        compressed = stored.read(2) == b"\x1f\x8b"
        stored.seek(0)
        limit = MOST_TIMES * archive.stat().st_size + MORE_BYTES
        with gzip.GzipFile(fileobj=stored) if compressed else stored as stream:
            bounded = BoundedReader(cast(IO[bytes], stream), limit)
            with tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r:") as tar:
                yield tar
                bounded.seek(tar.offset)
            # tarfile takes a missing header for the end, which is a block of zeros; gzip's checksum comes last.
            if bounded.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it is cut short")
            while bounded.read(1 << 20):
                pass


def _extract(tar: tarfile.TarFile, archive: Path, folder: Path) -> None:
    size = archive.stat().st_size
    room, most = shutil.disk_usage(folder).free, min(MOST_MEMBERS, MEMBERS + size // BYTES_PER_MEMBER)
    left = MOST_TIMES * size + MORE_BYTES
    for number, member in enumerate(tar, 1):
        if number > most:
            raise TooLarge(f"it holds more than {most:,} files and folders")
        check_member(member)
        parts = _safe_parts(member, archive, folder)
        if not parts:
            continue
        path = folder.joinpath(*parts)
        if member.isdir():
            path.mkdir(parents=True, exist_ok=True)
            continue
        left, room = left - member.size, room - member.size
        if left < 0:
            raise TooLarge(f"it unpacks to more than {MOST_TIMES * size + MORE_BYTES:,} bytes")
        if room < 0:
            raise DeloresError(f"{archive}: unpacked it is larger than the space that is free; choose another folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        source = tar.extractfile(member)
        assert source is not None  # a plain file, as checked
        if path.exists():
            raise tarfile.ReadError(f"duplicate name {member.name!r}")
        # "x": a name that differs for us and not for the system must not be followed, nor overwritten.
        with source, open(path, "xb") as written:
            shutil.copyfileobj(source, written, 1 << 20)


def _safe_parts(member: tarfile.TarInfo, archive: Path, folder: Path) -> tuple[str, ...]:
    if not (member.isreg() or member.isdir()):
        raise DeloresError(f"{archive}: {member.name!r} is a link or device; only plain files are unpacked")
    if member.issparse():
        raise DeloresError(f"{archive}: {member.name!r} is a sparse file; only plain files are unpacked")
    name = PurePosixPath(member.name)
    parts = tuple(part for part in name.parts if part != ".")
    if name.is_absolute() or ".." in parts or any("\\" in part or ":" in part or "\0" in part for part in parts):
        raise DeloresError(f"{archive}: {member.name!r} leads out of the archive's folder; nothing is unpacked")
    if len(parts) > MOST_PARTS:
        raise TooLarge(f"{member.name[:80]!r}... lies {len(parts) - 1} folders deep, expected at most {MOST_PARTS}")
    if hasattr(tarfile, "data_filter"):  # from 3.10.12 and 3.11.4 on
        tarfile.data_filter(member, str(folder))
    return parts


def _root(folder: Path, archive: Path) -> Path:
    roots = [path.parent for path in folder.rglob(METADATA_FILE)]
    if len(roots) != 1:
        found = "none" if not roots else f"{len(roots)} of them"
        raise DeloresError(f"{archive}: expected one task, with a {METADATA_FILE}; found {found}")
    return roots[0]
