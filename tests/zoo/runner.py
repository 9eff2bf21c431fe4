"""Runs cases: each a process of its own, forked from one that has loaded everything, watched for time and memory.

A fresh interpreter with torch takes seconds to start, a fork takes milliseconds. The parent runs no thread and no
tensor operation; a child enters the command line as the installed script does.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.zoo.cases import Case
from tests.zoo.snapshot import Snapshot, take_snapshot

__all__ = ["MEMORY_BYTES", "End", "Runner", "be_the_command", "load_everything"]

MEMORY_BYTES = 1 << 30
"""Resident memory that a case may have on top of what the parent has."""
PRECIOUS = ("precious", "place/precious", "place/out/precious", "place/in/precious")
"""Folders beside and above the working folder that no case may touch, whatever its inputs call by name."""


@dataclass
class End:
    """How a case ended. ``code`` is negative for a signal; ``stopped`` is "time" or "memory" for a limit."""

    case: Case
    folder: Path
    code: int
    stopped: str
    seconds: float
    peak_bytes: int
    out: str
    err: str
    before: Snapshot
    after: Snapshot


def load_everything() -> None:
    """Imports what any command would, so that no child has to."""
    import importlib
    import pkgutil

    import benchmarks
    import hear_delores
    import pretrain

    for package in (hear_delores, pretrain, benchmarks):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(("__main__", "pytest_plugin")) and ".perf" not in module.name:
                with contextlib.suppress(ImportError):
                    importlib.import_module(module.name)
    for name in (
        "matplotlib.pyplot",
        "pandas",
        "scipy.stats",
        "torch._dynamo",
        "sklearn.linear_model",
        "rich.progress",
    ):
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    sys.dont_write_bytecode = True  # a module that is changed within a second would be taken from its old bytecode
    if threading.active_count() > 1 or len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("the zoo forks: expected one thread in the parent, got more")


class Runner:
    """Runs cases in folders of their own under ``root``, ``workers`` side by side.

    Args:
        root: a new folder.
        inputs: the folder of untouched inputs.
        url: of the archive server, which serves ``root``.
        seed: of every change.
        keep: keep the folder of every case.
    """

    def __init__(self, root: Path, inputs: Path, url: str, seed: int, *, workers: int = 2, keep: bool = False) -> None:
        self.root, self.inputs, self.url, self.seed = root, inputs, url, seed
        self.workers, self.keep = workers, keep
        self._own_bytes = _resident_bytes(os.getpid())
        self._started = 0

    def run(self, cases: Iterable[Case]) -> Iterator[End]:
        """The ends of the cases, as they end."""
        running: dict[int, _Child] = {}
        waiting = iter(cases)
        exhausted = False
        while running or not exhausted:
            while not exhausted and len(running) < self.workers:
                try:
                    case = next(waiting)
                except StopIteration:
                    exhausted = True
                    break
                child = self._start(self._started, case)
                self._started += 1
                running[child.pid] = child
            time.sleep(0.005)
            for pid, child in list(running.items()):
                end = self._look(child)
                if end is not None:
                    del running[pid]
                    yield end
                    if not self.keep:
                        shutil.rmtree(child.folder, ignore_errors=True)

    def _start(self, number: int, case: Case) -> _Child:
        folder = self.root / f"{number:04d}"
        work = folder / "place"
        (work / "in").mkdir(parents=True)
        (work / "out").mkdir()
        for name in PRECIOUS:
            (folder / name).mkdir()
            (folder / name / "keep.txt").write_text("not ours\n")
        for name in case.route.inputs:
            name, _, place = name.partition(":")
            source, target = self.inputs / name, work / (place or f"in/{name}")
            if source.is_dir():
                shutil.copytree(source, target, symlinks=True)
            else:
                shutil.copy(source, target)
        if case.first is not None:
            self._first(case.first, folder)
        rng = random.Random(zlib.crc32(f"{self.seed} {case.kind} {case.agree or case.name}".encode()))
        if case.change is not None:
            case = replace(case, expect=case.change(work, rng) or case.expect)
        before = take_snapshot(folder)
        words = [word.replace("{url}", f"{self.url}/{number:04d}/place/in") for word in case.command]
        pid = os.fork()
        if pid == 0:
            be_the_command(words, folder)
        return _Child(case, pid, folder, before, time.monotonic())

    def _first(self, words: Sequence[str], folder: Path) -> None:
        """Runs a command to its end, which must be right."""
        pid = os.fork()
        if pid == 0:
            be_the_command(words, folder)
        _, status = os.waitpid(pid, 0)
        if status:
            raise RuntimeError(f"{words[0]}, run first, failed: {(folder / 'stderr').read_text('utf-8', 'replace')}")
        for name in ("stdout", "stderr"):
            (folder / name).unlink()

    def _look(self, child: _Child) -> End | None:
        """The end of a child that has ended, or is stopped here; None while it runs."""
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid == 0:
            seconds, resident = time.monotonic() - child.began, _resident_bytes(child.pid)
            if resident > self._own_bytes + MEMORY_BYTES:
                child.stopped = "memory"
            elif seconds > child.case.route.seconds:
                child.stopped = "time"
            if not child.stopped:
                return None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            _, status, usage = os.wait4(child.pid, 0)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)  # what it may have started
        peak = usage.ru_maxrss * 1024
        if not child.stopped and peak > self._own_bytes + MEMORY_BYTES:
            child.stopped = "memory"
        texts = [(child.folder / name).read_text("utf-8", "replace") for name in ("stdout", "stderr")]
        for name in ("stdout", "stderr"):
            (child.folder / name).unlink()
        after = take_snapshot(child.folder)
        seconds = time.monotonic() - child.began
        code = os.waitstatus_to_exitcode(status)
        return End(child.case, child.folder, code, child.stopped, seconds, peak, *texts, child.before, after)


@dataclass
class _Child:
    case: Case
    pid: int
    folder: Path
    before: Snapshot
    began: float
    stopped: str = ""


def be_the_command(words: Sequence[str], folder: Path, hook: Callable[[], None] | None = None) -> None:
    """The child: the command line, entered as its script does, with its streams in files. Does not return.

    ``hook`` is called right before.
    """
    code = 70
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(folder / name, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644), number)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
        resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30))
        os.chdir(folder / "place")
        sys.argv = ["delores", *words]
        from benchmarks.cli import main

        if hook is not None:
            hook()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
            if not isinstance(stop.code, (int, type(None))):
                print(stop.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
            code = 1
        threading._shutdown()  # type: ignore[attr-defined]
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _resident_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as stream:
            return int(stream.read().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0
