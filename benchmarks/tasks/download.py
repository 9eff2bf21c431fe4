"""Official HEAR task archives: found by their record's own list of files, fetched, verified, unpacked.

A fetch that broke off goes on where it stopped. What is whole, by size and checksum, is never fetched again.
"""

from __future__ import annotations

import http.client
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.registry import TaskSpec
from benchmarks.tasks.unpack import unpack_task
from hear_delores.documents import parse_json
from hear_delores.errors import DeloresError
from hear_delores.files import check_name, file_hash, writing
from hear_delores.settings import require_integer, require_number
from pretrain.locks import folder_lock

__all__ = [
    "Fetch",
    "Plan",
    "RemoteFile",
    "check_space",
    "download_task",
    "fetch",
    "list_record",
    "plan_downloads",
]

RECORD_URL = "https://zenodo.org/api/records/{record}"
#: Where archives lie while they are fetched and unpacked, below the folder of the tasks.
WORK_FOLDER = ".downloads"
_BLOCK = 1 << 18
#: A record of 200 files takes 100 kB.
MOST_RECORD_BYTES = 16 << 20
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)

#: Called with the bytes that are there and their total.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class RemoteFile:
    """One file of a record: its name, size in bytes, MD5 (as the record states it) and address."""

    name: str
    size: int
    md5: str
    url: str


@dataclass(frozen=True)
class Fetch:
    """How patient a fetch is.

    Attributes:
        timeout_s: seconds without a byte after which a connection counts as stalled.
        attempts: connections in a row that may bring nothing before it gives up.
        pause_s: seconds before the second attempt; doubled for each one after it, up to a minute.
    """

    timeout_s: float = 60.0
    attempts: int = 5
    pause_s: float = 2.0

    def __post_init__(self) -> None:
        require_number("download", "timeout_s", self.timeout_s, 0.001, maximum=86_400.0)  # a socket's has an end
        require_integer("download", "attempts", self.attempts)
        require_number("download", "pause_s", self.pause_s, 0.0, maximum=86_400.0)

    def pause(self, failures: int) -> None:
        """Waits after so many failures in a row."""
        time.sleep(min(60.0, self.pause_s * 2 ** (failures - 1)))


@dataclass(frozen=True)
class Plan:
    """What is to be done for one task.

    Attributes:
        spec: the task.
        file: its archive.
        present: bytes of the archive that are already here.
        is_ready: the task folder is here, whole; nothing is to be done.
    """

    spec: TaskSpec
    file: RemoteFile
    present: int
    is_ready: bool

    @property
    def missing(self) -> int:
        """Bytes still to fetch."""
        return 0 if self.is_ready else self.file.size - self.present


def list_record(url: str, options: Fetch | None = None) -> list[RemoteFile]:
    """The files of a Zenodo record, from its JSON (``files[]`` with key, size, checksum and links.self).

    Raises:
        DeloresError: the record cannot be reached, or is not of that form.
    """
    body = _record(url, options or Fetch())
    try:
        files = [_remote_file(entry) for entry in parse_json(body, url)["files"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DeloresError(
            f"{url}: expected a record with files[].key, size, checksum md5:... and links.self; got {_one_line(error)}"
        ) from None
    if not files:
        raise DeloresError(f"{url}: the record lists no file")
    return files


def _record(url: str, options: Fetch) -> bytes:
    """The record's bytes. A connection that breaks off, in the middle or before, is tried again."""
    failures = 0
    while True:
        try:
            with _open(url, options.timeout_s) as stream:
                return _read_whole(stream, url)
        except _Broken as error:
            failures += 1
            if failures == options.attempts:
                raise DeloresError(f"{url}: {error}; try again later") from None
            options.pause(failures)


def _read_whole(stream: Any, url: str) -> bytes:
    """An answer of at most MOST_RECORD_BYTES, of the length that its header states."""
    body = b""
    while block := _read(stream, whole=True):
        body += block
        if len(body) > MOST_RECORD_BYTES:
            raise DeloresError(f"{url}: expected a record of some kilobytes; the server sends over {len(body):,} bytes")
    stated = stream.headers.get("Content-Length")
    if stated is not None and stated.isdecimal() and len(body) < int(stated):
        raise _Broken(f"the connection ended after {len(body):,} of {stated} bytes")
    if stated is None and not body.rstrip().endswith((b"}", b"]")):  # no length is stated, and it is no whole JSON
        raise _Broken("the connection ended in the middle of the record")
    return body


def plan_downloads(
    specs: Sequence[TaskSpec], out: str | Path, files: Sequence[RemoteFile], sample_rate: int | None = None
) -> list[Plan]:
    """What is to be fetched for each task, found in the record's files by the task's folder name and rate.

    Raises:
        DeloresError: a task has no official archive, or the record does not hold it.
    """
    return [_plan(spec, Path(out), files, sample_rate) for spec in specs]


def download_task(plan: Plan, out: str | Path, options: Fetch | None = None, progress: Progress | None = None) -> Path:
    """Fetches, verifies and unpacks one task's archive; returns the task folder.

    The archive is removed once the task folder is whole.

    Raises:
        DeloresError: what is wrong and what to do. A partial archive stays, to go on from, unless it is wrong.
    """
    target = Path(out) / check_name(plan.spec.folder_name, "a task's folder")
    if plan.is_ready:
        return target
    if target.exists():
        raise DeloresError(f"{target} is there, but is not the whole task; move it away")
    with folder_lock(target, "fetching this task", whole=True):
        archive = fetch(plan.file, Path(out) / WORK_FOLDER, options, progress)
        unpack_task(archive, target, plan.spec)
        archive.unlink()
    return target


def fetch(file: RemoteFile, folder: str | Path, options: Fetch | None = None, progress: Progress | None = None) -> Path:
    """``<folder>/<file.name>``, whole: of the stated size and checksum.

    Goes on from ``<name>.part`` by an HTTP range request, as often as connections break off or stall, as long
    as they bring something. What came in pieces and is wrong as a whole is fetched anew once.

    Raises:
        DeloresError: it cannot be had, or is not what the record states.
    """
    options = options or Fetch()
    target = Path(folder) / file.name
    part = target.with_name(f"{file.name}.part")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        if target.stat().st_size == file.size and file_hash(target, "md5") == file.md5:
            return target
        target.unlink()
    resumed = part.exists()
    for _ in range(2):
        resumed |= _complete(file, part, options, progress) > 1
        if (found := file_hash(part, "md5")) == file.md5:
            part.replace(target)
            return target
        part.unlink()
        if not resumed:
            break  # it came in one piece: fetched again it would be the same
    raise DeloresError(f"{file.url}: the checksum is {found}, the record states {file.md5}; try again later")


def _complete(file: RemoteFile, part: Path, options: Fetch, progress: Progress | None) -> int:
    """Brings ``part`` to the stated size; returns the number of connections that it took."""
    failures = connections = 0
    while (have := part.stat().st_size if part.exists() else 0) != file.size:
        if have > file.size:
            part.unlink()
            continue
        connections += 1
        try:
            _receive(file, part, have, options, progress)
            reason = "the connection ended before the stated size"
        except _Broken as error:
            reason = str(error)
        now = part.stat().st_size if part.exists() else 0
        if now == file.size:
            break
        failures = 0 if now > have else failures + 1
        if failures >= options.attempts:
            raise DeloresError(
                f"{file.url}: {reason}, {failures} times in a row; {now:,} of {file.size:,} bytes are kept: "
                "run the same command again to continue"
            )
        if failures:
            options.pause(failures)
    return connections


def _receive(file: RemoteFile, part: Path, have: int, options: Fetch, progress: Progress | None) -> None:
    """Appends what one connection brings."""
    with _open(file.url, options.timeout_s, start=have) as stream:
        if have and not _continues(stream, have):
            have = 0  # the server sends the whole file again
        with writing(part), open(part, "ab" if have else "wb") as kept:
            while block := _read(stream):
                have += len(block)
                if have > file.size:
                    kept.close()
                    part.unlink()
                    raise DeloresError(
                        f"{file.url}: the server sent more than the {file.size:,} bytes that the record states"
                    )
                kept.write(block)
                if progress is not None:
                    progress(have, file.size)


def _continues(stream: Any, have: int) -> bool:
    """Whether the answer begins at byte ``have``; False where it is the whole file."""
    if stream.status != 206:
        return False
    given = stream.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-\d+/(?:\d+|\*)", given)
    if match is None or int(match[1]) != have:
        raise _Broken(f"the server answers with {given or 'no range'!r} where byte {have} was asked for")
    return True


class _Broken(Exception):
    """A connection that failed in a way that another one may not."""


def _open(url: str, timeout_s: float, start: int = 0) -> Any:
    if not url.lower().startswith(("http://", "https://")):
        raise DeloresError(f"{url}: expected an address that begins with https://")
    headers = {"User-Agent": "hear-delores", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        request = urllib.request.Request(url, headers=headers)
        return urllib.request.urlopen(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        if error.code in _TRANSIENT:
            raise _Broken(f"the server answers {error.code} {error.reason}") from None
        raise DeloresError(f"{url}: the server answers {error.code} {error.reason}") from None
    except (http.client.InvalidURL, ValueError) as error:
        raise DeloresError(f"{url}: expected an address that begins with https:// ({_one_line(error)})") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_reason(error)) from None


def _read(stream: IO[bytes], whole: bool = False) -> bytes:
    """The next bytes; what came before a connection broke off is kept unless it is wanted whole or not at all."""
    try:
        return stream.read(_BLOCK)
    except http.client.IncompleteRead as error:
        if whole:
            raise _Broken("the connection ended in the middle of the record") from None
        return error.partial  # the next read says that it is the end
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_reason(error)) from None


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return "the connection stalled"
    return f"no connection ({' '.join(str(cause).split()) or type(cause).__name__})"


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]


def _remote_file(entry: dict[str, Any]) -> RemoteFile:
    kind, _, digest = str(entry["checksum"]).partition(":")
    name = str(entry["key"])
    if kind != "md5" or not re.fullmatch(r"[0-9a-f]{32}", digest):
        raise ValueError(f"the checksum {entry['checksum']!r}")
    check_name(name, "a file of the record")
    size = entry["size"]
    if type(size) is not int or not 0 <= size < 1 << 63:
        raise ValueError(f"the size {size!r}"[:80])
    return RemoteFile(name, size, digest, str(entry["links"]["self"]))


def _plan(spec: TaskSpec, out: Path, files: Sequence[RemoteFile], sample_rate: int | None) -> Plan:
    if spec.archive is None:
        raise DeloresError(f"{spec.name}: there is no official archive; {spec.obtain_note or 'see its source'}")
    rate = sample_rate or spec.archive.sample_rate
    ending = re.compile(rf"(?:.*[-_])?{re.escape(spec.folder_name)}-{rate}\.(?:tar\.gz|tgz|tar)")
    found = [file for file in files if ending.fullmatch(file.name)]
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or f"none of {len(files)} files is called so"
        raise DeloresError(f"expected one archive *{spec.folder_name}-{rate}.tar.gz in the record; {names}")
    part = out / WORK_FOLDER / f"{found[0].name}.part"
    whole = out / WORK_FOLDER / found[0].name
    present = next((path.stat().st_size for path in (whole, part) if path.exists()), 0)
    return Plan(spec, found[0], min(present, found[0].size), _is_ready(out / spec.folder_name, spec, rate))


def _is_ready(path: Path, spec: TaskSpec, rate: int) -> bool:
    try:
        task = TaskFolder.open(path)
    except DeloresError:
        return False
    return task.folder_name == spec.folder_name and rate in task.sample_rates


def free_bytes(path: str | Path) -> int:
    """Free space where ``path`` is, or will be, in bytes."""
    folder = Path(path).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_space(plans: Sequence[Plan], out: str | Path) -> tuple[int, int]:
    """(bytes to fetch, bytes free). Raises DeloresError where the archives and what is unpacked cannot fit.

    An archive goes as soon as it is unpacked, and its audio hardly compresses: needed are the sizes of all tasks
    and one archive more.
    """
    todo = [plan for plan in plans if not plan.is_ready]
    missing, free = sum(plan.missing for plan in todo), free_bytes(out)
    needed = sum(plan.file.size for plan in todo) + max((plan.missing for plan in todo), default=0)
    if needed > free:
        raise DeloresError(
            f"{out}: {missing / 1e9:.2f} GB are to be fetched and about {needed / 1e9:.2f} GB needed to unpack them, "
            f"{free / 1e9:.2f} GB are free; choose another folder, or fewer tasks"
        )
    return missing, free
