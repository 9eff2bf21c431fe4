"""Many models on many tasks: embed once, score under each protocol, skip what is done, go on after a failure."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.embedding.spec import ModelSpec, tell_apart
from benchmarks.perturbing.perturbation import parse_perturbations
from benchmarks.results.format import ResultRecord
from benchmarks.running.apart import forget_apart, run_anywhere
from benchmarks.running.job import Job, JobResult, Say, forget
from benchmarks.running.processes import CLIP_SECONDS, expected_bytes, run_side_by_side
from benchmarks.running.run_bar import RunProgress, RunSteps
from benchmarks.scoring.protocols import needed_by
from benchmarks.tasks.find import load_task
from benchmarks.tasks.folder import TaskFolder
from hear_delores.documents import read_text
from hear_delores.errors import DeloresError

__all__ = ["Failure", "RunSummary", "expand_lists", "run"]


@dataclass(frozen=True)
class Failure:
    """One model on one task (or a model that could not be loaded: task "") that gave no result, and the reason."""

    model: str
    task: str
    message: str

    def __str__(self) -> str:
        return f"{self.model} {self.task}".rstrip() + f": {self.message}"


@dataclass
class RunSummary:
    """What a run produced: one record per model, task, protocol and seed; and what failed."""

    records: list[ResultRecord] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    skipped_clips: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0


def run(
    models: Sequence[ModelSpec | str],
    tasks: Sequence[TaskFolder | str | Path],
    out: str | Path = "runs",
    *,
    protocols: Sequence[str] = ("hear",),
    seeds: Sequence[int] = (42,),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    device: str = "auto",
    batch_seconds: float | None = None,
    skip_bad: bool = False,
    force: bool = False,
    perturb: Sequence[str] = (),
    perturb_seed: int = 0,
    jobs: int = 1,
    scheduler: str | None = None,
    say: Say = lambda text: None,
    progress: RunProgress | None = None,
) -> RunSummary:
    """Embeds and scores every model on every task; what is already done is read, not done again.

    ``options`` are keyed by protocol, e.g. {"hear": {"grid_points": 2}}. Embeddings are written to
    ``out/embeddings`` (heareval's layout), records to ``out/results``. What fails is noted and the run goes on.
    Records come in the order of models, tasks, protocols and seeds, and their scores are the same bit for bit
    wherever they were made, with the same number of threads.

    Args:
        models: as on the command line, such as ``mine=my_module@weights.pt?layer=3``.
        tasks: task folders, or the names of some in the folder ``tasks``.
        force: embed again whatever is there.
        perturb: perturbations of test clips, such as ``noise:20,10,0`` or ``codec:mp3-32``: the heads that are trained
            and chosen on clean clips are tested on these, too (:mod:`benchmarks.perturbing.perturbation`).
        perturb_seed: of noise and rooms; the same clip has the same under every model.
        jobs: how many model x task pairs run side by side, each in a process of its own; 1 runs them here in turn.
        scheduler: address (tcp://HOST:PORT) of a Dask scheduler whose workers run them instead.
        say: told each line that the command prints: one for every result.
        progress: told where the run is; within a job only where jobs run here in turn.

    Raises:
        DeloresError: both ``jobs`` and ``scheduler`` are given, one label is given to two models, or the cluster
            cannot be used; a perturbation is not known, or needs a library that is not installed.
    """
    if jobs < 1 or (jobs > 1 and scheduler):
        raise DeloresError(
            f"expected jobs of 1 or more, and no jobs beside a scheduler; got jobs {jobs} and scheduler {scheduler}"
        )
    perturbations = parse_perturbations(perturb, perturb_seed)
    for perturbation in perturbations:
        perturbation.check()
    started = time.perf_counter()
    name = uuid.uuid4().hex
    opened = [task if isinstance(task, TaskFolder) else load_task(task) for task in tasks]
    named_once = {task.path: task for task in opened}.values()  # lists may name one twice
    specs = [ModelSpec.parse(model) if isinstance(model, str) else model for model in models]
    pairs = list(itertools.product(tell_apart(specs), named_once))
    needs = {needed_by(protocol) for protocol in protocols}
    plan = [
        Job(
            name, spec, task.path, Path(out), tuple(dict.fromkeys(protocols)), tuple(dict.fromkeys(seeds)),
            options or {}, device, batch_seconds, skip_bad, expected_bytes(task, batch_seconds, needs), force,
            perturbations,
        )
        for spec, task in pairs
    ]  # fmt: skip
    results: dict[int, JobResult] = {}
    names = [(spec.label, task.name) for spec, task in pairs]
    steps = RunSteps(names, [task.n_clips * (task.info.sample_duration or CLIP_SECONDS) for _, task in pairs], progress)

    def done(number: int, result: JobResult) -> None:
        results[number] = result
        say(f"[{len(results)}/{len(plan)}] {plan[number].model.label}")
        for line in result.lines or [f"  {plan[number].task.name}: failed: {text}" for text in result.failures]:
            say(line)
        steps.end(number)

    if scheduler:
        from benchmarks.running.dask import run_on_dask

        run_on_dask(plan, scheduler, done)
    elif jobs > 1:
        run_side_by_side(plan, jobs, done)
    else:
        _in_turn(plan, results, say, steps)
    return _summary(pairs, results, time.perf_counter() - started)


def _in_turn(plan: Sequence[Job], results: dict[int, JobResult], say: Say, steps: RunSteps) -> None:
    """Every job in this process."""
    models = list(dict.fromkeys(job.model for job in plan))
    for number, job in enumerate(plan):
        first = number == 0 or job.model != plan[number - 1].model
        if first:
            say(f"[{models.index(job.model) + 1}/{len(models)}] {job.model.label}")
        results[number] = result = run_anywhere(job, say, steps.inner(number))
        if first and not result.loaded:
            say(f"  failed: {result.failures[0]}")
        steps.end(number)
    forget()
    forget_apart()


def _summary(
    pairs: Sequence[tuple[ModelSpec, TaskFolder]], results: Mapping[int, JobResult], seconds: float
) -> RunSummary:
    """In the order of the plan; a model that could not be loaded is one failure, task ""."""
    summary = RunSummary(seconds=seconds)
    for number, (spec, task) in enumerate(pairs):
        result = results[number]
        summary.records += result.records
        if result.skipped:
            summary.skipped_clips[task.folder_name] = result.skipped
        for message in result.failures:
            failure = Failure(spec.label, task.folder_name if result.loaded else "", message)
            if failure not in summary.failures:
                summary.failures.append(failure)
    return summary


def expand_lists(words: Sequence[str]) -> list[str]:
    """``words`` with each ``@FILE`` replaced by the file's lines, without empty ones and those that begin with #.

    Raises:
        DeloresError: the file cannot be read, or lists nothing.
    """
    found: list[str] = []
    for word in words:
        if not word.startswith("@"):
            found.append(word)
            continue
        lines = read_text(word[1:], "expected a list of one name a line").splitlines()
        listed = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
        if not listed:
            raise DeloresError(f"the list {word[1:]!r} is empty; expected one name per line")
        found += listed
    return found
