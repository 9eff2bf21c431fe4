"""Validation scores of a model's layers as bars: a card for each model, protocol and task with several layers.

The records may be of ``delores layers``, or of runs of single layers: all else about the model is the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.metrics.registry import metric_scale
from benchmarks.reading.report.bars import BarCard, BarRow
from benchmarks.reading.report.gather import Gathered
from benchmarks.reading.report.projection import find_embeddings
from benchmarks.reading.report.svg import Axis
from benchmarks.results.format import ResultRecord
from benchmarks.results.label import option_suffix

__all__ = ["layer_bars"]

#: The option that names a layer in the adapters, and in DeLoRes encoders; for these, the parts that ``layers`` scores.
LAYER, PART = "layer", "scene"
PARTS = ("layer1_mean", "layer2_mean", "layer3_mean", "frames_mean")


def layer_bars(found: Gathered, embeddings: str | Path | None = None) -> list[BarCard]:
    """Of each model with two layers or more on a task the validation scores, the first layer at the top.

    Below them are the indicators of those layers whose embeddings are in the folder ``embeddings``.

    Raises DeloresError where that holds no embeddings, or damaged ones.
    """
    groups: dict[tuple[str, str, str], dict[str, list[ResultRecord]]] = {}
    for record in found.records:
        options = {name: str(value) for name, value in record.model.options.items()}
        option = _layer_option(options)
        if option is not None:
            layer = options.pop(option)
            key = json.dumps([record.model.module, options]), record.protocol.title, record.task.folder_name
            groups.setdefault(key, {}).setdefault(layer, []).append(record)
    cards = [(own, title) for (_, title, _), own in groups.items() if len(own) > 1]
    if not cards or embeddings is None:
        return [_card(found, own, title) for own, title in cards]
    folders = {
        (found.identities.number(each.model), each.task, each.revision): each.path
        for each in find_embeddings(embeddings)
    }
    return [replace(_card(found, own, title), figures=_indicators(found, own, folders)) for own, title in cards]


def _indicators(
    found: Gathered, by_layer: dict[str, list[ResultRecord]], folders: dict[Any, Path]
) -> tuple[tuple[str, ...], ...]:
    """A row for each layer with embeddings, under the indicators' names; nothing where none has any."""
    from benchmarks.reading.indicators import INDICATORS, indicators_of

    rows = []
    for layer in _ordered(by_layer):
        first = by_layer[layer][0]
        key = found.identities.number(first.model), first.task.folder_name, first.task.revision
        if key in folders:
            values = indicators_of(folders[key]).values()
            rows.append((layer.removesuffix("_mean"), *("n/a" if math.isnan(v) else f"{v:.3f}" for v in values)))
    return (("layer", *INDICATORS), *rows) if rows else ()


def _ordered(layers: Iterable[str]) -> list[str]:
    return sorted(layers, key=lambda layer: (0, int(layer)) if layer.isdecimal() else (1, PARTS.index(layer)))


def _layer_option(options: dict[str, str]) -> str | None:
    """The name of the option that names a single layer, if there is one."""
    if options.get(LAYER, "").isdecimal():
        return LAYER
    return PART if options.get(PART) in PARTS else None


def _card(found: Gathered, by_layer: dict[str, list[ResultRecord]], title: str) -> BarCard:
    order = _ordered(by_layer)
    records = [by_layer[layer] for layer in order]
    first = records[0][0]
    metric, scale = first.task.primary_metric, metric_scale(first.task.primary_metric)
    scores = [scale * fmean(fold.validation_score for each in own for fold in each.folds) for own in records]
    known = [number for number, score in enumerate(scores) if math.isfinite(score)]
    sign = 1 if first.task.maximise else -1
    chosen = max(known, key=lambda number: (sign * scores[number], -number), default=None)
    digits = 1 if scale == 100.0 else 3
    rows = [
        BarRow(
            layer.removesuffix("_mean"), f"{score:.{digits}f}" if number in known else "n/a",
            f"test {scale * _test(own):.{digits}f}" if number == chosen else "", best=number == chosen,
            score=score if number in known else None,
        )
        for number, (layer, score, own) in enumerate(zip(order, scores, records, strict=True))
    ]  # fmt: skip
    finite = [scores[number] for number in known]
    axis = Axis(min([0.0, *finite]), 100.0 if scale == 100.0 else max([1.0, *finite]))
    name = first.model.label.removesuffix(option_suffix(first.model.options))
    less = "" if first.task.maximise else ", lower is better"
    column = next((each for each, folders in found.columns.items() if first.task.folder_name in folders), "")
    return BarCard(f"{name} on {first.task.name}", f"{title}, {metric}{less}, validation", axis, (("", rows),), column)


def _test(records: Sequence[ResultRecord]) -> float:
    """The test score of a layer, mean over seeds."""
    return fmean(record.primary_score for record in records)
