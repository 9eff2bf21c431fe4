"""Result records as tidy tables: what pivots, means and CSV files are made from, here and in a notebook."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.results.format import ResultRecord
from benchmarks.results.identity import behaviour_digest
from benchmarks.results.record import load_records, refuse_repeats

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_results", "results_frame", "run_facts"]

#: Of a run: what it was of. Rows with the same of all these are folds and metrics of one run.
RUN = (
    "model", "label", "module", "weights_hash", "options", "behaviour", "task", "version", "mode", "task_revision",
    "subset", "protocol", "seed",
)  # fmt: skip
MEASURED = ("fold", "metric", "primary", "score", "validation_score", "n_test_rows")


def load_results(paths: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """All result records under a folder (or several) as one tidy DataFrame.

    One row for each model, task, protocol, seed, fold and metric. A model is told apart by its columns ``label``,
    ``module``, ``options`` (JSON), ``weights_hash`` and ``behaviour``; ``model`` is the name that it has in tables.
    ``score`` is as the scorer gives it, from 0 to 1 where tables print per cent; ``primary`` marks the task's own
    metric, and ``validation_score`` is that metric on the split that the epoch was chosen on. Means over folds and
    seeds, models by tasks, are one pivot of the rows that are ``primary``::

        frame[frame.primary].pivot_table(index=["model", "protocol"], columns=["task", "mode"], values="score")

    Raises:
        DeloresError: no such folder, a damaged record, or two of one model, task, protocol and seed.
    """
    return results_frame(load_records([paths] if isinstance(paths, (str, Path)) else paths))


def results_frame(records: Iterable[ResultRecord]) -> pd.DataFrame:
    """As :func:`load_results`, of records that are at hand.

    >>> list(results_frame([]).columns)[-6:]
    ['fold', 'metric', 'primary', 'score', 'validation_score', 'n_test_rows']
    """
    import pandas as pd  # a quarter of a second, which those that want the facts of a run alone do not pay

    records = list(records)
    models = refuse_repeats(records)
    rows = [
        {
            **run_facts(record),
            "model": models.name(record.model),
            "fold": fold.test_split,
            "metric": metric,
            "primary": metric == record.task.primary_metric,
            "score": score,
            "validation_score": fold.validation_score if metric == record.task.primary_metric else None,
            "n_test_rows": fold.n_test_rows,
        }
        for record in records
        for fold in record.folds
        for metric, score in fold.scores.items()
    ]
    frame = pd.DataFrame(rows, columns=[*RUN, *MEASURED])
    return frame.astype({"seed": "int64", "primary": "bool", "score": "float64", "validation_score": "float64",
                         "n_test_rows": "int64"})  # fmt: skip


def run_facts(record: ResultRecord) -> dict[str, Any]:
    """What a record is of, as the cells of its rows: text and numbers alone; "" for what there is not."""
    model, task = record.model, record.task
    return {
        "label": model.label,
        "module": model.module,
        "weights_hash": model.weights_hash,
        "options": json.dumps(model.options) if model.options else "",
        "behaviour": behaviour_digest(model.behaviour),
        "task": task.name,
        "version": task.version,
        "mode": task.mode,
        "task_revision": task.revision,
        "subset": task.subset or "",
        "protocol": record.protocol.title,
        "seed": record.seed,
    }
