"""What was run: models, tasks, protocols, versions and devices, as the records say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.reading.report.gather import Gathered
from benchmarks.results.record import ResultRecord

__all__ = ["Facts", "facts_of"]


@dataclass(frozen=True)
class ModelFacts:
    """A model: its row's name, module, weights and sizes."""

    name: str
    module: str
    file: str
    weights_hash: str
    options: str
    about: tuple[str, ...]
    n_records: int


@dataclass(frozen=True)
class TaskFacts:
    """A task: its column, folder, revision, what is predicted and how it is split."""

    name: str
    folder: str
    revision: str
    kind: str
    metrics: tuple[str, ...]
    clips: str
    folds: str
    subset: tuple[str, ...]


@dataclass(frozen=True)
class ProtocolFacts:
    """A protocol: its options, deviations, seeds and number of records."""

    title: str
    options: tuple[str, ...]
    deviations: tuple[str, ...]
    seeds: tuple[int, ...]
    n_records: int


@dataclass(frozen=True)
class Facts:
    """All of it; ``versions`` are (how many records, the versions)."""

    models: tuple[ModelFacts, ...]
    tasks: tuple[TaskFacts, ...]
    protocols: tuple[ProtocolFacts, ...]
    versions: tuple[tuple[int, str], ...]
    devices: tuple[str, ...]
    seeds: tuple[int, ...]
    first: str
    last: str
    n_records: int


def facts_of(found: Gathered) -> Facts:
    """What the records say of how they were made."""
    records = found.records
    versions = Counter(
        ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items())) for record in records
    )
    dates = sorted(record.created for record in records)
    return Facts(
        models=tuple(_model(name, [r for r in records if found.name(r) == name]) for name in found.models),
        tasks=tuple(_task(column, found) for column in found.tasks if found.of_column(column)),
        protocols=tuple(_protocol(table.protocol, records) for table in found.tables),
        versions=tuple(
            sorted(((count, text) for text, count in versions.items()), key=lambda pair: (-pair[0], pair[1]))
        ),
        devices=_unique(record.device for record in records),
        seeds=tuple(sorted({record.seed for record in records})),
        first=dates[0][:10],
        last=dates[-1][:10],
        n_records=len(records),
    )


def _model(name: str, records: Sequence[ResultRecord]) -> ModelFacts:
    model = records[0].model
    about = [f"{size:,} ({kind.removesuffix('_embedding_size')})" for kind, size in model.sizes.items()]
    facts = [f"embedding {' and '.join(about)}"] if about else []
    if model.n_parameters is not None:
        facts.append(f"{model.n_parameters:,} parameters")
    if model.sample_rate is not None:
        facts.append(f"{model.sample_rate / 1000:g} kHz")
    return ModelFacts(
        name, model.module, model.file or "", model.weights_hash, _json(model.options), tuple(facts), len(records)
    )  # fmt: skip


def _task(column: str, found: Gathered) -> TaskFacts:
    own = found.of_column(column)
    task = own[0].task
    clips = sorted({record.task.n_clips for record in own})
    folds = len(own[0].folds)
    kind = f"{task.embedding_type}, {task.prediction_type}"
    metrics = tuple(
        f"{metric} (primary{'' if task.maximise else ', lower is better'})" if metric == task.primary_metric else metric
        for metric in task.metrics
    )
    return TaskFacts(
        column,
        ", ".join(_unique(record.task.folder_name for record in own)),
        ", ".join(_unique(record.task.revision for record in own)),
        kind,
        metrics,
        " or ".join(f"{count:,}" for count in clips),
        f"{folds} folds" if folds > 1 else f"one split, tested on {own[0].folds[0].n_test_rows:,} rows",
        _unique(f"{found.name(r)}: {r.task.subset}" for r in own if r.task.subset),
    )


def _protocol(title: str, records: Sequence[ResultRecord]) -> ProtocolFacts:
    own = [record for record in records if record.protocol.title == title]
    return ProtocolFacts(
        title,
        tuple(f"{name} = {_plain(value)}" for name, value in own[0].protocol.options.items()),
        _unique(text for record in own for text in record.protocol.deviations),
        tuple(sorted({record.seed for record in own})),
        len(own),
    )


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _json(options: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {_plain(value)}" for name, value in options.items())


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
