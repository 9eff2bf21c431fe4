"""Two models on the same clips: paired difference, interval and p-value, for each task and over tasks.

Per task the clips are the units: the paired bootstrap draws the same clips for both models, and the sign-flip
test swaps the two models clip by clip. For an accuracy that is McNemar's exact test in all but name; for metrics
that are no mean over clips it flips the clips' pseudo-values (value + deviation). With k-fold tasks clips are
resampled within their fold. All of it is given the heads that were trained: it says how far the difference hangs
on the clips of the test set, not on the seed. Over tasks the tasks are the units of a second sign-flip test.
p-values of tasks are corrected for their number by Holm's method.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.reading.intervals import bca_ends, bootstrap_weights, statistics_of
from benchmarks.results import ResultRecord
from hear_delores.errors import DeloresError

__all__ = ["Comparison", "TaskComparison", "compare_records", "holm", "sign_flip_draws", "sign_flip_p"]

DRAWS = 2000
FLIPS = 10_000


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
class _Paired:
    """What one task gives: ``drawn`` (draws,) bootstrap differences, ``share`` and ``influence`` by clip."""

    record: ResultRecord
    scores: tuple[float, float]
    drawn: np.ndarray
    share: np.ndarray  # each clip's part of the difference: they sum to it
    influence: np.ndarray
    folds_a: int
    seeds: tuple[int, int]


def compare_records(
    records_a: Iterable[ResultRecord],
    records_b: Iterable[ResultRecord],
    *,
    protocol: str | None = None,
    draws: int = DRAWS,
    flips: int = FLIPS,
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
    title = _common_protocol(sides, labels, protocol)
    groups = [_by_task(records, title) for records in sides]
    common = [task for task in groups[0] if task in groups[1]]
    if not common:
        raise DeloresError(
            f"{labels[0]} and {labels[1]} share no task under {title}: {', '.join(groups[0])} against"
            f" {', '.join(groups[1])}; score both on one"
        )
    generator = np.random.default_rng(seed)
    pairs = {task: _pair(groups[0][task], groups[1][task], draws) for task in common}
    flipped = {task: sign_flip_draws(pair.share, flips, generator) for task, pair in pairs.items()}
    ps = [_p_value(pair.share, flipped[task]) for task, pair in pairs.items()]
    rows = tuple(
        _task_row(task, pair, labels, p, corrected)
        for (task, pair), p, corrected in zip(pairs.items(), ps, holm(ps), strict=True)
    )
    return Comparison(
        labels[0],
        labels[1],
        title,
        rows,
        *_over_tasks(pairs, flipped),
        wins_a=sum(row.favours == labels[0] for row in rows),
        wins_b=sum(row.favours == labels[1] for row in rows),
        left_out=tuple(task for task, pair in pairs.items() if not _averaged(pair)),
        only_in_one=tuple(sorted(set(groups[0]) ^ set(groups[1]))),
    )


def _only_model(records: Sequence[ResultRecord], side: str) -> str:
    models = list(dict.fromkeys((r.model.label, r.model.weights_hash) for r in records))
    if not models:
        raise DeloresError(f"there is no result record on side {side}; give a record's folder or a model's folder")
    if len(models) > 1:
        names = ", ".join(f"{label} ({digest[:8]})" for label, digest in models[:4])
        raise DeloresError(f"side {side} holds results of {len(models)} models ({names}); give the folder of one")
    label, digest = models[0]
    return f"{label} ({digest[:8]})" if digest else label


def _common_protocol(sides: list[list[ResultRecord]], labels: list[str], wanted: str | None) -> str:
    titles = [list(dict.fromkeys(r.protocol.title for r in records)) for records in sides]
    common = [title for title in titles[0] if title in titles[1]]
    if wanted is not None:
        if wanted not in common:
            raise DeloresError(
                f"the two do not share the protocol {wanted!r}; they share: {', '.join(common) or 'none'}"
            )
        return wanted
    if not common:
        raise DeloresError(
            f"results of different protocols cannot be compared: {labels[0]} has {', '.join(titles[0])},"
            f" {labels[1]} has {', '.join(titles[1])}; score both under one"
        )
    if len(common) > 1:
        raise DeloresError(f"the two share the protocols {', '.join(common)}; choose one with --protocol")
    return common[0]


def _by_task(records: list[ResultRecord], title: str) -> dict[str, list[ResultRecord]]:
    found: dict[str, list[ResultRecord]] = {}
    for record in records:
        if record.protocol.title == title:
            found.setdefault(record.task.folder_name, []).append(record)
    return found


def _pair(side_a: list[ResultRecord], side_b: list[ResultRecord], draws: int) -> _Paired:
    record = side_a[0]
    metric, task = record.task.primary_metric, record.task.folder_name
    for other in [*side_a, *side_b]:
        if other.task.revision != record.task.revision or other.task.primary_metric != metric:
            raise DeloresError(
                f"{task}: the task was changed between the two results (revision {record.task.revision[:8]} against"
                f" {other.task.revision[:8]}); score both on one"
            )
    parts = [[statistics_of(r, metric) for r in side] for side in (side_a, side_b)]
    n_folds = len(parts[0][0])
    drawn, shares, influences, scores = np.zeros(draws), [], [], np.zeros((n_folds, 2))
    splits = [fold.test_split for fold in record.folds]
    if any([fold.test_split for fold in r.folds] != splits for r in [*side_a, *side_b]):
        raise DeloresError(f"{task}: the two were tested on different splits; score both on one task folder")
    for number in range(n_folds):
        both = [[seed[number] for seed in side] for side in parts]
        units = both[0][0].units
        if any(part.units != units for side in both for part in side):
            raise DeloresError(
                f"{task}: the two were tested on different clips of {splits[number]}; score both on one task"
            )
        weights = bootstrap_weights(len(units), draws, number)
        values = [float(np.mean([part.value for part in side])) for side in both]
        slopes = [np.mean([part.influence() for part in side], axis=0) for side in both]
        sampled = [np.mean([part.scores(weights) for part in side], axis=0) for side in both]
        if not np.isfinite([*values, *slopes[0], *slopes[1]]).all():
            raise DeloresError(f"{task}: {metric} of {splits[number]} is not a finite number, so it cannot be compared")
        scores[number] = values
        drawn += (sampled[0] - sampled[1]) / n_folds
        influences.append((slopes[0] - slopes[1]) / (n_folds * len(units)))
        apart = np.mean([part.deviations() for part in both[0]], axis=0) - np.mean(
            [part.deviations() for part in both[1]], axis=0
        )
        shares.append((values[0] - values[1] + apart) / (n_folds * len(units)))
    sign = 1 if record.task.maximise else -1
    return _Paired(
        record,
        (float(scores[:, 0].mean()), float(scores[:, 1].mean())),
        drawn,
        np.concatenate(shares),
        np.concatenate(influences),
        int(np.count_nonzero(sign * (scores[:, 0] - scores[:, 1]) > 0)),
        (len(side_a), len(side_b)),
    )


def _task_row(task: str, pair: _Paired, labels: list[str], p: float, corrected: float) -> TaskComparison:
    difference = pair.scores[0] - pair.scores[1]
    low, high = bca_ends(difference, pair.drawn, pair.influence) or (difference, difference)
    better = difference if pair.record.task.maximise else -difference
    return TaskComparison(
        task=task,
        metric=pair.record.task.primary_metric,
        maximise=pair.record.task.maximise,
        score_a=pair.scores[0],
        score_b=pair.scores[1],
        difference=difference,
        low=low,
        high=high,
        p=p,
        p_holm=corrected,
        favours="" if better == 0 else labels[0] if better > 0 else labels[1],
        n_clips=len(pair.share),
        n_folds=len(pair.record.folds),
        folds_a=pair.folds_a,
        seeds=pair.seeds,
    )


def _averaged(pair: _Paired) -> bool:
    return pair.record.task.maximise and pair.record.task.primary_metric != "d_prime"


def _over_tasks(pairs: dict[str, _Paired], flipped: dict[str, np.ndarray]) -> tuple[float, float, float, float, float]:
    """Mean difference over tasks, its interval, and the p-values over clips and over tasks."""
    chosen = {task: pair for task, pair in pairs.items() if _averaged(pair)}
    if not chosen:
        return (math.nan,) * 5
    count = len(chosen)
    differences = np.array([pair.scores[0] - pair.scores[1] for pair in chosen.values()])
    mean = float(differences.mean())
    drawn = np.mean([pair.drawn for pair in chosen.values()], axis=0)
    influence = np.concatenate([pair.influence for pair in chosen.values()]) / count
    low, high = bca_ends(mean, drawn, influence) or (mean, mean)
    # The flips of the tasks are independent, so their mean is a flip of the mean.
    swapped = np.mean([flipped[task] for task in chosen], axis=0)
    return mean, low, high, _share_as_large(swapped, mean), sign_flip_p(differences)


# --- the test


def sign_flip_draws(share: np.ndarray, flips: int, generator: np.random.Generator) -> np.ndarray:
    """(flips,) sums of ``share`` with random signs: the difference had the models been swapped clip by clip."""
    share = share[share != 0]
    if not len(share):
        return np.zeros(flips)
    found, width = [], (len(share) + 7) // 8
    for start in range(0, flips, 512):
        rows = min(512, flips - start)
        coins = np.frombuffer(generator.bytes(rows * width), dtype=np.uint8).reshape(rows, width)
        swapped = np.unpackbits(coins, axis=1, count=len(share))
        found.append(share.sum() - 2 * (swapped.astype(np.float64) @ share))
    return np.concatenate(found)


def sign_flip_p(share: np.ndarray, flips: int = FLIPS, seed: int = 0) -> float:
    """Two-sided p-value that the sum of ``share`` is 0, its signs being exchangeable; exact up to 14 values.

    >>> sign_flip_p(np.array([1.0, 2.0, 3.0]))
    0.25
    """
    share = np.asarray(share, dtype=np.float64)
    return _p_value(share, sign_flip_draws(share, flips, np.random.default_rng(seed)))


def _p_value(share: np.ndarray, flipped: np.ndarray) -> float:
    total, changing = float(share.sum()), share[share != 0]
    if len(changing) > 14:
        return _share_as_large(flipped, total)
    signs = 1 - 2 * ((np.arange(2 ** len(changing))[:, None] >> np.arange(len(changing))) & 1)
    return float(np.mean(np.abs(signs @ changing) >= abs(total) - 1e-12 * np.abs(changing).sum()))


def _share_as_large(flipped: np.ndarray, total: float) -> float:
    """The observed one counts as one of the flips, so that the level holds with any number of them."""
    return float((1 + np.count_nonzero(np.abs(flipped) >= abs(total) - 1e-12)) / (1 + len(flipped)))


def holm(ps: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's step-down method (family-wise error), in the given order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(ps)
    scaled = np.array(ps, dtype=np.float64)[order] * np.arange(len(ps), 0, -1)
    corrected = np.empty(len(ps))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(value) for value in corrected]
