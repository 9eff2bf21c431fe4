"""Two models on the same clips: paired difference, interval and p-value, for each task and over tasks.

Per task the clips are the units: the paired bootstrap draws the same clips for both models, and the permutation test
swaps the two models clip by clip (:mod:`benchmarks.reading.statistics.permutation`). With k-fold tasks clips are drawn
and swapped within their fold. The trained heads are taken as given: the interval says how far the difference depends on
the clips of the test set, not on the seed. Over tasks the tasks are the units of a sign-flip test. The p-values of
tasks are corrected for their number by Holm's method.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.metrics.registry import metric_bounds
from benchmarks.reading.statistics.intervals import bca_ends, bootstrap_weights, statistics_of
from benchmarks.reading.statistics.permutation import SWAPS, SwapTest, holm, share_as_large, sign_flip_p, swap_test
from benchmarks.reading.statistics.weighted import Statistic
from benchmarks.results.format import ResultRecord
from benchmarks.results.record import refuse_repeats
from hear_delores.errors import DeloresError

__all__ = ["Comparison", "TaskComparison", "common_protocol", "compare_records"]

DRAWS = 2000


@dataclass(frozen=True)
class TaskComparison:
    """A - B on one task, in the metric's own unit. ``favours`` is the better model's label, "" for a tie.

    ``p`` tests that the models are alike; ``p_holm`` is corrected for the number of tasks. ``folds_a`` of
    ``n_folds`` folds have A better.
    """

    task: str
    metric: str
    maximise: bool
    score_a: float
    score_b: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    favours: str
    n_clips: int
    n_folds: int
    folds_a: int
    seeds: tuple[int, int]


@dataclass(frozen=True)
class Comparison:
    """Model A against model B under one protocol.

    ``difference`` is the mean over tasks of A - B, turned so that more is better, with its interval and ``p_clips``
    (these tasks, other clips); ``p_tasks`` takes the tasks as a sample (other tasks). Tasks whose metric is not a
    share between 0 and 1 stay out of these four and are named in ``left_out``.
    """

    label_a: str
    label_b: str
    protocol: str
    tasks: tuple[TaskComparison, ...]
    difference: float
    low: float
    high: float
    p_clips: float
    p_tasks: float
    wins_a: int
    wins_b: int
    left_out: tuple[str, ...]
    only_in_one: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Difference:
    """A - B: ``drawn`` (draws,) are bootstrap differences, ``influence`` and ``deviations`` (n_clips,) are by clip."""

    value: float
    drawn: np.ndarray
    influence: np.ndarray
    deviations: np.ndarray
    freedom: float

    def ends(self) -> tuple[float, float]:
        """The BCa interval, widened by what a bootstrap of few clips of a class falls short."""
        spread = float((self.influence**2).sum())
        widening = math.sqrt(float((self.deviations**2).sum()) / spread) if spread > 0 else 1.0
        ends = bca_ends(self.value, self.drawn, self.influence, freedom=self.freedom, widening=widening)
        return ends or (self.value, self.value)


@dataclass(frozen=True)
class _Paired:
    """What one task gives."""

    record: ResultRecord
    scores: tuple[float, float]
    difference: _Difference
    swapped: SwapTest
    folds_a: int
    seeds: tuple[int, int]

    @property
    def averaged(self) -> bool:
        """Whether its metric is a share of 1, more of which is better: others do not average with these."""
        task = self.record.task
        return task.maximise and metric_bounds(task.primary_metric) == (0.0, 1.0)


def compare_records(
    records_a: Iterable[ResultRecord],
    records_b: Iterable[ResultRecord],
    *,
    protocol: str | None = None,
    draws: int = DRAWS,
    swaps: int = SWAPS,
    seed: int = 0,
) -> Comparison:
    """The comparison of two models on the tasks that both were scored on; several seeds of one are averaged.

    Args:
        protocol: the protocol's title where the two share several; None takes the only one.

    Raises:
        DeloresError: a side with no record or several models, no common protocol or task, different task
            revisions, different test clips, or a score that is not a number.
    """
    sides = [list(records_a), list(records_b)]
    labels = [_only_model(records, side) for records, side in zip(sides, "AB", strict=True)]
    title = common_protocol(sides, labels, protocol)
    groups = [_by_task(records, title) for records in sides]
    common = [task for task in groups[0] if task in groups[1]]
    if not common:
        raise DeloresError(
            f"{labels[0]} and {labels[1]} share no task under {title}: {', '.join(groups[0])} against"
            f" {', '.join(groups[1])}; score both on one"
        )
    # A seed for each task: the swaps of one are independent of those of another.
    pairs = {
        task: _pair(groups[0][task], groups[1][task], draws, swaps, seed + number) for number, task in enumerate(common)
    }
    corrected = holm([pair.swapped.p for pair in pairs.values()])
    rows = tuple(_task_row(*each, labels, p) for each, p in zip(pairs.items(), corrected, strict=True))
    return Comparison(
        labels[0], labels[1], title, rows, *_over_tasks([pair for pair in pairs.values() if pair.averaged]),
        wins_a=sum(row.favours == labels[0] for row in rows),
        wins_b=sum(row.favours == labels[1] for row in rows),
        left_out=tuple(task for task, pair in pairs.items() if not pair.averaged),
        only_in_one=tuple(sorted(set(groups[0]) ^ set(groups[1]))),
    )  # fmt: skip


def _only_model(records: Sequence[ResultRecord], side: str) -> str:
    models = refuse_repeats(records)
    if not models.names:
        raise DeloresError(f"there is no result record on side {side}; give a record's folder or a model's folder")
    if len(models.names) > 1:
        names = ", ".join(list(models.names.values())[:4])
        raise DeloresError(f"side {side} holds results of {len(models.names)} models ({names}); give the folder of one")
    label, digest = records[0].model.label, records[0].model.weights_hash
    return f"{label} ({digest[:8]})" if digest else label


def common_protocol(sides: Sequence[Sequence[ResultRecord]], labels: Sequence[str], wanted: str | None) -> str:
    """The title of the protocol that all sides have results of; of several, the wanted one.

    Raises DeloresError where there is none, or several and none wanted.
    """
    titles = [list(dict.fromkeys(r.protocol.title for r in records)) for records in sides]
    common = [title for title in titles[0] if all(title in others for others in titles[1:])]
    who = "the two" if len(sides) == 2 else f"the {len(sides)} models"
    if wanted is not None and wanted not in common:
        raise DeloresError(f"{who} do not share the protocol {wanted!r}; they share: {', '.join(common) or 'none'}")
    if not common:
        has = ", ".join(f"{label} has {', '.join(own)}" for label, own in zip(labels, titles, strict=True))
        raise DeloresError(f"results of different protocols cannot be compared: {has}; score all under one")
    if wanted is None and len(common) > 1:
        raise DeloresError(f"{who} share the protocols {', '.join(common)}; choose one with --protocol")
    return wanted or common[0]


def _by_task(records: list[ResultRecord], title: str) -> dict[str, list[ResultRecord]]:
    found: dict[str, list[ResultRecord]] = {}
    for record in records:
        if record.protocol.title == title:
            found.setdefault(record.task.folder_name, []).append(record)
    return found


def _pair(side_a: list[ResultRecord], side_b: list[ResultRecord], draws: int, swaps: int, seed: int) -> _Paired:
    record = side_a[0]
    metric, task = record.task.primary_metric, record.task.folder_name
    _check_alike([*side_a, *side_b])
    parts = [[statistics_of(r, metric) for r in side] for side in (side_a, side_b)]
    n_folds = len(parts[0][0])
    drawn, scores = np.zeros(draws), np.zeros((n_folds, 2))
    influences, deviations, freedoms, pairs = [], [], [], []
    for number in range(n_folds):
        both = [[one_seed[number] for one_seed in side] for side in parts]
        units, split = both[0][0].units, record.folds[number].test_split
        if any(part.units != units for side in both for part in side):
            raise DeloresError(f"{task}: the two were tested on different clips of {split}; score both on one task")
        weights = bootstrap_weights(len(units), draws, number)
        values = [float(np.mean([part.value for part in side])) for side in both]
        slopes = [_difference(both, name) for name in ("influence", "deviations")]
        if not np.isfinite([*values, *slopes[0]]).all():
            raise DeloresError(f"{task}: {metric} of {split} is not a finite number, so it cannot be compared")
        sampled = [np.mean([part.scores(weights) for part in side], axis=0) for side in both]
        scores[number] = values
        drawn += (sampled[0] - sampled[1]) / n_folds
        influences.append(slopes[0] / (n_folds * len(units)))
        deviations.append(slopes[1] / (n_folds * len(units)))
        freedoms.append(min(part.degrees_of_freedom() for side in both for part in side))
        pairs.append(_seed_pairs(*both))
    sign = 1 if record.task.maximise else -1
    first, second = (float(score) for score in scores.mean(axis=0))
    difference = _Difference(
        first - second, drawn, np.concatenate(influences), np.concatenate(deviations), float(np.sum(freedoms))
    )
    folds_a = int(np.count_nonzero(sign * (scores[:, 0] - scores[:, 1]) > 0))
    swapped = swap_test(pairs, swaps, seed)
    return _Paired(record, (first, second), difference, swapped, folds_a, (len(side_a), len(side_b)))


def _check_alike(records: list[ResultRecord]) -> None:
    """Raises DeloresError unless all were made on one task, by one metric, tested on the same splits."""
    first = records[0]
    task, splits = first.task.folder_name, [fold.test_split for fold in first.folds]
    for other in records:
        if other.task.revision != first.task.revision or other.task.primary_metric != first.task.primary_metric:
            raise DeloresError(
                f"{task}: the task was changed between the two results (revision {first.task.revision[:8]} against"
                f" {other.task.revision[:8]}); score both on one"
            )
        if [fold.test_split for fold in other.folds] != splits:
            raise DeloresError(f"{task}: the two were tested on different splits; score both on one task folder")


def _difference(both: list[list[Statistic]], name: str) -> np.ndarray:
    """(n_clips,) influence or deviations of the first side less those of the second, each the mean over seeds."""
    first, second = (np.mean([getattr(part, name)() for part in side], axis=0) for side in both)
    return np.asarray(first - second)


def _seed_pairs(first: list[Statistic], second: list[Statistic]) -> list[tuple[Statistic, Statistic]]:
    """Seeds in pairs to swap: one to one, or where one side has more, so often that each counts alike."""
    count = math.lcm(len(first), len(second))
    return [(first[number % len(first)], second[number % len(second)]) for number in range(count)]


def _task_row(task: str, pair: _Paired, labels: list[str], corrected: float) -> TaskComparison:
    difference, about = pair.difference.value, pair.record.task
    low, high = pair.difference.ends()
    better = difference if about.maximise else -difference
    return TaskComparison(
        task, about.primary_metric, about.maximise, *pair.scores, difference, low, high, pair.swapped.p, corrected,
        favours="" if better == 0 else labels[0] if better > 0 else labels[1],
        n_clips=len(pair.difference.influence), n_folds=len(pair.record.folds), folds_a=pair.folds_a, seeds=pair.seeds,
    )  # fmt: skip


def _over_tasks(pairs: Sequence[_Paired]) -> tuple[float, float, float, float, float]:
    """Mean difference over tasks, its interval, and the p-values over clips and over tasks."""
    if not pairs:
        return (math.nan,) * 5
    parts = [pair.difference for pair in pairs]
    values = np.array([part.value for part in parts])
    mean = _Difference(
        float(values.mean()),
        np.mean([part.drawn for part in parts], axis=0),
        np.concatenate([part.influence for part in parts]) / len(parts),
        np.concatenate([part.deviations for part in parts]) / len(parts),
        sum(part.freedom for part in parts),
    )
    # The swaps of the tasks are independent, so their mean is a swap of the mean.
    swapped = np.mean([pair.swapped.drawn for pair in pairs], axis=0)
    return mean.value, *mean.ends(), share_as_large(swapped, mean.value), sign_flip_p(values)
