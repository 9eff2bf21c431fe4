"""Archives of tasks: unpacked whole and inside their folder, or refused in one line."""

from __future__ import annotations

import errno
import gzip
import io
import os
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from archive_server import QUICK, Server, archive, extra_file, offer

from benchmarks.tasks import download as fetching
from benchmarks.tasks.download import download_task, plan_downloads
from benchmarks.tasks.registry import find_task
from benchmarks.tasks.unpack import unpack_task
from hear_delores.errors import DeloresError
from hear_delores.files import WriteError


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[tarfile.TarFile], None]:
    def add(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, 4 if kind == tarfile.REGTYPE else 0
        tar.addfile(info, io.BytesIO(b"evil"))

    return add


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (member("../evil"), "leads out"),
        (member("hear-2021.0.6/../../evil"), "leads out"),
        (member("/tmp/evil"), "leads out"),
        (member("a\\..\\evil"), "leads out"),
        (member("C:evil"), "leads out"),
        (member("link", tarfile.SYMTYPE, "/etc"), "link or device"),
        (member("link", tarfile.SYMTYPE, ".."), "link or device"),
        (member("hard", tarfile.LNKTYPE, "../evil"), "link or device"),
        (member("pipe", tarfile.FIFOTYPE), "link or device"),
        (member("disk", tarfile.BLKTYPE), "link or device"),
        (member("hear-2021.0.6/tasks/esc50-v2.0.0-full/fold00.json"), "duplicate name"),
        (member("other/task_metadata.json"), "found 2 of them"),
    ],
    ids=map(str, range(12)),
)
def test_nothing_is_written_outside(tmp_path: Path, extra: Callable[[tarfile.TarFile], None], message: str) -> None:
    spec = find_task("esc50")
    path = tmp_path / "in" / "x.tar.gz"
    path.parent.mkdir()
    path.write_bytes(archive(tmp_path / "made", spec, extra))
    before = {os.path.join(where, name) for where, _, names in os.walk(tmp_path) for name in names}
    with pytest.raises(DeloresError, match=message):
        unpack_task(path, tmp_path / "out" / spec.folder_name, spec)
    assert {os.path.join(where, name) for where, _, names in os.walk(tmp_path) for name in names} == before
    assert not Path("/tmp/evil").exists()


def header(name: str, kind: bytes, size: int) -> bytes:
    """A header that states any size, a negative one among them, without the content."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, abs(size)
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = struct.pack(">Bxxxq", 0xFF if size < 0 else 0x80, size)
    if size < 0:
        block[124:136] = b"\xff" * 4 + struct.pack(">q", size)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def holes(tar: tarfile.TarFile) -> None:
    info = tarfile.TarInfo("holes.wav")
    info.pax_headers = {"GNU.sparse.size": str(1 << 40), "GNU.sparse.numblocks": "0", "GNU.sparse.map": ""}
    tar.addfile(info)


BOMBS: dict[str, tuple[Callable[[tarfile.TarFile], object], str]] = {
    "inflates a thousand times": (lambda tar: extra_file("zeros.wav", bytes(80 << 20))(tar), "unpacks to more than"),
    "inflates in many files": (
        lambda tar: [extra_file(f"{i}.wav", bytes(8 << 20))(tar) for i in range(10)], "unpacks to more than"
    ),
    "many members": (lambda tar: [tar.addfile(tarfile.TarInfo(str(i))) for i in range(11_000)], "files and folders"),
    "deep folders": (member("d/" * 3000 + "x"), "folders deep"),
    "a huge long name": (lambda tar: tar.fileobj.write(header("x", b"L", 1 << 40)), "header of"),
    "a huge extended header": (lambda tar: tar.fileobj.write(header("x", b"x", 1 << 40)), "header of"),
    "a huge file": (lambda tar: tar.fileobj.write(header("x", b"0", 1 << 50)), "unpacks to more than"),
    "a chain of long names": (
        lambda tar: [tar.fileobj.write(header("x", b"L", 2) + b"a".ljust(512, b"\0")) for _ in range(3000)],
        "damaged archive",
    ),
    "a size below 0": (lambda tar: tar.fileobj.write(header("x", b"0", -2048)), "damaged archive"),
    "a long name of a size below 0": (lambda tar: tar.fileobj.write(header("x", b"L", -2048)), "archive"),
    "a file with holes": (holes, "sparse file|damaged"),
    "a name too long": (member("n" * 300), "damaged archive"),
    "a duplicate": (lambda tar: [extra_file("x", b"1")(tar), extra_file("./x", b"2")(tar)], "duplicate name './x'"),
    "a folder that is a file": (lambda tar: [extra_file("x", b"1")(tar), extra_file("x/y", b"2")(tar)], "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_one_line_and_leaves_nothing(server: Server, tmp_path: Path, name: str) -> None:
    extra, message = BOMBS[name]
    spec = find_task("esc50")
    file = offer(server, body=archive(tmp_path / "made", spec, extra))  # type: ignore[arg-type]
    [plan] = plan_downloads([spec], tmp_path / "out", [file])
    with pytest.raises(DeloresError, match=message) as caught:
        download_task(plan, tmp_path / "out", QUICK)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [fetching.WORK_FOLDER]


def test_an_archive_cut_anywhere_is_refused(tmp_path: Path) -> None:
    spec, path = find_task("esc50"), tmp_path / "x.tar.gz"
    packed = archive(tmp_path / "made", spec)
    plain = gzip.decompress(packed)
    last = len(plain.rstrip(b"\0")) // 512 * 512 + 512  # where the blocks of zeros begin that are the end
    cuts = [packed[:-1], packed[:-9], packed[: len(packed) // 3], *(plain[:cut] for cut in range(512, last + 1, 2560))]
    for content in [*cuts, plain[:last], b"", packed[:5], packed[:-8] + bytes(8)]:
        path.write_bytes(content)
        with pytest.raises(DeloresError, match="damaged archive"):
            unpack_task(path, tmp_path / "out" / spec.folder_name, spec)
    path.write_bytes(plain)
    assert unpack_task(path, tmp_path / "out" / spec.folder_name, spec).n_clips == 5


def test_a_full_disk_is_no_fault_of_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, path = find_task("esc50"), tmp_path / "x.tar.gz"
    path.write_bytes(archive(tmp_path / "made", spec))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "x.wav")

    monkeypatch.setattr("benchmarks.tasks.unpack.shutil.copyfileobj", full)
    with pytest.raises(WriteError, match=r"cannot unpack .*x\.tar\.gz .*\(No space left on device\): make room there"):
        unpack_task(path, tmp_path / "out" / spec.folder_name, spec)


@pytest.mark.parametrize("top", ["esc50-v2.0.0-full", "./tasks/esc50-v2.0.0-full", "x"])
def test_the_task_is_found_wherever_it_lies_in_the_archive(tmp_path: Path, top: str) -> None:
    spec = find_task("esc50")
    path = tmp_path / "x.tar.gz"
    path.write_bytes(archive(tmp_path / "made", spec, top=top))
    task = unpack_task(path, tmp_path / "out" / spec.folder_name, spec)
    assert task.n_clips == 5
    assert soundfile.info(task.audio_file("fold03", "fold03.wav", 48000)).frames == 480
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == [spec.folder_name]


def test_other_content_is_refused(tmp_path: Path) -> None:
    spec, path = find_task("esc50"), tmp_path / "x.tar.gz"
    good = archive(tmp_path / "made", spec)
    for content, message in ((good[: len(good) // 2], "damaged archive"), (b"<html>", "damaged archive")):
        path.write_bytes(content)
        with pytest.raises(DeloresError, match=message):
            unpack_task(path, tmp_path / "out" / spec.folder_name, spec)
    path.write_bytes(good)
    with pytest.raises(DeloresError, match=r"holds the task esc50-v2.0.0-full, expected libricount"):
        unpack_task(path, tmp_path / "out" / "libricount-v1.0.0-hear2021-full", find_task("libricount"))
    assert list((tmp_path / "out").iterdir()) == []
