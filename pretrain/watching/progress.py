"""What a run tells while it runs: the progress bar for people, ``log.jsonl`` for everything else."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from hear_delores.documents import to_json
from hear_delores.files import atomic_path, writing
from pretrain.watching.picture import read_log

__all__ = ["Display", "Means", "RunLog"]

#: What to do when the disk is full, behind the error.
GO_ON = "continue with --resume"


class Display(contextlib.AbstractContextManager["Display"]):
    """A progress bar on standard error with loss, clips per second, notes and time left; silent unless ``shown``."""

    def __init__(self, shown: bool) -> None:
        self._bar = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not shown,
        )
        self._tasks: dict[str, TaskID] = {}
        self._rate: float | None = None
        self._last = time.monotonic()

    def __exit__(self, *_: object) -> None:
        if self._tasks:
            self._bar.stop()

    def phase(self, what: str, done: int, total: int, note: str = "") -> None:
        """Shows that ``done`` of ``total`` of a phase are through; the first call adds its bar."""
        if what not in self._tasks:
            self._bar.start()  # not before there is a bar: an early error is to stand alone
            self._tasks[what] = self._bar.add_task(what, total=total, note=note)
        self._bar.update(self._tasks[what], completed=done, note=note)

    def say(self, text: str) -> None:
        """Prints a line above the bars."""
        if not self._bar.disable:
            self._bar.console.print(text)

    def tell(self, text: str) -> None:
        """Ends the bars so far and prints to standard output, which a live bar would take for itself."""
        self._bar.stop()
        for task in self._tasks.values():
            self._bar.remove_task(task)
        self._tasks = {}
        print(text, flush=True)

    def resume_clock(self) -> None:
        """Time since the last step does not count as training."""
        self._last = time.monotonic()

    def step(self, done: int, total: int, loss: float, clips: int, note: str = "") -> None:
        """Shows a finished training step of ``clips`` clips, and ``note`` behind its figures."""
        now = time.monotonic()
        rate = clips / max(now - self._last, 1e-9)
        self._last = now
        self._rate = rate if self._rate is None else 0.9 * self._rate + 0.1 * rate
        self.phase("training", done, total, f"loss {loss:.4g}  {self._rate:.0f} clips/s{note}")


class Means:
    """Running means of named numbers since the last ``take``; its state goes into the training state."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.count = 0

    def add(self, values: dict[str, float]) -> None:
        self.count += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def take(self) -> dict[str, float]:
        """The means, to six significant digits, and a fresh start."""
        means = {name: float(f"{value / self.count:.6g}") for name, value in self.sums.items()}
        self.sums, self.count = {}, 0
        return means

    def state_dict(self) -> dict[str, Any]:
        return {"sums": dict(self.sums), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sums, self.count = dict(state["sums"]), int(state["count"])


class RunLog:
    """A JSON-lines file; every line has a ``step``, and resuming drops the lines beyond the saved state.

    Without a ``path`` nothing is written: of several processes, one keeps the log. ``seconds`` is the one value in
    it that differs between two runs of the same configuration.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float]) -> None:
        self.path, self._clock = path, clock

    def restart(self, step: int | None) -> None:
        """Keeps the lines up to ``step``, or none."""
        if self.path is None:
            return
        found = read_log(self.path) if step is not None and self.path.is_file() else []
        kept = [line for line in found if line.get("step", math.inf) <= step]
        with atomic_path(self.path, "the log ", GO_ON) as temporary:
            temporary.write_text("".join(to_json(line) + "\n" for line in kept), encoding="utf-8")

    def write(self, values: dict[str, Any]) -> None:
        """Appends a line. Raises a DeloresError when the disk is full; resuming drops what was half written."""
        if self.path is None:
            return
        line = to_json({**values, "seconds": round(self._clock(), 2)})
        with writing(self.path, "the log ", GO_ON), self.path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
