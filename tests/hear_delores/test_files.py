"""Names that are no paths; files and folders that are whole or absent, whatever they lead to and whatever fails."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hear_delores.errors import DeloresError
from hear_delores.files import (
    WriteError,
    atomic_folder,
    atomic_path,
    check_name,
    one_line,
    remove_leftovers,
    settle_folder,
    writing,
)
from hear_delores.temporary import beside

UNIX = pytest.mark.skipif(os.name == "nt", reason="pipes, devices, limits and flock")


@contextlib.contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file may grow beyond ``room`` bytes: write(2) fails as on a full disk, with EFBIG for ENOSPC."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestNames:
    @pytest.mark.parametrize("name", ["esc50", "v2.0.0", "5h", "clip 1.wav", "ж.wav", "a..b", "-x", "a" * 255])
    def test_plain_names_are_taken(self, name: str) -> None:
        assert check_name(name, "x") == name

    @pytest.mark.parametrize(
        ("name", "fault"),
        [
            ("../../precious", "it holds '/'"),
            ("/etc", "it holds '/'"),
            ("a/b", "it holds '/'"),
            ("..\\x", "it holds '\\\\'"),
            ("", "it is empty"),
            (".", "consists of dots"),
            ("..", "consists of dots"),
            (".. ", "consists of dots and blanks"),
            (".hidden", "it begins with a dot"),
            ("a\0b", "it holds a control character"),
            ("a\nb", "it holds a control character"),
            ("a\x7fb", "it holds a control character"),
            ("ж" * 128, "it has 256 bytes"),
            ("a\udc80", "it is no text in UTF-8"),
            (7, "it is of the type int"),
            (None, "it is of the type NoneType"),
        ],
    )
    def test_paths_and_what_no_system_takes_are_refused(self, name: Any, fault: str) -> None:
        with pytest.raises(DeloresError) as error:
            check_name(name, "task_name")
        assert str(error.value).startswith("task_name: expected a plain name, got ")
        assert fault in str(error.value)

    def test_a_clip_may_be_hidden(self) -> None:
        assert check_name(".a.wav", "a clip", hidden=True) == ".a.wav"
        with pytest.raises(DeloresError):
            check_name("..", "a clip", hidden=True)


def write(path: Path, text: str = "new") -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text)


@UNIX
class TestWhatIsNoPlainFile:
    def test_a_link_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "there").mkdir()
        link, target = tmp_path / "link", tmp_path / "there" / "report.html"
        target.write_text("old")
        link.symlink_to("there/report.html")
        write(link)
        assert link.is_symlink()
        assert (target.read_text(), target.is_symlink()) == ("new", False)
        assert sorted(os.listdir(tmp_path)) == ["link", "there"]

    def test_a_link_to_nothing_makes_what_it_leads_to(self, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to(tmp_path / "target")
        write(link)
        assert link.is_symlink()
        assert (tmp_path / "target").read_text() == "new"

    def test_a_link_in_a_circle_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a").symlink_to("b")
        (tmp_path / "b").symlink_to("a")
        with pytest.raises(DeloresError, match=r"leads back to itself|Too many levels"):
            write(tmp_path / "a")
        assert (tmp_path / "a").is_symlink()

    def test_a_device_stays_a_device(self) -> None:
        write(Path(os.devnull))
        assert stat.S_ISCHR(os.stat(os.devnull).st_mode)

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
    def test_a_device_that_is_full_is_one_line(self) -> None:
        with pytest.raises(WriteError, match=r"cannot write /dev/full \(No space left on device\): make room there"):
            write(Path("/dev/full"))
        assert stat.S_ISCHR(os.stat("/dev/full").st_mode)

    def test_a_pipe_is_written_to(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        write(pipe, "content")
        assert os.read(reader, 100) == b"content"
        os.close(reader)
        assert stat.S_ISFIFO(os.stat(pipe).st_mode)

    def test_a_pipe_that_nobody_reads_is_refused_and_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(DeloresError, match="nobody reads this pipe"):
            write(tmp_path / "pipe")
        assert os.listdir(tmp_path) == ["pipe"]

    def test_standard_output_is_written_to(self, capfd: pytest.CaptureFixture[str]) -> None:
        write(Path("/dev/stdout"), "page")
        assert capfd.readouterr().out == "page"

    def test_a_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DeloresError, match="expected a file to write, but it is a folder"):
            write(tmp_path)


@UNIX
class TestFiles:
    @pytest.mark.parametrize("mask", [0o022, 0o077])
    def test_rights_are_those_of_a_new_file_and_the_mask_is_not_touched(
        self, mask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = os.umask(mask)
        try:
            with monkeypatch.context() as patch:
                patch.delattr(os, "umask")
                write(tmp_path / "x")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~mask

    def test_a_name_of_the_greatest_length(self, tmp_path: Path) -> None:
        write(tmp_path / ("x" * 255))
        assert os.listdir(tmp_path) == ["x" * 255]

    def test_what_a_dead_writer_left_is_removed_by_the_next(self, tmp_path: Path) -> None:
        target = tmp_path / "table.md"
        (tmp_path / ".table.md.0123abcd.tmp").write_text("half")
        (tmp_path / ".tables.md.0123abcd.tmp").write_text("of another file")
        write(target)
        assert sorted(os.listdir(tmp_path)) == [".tables.md.0123abcd.tmp", "table.md"]

    def test_what_a_living_writer_is_at_stays(self, tmp_path: Path) -> None:
        target, began, ended = tmp_path / "x", threading.Event(), threading.Event()

        def slow() -> None:
            with atomic_path(target) as temporary:
                temporary.write_text("slow")
                began.set()
                ended.wait(60)

        other = threading.Thread(target=slow)
        other.start()
        assert began.wait(60)
        write(target, "quick")
        remove_leftovers(tmp_path)
        assert len(os.listdir(tmp_path)) == 2
        ended.set()
        other.join()
        assert target.read_text() == "slow"
        assert os.listdir(tmp_path) == ["x"]

    def test_a_killed_writer_leaves_a_file_that_is_gone_after_the_next(self, tmp_path: Path) -> None:
        other = multiprocessing.get_context("fork").Process(target=_dies, args=(tmp_path / "x",))
        other.start()
        other.join()
        assert [name.endswith(".tmp") for name in os.listdir(tmp_path)] == [True]
        write(tmp_path / "x")
        assert os.listdir(tmp_path) == ["x"]


def _dies(path: Path) -> None:
    with atomic_path(path):
        os._exit(9)


def _npz(path: Path) -> None:
    with open(path, "wb") as stream:
        np.savez_compressed(stream, a=np.random.default_rng(0).random(100_000))


def _picture(path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    figure.add_subplot().imshow(np.random.default_rng(0).random((400, 400)))
    figure.savefig(path, format="png")


WRITERS: dict[str, Callable[[Path], Any]] = {
    "text": lambda path: path.write_text("x" * 100_000),
    "torch": lambda path: torch.save({"a": torch.rand(100_000)}, path),
    "safetensors": lambda path: save_file({"a": torch.rand(100_000)}, path),
    "npz": _npz,
    "picture": _picture,
}


@UNIX
@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_is_one_error_in_whatever_way_a_library_says_it(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_text("old")
    with pytest.raises(WriteError) as error, full_disk(10_000), atomic_path(target, "the thing ") as temporary:
        WRITERS[kind](temporary)
    said = str(error.value)
    assert said.startswith(f"cannot write the thing {target} (")
    assert "(File too large)" in said or "(is the disk full?)" in said
    assert said.endswith("): make room there, and run the same command again")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_errors_that_have_nothing_to_do_with_the_target_are_left_alone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), writing(tmp_path / "x"):
        (tmp_path / "other").read_text()
    with pytest.raises(ValueError, match="a defect"), writing(tmp_path / "x"):
        raise ValueError("a defect")


def test_one_line_of_what_the_user_can_do_something_about() -> None:
    assert one_line(DeloresError("a\nb")) == "a b"
    assert one_line(OSError(errno.EACCES, "Permission denied", "x")) == "x: Permission denied"
    assert one_line(OSError(errno.ENOSPC, "No space left on device")) == "cannot read or write: No space left on device"
    assert one_line(RuntimeError("PytorchStreamWriter failed writing file data/5: file write failed")) is not None
    assert one_line(ValueError("a defect")) is None


class TestFolders:
    def test_it_is_whole_or_absent(self, tmp_path: Path) -> None:
        target = tmp_path / "out" / "task"
        with pytest.raises(ValueError, match="half"), atomic_folder(target) as partial:  # noqa: PT012
            (partial / "a").write_text("a")
            raise ValueError("half")
        assert os.listdir(target.parent) == []
        with atomic_folder(target) as partial:
            (partial / "a").write_text("a")
        assert os.listdir(target.parent) == ["task"]

    @pytest.mark.parametrize("marks", [(), ("mark",)])
    def test_a_folder_without_the_mark_is_never_replaced(self, marks: tuple[str, ...], tmp_path: Path) -> None:
        (tmp_path / "mine").write_text("precious")
        with pytest.raises(DeloresError, match="is not replaced; move it away"), atomic_folder(tmp_path, marks):
            pass
        assert (tmp_path / "mine").read_text() == "precious"

    def test_what_has_the_mark_is_replaced_and_a_link_to_it_stays(self, tmp_path: Path) -> None:
        there, link = tmp_path / "there", tmp_path / "link"
        there.mkdir()
        (there / "mark").touch()
        link.symlink_to("there")
        with atomic_folder(link, ["mark"]) as partial:
            (partial / "new").touch()
        assert link.is_symlink()
        assert os.listdir(there) == ["new"]
        assert sorted(os.listdir(tmp_path)) == ["link", "there"]

    @pytest.mark.parametrize("replaced", [False, True])
    def test_a_replacement_that_was_killed_is_settled(self, replaced: bool, tmp_path: Path) -> None:
        target = tmp_path / "task"
        old = beside(target, ".old")
        old.mkdir()
        (old / "old").touch()
        if replaced:
            target.mkdir()
            (target / "new").touch()
        assert settle_folder(target) == Path(os.path.realpath(target))
        assert os.listdir(target) == ["new" if replaced else "old"]
        assert os.listdir(tmp_path) == ["task"]

    @pytest.mark.skipif(sys.platform == "win32", reason="limits of resources")
    def test_a_full_disk_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(WriteError) as error, full_disk(100), atomic_folder(tmp_path / "task") as partial:
            (partial / "clip.wav").write_bytes(bytes(1000))
        assert str(error.value).startswith(f"cannot write {tmp_path / 'task'} (File too large): make room there")
        assert os.listdir(tmp_path) == []
