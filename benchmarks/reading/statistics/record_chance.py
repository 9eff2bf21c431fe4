"""The chance level of a record's score: as the record states it, or from the predictions saved beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple

import numpy as np

from benchmarks.metrics.chance import Chance, chance_levels, mean_chance
from benchmarks.metrics.events import EventTable
from benchmarks.metrics.registry import METRICS, Metric, metric_scale
from benchmarks.results.format import FoldPredictions, ResultRecord
from benchmarks.results.record import PREDICTIONS_FILE, fold_predictions
from hear_delores.errors import DeloresError

__all__ = ["column_chance", "record_chance"]

#: Larger truths are not simulated when a table is made: targets (clips times labels), and events of a fold.
MOST_TARGETS, MOST_EVENTS = 1_000_000, 20_000


def record_chance(record: ResultRecord, metric: str | None = None) -> Chance | None:
    """The chance level of a record's mean over folds, in the metric's own unit.

    Args:
        metric: its name; None takes the task's primary one.

    Returns:
        None where it is not known: for a part of a metric, and for a record from before chance was stored whose
        predictions are missing, damaged, or too many to simulate guesses of while a table is made.
    """
    metric = metric or record.task.primary_metric
    if metric not in METRICS:
        return None
    stored = [fold.chance.get(metric) for fold in record.folds]
    found = [Chance(**each.model_dump()) for each in stored if each is not None]
    if len(found) < len(record.folds):
        found = _from_predictions(record, METRICS[metric])
    return mean_chance(found) if found else None


def _from_predictions(record: ResultRecord, metric: Metric) -> list[Chance]:
    """One for each fold, or none."""
    if record.folder is None or not (record.folder / PREDICTIONS_FILE).exists():
        return []
    try:
        truths = [_truth(fold, metric) for fold in fold_predictions(record)]
        levels = [chance_levels([metric], truth) for truth in truths if truth is not None]
    except DeloresError:  # who needs the predictions themselves says what is wrong with them
        return []
    found = [level[metric.name] for level in levels if level]
    return found if len(found) == len(record.folds) else []


def _truth(fold: FoldPredictions, metric: Metric) -> np.ndarray | EventTable | None:
    if metric.kind == "scene":
        return fold.target if metric.by_class is None or fold.target.size <= MOST_TARGETS else None
    if fold.target_events is None or fold.event_files is None or len(fold.target_events) > MOST_EVENTS:
        return None
    labels = [str(label) for label in range(fold.target.shape[1])]
    return EventTable.from_rows(fold.target_events, [str(name) for name in fold.event_files.tolist()], labels)


def column_chance(records: Sequence[ResultRecord], folders: Sequence[str]) -> Chance | None:
    """The chance level, as printed, of a column of some task folders (their mean); None where it is not known.

    One record of each task says it, of the whole task if there is one: all have the same test clips.
    """
    found = []
    for folder in folders:
        own = sorted((r for r in records if r.task.folder_name == folder), key=lambda r: bool(r.task.subset))
        stored = [r for r in own if all(r.task.primary_metric in fold.chance for fold in r.folds)]
        chance = record_chance((stored or own)[0]) if own else None
        if chance is None or math.isnan(chance.level):
            return None
        found.append(Chance(*(metric_scale(own[0].task.primary_metric) * value for value in astuple(chance))))
    return mean_chance(found)
