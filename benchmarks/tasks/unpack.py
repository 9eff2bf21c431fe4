"""A task archive -> its task folder: nothing is ever written outside of it, and it is whole or absent."""

from __future__ import annotations

import contextlib
import errno
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from benchmarks.tasks.folder import METADATA_FILE, TaskFolder
from benchmarks.tasks.registry import TaskSpec
from hear_delores.errors import DeloresError
from hear_delores.files import WriteError, explain_fault, remove_tree, replace_folder, writing
from hear_delores.temporary import beside

__all__ = ["unpack_task"]


def unpack_task(archive: str | Path, target: str | Path, spec: TaskSpec) -> TaskFolder:
    """Unpacks the task of ``spec`` from a tar archive to ``target``, checked, and returns it.

    The folder of ``task_metadata.json`` in the archive, whatever lies above it, becomes ``target``. Only plain
    files and folders are accepted. It is built beside and renamed when it is whole.

    Raises:
        DeloresError: a damaged archive, a link or device in it, a name that leads out of it, another task.
    """
    archive, target = Path(archive), Path(target)
    partial = beside(target, ".partial")
    with writing(target):
        remove_tree(partial)
        partial.mkdir(parents=True)
    try:
        try:
            with tarfile.open(archive) as tar:
                _extract(tar, archive, partial)
        except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as error:
            if isinstance(error, DeloresError):
                raise
            named = isinstance(error, OSError) and error.filename is not None and error.errno != errno.ENOSPC
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


def _extract(tar: tarfile.TarFile, archive: Path, folder: Path) -> None:
    room = shutil.disk_usage(folder).free
    for member in tar:
        parts = _safe_parts(member, archive)
        if not parts:
            continue
        path = folder.joinpath(*parts)
        if member.isdir():
            path.mkdir(parents=True, exist_ok=True)
            continue
        room -= member.size
        if room < 0:
            raise DeloresError(f"{archive}: unpacked it is larger than the space that is free; choose another folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        source = tar.extractfile(member)
        assert source is not None  # a plain file, as checked
        # "x": a name that stands twice must not be followed, nor overwritten.
        with source, open(path, "xb") as written:
            shutil.copyfileobj(source, written, 1 << 20)


def _safe_parts(member: tarfile.TarInfo, archive: Path) -> tuple[str, ...]:
    if not (member.isreg() or member.isdir()):
        raise DeloresError(f"{archive}: {member.name!r} is a link or device; only plain files are unpacked")
    name = PurePosixPath(member.name)
    parts = tuple(part for part in name.parts if part != ".")
    if name.is_absolute() or ".." in parts or any("\\" in part or ":" in part or "\0" in part for part in parts):
        raise DeloresError(f"{archive}: {member.name!r} leads out of the archive's folder; nothing is unpacked")
    return parts


def _root(folder: Path, archive: Path) -> Path:
    roots = [path.parent for path in folder.rglob(METADATA_FILE)]
    if len(roots) != 1:
        found = "none" if not roots else f"{len(roots)} of them"
        raise DeloresError(f"{archive}: expected one task, with a {METADATA_FILE}; found {found}")
    return roots[0]
