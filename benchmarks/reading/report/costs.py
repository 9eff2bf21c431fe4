"""What each model's scores cost: seconds and memory, as the records say."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from benchmarks.reading.report.gather import Gathered
from benchmarks.reading.report.svg import draw
from benchmarks.results.format import ResultRecord

__all__ = ["Cost", "costs", "duration_text", "memory_text"]


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


def costs(found: Gathered) -> tuple[list[Cost], list[Cost]]:
    """For each model and protocol the sum over its tasks, drawn on one scale; and each record's own."""
    each = [_cost(found, column, [record]) for column in found.tasks for record in found.of_column(column)]
    groups: dict[tuple[str, str], list[ResultRecord]] = {}
    for table in found.tables:
        for record in found.of_protocol(table.protocol):
            groups.setdefault((table.protocol, found.name(record)), []).append(record)
    sums = [_cost(found, "", own) for own in groups.values()]
    longest = max((cost.whole for cost in sums), default=0.0)
    return [replace(cost, drawing=_stack(cost, longest)) for cost in sums], each


def _cost(found: Gathered, task: str, records: Sequence[ResultRecord]) -> Cost:
    # Seeds of one task share its embeddings: these were made once.
    embedding = {r.embeddings_hash: r.seconds["embedding"] for r in records if "embedding" in r.seconds}
    made = sum(embedding.values()) if embedding else None
    training, scoring = (_sum(records, step) for step in ("training", "total"))
    return Cost(
        model=found.name(records[0]),
        protocol=records[0].protocol.title,
        task=task,
        n_tasks=len({record.task.folder_name for record in records}),
        embedding=made,
        training=training,
        scoring=scoring,
        whole=(made or 0.0) + (scoring if scoring is not None else training or 0.0),
        peak_bytes=max((r.peak_memory_bytes for r in records if r.peak_memory_bytes is not None), default=None),
    )


def _sum(records: Sequence[ResultRecord], step: str) -> float | None:
    known = [record.seconds[step] for record in records if step in record.seconds]
    return sum(known) if known else None


def _stack(cost: Cost, longest: float) -> Markup:
    """Embedding, training, and the rest of scoring, side by side; hatched so that grey paper tells them apart."""
    scale = 100 / longest if longest > 0 else 0.0
    training = min(cost.training or 0.0, cost.scoring) if cost.scoring is not None else cost.training or 0.0
    rest = (cost.scoring or 0.0) - training if cost.scoring is not None else 0.0
    widths = {"embedding": (cost.embedding or 0.0) * scale, "training": training * scale, "rest": rest * scale}
    starts = itertools.accumulate(widths.values(), initial=0.0)
    return draw("stack", parts=[(kind, x, width) for (kind, width), x in zip(widths.items(), starts, strict=False)])


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
