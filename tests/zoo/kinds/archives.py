"""Archives and records from a server on 127.0.0.1: what it answers, what the record says, what is in the tar."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.zoo.cases import EQUAL, HARMFUL, HARMLESS, OPEN, Case, Change, Expectation
from tests.zoo.inputs import ARCHIVE, write_record
from tests.zoo.kinds.common import byte_cases, json_cases, value_cases
from tests.zoo.mutations import BYTES
from tests.zoo.routes import DOWNLOAD
from tests.zoo.server import PLAN

__all__ = ["cases"]

FOLDER = "in/archive"
ROOT = "tasks/esc50-v2.0.0-full"
Members = list[tuple[tarfile.TarInfo, bytes]]


def _plan(**faults: list[str]) -> Change:
    """Faults of the server, for the record and for the archive."""

    def change(work: Path, rng: random.Random) -> None:
        names = {"record": "record.json", "archive": ARCHIVE}
        (work / FOLDER / PLAN).write_text(json.dumps({names[key]: value for key, value in faults.items()}))

    return change


#: Faults that another attempt gets over, and those that none does.
PASSING = ("503", "429", "hang up", "breaks", "short length", "long length", "other range", "no ranges", "no length", "chunked nonsense",
           "word as length", "negative length", "stalls")  # fmt: skip
LASTING = ("404", "500", "hang up", "stalls", "wrong bytes", "loop", "endless")


def _served() -> list[Case]:
    found = []
    slow = replace(DOWNLOAD, seconds=60.0)
    for what in ("record", "archive"):
        for fault in PASSING:
            change = _plan(**{what: [fault, ""]})
            expect = HARMLESS if fault in ("503", "429", "hang up", "breaks", "no length", "no ranges") else EQUAL
            found.append(Case("archive", f"{what}: first {fault}", slow, expect, change))
        for fault in LASTING:
            found.append(Case("archive", f"{what}: always {fault}", slow, HARMFUL, _plan(**{what: [fault]})))
    found.append(
        Case("archive", "both break off once", slow, HARMLESS, _plan(record=["breaks", ""], archive=["breaks", ""]))
    )
    return found


def _tar(change: Callable[[Members], Members | None], mode: str = "w:gz", format: int = tarfile.PAX_FORMAT) -> Change:
    """Packs the archive anew with some members changed; the record fits it."""

    def changed(work: Path, rng: random.Random) -> None:
        path = work / FOLDER / ARCHIVE
        members: Members = []
        with tarfile.open(path) as tar:
            for member in tar:
                stream = tar.extractfile(member)
                members.append((member, stream.read() if stream else b""))
        members = change(members) or members
        with tarfile.open(path, mode, format=format) as tar:
            for member, data in members:
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        write_record(path.parent)

    return changed


def _add(name: str, data: bytes = b"not ours\n", **fields: Any) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        member = tarfile.TarInfo(name)
        for key, value in fields.items():
            setattr(member, key, value)
        members.append((member, data))

    return change


def _drop(name: str) -> Callable[[Members], Members]:
    return lambda members: [item for item in members if not item[0].name.endswith(name)]


def _rename(old: str, new: str) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        for member, _ in members:
            member.name = member.name.replace(old, new)

    return change


def _many(members: Members) -> None:
    members += [(tarfile.TarInfo(f"{ROOT}/48000/fold00/x{number}"), b"") for number in range(100_000)]


def _zeros(members: Members) -> None:
    members.append((tarfile.TarInfo(f"{ROOT}/zeros"), bytes(300 << 20)))


def _attributes(members: Members) -> None:
    for member, _ in members:
        member.mode, member.uid, member.uname = 0o6777, 12345, "zoo"


def _unreadable(members: Members) -> None:
    for member, _ in members:
        member.mode = 0


#: What is packed; names are below the archive's root where they say nothing else.
TARS: dict[str, tuple[Change, Expectation]] = {
    "a member above the folder": (_tar(_add("../precious/owned")), HARMFUL),
    "a member far above": (_tar(_add(f"{ROOT}/../../../../../precious/owned")), HARMFUL),
    "an absolute member": (_tar(_add("/tmp/zoo-precious-owned")), HARMFUL),
    "a member with backslashes": (_tar(_add("..\\precious\\owned")), HARMFUL),
    "a member of a drive": (_tar(_add("C:/precious")), HARMFUL),
    "a member with a nul": (_tar(_add(f"{ROOT}/a\0b")), OPEN),
    "a symbolic link outwards": (_tar(_add(f"{ROOT}/link", b"", type=tarfile.SYMTYPE, linkname="../../../precious")), HARMFUL),
    "a symbolic link inwards": (_tar(_add(f"{ROOT}/link", b"", type=tarfile.SYMTYPE, linkname="fold00.json")), EQUAL),
    "a hard link outwards": (_tar(_add(f"{ROOT}/link", b"", type=tarfile.LNKTYPE, linkname="/etc/passwd")), HARMFUL),
    "a hard link inwards": (_tar(_add(f"{ROOT}/link", b"", type=tarfile.LNKTYPE, linkname=f"{ROOT}/fold00.json")), EQUAL),
    "a device": (_tar(_add(f"{ROOT}/null", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3)), HARMFUL),
    "a FIFO": (_tar(_add(f"{ROOT}/fifo", b"", type=tarfile.FIFOTYPE)), HARMFUL),
    "a member twice": (_tar(_add(f"{ROOT}/fold00.json", b"{}")), HARMFUL),
    "a member that is a folder elsewhere": (_tar(_add(f"{ROOT}/fold00.json/x", b"{}")), HARMFUL),
    "a member of an unknown type": (_tar(_add(f"{ROOT}/odd", b"", type=b"Z")), OPEN),
    "a name of 300 letters": (_tar(_add(f"{ROOT}/{'x' * 300}")), HARMFUL),
    "a path of 5,000 letters": (_tar(_add(f"{ROOT}/{'x/' * 2500}y")), OPEN),
    "a name of no UTF-8": (_tar(_add(f"{ROOT}/caf\udce9")), OPEN),
    "a name with a line end": (_tar(_add(f"{ROOT}/a\nb")), OPEN),
    "100,000 empty members": (_tar(_many), HARMFUL),
    "300 MB of zeros": (_tar(_zeros), HARMFUL),
    "no metadata": (_tar(_drop("task_metadata.json")), HARMFUL),
    "no vocabulary": (_tar(_drop("labelvocabulary.csv")), HARMFUL),
    "a clip that is missing": (_tar(_drop("fold010.wav")), HARMFUL),
    "two tasks": (_tar(_add("other/task_metadata.json", b"{}")), HARMFUL),
    "another task": (_tar(_rename("esc50-v2.0.0", "gtzan-v2.0.0")), OPEN),
    "nothing": (_tar(lambda members: members.clear()), HARMFUL),
    "setuid and owners": (_tar(_attributes), EQUAL),
    "modes of 0": (_tar(_unreadable), EQUAL),
    "a mac's ._ files": (_tar(_add("tasks/._esc50-v2.0.0-full")), OPEN),
    "without compression": (_tar(lambda members: None, "w"), EQUAL),
    "GNU format": (_tar(lambda members: None, format=tarfile.GNU_FORMAT), HARMLESS),
    "ustar format": (_tar(lambda members: None, format=tarfile.USTAR_FORMAT), HARMLESS),
    "bzip2 in a .tar.gz": (_tar(lambda members: None, "w:bz2"), EQUAL),
    "xz in a .tar.gz": (_tar(lambda members: None, "w:xz"), EQUAL),
}  # fmt: skip


def _body(make: Callable[[bytes], bytes]) -> Change:
    """Other bytes of the archive; the record fits them."""

    def change(work: Path, rng: random.Random) -> None:
        path = work / FOLDER / ARCHIVE
        path.write_bytes(make(path.read_bytes()))
        write_record(path.parent)

    return change


def _bad_header(data: bytes) -> bytes:
    """One member's header in the middle damaged: Python's tarfile takes that for the end."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = tar.getmembers()
    at = members[len(members) // 2].offset
    plain = bytearray(gzip.decompress(data))
    plain[at + 148 : at + 154] = b"777777"
    return gzip.compress(bytes(plain))


BODIES: dict[str, tuple[Change, Expectation]] = {
    "empty": (_body(lambda data: b""), HARMFUL),
    "a tar of no members": (_body(lambda data: gzip.compress(bytes(10240))), HARMFUL),
    "gzip of gzip": (_body(gzip.compress), HARMFUL),
    "zeros, compressed: 2 GB": (_body(lambda data: gzip.compress(bytes(1 << 26)) * 32), HARMFUL),
    "a zip": (_body(lambda data: b"PK\x03\x04" + data), HARMFUL),
    "bad bzip2": (_body(lambda data: bz2.compress(data)[:-9]), HARMFUL),
    "bad xz": (_body(lambda data: lzma.compress(data)[:-9]), HARMFUL),
    "gzip cut off": (_body(lambda data: data[: len(data) // 2]), HARMFUL),
    "gzip without its trailer": (_body(lambda data: data[:-8]), EQUAL),
    "gzip with a wrong checksum": (_body(lambda data: data[:-8] + bytes(8)), EQUAL),
    "a wrong header checksum": (_body(_bad_header), HARMFUL),
    "a tar cut inside a member": (_body(lambda data: gzip.compress(gzip.decompress(data)[:-30000])), HARMFUL),
}  # fmt: skip


def _damage(how: str) -> Change:
    def change(work: Path, rng: random.Random) -> None:
        path = work / FOLDER / ARCHIVE
        path.write_bytes(BYTES[how](path.read_bytes(), rng))
        write_record(path.parent)

    return change


def _entry(key: str) -> tuple[Any, ...]:
    return ("files", 0, key)


RECORD: list[tuple[tuple[Any, ...], Any, Expectation]] = [
    *((("files",), value, HARMFUL) for value in (..., None, [], {}, "x", [None], [[]], ["x"], 5)),
    *((_entry("key"), value, HARMFUL)
      for value in (..., None, 5, [], "", "..", f"../{ARCHIVE}", f"/tmp/{ARCHIVE}", f"a/{ARCHIVE}", f"..\\{ARCHIVE}", f"{ARCHIVE}\0",
                    "x" * 5000 + "-" + ARCHIVE)),
    *((_entry("size"), value, HARMFUL)
      for value in (..., None, -1, 0, 1, 1.5, "many", [], True, 10**15, 10**30, float("nan"), float("inf"))),
    *((_entry("checksum"), value, HARMFUL)
      for value in (..., None, "", 5, "md5:", "md5:" + "0" * 32, "md5:" + "z" * 32, "sha256:" + "0" * 64, "0" * 32, [])),
    *((("files", 0, "links", "self"), value, HARMFUL)
      for value in (..., None, "", 5, "/etc/passwd", "file:///etc/passwd", "ftp://127.0.0.1/x", "http://", "http://[::1", "http://127.0.0.1:99999/x",
                    "http://127.0.0.1:1/x", "javascript:alert(1)", "http://127.0.0.1:port/x", "{here}/nowhere.tar.gz", "{here}/a b\nc",
                    "http://\u2603.invalid/x")),
    *((("files", 0, "links"), value, HARMFUL) for value in (..., None, [], "x")),
    (("comment",), "hello", HARMLESS),
]  # fmt: skip


def _double(work: Path, rng: random.Random) -> None:
    path = work / FOLDER / "record.json"
    record = json.loads(path.read_text())
    record["files"] *= 2
    path.write_text(json.dumps(record))


def _large(work: Path, rng: random.Random) -> None:
    path = work / FOLDER / "record.json"
    record = json.loads(path.read_text())
    entry = record["files"][0]
    record["files"] += [{**entry, "key": f"other{number}.tar.gz"} for number in range(400_000)]
    path.write_text(json.dumps(record))


def _deep(work: Path, rng: random.Random) -> None:
    (work / FOLDER / "record.json").write_text('{"files": ' + "[" * 200_000 + "]" * 200_000 + "}")


def _partial(data: bytes, name: str = f"{ARCHIVE}.part") -> Change:
    """What an earlier, killed download left."""

    def change(work: Path, rng: random.Random) -> None:
        folder = work / "out/tasks/.downloads"
        folder.mkdir(parents=True)
        (folder / name).write_bytes(data)

    return change


def _half(work: Path, rng: random.Random) -> None:
    body = (work / FOLDER / ARCHIVE).read_bytes()
    _partial(body[: len(body) // 2])(work, rng)


def cases() -> list[Case]:
    """All of this kind."""
    found = _served()
    for table, what in ((TARS, "tar"), (BODIES, "archive")):
        found += [
            Case("archive", f"{what}: {name}", DOWNLOAD, expect, change) for name, (change, expect) in table.items()
        ]
    for how in (
        "truncate",
        "flip bits",
        "insert bytes",
        "delete bytes",
        "zero a range",
        "random bytes",
        "web page",
        "git lfs pointer",
        "trailing bytes",
    ):
        found += [Case("archive", f"archive: {how} {time}", DOWNLOAD, OPEN, _damage(how)) for time in range(2)]
    found += json_cases("archive", DOWNLOAD, f"{FOLDER}/record.json", RECORD)
    found += byte_cases("archive", DOWNLOAD, f"{FOLDER}/record.json")
    found += value_cases("archive", DOWNLOAD, f"{FOLDER}/record.json", 15)
    found += [
        Case("archive", "record: the archive twice", DOWNLOAD, OPEN, _double),
        Case("archive", "record: 400,000 files", DOWNLOAD, OPEN, _large),
        Case("archive", "record: 200,000 lists deep", DOWNLOAD, HARMFUL, _deep),
        Case("archive", "half of it is there", DOWNLOAD, HARMLESS, _half),
        Case("archive", "a wrong part is there", DOWNLOAD, HARMLESS, _partial(b"wrong" * 1000)),
        Case("archive", "a part that is too long is there", DOWNLOAD, HARMLESS, _partial(bytes(10_000_000))),
        Case("archive", "a wrong archive is there", DOWNLOAD, HARMLESS, _partial(b"wrong", ARCHIVE)),
    ]
    return found
