"""A disk that is full at any moment of any command: one line, nothing half-written, and the same again does it."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import benchmarks

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs limits of resources")
Delores = Callable[..., "object"]
LOGMEL = "log-mel"
SCORE = ("-p", "linear", "-p", "hear", "--grid", "faster", "--grid-points", "1")


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


def fills_up(delores: Delores, out: Path, rooms: list[int], *words: object) -> None:
    """The command fails in one line for every room, leaves nothing half-written, and does its work in the end."""
    for room in rooms:
        with full_disk(room):
            ran = delores(*words)
        lines = [line for line in ran.err.splitlines() if not line.startswith("failed: ")]  # of a run, one a job
        assert ran.code == 1, (room, ran.out, ran.err)
        assert len(lines) == 1, (room, ran.err)
        assert lines[0].startswith("error: "), (room, ran.err)
        assert "File too large" in ran.err or "is the disk full?" in ran.err, (room, ran.err)
        assert str(out) in ran.err, (room, ran.err)
        assert not [path for path in out.rglob(".*") if path.suffix in (".tmp", ".lock")]
    ran = delores(*words)
    assert ran.code == 0, ran.err
    assert not [path for path in out.rglob(".*") if path.suffix in (".tmp", ".lock", ".partial", ".old")]


@pytest.fixture
def tasks(delores: Delores, corpus: Path, tmp_path: Path) -> Path:
    assert delores("prepare", "tones", "--source", corpus / "labels.csv", "--out", tmp_path / "tasks").code == 0
    return tmp_path / "tasks"


def test_prepare(delores: Delores, corpus: Path, tmp_path: Path) -> None:
    words = ["prepare", "tones", "--source", corpus / "labels.csv", "--out", tmp_path / "tasks", "-q"]
    fills_up(delores, tmp_path / "tasks", [0, 20, 8000, 16043], *words)


def test_embed_score_and_read(delores: Delores, tasks: Path, tmp_path: Path) -> None:
    embeddings, results = tmp_path / "embeddings", tmp_path / "results"
    words = ["embed", LOGMEL, "--tasks-dir", tasks, "--embeddings-dir", embeddings, "-q"]
    fills_up(delores, embeddings, [0, 100, 400, 1000], *words)
    [folder] = embeddings.glob("*/tones-*")
    fills_up(delores, results, [0, 63, 300, 1500, 4000], "score", folder, *SCORE, "--results", results, "-q")
    for name, rooms in (("report", [0, 1000, 20_000]), ("tables", [0, 10])):
        out = tmp_path / name
        target = out / "report.html" if name == "report" else out
        fills_up(delores, out, rooms, name, results, "--out", target)


def test_run(delores: Delores, tasks: Path, tmp_path: Path) -> None:
    words = ["run", LOGMEL, "--tasks-dir", tasks, "--out", tmp_path / "out", *SCORE, "-q"]
    fills_up(delores, tmp_path / "out", [0, 400, 1500, 4000], *words)


def test_pack(delores: Delores, corpus: Path, tmp_path: Path) -> None:
    words = ["pack", "--data", corpus, "--out", tmp_path / "pack", "--quiet"]
    fills_up(delores, tmp_path / "pack", [0, 100, 5000, 300_000], *words)


def test_standard_output_on_a_full_disk_is_one_line(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    root = Path(benchmarks.__path__[0]).parent
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", "tasks", "--json"], stdout=full, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(root)}, cwd=tmp_path, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith(": No space left on device\n")


def test_out_that_is_a_device_or_a_link_is_written_through(delores: Delores, tasks: Path, tmp_path: Path) -> None:
    words = ["run", LOGMEL, "--tasks-dir", tasks, "--out", tmp_path / "out", "-p", "linear", "-q"]
    assert delores(*words).code == 0
    (tmp_path / "pages").mkdir()
    (tmp_path / "page.html").symlink_to("pages/one.html")
    for out in (os.devnull, tmp_path / "page.html"):
        assert delores("report", tmp_path / "out" / "results", "--out", out).code == 0
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    assert (tmp_path / "page.html").is_symlink()
    assert (tmp_path / "pages" / "one.html").read_text().startswith("<!doctype html>")
    for command in (["prepare", "demo"], ["pack", "--data", tasks], ["pretrain", "--data", tasks], words[:4]):
        ran = delores(*command, "--out", os.devnull)
        lines = [line for line in ran.err.splitlines() if not line.startswith("failed: ")]
        assert (ran.code, len(lines)) == (1, 1), ran.err
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
