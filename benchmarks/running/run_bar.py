"""Where a run is, and the bars that show it: one over all jobs with the time left, one for the job under way."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["RunProgress", "RunStep", "RunSteps", "run_bar"]

#: So many characters of model, task and stage fit beside a bar on a terminal of 80 columns.
WIDTH = 36


@dataclass(frozen=True)
class RunStep:
    """Where a run is: what a caller's ``progress`` is told after each batch, each head and each job.

    Attributes:
        share: of the whole run that is done, 0 to 1; a job weighs as much as its task has audio.
        finished, jobs: how many pairs of a model and a task are finished, of how many.
        model, task: the pair under way, or the one that was just finished.
        stage: ``embedding``, the name of a protocol, or "" for a finished job.
        done, total: clips of embedding, or heads of a protocol.
    """

    share: float
    finished: int
    jobs: int
    model: str
    task: str
    stage: str = ""
    done: int = 0
    total: int = 0


RunProgress = Callable[[RunStep], None]
#: Called inside a job as inner(stage, share of the job, done, total).
Inner = Callable[[str, float, int, int], None]


def nothing(stage: str, share: float, done: int, total: int) -> None:
    """An :data:`Inner` for those who do not ask."""


class RunSteps:
    """The steps of a run from what its jobs report: ``names`` and ``weights`` of all jobs, in their order."""

    def __init__(
        self, names: Sequence[tuple[str, str]], weights: Sequence[float], progress: RunProgress | None
    ) -> None:
        self.names, self.weights, self.progress = names, weights, progress
        self.finished: set[int] = set()

    def inner(self, number: int) -> Inner:
        """What job ``number`` reports to."""
        if self.progress is None:
            return nothing
        return lambda stage, share, done, total: self._tell(number, share, stage, done, total)

    def end(self, number: int) -> None:
        """Job ``number`` is finished."""
        self.finished.add(number)
        self._tell(number, 0.0)

    def _tell(self, number: int, share: float, stage: str = "", done: int = 0, total: int = 0) -> None:
        if self.progress is None:
            return
        weight = sum(self.weights[item] for item in self.finished) + share * self.weights[number]
        whole = weight / (sum(self.weights) or 1.0)
        self.progress(RunStep(whole, len(self.finished), len(self.names), *self.names[number], stage, done, total))


@contextlib.contextmanager
def run_bar(quiet: bool) -> Iterator[RunProgress]:
    """Bars on standard error where that is a terminal; yields what moves them."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    from benchmarks.terminal import console

    shown = console(quiet, stderr=True)
    title = TextColumn("{task.description}", table_column=Column(width=WIDTH, no_wrap=True))
    columns = title, BarColumn(20), TextColumn("{task.fields[count]}"), TimeRemainingColumn()
    with Progress(
        *columns, console=shown, transient=True, disable=not shown.is_terminal, speed_estimate_period=600.0,
        redirect_stdout=sys.stdout.isatty(),  # what goes into a file is not for the terminal
    ) as bar:  # fmt: skip
        whole = bar.add_task("all", total=1.0, count="")
        part = bar.add_task("", total=None, count="", visible=False)
        current = ""

        def move(step: RunStep) -> None:
            nonlocal current
            bar.update(whole, completed=step.share, count=f"{step.finished}/{step.jobs}")
            if not step.stage:
                bar.update(part, visible=False)
                return
            count, shown_as = f"{step.done}/{step.total}", _cut(step)
            if shown_as != current:
                current = shown_as
                bar.reset(part, total=step.total, description=current, count=count)
            bar.update(part, completed=step.done, count=count, visible=True)

        yield move


def _cut(step: RunStep) -> str:
    """``model on task: stage``, with the model's name cut where it does not fit."""
    rest = f" on {step.task}: {step.stage}"
    room = max(8, WIDTH - len(rest))
    name = step.model if len(step.model) <= room else f"{step.model[: room - 1]}…"
    return f"{name}{rest}"
