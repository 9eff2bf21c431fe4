"""Comparison tables: models by tasks, one table per protocol, from result records."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from rich.table import Table as RichTable
from rich.text import Text

from benchmarks.results import ResultRecord
from hear_delores.errors import DeloresError

__all__ = ["Cell", "ComparisonTable", "comparison_tables", "to_csv", "to_markdown", "to_rich"]

#: Metrics between 0 and 1 that are customarily printed in per cent.
PERCENT = {"top1_acc", "pitch_acc", "chroma_acc", "mAP", "aucroc"}


@dataclass(frozen=True)
class Cell:
    """The primary score of a model on a task, as printed (per cent where customary).

    ``spread`` is the standard deviation (ddof 1) over folds, or over seeds where a task has one split;
    None when there is one number alone.
    """

    score: float
    spread: float | None
    spread_over: str
    n_seeds: int


@dataclass(frozen=True)
class ComparisonTable:
    """Models (rows) by tasks (columns) under one protocol."""

    protocol: str
    models: tuple[str, ...]
    tasks: tuple[str, ...]
    metrics: dict[str, str]
    maximise: dict[str, bool]
    cells: dict[tuple[str, str], Cell]

    def best(self, task: str) -> float | None:
        """The best score of a task, or None when nothing was measured."""
        scores = [self.cells[model, task].score for model in self.models if (model, task) in self.cells]
        scores = [score for score in scores if score == score]
        if not scores:
            return None
        return max(scores) if self.maximise[task] else min(scores)

    def average(self, model: str) -> tuple[float | None, int]:
        """The mean over tasks whose score is better when higher, and over how many of them it is."""
        scores = [
            self.cells[model, task].score for task in self.tasks if (model, task) in self.cells and self.maximise[task]
        ]
        return (fmean(scores) if scores else None), len(scores)


def comparison_tables(records: Iterable[ResultRecord], tasks: Sequence[str] | None = None) -> list[ComparisonTable]:
    """One table per protocol variant, rows and columns in the order in which the records come.

    Rows are named by the model's label; two sets of weights under one label are told apart by the first
    digits of their hash. Several seeds of one model, task and protocol are averaged.

    Args:
        records: result records.
        tasks: task names to keep, in this order; None keeps all.

    Raises:
        DeloresError: there is no record, or two records of one task have different task revisions or primary
            metrics, which cannot be compared.
    """
    records = [r for r in records if tasks is None or r.task.name in tasks]
    if not records:
        raise DeloresError("there are no results to put in a table; run `delores run` or `delores score` first")
    _refuse_mixed_tasks(records)
    names = _row_names(records)
    order = list(tasks) if tasks is not None else list(dict.fromkeys(r.task.name for r in records))
    tables = []
    for protocol in dict.fromkeys(r.protocol.title for r in records):
        chosen = [r for r in records if r.protocol.title == protocol]
        groups: dict[tuple[str, str], list[ResultRecord]] = {}
        for record in chosen:
            groups.setdefault((names[_model_key(record)], record.task.name), []).append(record)
        tables.append(
            ComparisonTable(
                protocol=protocol,
                models=tuple(dict.fromkeys(model for model, _ in groups)),
                tasks=tuple(task for task in order if any(key[1] == task for key in groups)),
                metrics={r.task.name: r.task.primary_metric for r in chosen},
                maximise={r.task.name: r.task.maximise for r in chosen},
                cells={key: _cell(group) for key, group in groups.items()},
            )
        )
    return tables


def _model_key(record: ResultRecord) -> tuple[str, str]:
    return record.model.label, record.model.weights_hash


def _row_names(records: list[ResultRecord]) -> dict[tuple[str, str], str]:
    keys = list(dict.fromkeys(_model_key(r) for r in records))
    labels = [label for label, _ in keys]
    return {key: key[0] if labels.count(key[0]) == 1 else f"{key[0]} ({key[1][:8]})" for key in keys}


def _refuse_mixed_tasks(records: list[ResultRecord]) -> None:
    seen: dict[str, ResultRecord] = {}
    for record in records:
        first = seen.setdefault(record.task.name, record)
        for what, one, other in (
            ("revisions", first.task.revision[:8], record.task.revision[:8]),
            ("primary metrics", first.task.primary_metric, record.task.primary_metric),
        ):
            if one != other:
                raise DeloresError(
                    f"results of {record.task.name} come from two {what} ({one} of {first.model.label}, {other} of"
                    f" {record.model.label}) and cannot share a table; score both on one, or name one results folder"
                )


def _cell(records: list[ResultRecord]) -> Cell:
    metric = records[0].task.primary_metric
    scale = 100.0 if metric in PERCENT or metric.endswith("_fms") else 1.0
    scores = [scale * record.scores[metric] for record in records]
    mean = fmean(scores)
    if len(scores) > 1:
        deviation = (sum((score - mean) ** 2 for score in scores) / (len(scores) - 1)) ** 0.5
        return Cell(mean, deviation, "seeds", len(scores))
    folds = len(records[0].folds)
    if folds > 1:
        return Cell(mean, scale * records[0].scores_std[metric], f"{folds} folds", 1)
    return Cell(mean, None, "", 1)


def _shown(table: ComparisonTable, model: str, task: str) -> tuple[str, bool]:
    cell = table.cells.get((model, task))
    if cell is None:
        return "", False
    digits = 1 if cell.score >= 1.5 or table.metrics[task] in PERCENT or table.metrics[task].endswith("_fms") else 3
    text = f"{cell.score:.{digits}f}"
    best = table.best(task)
    # Ties as printed share the mark: a reader cannot tell them apart.
    is_best = best is not None and text == f"{best:.{digits}f}"
    if cell.spread is not None:
        text += f" ± {cell.spread:.{digits}f}"
    return text, is_best


def _average(table: ComparisonTable, model: str) -> str:
    mean, count = table.average(model)
    if mean is None:
        return ""
    return f"{mean:.1f}" if count == len(table.tasks) else f"{mean:.1f} (of {count})"


def _heading(table: ComparisonTable, task: str) -> str:
    return f"{task} ({table.metrics[task]}{'' if table.maximise[task] else ', lower is better'})"


def to_markdown(tables: Sequence[ComparisonTable]) -> str:
    """All tables as Markdown. The best of a column is bold; ± is the deviation over folds or seeds."""
    parts = []
    for table in tables:
        heads = ["model", *(_heading(table, task) for task in table.tasks), "mean"]
        lines = [
            f"### Protocol: {table.protocol}",
            "",
            _row(heads),
            _row(["---"] + ["---:"] * (len(heads) - 1)),
        ]
        for model in table.models:
            cells = []
            for task in table.tasks:
                text, best = _shown(table, model, task)
                cells.append(f"**{text}**" if best else text)
            lines.append(_row([model, *cells, _average(table, model)]))
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def to_rich(table: ComparisonTable) -> RichTable:
    """One table for the terminal."""
    shown = RichTable(title=f"protocol {table.protocol}", title_justify="left", title_style="bold", pad_edge=False)
    shown.add_column("model", no_wrap=True)
    for task in table.tasks:
        shown.add_column(f"{task}\n{table.metrics[task]}", justify="right")
    shown.add_column("mean", justify="right")
    for model in table.models:
        cells = []
        for task in table.tasks:
            text, best = _shown(table, model, task)
            cells.append(Text(text, style="bold green" if best else ""))
        shown.add_row(Text(model), *cells, Text(_average(table, model)))
    return shown


def to_csv(records: Iterable[ResultRecord]) -> str:
    """Every metric of every record, one row each: what a program or a spreadsheet reads."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ["model", "module", "weights_hash", "task", "task_revision", "protocol", "seed", "metric", "primary", "score",
         "std_over_folds", "n_folds", "n_clips"]
    )  # fmt: skip
    for record in records:
        for metric, score in record.scores.items():
            std = record.scores_std.get(metric)
            writer.writerow(
                [record.model.label, record.model.module, record.model.weights_hash, record.task.name,
                 record.task.revision, record.protocol.title, record.seed, metric,
                 int(metric == record.task.primary_metric), repr(score), "" if std is None else repr(std),
                 len(record.folds), record.task.n_clips]
            )  # fmt: skip
    return stream.getvalue()
