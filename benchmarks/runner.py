"""Many models on many tasks: embed once, score under each protocol, skip what is done, go on after a failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.results import ResultRecord
from benchmarks.scoring.embed import embed_task
from benchmarks.scoring.models import LoadedModel, ModelSpec, load_model
from benchmarks.scoring.score import score_embeddings
from benchmarks.tasks.folder import TaskFolder
from hear_delores.errors import DeloresError

__all__ = ["Failure", "RunSummary", "run"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Failure:
    """One model on one task (or a model that could not be loaded: task "") that gave no result, and why."""

    model: str
    task: str
    message: str


@dataclass
class RunSummary:
    """What a run produced: one record per model, task, protocol and seed; and what failed."""

    records: list[ResultRecord] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    skipped_clips: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0


def run(
    models: Sequence[ModelSpec],
    tasks: Sequence[TaskFolder],
    out: Path,
    *,
    protocols: Sequence[str] = ("hear",),
    seeds: Sequence[int] = (42,),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    device: str = "auto",
    batch_seconds: float | None = None,
    skip_bad: bool = False,
    say: Say = lambda text: None,
) -> RunSummary:
    """Embeds and scores every model on every task; what is already done is read, not done again.

    ``options`` are keyed by protocol, e.g. {"hear": {"grid_points": 2}}. Embeddings are written to
    ``out/embeddings`` (heareval's layout), records to ``out/results``. A model or task that fails is noted and
    the run goes on.
    """
    started = time.perf_counter()
    summary = RunSummary()
    for number, spec in enumerate(models, 1):
        say(f"[{number}/{len(models)}] {spec.label}")
        try:
            model = load_model(spec, device=device)
        except Exception as error:  # a foreign module may raise anything; the other models still run
            summary.failures.append(Failure(spec.label, "", _one_line(error)))
            say(f"  failed: {_one_line(error)}")
            continue
        for task in tasks:
            try:
                _one_task(
                    model, task, out, summary, protocols=protocols, seeds=seeds, options=options or {},
                    batch_seconds=batch_seconds, skip_bad=skip_bad, say=say,
                )  # fmt: skip
            except Exception as error:  # as above
                summary.failures.append(Failure(spec.label, task.folder_name, _one_line(error)))
                say(f"  {task.name}: failed: {_one_line(error)}")
    summary.seconds = time.perf_counter() - started
    return summary


def _one_task(
    model: LoadedModel,
    task: TaskFolder,
    out: Path,
    summary: RunSummary,
    *,
    protocols: Sequence[str],
    seeds: Sequence[int],
    options: Mapping[str, Any],
    batch_seconds: float | None,
    skip_bad: bool,
    say: Say,
) -> None:
    bounded: dict[str, Any] = {} if batch_seconds is None else {"batch_seconds": batch_seconds}
    embedded = embed_task(model, task, out / "embeddings", skip_bad=skip_bad, **bounded)
    if embedded.skipped:
        summary.skipped_clips[task.folder_name] = list(embedded.skipped)
    for protocol in protocols:
        for seed in seeds:
            record = score_embeddings(
                embedded.path,
                protocol=protocol,
                seed=seed,
                results_dir=out / "results",
                device=model.device,
                **options.get(protocol, {}),
            )
            summary.records.append(record)
            metric = record.task.primary_metric
            when = ", from before" if embedded.cached else ""
            say(
                f"  {task.name}: {metric} {record.scores[metric]:.4f} ({protocol}; embedded in"
                f" {embedded.seconds:.1f} s{when}; scored in {record.seconds['total']:.1f} s)"
            )


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or "(no message)"
    return text if isinstance(error, DeloresError) else f"{type(error).__name__}: {text}"
