"""What the page says of how records were made, where the record's own words are not text for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.reading.report.gather import Gathered
from benchmarks.results.format import ModelInfo, ResultRecord

__all__ = ["model_facts", "option_texts", "subset_texts", "version_counts"]


def version_counts(records: Iterable[ResultRecord]) -> list[tuple[int, str]]:
    """How many records were made with the same versions, the most first."""
    versions = Counter(
        ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items())) for record in records
    )
    return sorted(((count, text) for text, count in versions.items()), key=lambda pair: (-pair[0], pair[1]))


def model_facts(model: ModelInfo) -> list[str]:
    """A model's sizes, as far as they are known."""
    sizes = [f"{size:,} ({kind.removesuffix('_embedding_size')})" for kind, size in model.sizes.items()]
    facts = [f"embedding {' and '.join(sizes)}"] if sizes else []
    if model.n_parameters is not None:
        facts.append(f"{model.n_parameters:,} parameters")
    if model.sample_rate is not None:
        facts.append(f"{model.sample_rate / 1000:g} kHz")
    return facts


def option_texts(options: Mapping[str, Any]) -> list[str]:
    """Each option as ``name = value``."""
    return [
        f"{name} = {value if isinstance(value, str) else json.dumps(value, default=str)}"
        for name, value in options.items()
    ]


def subset_texts(found: Gathered, column: str) -> list[str]:
    """Whose results of a column are of a part of it, and of which."""
    own = found.of_column(column)
    return list(dict.fromkeys(f"{found.name(r)}: {r.task.subset}" for r in own if r.task.subset))
