"""Debian packages: fetched by apt-get, and read without installing them (deb(5): an ar archive of two tars)."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple, cast

from hear_delores.errors import DeloresError
from pretrain.data.bounded import TAR_FAULTS, check_member

__all__ = ["Archive", "find_archives", "open_archive", "unpacked"]

MAGIC = b"!<arch>\n"
HEADER = 60  # bytes before each member of an ar archive
LARGEST_CONTROL = 16 << 20  # bytes
#: The suffix of a package's tar -> how it is decompressed; dpkg-deb reads the others.
OPENERS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    "": lambda stream: stream,
    ".gz": lambda stream: cast(IO[bytes], gzip.GzipFile(fileobj=stream)),
    ".xz": lambda stream: cast(IO[bytes], lzma.LZMAFile(stream)),  # noqa: SIM115 (closed with what it reads)
    ".lzma": lambda stream: cast(IO[bytes], lzma.LZMAFile(stream)),  # noqa: SIM115 (closed with what it reads)
    ".bz2": lambda stream: cast(IO[bytes], bz2.BZ2File(stream)),
}


class Archive(NamedTuple):
    """A .deb file, and the package's name and version as its control file states them."""

    path: Path
    package: str
    version: str


def find_archives(packages: Sequence[str], folders: Sequence[Path], store: Path) -> dict[str, Archive]:
    """package -> its archive: of the first of ``folders`` that has it, or of ``store``, else by ``apt-get download``.

    Downloads go into ``store``. Of several versions in a folder, the last in the order of file names is taken.

    Raises:
        DeloresError: a package is in no folder, and there is no apt-get to fetch it, or apt-get has no such package.
    """
    found: dict[str, Archive] = {}
    for name in packages:
        path = _local(name, [*folders, store])
        found[name] = open_archive(path if path is not None else _fetch(name, store))
        if found[name].package != name:
            raise DeloresError(f"{found[name].path}: expected the package {name}, but it is {found[name].package}")
    return found


def _local(name: str, folders: Sequence[Path]) -> Path | None:
    for folder in folders:
        if archives := sorted(folder.glob(f"{name}_*.deb")):
            return archives[-1]
    return None


def _fetch(name: str, store: Path) -> Path:
    """``apt-get download`` into ``store``; a file is there whole or not at all."""
    if shutil.which("apt-get") is None:
        raise DeloresError(
            f"no folder has the package {name}, and this system has no apt-get to download it: run `apt-get download "
            f"{name}` on a Debian or Ubuntu system, and give the folder of the file with --debs"
        )
    partial = store / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        command = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=", name]
        done = subprocess.run(command, cwd=partial, capture_output=True, text=True, check=False)
        got = sorted(partial.glob("*.deb"))
        if done.returncode or not got:
            lines = [line for line in done.stderr.splitlines() if line.startswith("E:")]
            reason = lines[0].removeprefix("E:").strip() if lines else "apt-get does not say why"
            raise DeloresError(
                f"the package {name} cannot be downloaded ({reason}): run `apt-get update`, or take it off the recipe"
            )
        return got[0].rename(store / got[0].name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def open_archive(path: Path) -> Archive:
    """A .deb file with its package's name and version, read from its control file.

    Raises:
        DeloresError: it is not a .deb file, or it is damaged.
    """
    with _named(path), contextlib.ExitStack() as held:
        tar = held.enter_context(_tar(path, "control.tar", held))
        for member in tar:
            if member.isreg() and member.name.lstrip("./") == "control" and member.size < LARGEST_CONTROL:
                stream = tar.extractfile(member)
                assert stream is not None  # a plain file
                lines = stream.read().decode("utf-8", "replace").splitlines()
                fields = dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith((" ", "\t")))
                if {"Package", "Version"} <= set(fields):
                    return Archive(path, fields["Package"].strip(), fields["Version"].strip())
        raise tarfile.ReadError("no control file with Package and Version")


def unpacked(archive: Archive, folder: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Path]]:
    """(path in the package, local file) of each plain file that is ``wanted``, unpacked into ``folder`` by number.

    The local name is the file's number and suffix: whatever a package calls its files, nothing is written elsewhere.

    Raises:
        DeloresError: the package is damaged.
    """
    with _named(archive.path), contextlib.ExitStack() as held:
        tar = held.enter_context(_tar(archive.path, "data.tar", held))
        for number, member in enumerate(tar):
            name = member.name.removeprefix("./")
            check_member(member)
            if not member.isreg() or not wanted(name):
                continue
            stream = tar.extractfile(member)
            assert stream is not None  # a plain file
            local = folder / f"{number:06d}{Path(name).suffix.lower()}"
            with stream, local.open("wb") as written:
                shutil.copyfileobj(stream, written, 1 << 20)
            yield name, local


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turns the errors that a damaged archive raises into one line with its path."""
    try:
        yield
    except (*TAR_FAULTS, lzma.LZMAError) as error:
        if isinstance(error, (DeloresError, FileNotFoundError)):
            raise
        what = " ".join(str(error).split()) or type(error).__name__
        raise DeloresError(f"{path}: not a readable Debian package ({what}); remove it and fetch it again") from None


def _tar(path: Path, which: str, held: contextlib.ExitStack) -> tarfile.TarFile:
    """The tar whose name begins with ``which`` in the package, as a stream; ``held`` closes what it opens."""
    stream = held.enter_context(path.open("rb"))
    name, size = _find_member(stream, which)
    suffix = name.removeprefix(which)
    if suffix in OPENERS:
        content = io.BytesIO(stream.read(size)) if which == "control.tar" and size < LARGEST_CONTROL else stream
        return tarfile.open(fileobj=OPENERS[suffix](content), mode="r|")
    if shutil.which("dpkg-deb") is None:
        raise DeloresError(f"{path}: it is compressed as {suffix}, which needs dpkg-deb: install the package dpkg")
    option = "--ctrl-tarfile" if which == "control.tar" else "--fsys-tarfile"
    process = held.enter_context(subprocess.Popen(["dpkg-deb", option, str(path)], stdout=subprocess.PIPE))
    held.callback(process.kill)
    assert process.stdout is not None
    return tarfile.open(fileobj=process.stdout, mode="r|")


def _find_member(stream: IO[bytes], which: str) -> tuple[str, int]:
    """Name and size in bytes of the first member whose name begins with ``which``; leaves the stream at its content."""
    if stream.read(len(MAGIC)) != MAGIC:
        raise tarfile.ReadError("it does not begin as an ar archive")
    while len(header := stream.read(HEADER)) == HEADER:
        name = header[:16].decode("ascii", "replace").strip().rstrip("/")
        size = int(header[48:58])
        if name.startswith(which):
            return name, size
        stream.seek(size + size % 2, io.SEEK_CUR)
    raise tarfile.ReadError(f"it holds no {which}")
