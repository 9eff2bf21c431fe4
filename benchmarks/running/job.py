"""One model on one task, under all its protocols and seeds: the unit of work of ``delores run``, in any process.

A process that is killed in the middle of a job leaves whole files or none, and the job is simply run again.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.embedding.embed import EmbedSummary, embed_task
from benchmarks.embedding.foreign_code import contained, one_line
from benchmarks.embedding.isolation import NameClash
from benchmarks.embedding.model import LoadedModel, ModelSpec, load_model
from benchmarks.perturbing.perturbation import Perturbation
from benchmarks.results.format import ResultRecord
from benchmarks.running.run_bar import Inner, nothing
from benchmarks.scoring.protocols import needed_by
from benchmarks.scoring.score import score_embeddings
from benchmarks.tasks.folder import TaskFolder
from hear_delores.memory import peak_bytes

__all__ = ["Done", "Job", "JobResult", "Say", "forget", "run_job"]

Say = Callable[[str], None]
#: Stands for no perturbation, where embeddings are kept by the name of one.
CLEAN = "clean"


@dataclass(frozen=True)
class Job:
    """One model on one task.

    Attributes:
        run: names the run; within one, a process loads a model and opens a task once.
        task: the task folder.
        options: by protocol, e.g. {"hear": {"grid_points": 2}}.
        expected_bytes: a first guess of the memory that it takes.
        force: embed again whatever is there.
        perturbations: of test clips, on which the same heads are tested, too.
    """

    run: str
    model: ModelSpec
    task: Path
    out: Path
    protocols: tuple[str, ...]
    seeds: tuple[int, ...]
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    device: str = "auto"
    batch_seconds: float | None = None
    skip_bad: bool = False
    expected_bytes: int = 0
    force: bool = False
    perturbations: tuple[Perturbation, ...] = ()


@dataclass
class JobResult:
    """The result of a job.

    Attributes:
        failures: what went wrong, one line each; a protocol that fails does not keep the others from running.
        loaded: whether the model could be loaded.
        clash: whether it could not because of another model in this process, and can be in a process of its own.
        skipped: "split/file: reason" of each clip that was left out.
        lines: what was said on the way.
        peak_bytes: the most memory that the process has held so far; None where the system does not say.
    """

    records: list[ResultRecord] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    loaded: bool = True
    clash: bool = False
    skipped: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    peak_bytes: int | None = None


#: Called as done(number of the job, its result).
Done = Callable[[int, JobResult], None]


def run_job(job: Job, say: Say = lambda text: None, inner: Inner = nothing) -> JobResult:
    """Embeds each clip once and scores; what is already done is read, not done again. Failures are in the result.

    Timestamp embeddings of clips are made, once too, where a protocol needs them.
    """
    result = JobResult()

    def tell(line: str) -> None:
        result.lines.append(line)
        say(line)

    try:
        with contained():
            model = _model(job.run, job.model, job.device)
            if isinstance(model, Exception):
                result.loaded, result.clash = False, isinstance(model, NameClash)
                raise model
            for note in model.notes if model is not _NOTED.get("model") else ():
                tell(f"  {note}")
            _NOTED["model"] = model
            task = _task(job.run, job.task)
            _embed_and_score(job, model, task, result, tell, inner)
    except Exception as error:  # a foreign module may raise anything; the other jobs still run
        result.failures.append(one_line(error))
        if result.loaded:
            tell(f"  {job.task.name}: failed: {result.failures[-1]}")
    result.peak_bytes = peak_bytes()
    return result


def _embed_and_score(
    job: Job, model: LoadedModel, task: TaskFolder, result: JobResult, tell: Say, inner: Inner
) -> None:
    kinds = len({needed_by(protocol) for protocol in job.protocols})
    parts = kinds * (1 + len(job.perturbations)) + len(job.protocols) * len(job.seeds)
    stages = itertools.count()

    def stage(name: str) -> Callable[..., None]:
        number = next(stages)
        return lambda done, total, text="": inner(name, (number + done / max(total, 1)) / parts, done, total)

    def waiting() -> None:
        tell(f"  {task.name}: another run is at work on this; waiting for it")

    def measured(text: str) -> None:
        tell(f"  {task.name}: {text}")

    embedding = _Embedding(job, model, task, result, tell, waiting, stage)
    made: dict[str, dict[str, EmbedSummary] | None] = {}  # of each kind once; None failed, which is said once
    for protocol in job.protocols:
        needs = needed_by(protocol)
        if needs not in made:
            made[needs] = embedding.of_all(needs)
        if (perturbed := made[needs]) is None:
            continue
        embedded = perturbed[CLEAN]
        when = ", from before" if embedded.cached else ""
        try:
            for seed in job.seeds:
                record = score_embeddings(
                    embedded.path, protocol=protocol, seed=seed, results_dir=job.out / "results",
                    device=model.device, on_wait=waiting, progress=stage(protocol), say=measured,
                    perturbed={name: each.path for name, each in perturbed.items() if name != CLEAN},
                    **job.options.get(protocol, {}),
                )  # fmt: skip
                result.records.append(record)
                tell(
                    f"  {task.name}: {record.task.primary_metric} {record.primary_score:.4f} ({protocol}; embedded in"
                    f" {embedded.seconds:.1f} s{when}; scored in {record.seconds['total']:.1f} s)"
                )
                if record.untrained:
                    tell(f"  {task.name}: {record.untrained}")
                for each in record.perturbed if job.perturbations else ():
                    tell(f"  {task.name}: {each.scores[record.task.primary_metric]:.4f} with {each.name} ({protocol})")
        except Exception as error:  # as above; other seeds would fail alike
            result.failures.append(f"{protocol}: {one_line(error)}")
            tell(f"  {task.name}: failed: {result.failures[-1]}")


@dataclass(frozen=True)
class _Embedding:
    """Embeds a task, and its perturbed test clips; ``stage`` makes what is told of the progress of a stage."""

    job: Job
    model: LoadedModel
    task: TaskFolder
    result: JobResult
    tell: Say
    waiting: Callable[[], None]
    stage: Callable[[str], Callable[..., None]]

    def of_all(self, needs: str) -> dict[str, EmbedSummary] | None:
        """The embeddings of clean clips, under the name :data:`CLEAN`, and those of each perturbation.

        None where the clean ones could not be made; a perturbation that fails is noted, and left out.
        """
        clean = self._one(needs, None)
        if clean is None:
            return None
        found = {CLEAN: clean}
        for perturbation in self.job.perturbations:
            if (made := self._one(needs, perturbation)) is not None:
                found[perturbation.name] = made
        return found

    def _one(self, needs: str, perturbation: Perturbation | None) -> EmbedSummary | None:
        job, bounded = self.job, {} if self.job.batch_seconds is None else {"batch_seconds": self.job.batch_seconds}
        folder, about = job.out / "embeddings", ""
        if perturbation is not None:
            folder, about = job.out / "perturbed" / perturbation.folder_name, f"{perturbation.name}: "
        try:
            made = embed_task(
                self.model, self.task, folder, needs=needs, perturbation=perturbation, skip_bad=job.skip_bad,
                force=job.force, wait=True, on_wait=self.waiting, progress=self.stage("embedding"), **bounded,
            )  # fmt: skip
        except Exception as error:  # a foreign module may raise anything; protocols that need other rows still run
            self.result.failures.append(f"{about}{one_line(error)}")
            self.tell(f"  {self.task.name}: failed: {self.result.failures[-1]}")
            return None
        if perturbation is None:
            self.result.skipped = list(made.skipped)
        for note in made.notes:
            self.tell(f"  {self.task.name}: {about}{note}")
        return made


#: The model whose notes were told last: once for all its tasks.
_NOTED: dict[str, LoadedModel] = {}


# Kept between the jobs of a run. A worker of a cluster outlives runs, in which files may have changed.
@functools.lru_cache(maxsize=1)
def _model(run: str, spec: ModelSpec, device: str) -> LoadedModel | Exception:
    try:
        return load_model(spec, device=device)
    except Exception as error:  # kept too: what cannot be loaded is not tried for each task
        return error


@functools.lru_cache(maxsize=64)
def _task(run: str, path: Path) -> TaskFolder:
    return TaskFolder.open(path)


def forget() -> None:
    """Frees the model and the tasks of the last run."""
    _NOTED.clear()
    _model.cache_clear()
    _task.cache_clear()
