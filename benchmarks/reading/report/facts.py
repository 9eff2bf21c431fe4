"""What was run, and what it cost: models, tasks, protocols, versions, seconds and memory, as the records say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from benchmarks.reading.report.gather import Gathered
from benchmarks.reading.report.svg import element, fixed
from benchmarks.results.record import ResultRecord

__all__ = ["Cost", "Facts", "costs", "duration_text", "facts_of", "memory_text"]


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


@dataclass(frozen=True)
class Cost:
    """Seconds and peak memory of one model's tasks under one protocol, or of one record."""

    model: str
    protocol: str
    task: str
    n_tasks: int
    embedding: float | None
    training: float | None
    scoring: float | None
    whole: float
    peak_bytes: int | None
    drawing: Markup | None = None


def facts_of(found: Gathered) -> Facts:
    """What the records say of how they were made."""
    records = found.records
    versions: dict[str, int] = {}
    for record in records:
        text = ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items()))
        versions[text] = versions.get(text, 0) + 1
    dates = sorted(record.created for record in records)
    return Facts(
        models=tuple(_model(name, [r for r in records if found.name(r) == name]) for name in found.models),
        tasks=tuple(_task(column, found) for column in found.tasks if _of(found, column)),
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


def _of(found: Gathered, column: str) -> list[ResultRecord]:
    return [record for record in found.records if record.task.folder_name in found.columns[column]]


def _task(column: str, found: Gathered) -> TaskFacts:
    own = _of(found, column)
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


# --- seconds and memory


def costs(found: Gathered) -> tuple[list[Cost], list[Cost]]:
    """For each model and protocol the sum over its tasks, drawn on one scale; and each record's own."""
    each = [
        _cost(found.name(record), record.protocol.title, column, 1, [record])
        for column in found.tasks
        for record in _of(found, column)
    ]
    groups: dict[tuple[str, str], list[ResultRecord]] = {}
    for record in found.records:
        groups.setdefault((found.name(record), record.protocol.title), []).append(record)
    order = {protocol: index for index, protocol in enumerate(table.protocol for table in found.tables)}
    sums = []
    for (model, protocol), own in sorted(groups.items(), key=lambda item: order[item[0][1]]):
        n_tasks = len({record.task.folder_name for record in own})
        sums.append(_cost(model, protocol, "", n_tasks, own))
    longest = max((cost.whole for cost in sums), default=0.0)
    drawn = [Cost(**{**vars(cost), "drawing": _stack(cost, longest)}) for cost in sums]
    return drawn, each


def _cost(model: str, protocol: str, task: str, n_tasks: int, records: Sequence[ResultRecord]) -> Cost:
    # Seeds of one task share its embeddings: these were made once.
    embedding = {r.embeddings_hash: r.seconds["embedding"] for r in records if "embedding" in r.seconds}
    peaks = [record.peak_memory_bytes for record in records if record.peak_memory_bytes is not None]
    made = sum(embedding.values()) if embedding else None
    training, scoring = (_sum(records, step) for step in ("training", "total"))
    whole = (made or 0.0) + (scoring if scoring is not None else training or 0.0)
    return Cost(model, protocol, task, n_tasks, made, training, scoring, whole, max(peaks) if peaks else None)


def _sum(records: Sequence[ResultRecord], step: str) -> float | None:
    known = [record.seconds[step] for record in records if step in record.seconds]
    return sum(known) if known else None


def _stack(cost: Cost, longest: float) -> Markup:
    """Embedding, training, and the rest of scoring, side by side; hatched so that grey paper tells them apart."""
    scale = 100 / longest if longest > 0 else 0.0
    training = min(cost.training or 0.0, cost.scoring) if cost.scoring is not None else cost.training or 0.0
    rest = (cost.scoring or 0.0) - training if cost.scoring is not None else 0.0
    parts, x = [], 0.0
    for kind, seconds in (("embedding", cost.embedding or 0.0), ("training", training), ("rest", rest)):
        width = seconds * scale
        if width > 0:
            parts.append(
                element("rect", class_=f"cost {kind}", x=fixed(x) + "%", y=3, width=fixed(width) + "%", height=14)
            )
        x += width
    return element("svg", *parts, class_="strip", height=20, aria_hidden="true")


def duration_text(seconds: float | None) -> str:
    """Seconds for people.

    >>> [duration_text(s) for s in (None, 0.042, 3.21, 83.0, 4000.0)]
    ['', '0.04 s', '3.2 s', '1 min 23 s', '1 h 06 min']
    """
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def memory_text(size: int | None) -> str:
    """Bytes for people.

    >>> memory_text(866701312), memory_text(3 * 2**30), memory_text(None)
    ('827 MiB', '3.0 GiB', '')
    """
    if size is None:
        return ""
    return f"{size / 2**20:.0f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"
