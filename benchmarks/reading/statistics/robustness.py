"""Scores of the same heads on clean and on perturbed test clips, with the paired difference.

The interval of the difference is the paired bootstrap over clips of :mod:`benchmarks.reading.statistics.compare`: the
perturbed and the clean predictions of one model take the places of two models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from benchmarks.metrics.registry import metric_bounds, metric_scale
from benchmarks.reading.statistics.compare import Comparison, compare_records
from benchmarks.results.format import ResultRecord
from benchmarks.results.perturbed import as_perturbed, perturbations_of
from benchmarks.results.record import refuse_repeats
from hear_delores.errors import DeloresError

__all__ = ["Robustness", "Tested", "robustness_of"]


@dataclass(frozen=True)
class Tested:
    """A score in the unit that is printed (per cent for shares), and its difference to the score of the clean clips.

    ``difference`` is perturbed less clean, ``low`` and ``high`` are the ends of its 95 % interval. All three are None
    for clean clips, where predictions were not saved, and where a score is NaN.
    """

    score: float
    difference: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Robustness:
    """All models with perturbed results under one protocol.

    Attributes:
        perturbations: their names, such as "noise:20".
        tasks: the names of the tasks on which every model was tested under every perturbation.
        metrics, maximise: task -> its primary metric, and whether more is better.
        cells: (model, task, perturbation) -> score; the perturbation "" is clean.
        means: (model, perturbation) -> mean in per cent over the tasks whose metric is a share; empty for a single
            task.
        averaged: the tasks that the means are over.
        left_out: the tasks on which some model was not tested under some perturbation.
    """

    protocol: str
    models: tuple[str, ...]
    perturbations: tuple[str, ...]
    tasks: tuple[str, ...]
    metrics: dict[str, str]
    maximise: dict[str, bool]
    cells: dict[tuple[str, str, str], Tested]
    means: dict[tuple[str, str], Tested] = field(default_factory=dict)
    averaged: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def robustness_of(records: Sequence[ResultRecord]) -> list[Robustness]:
    """The robustness under each protocol that has records with perturbed clips, in the order of the records.

    Seeds of one model, task and protocol are averaged, and compared seed by seed.

    Raises:
        DeloresError: two records have one model, task, protocol and seed.
    """
    models = refuse_repeats(records)
    own: dict[str, dict[str, list[ResultRecord]]] = {}
    for record in records:
        if record.perturbed:
            own.setdefault(record.protocol.title, {}).setdefault(str(models.name(record.model)), []).append(record)
    return [found for title, rows in own.items() if (found := _of_protocol(title, rows)) is not None]


def _of_protocol(title: str, rows: dict[str, list[ResultRecord]]) -> Robustness | None:
    every = [record for own in rows.values() for record in own]
    perturbations = perturbations_of(every)
    tested = {
        (model, record.task.folder_name, each.name)
        for model, own in rows.items()
        for record in own
        for each in record.perturbed
    }
    task_of = {record.task.folder_name: record.task for record in every}
    # Means of models over different tasks could not be compared.
    whole = [task for task in task_of if all((m, task, p) in tested for m in rows for p in perturbations)]
    if not whole:
        whole, perturbations = _largest(tested, list(rows), list(task_of), perturbations)
    if not whole:
        return None
    cells, means = {}, {}
    averaged = [t for t in whole if task_of[t].maximise and metric_bounds(task_of[t].primary_metric) == (0.0, 1.0)]
    names = _short_names(whole, task_of)
    for model, own in rows.items():
        for perturbation in ("", *perturbations):
            of_task, mean = _tested(own, whole, perturbation, title)
            cells.update({(model, names[task], perturbation): each for task, each in of_task.items()})
            if len(whole) > 1 and averaged:
                score = fmean(of_task[task].score for task in averaged)
                means[model, perturbation] = Tested(score, *_scaled(mean, 100.0))
    return Robustness(
        title, tuple(rows), tuple(perturbations), tuple(names.values()),
        {names[task]: task_of[task].primary_metric for task in whole},
        {names[task]: task_of[task].maximise for task in whole},
        cells, means, tuple(names[task] for task in averaged), tuple(sorted(set(task_of) - set(whole))),
    )  # fmt: skip


def _largest(
    tested: set[tuple[str, str, str]], models: list[str], tasks: list[str], perturbations: list[str]
) -> tuple[list[str], list[str]]:
    """The tasks and perturbations to show where no task has all perturbations for all models.

    The perturbations are the most that all models have on one task; the tasks are all on which all models have these.
    """
    shared = {task: [p for p in perturbations if all((model, task, p) in tested for model in models)] for task in tasks}
    best = max(shared.values(), key=len)
    return [task for task in tasks if best and set(best) <= set(shared[task])], best


def _short_names(tasks: Sequence[str], task_of: dict) -> dict[str, str]:
    """Task folder -> the task's name, or the folder's name where two tasks share theirs."""
    names = [task_of[task].name for task in tasks]
    return {task: name if names.count(name) == 1 else task for task, name in zip(tasks, names, strict=True)}


def _tested(
    records: Sequence[ResultRecord], tasks: Sequence[str], perturbation: str, title: str
) -> tuple[dict[str, Tested], Comparison | None]:
    """Task folder -> score of one model under one perturbation ("" is clean); and the comparison with clean clips."""
    clean = [record for record in records if record.task.folder_name in tasks]
    if perturbation:
        clean = [record for record in clean if perturbation in perturbations_of([record])]
    views = [as_perturbed(record, perturbation) for record in clean] if perturbation else clean
    compared = _compared(views, clean, title) if perturbation else None
    rows = {row.task: row for row in compared.tasks} if compared is not None else {}
    found = {}
    for task in tasks:
        own = [record for record in views if record.task.folder_name == task]
        scale = metric_scale(own[0].task.primary_metric)
        found[task] = Tested(scale * fmean(r.primary_score for r in own), *_scaled(rows.get(task), scale))
    return found, compared


def _compared(views: Sequence[ResultRecord], clean: Sequence[ResultRecord], title: str) -> Comparison | None:
    """The comparison on the tasks that can be compared; None if there are none."""
    try:
        return compare_records(views, clean, protocol=title, swaps=1)  # the interval alone is shown: no p-value
    except DeloresError:
        tasks = list(dict.fromkeys(record.task.folder_name for record in clean))
        if len(tasks) == 1:
            return None
    sound = [task for task in tasks if _compared(_of(views, task), _of(clean, task), title) is not None]
    return _compared(_of(views, *sound), _of(clean, *sound), title) if 0 < len(sound) < len(tasks) else None


def _of(records: Sequence[ResultRecord], *tasks: str) -> list[ResultRecord]:
    """The records of some tasks, given by folder."""
    return [record for record in records if record.task.folder_name in tasks]


def _scaled(found: object, scale: float) -> tuple[float | None, float | None, float | None]:
    """Difference, low and high of a comparison (or of one task in it) times ``scale``; three None without numbers."""
    if found is None:
        return None, None, None
    ends = [scale * float(getattr(found, name)) for name in ("difference", "low", "high")]
    return (None, None, None) if any(math.isnan(end) for end in ends) else (ends[0], ends[1], ends[2])
