"""Hashes of files: right, remembered while a file stays as it is, and never in the way."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from hear_delores.files import file_hash
from pretrain.data import content
from pretrain.data.content import Stopped, content_hashes

OLD = time.time() - 3600


def write(path: Path, data: bytes, when: float = OLD) -> Path:
    path.write_bytes(data)
    os.utime(path, (when, when))
    return path


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A memory of its own, that takes files which changed just now for settled."""
    monkeypatch.setattr(content, "SETTLED_NS", -(10**12))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "hear-delores" / "content.sqlite3"


@pytest.fixture
def read_again(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read."""
    names: list[str] = []
    hashed = content._hash
    monkeypatch.setattr(content, "_hash", lambda path, stop: names.append(path.name) or hashed(path, stop))
    return names


def test_it_is_the_sha256_of_each_file_in_order(tmp_path: Path, settled: Path) -> None:
    paths = [write(tmp_path / f"{i}", os.urandom(i * 700_001)) for i in range(4)]
    calls: list[tuple[int, int]] = []
    for _ in range(2):
        found = content_hashes(paths, lambda *call: calls.append(call))
        assert [digest and digest.hex() for digest in found] == [file_hash(path) for path in paths]
    assert calls == [(i, 4) for i in range(1, 5)] * 2


def test_a_second_look_reads_nothing_until_a_file_changes(tmp_path: Path, settled: Path, read_again: list[str]) -> None:
    a, b = write(tmp_path / "a", b"one"), write(tmp_path / "b", b"two")
    content_hashes([a, b])
    assert read_again == ["a", "b"]
    content_hashes([b, a])
    assert read_again == ["a", "b"]
    time.sleep(0.02)  # the change time of a file system goes by ticks
    write(a, b"eno")  # of the same length, and with the same modification time
    assert content_hashes([a, b])[0] == hashlib.sha256(b"eno").digest()
    assert read_again == ["a", "b", "a"]
    (tmp_path / "c").write_bytes(b"owt")
    os.utime(tmp_path / "c", (OLD, OLD))
    (tmp_path / "c").replace(b)
    assert content_hashes([b])[0] == hashlib.sha256(b"owt").digest()


def test_a_file_that_has_just_changed_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_again: list[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = write(tmp_path / "a", b"one")  # its modification is an hour old, but not the change of its times
    content_hashes([path])
    content_hashes([path])
    assert read_again == ["a", "a"]


def test_what_is_no_readable_file_has_no_hash(tmp_path: Path, settled: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nowhere")
    paths = [tmp_path, tmp_path / "fifo", tmp_path / "dangling", tmp_path / "absent", Path("a\0b")]
    assert content_hashes(paths) == [None] * 5


@pytest.mark.parametrize("how", ["damaged", "a folder", "read-only", "another table", "no home", "below a file"])
def test_without_a_memory_the_answers_are_the_same(
    tmp_path: Path, settled: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a", b"one")
    settled.parent.mkdir(parents=True)
    if how == "damaged":
        settled.write_bytes(b"this is no database" * 99)
    elif how == "a folder":
        settled.mkdir()
    elif how == "read-only":
        content_hashes([path])
        monkeypatch.setattr(sqlite3, "connect", _read_only(sqlite3.connect))
    elif how == "another table":
        with sqlite3.connect(settled) as base:
            base.execute("CREATE TABLE files (x)")
    elif how == "no home":
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", str(path))
    for _ in range(2):
        assert content_hashes([path]) == [hashlib.sha256(b"one").digest()]
    write(path, b"two")
    assert content_hashes([path]) == [hashlib.sha256(b"two").digest()]


def _read_only(connect):  # type: ignore[no-untyped-def]
    return lambda place, **options: connect(f"file:{place}?mode=ro", uri=True, **options)


def hash_all(folder: Path) -> list[bytes | None]:
    return content_hashes(sorted(folder.iterdir()))


def test_several_processes_share_one_memory(tmp_path: Path, settled: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for i in range(50):
        write(folder / f"{i:02d}", bytes([i]) * 1000)
    expected = [hashlib.sha256(bytes([i]) * 1000).digest() for i in range(50)]
    with ProcessPoolExecutor(3) as pool:
        assert list(pool.map(hash_all, [folder] * 6)) == [expected] * 6
    with sqlite3.connect(settled) as base:
        assert base.execute("SELECT count(*) FROM files").fetchone() in ((50,), (0,))  # 0: spawned, nothing is settled


def test_it_stops_when_it_is_told_to(tmp_path: Path) -> None:
    path, stop = write(tmp_path / "a", bytes(1 << 22)), threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        content_hashes([path], stop=stop)
