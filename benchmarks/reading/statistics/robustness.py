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
        perturbations: the columns beside the clean one: all that some model was tested under on some task.
        tasks: the names of those on which some model was tested.
        metrics, maximise: by task.
        cells: by model, task and perturbation, "" for clean; where a model was not tested there is none.
        means: by model and perturbation, over ``averaged``, in per cent, where the model was tested on all of them.
        averaged: the tasks that the means are over, two or more whose metric is a share: those that every model was
            tested on under every perturbation; where these are fewer than two, those that every model was tested on at
            all.
        left_out: the other tasks whose metric is a share, where there are means.
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
    return [_of_protocol(title, rows) for title, rows in own.items()]


def _of_protocol(title: str, rows: dict[str, list[ResultRecord]]) -> Robustness:
    every = [record for own in rows.values() for record in own]
    perturbations, task_of = perturbations_of(every), {record.task.folder_name: record.task for record in every}
    shares = [t for t, task in task_of.items() if task.maximise and metric_bounds(task.primary_metric) == (0.0, 1.0)]
    averaged = _averaged(rows, shares, perturbations)
    names = _short_names(list(task_of), task_of)
    cells, means = {}, {}
    for model, own in rows.items():
        for perturbation in ("", *perturbations):
            tested = {record.task.folder_name for record in _of_perturbation(own, perturbation)}
            alone = [task for task in shares if task in tested and task not in averaged]
            together = [task for task in task_of if task in tested and task not in alone]
            of_task, mean = _tested(own, together, perturbation, title)
            cells.update({(model, names[task], perturbation): each for task, each in of_task.items()})
            if averaged and tested.issuperset(averaged):
                score = fmean(of_task[task].score for task in averaged)
                whole = mean is not None and {row.task for row in mean.tasks}.issuperset(averaged)
                means[model, perturbation] = Tested(score, *_scaled(mean if whole else None, 100.0))
            if alone:  # a mean over tasks that differ from model to model would compare nothing
                of_task, _ = _tested(own, alone, perturbation, title)
                cells.update({(model, names[task], perturbation): each for task, each in of_task.items()})
    return Robustness(
        title, tuple(rows), tuple(perturbations), tuple(names.values()),
        {names[task]: about.primary_metric for task, about in task_of.items()},
        {names[task]: about.maximise for task, about in task_of.items()},
        cells, means, tuple(names[task] for task in averaged),
        tuple(names[task] for task in shares if averaged and task not in averaged),
    )  # fmt: skip


def _averaged(rows: dict[str, list[ResultRecord]], shares: list[str], perturbations: list[str]) -> list[str]:
    """The tasks of ``shares`` that all models were tested on under all perturbations, or else at all; two or none."""
    tested = {
        (model, record.task.folder_name, each)
        for model, own in rows.items()
        for record in own
        for each in ("", *perturbations_of([record]))
    }
    whole = [task for task in shares if all((m, task, p) in tested for m in rows for p in perturbations)]
    found = whole if len(whole) > 1 else [task for task in shares if all((m, task, "") in tested for m in rows)]
    return found if len(found) > 1 else []


def _of_perturbation(records: Sequence[ResultRecord], perturbation: str) -> list[ResultRecord]:
    return [record for record in records if not perturbation or perturbation in perturbations_of([record])]


def _short_names(tasks: Sequence[str], task_of: dict) -> dict[str, str]:
    """Task folder -> the task's name, or the folder's name where two tasks share theirs."""
    names = [task_of[task].name for task in tasks]
    return {task: name if names.count(name) == 1 else task for task, name in zip(tasks, names, strict=True)}


def _tested(
    records: Sequence[ResultRecord], tasks: Sequence[str], perturbation: str, title: str
) -> tuple[dict[str, Tested], Comparison | None]:
    """The tests of one model by task folder, and the comparison with clean clips, if there are any."""
    clean = _of(_of_perturbation(records, perturbation), *tasks)
    views = [as_perturbed(record, perturbation) for record in clean] if perturbation else clean
    compared = _compared(views, clean, title) if perturbation and clean else None
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
