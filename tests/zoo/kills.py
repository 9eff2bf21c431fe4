"""Commands that are killed or signalled somewhere on their way, and run again: they end as if nothing had happened.

    python -m tests.zoo.kills [--seed N] [--only pretrain] [--keep DIR]

Half of the kills strike after a random share of the time that the command takes, half before a random one of its
changes to the file system (the n-th file opened for writing, renamed, removed), which is where halves could be left.
Some of the signals strike a process of its own interpreter, in the middle of its imports.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import soundfile

from tests.zoo.inputs import make_inputs, pcm, tone
from tests.zoo.runner import be_the_command, load_everything
from tests.zoo.same import differences
from tests.zoo.snapshot import changes, take_snapshot

__all__ = ["KILLS", "SIGNALS", "Trial", "Work", "trials"]

KILLS, SIGNALS = 50, 30
LIMIT_S = 120.0  # for a whole run
ATTEMPTS = 5
ENDS_S = 30.0  # within which a signalled command has ended
SENT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TINY = ("--preset", "in/tiny.yaml")
MODEL = "tiny=hear_delores@in/model.safetensors"

COMMANDS: dict[str, tuple[str, ...]] = {
    "pretrain": (
        "pretrain", "--data", "in/corpus", "--out", "out/run", *TINY, "--no-picture", "--quiet", "--resume", "steps=8", "save_every=2",
    ),
    "pack": ("pack", "--data", "in/long", "--out", "out/pack", *TINY, "--shard-mb", "1", "--quiet"),
    "prepare": ("prepare", "toy", "--source", "in/corpus/labels.csv", "--out", "out/tasks", "--quiet"),
    "embed": (
        "embed", MODEL, "--tasks-dir", "in/task", "--embeddings-dir", "out/embeddings", "--batch-seconds", "1", "--device", "cpu",
        "--quiet",
    ),
    "score": ("score", "in/folds/kfold-1-full", "-p", "knn", "-p", "linear", "--results", "out/results", "--quiet"),
    "run": ("run", MODEL, "--tasks-dir", "in/task", "-t", "toy", "-p", "knn", "--out", "out/runs", "--device", "cpu", "--quiet"),
}  # fmt: skip
"""What is killed. Each is run again by the same words."""
_OPENED_TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "shutil.rmtree")


@dataclass(frozen=True)
class Trial:
    """One interruption: of which command, by what, where, and what was wrong with the end ("" for nothing)."""

    command: str
    signal: str
    where: str
    fault: str


class Work:
    """A folder in which commands are run, each trial in a copy of the same inputs.

    Args:
        root: a new folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        load_everything()
        make_inputs(root / "inputs")
        long = root / "inputs" / "long"
        long.mkdir()
        for number in range(8):
            soundfile.write(long / f"c{number}.wav", pcm(tone(number, 8.0)), 16000, subtype="PCM_16")
        self.whole: dict[str, Path] = {}
        self.seconds: dict[str, float] = {}
        self.changes: dict[str, int] = {}

    def measure(self, name: str) -> str:
        """Runs a command to its end, twice: its time and number of changes are known then. "" or a fault."""
        folder = self.fresh(f"whole-{name}")
        self.seconds[name], code, err = self._run(name, folder)
        counted = self.fresh(f"counted-{name}")
        log = counted / "changes"
        _, again, _ = self._run(name, counted, hook=lambda: _at_change(None, log))
        self.changes[name] = log.stat().st_size
        log.unlink()
        self.whole[name] = folder
        if code or again:
            return f"exit code {code or again}: {err}"
        return differences(folder, counted)

    def fresh(self, name: str) -> Path:
        """A new folder with the inputs."""
        folder = self.root / name
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "place" / "out").mkdir(parents=True)
        (folder / "place" / "in").symlink_to(self.root / "inputs")
        return folder

    def _start(self, name: str, folder: Path, hook: object = None) -> int:
        pid = os.fork()
        if pid == 0:
            be_the_command(COMMANDS[name], folder, hook)  # type: ignore[arg-type]
        return pid

    def _run(self, name: str, folder: Path, hook: object = None) -> tuple[float, int, str]:
        began = time.monotonic()
        code = _wait(self._start(name, folder, hook), LIMIT_S)
        err = (folder / "stderr").read_text("utf-8", "replace")
        for stream in ("stdout", "stderr"):
            (folder / stream).unlink()
        return time.monotonic() - began, code, err

    def kill(self, name: str, number: int, rng: random.Random) -> Trial:
        """SIGKILL at a random time, or before a random change."""
        share, change = rng.random(), rng.randrange(self.changes[name])
        for _ in range(ATTEMPTS):
            folder = self.fresh(f"kill-{number}")
            if number // len(COMMANDS) % 2:
                where = f"before change {change + 1} of {self.changes[name]}"
                code = _wait(self._start(name, folder, functools.partial(_at_change, change, None)), LIMIT_S)
            else:
                where = f"after {share:.0%} of {self.seconds[name]:.1f} s"
                pid = self._start(name, folder)
                time.sleep(share * self.seconds[name])
                _send(pid, signal.SIGKILL)
                code = _wait(pid, ENDS_S)
            if code != 0:
                break
            share, change = share / 2, change // 2  # it had ended before: a machine is not always equally fast
        return Trial(name, "SIGKILL", where, self._again(name, folder))

    def signal(self, name: str, number: int, rng: random.Random) -> Trial:
        """SIGINT, SIGTERM or SIGHUP at a random time; every third one in a fresh interpreter, imports included."""
        sent = SENT[(number + number // len(COMMANDS)) % len(SENT)]
        share = rng.random()
        for _ in range(ATTEMPTS):
            folder = self.fresh(f"signal-{number}")
            if number // len(COMMANDS) % 3 == 2:
                wait = share**2 * (self.seconds[name] + 3.0)  # imports take seconds, and most of these are early
                where = f"{wait:.2f} s after its interpreter began"
                code, err = _in_interpreter(COMMANDS[name], folder, sent, wait)
            else:
                where = f"after {share:.0%} of {self.seconds[name]:.1f} s"
                pid = self._start(name, folder)
                time.sleep(share * self.seconds[name])
                _send(pid, sent)
                code = _wait(pid, ENDS_S)
                err = (folder / "stderr").read_text("utf-8", "replace")
            if code != 0:
                break
            share /= 2
        fault = _of_signal(sent, code, err)
        return Trial(name, sent.name, where, fault or self._again(name, folder))

    def _again(self, name: str, folder: Path) -> str:
        """Runs the command once more; what is then wrong."""
        for stream in ("stdout", "stderr"):
            (folder / stream).unlink(missing_ok=True)
        _, code, err = self._run(name, folder)
        if code:
            return f"run again: exit code {code}: {err.strip()[-300:]}"
        return differences(self.whole[name], folder)


def _at_change(number: int | None, log: Path | None) -> None:
    """Kills this process before its ``number``-th change to the file system, or writes a byte into ``log`` for each."""
    counter = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND) if log is not None else -1
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event == "open":
            flags = arguments[2]
            if (
                not isinstance(flags, int)
                or not flags & _OPENED_TO_WRITE
                or str(arguments[0]).startswith(("/dev/", "/proc/"))
            ):
                return
        elif event not in _CHANGES:
            return
        if counter >= 0:
            os.write(counter, b".")
        elif seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1

    sys.addaudithook(hook)


def _in_interpreter(words: tuple[str, ...], folder: Path, sent: signal.Signals, wait: float) -> tuple[int, str]:
    """The command as its script runs it, signalled some time after the interpreter itself has started."""
    read, write = os.pipe()
    script = f"import os, sys; os.write({write}, b'.'); from hear_delores.siblings import delores; delores()"
    root = str(Path(__file__).resolve().parents[2])
    with open(folder / "stderr", "wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-c", script, *words], cwd=folder / "place", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err,
            pass_fds=(write,), env={**os.environ, "PYTHONPATH": root}, start_new_session=True,
        )  # fmt: skip
    os.close(write)
    os.read(read, 1)
    os.close(read)
    time.sleep(wait)
    _send(process.pid, sent)
    try:
        code = process.wait(ENDS_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        code = 1000
    return code, (folder / "stderr").read_text("utf-8", "replace")


def _of_signal(sent: signal.Signals, code: int, err: str) -> str:
    lines = [line for line in err.splitlines() if line.strip()]
    if code == 1000:
        return f"did not end within {ENDS_S:.0f} s of {sent.name}"
    if code not in (0, 128 + sent, -sent):
        return f"exit code {code} after {sent.name}: {' | '.join(lines)[-300:]}"
    if "Traceback" in err or len(lines) > 1:
        return f"{len(lines)} lines after {sent.name}: {' | '.join(lines)[-300:]}"
    return ""


def _send(pid: int, sent: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sent)


def _wait(pid: int, limit: float) -> int:
    """The exit code; 1000 for a process that had to be killed."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return 1000


def trials(root: Path, seed: int = 0, only: str = "") -> Iterator[Trial]:
    """All kills and signals, the commands in turn. The inputs are checked at the end."""
    work, rng = Work(root), random.Random(seed)
    names = [name for name in COMMANDS if only in ("", name)]
    before = take_snapshot(root / "inputs")
    for name in names:
        yield Trial(name, "none", "measured", work.measure(name))
    for number in range(KILLS if not only else KILLS // len(COMMANDS)):
        yield work.kill(names[number % len(names)], number, rng)
    for number in range(SIGNALS if not only else SIGNALS // len(COMMANDS)):
        yield work.signal(names[number % len(names)], number, rng)
    changed = [name for part in changes(before, take_snapshot(root / "inputs")) for name in part]
    yield Trial("all", "none", "inputs", f"{changed[0]} is not as it was" if changed else "")


def main() -> int:
    """Prints every trial; the exit code is 1 where one failed."""
    import argparse
    import tempfile

    parser = argparse.ArgumentParser(prog="python -m tests.zoo.kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", choices=["", *COMMANDS])
    parser.add_argument("--keep")
    options = parser.parse_args()
    began, done, failed = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory(prefix="kills-") as temporary:
        for trial in trials(Path(options.keep or temporary).resolve(), options.seed, options.only):
            done += 1
            failed += bool(trial.fault)
            print(
                f"{'FAILED' if trial.fault else 'ok':6} {trial.command:9} {trial.signal:8} {trial.where}  {trial.fault}",
                flush=True,
            )
    print(f"{done} trials in {time.monotonic() - began:.0f} s, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
