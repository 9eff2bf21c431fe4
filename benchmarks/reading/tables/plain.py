"""Comparison tables as Markdown, as CSV and on the terminal; ``typeset.py`` shows the same lines in LaTeX and HTML."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table as RichTable
from rich.text import Text

from benchmarks.metrics.registry import metric_scale
from benchmarks.reading.published import PublishedFigure
from benchmarks.reading.tables.table import Cell, ComparisonTable, PublishedRow, split_text
from benchmarks.results.identity import behaviour_digest
from benchmarks.results.record import ResultRecord

__all__ = ["Line", "heading", "lines", "notes", "to_csv", "to_markdown", "to_rich"]


#: Behind a score that is of a part of the task alone.
SUBSET = "†"


@dataclass(frozen=True)
class Line:
    """One row as printed: (text, whether it is the best) for each task, and the mean with its number of tasks."""

    model: str
    protocol: str
    cells: tuple[tuple[str, bool], ...]
    mean: str
    published: bool = False


def lines(table: ComparisonTable) -> list[Line]:
    """The rows of a table, measured first. Best of a column: among measured rows, and apart among published ones."""
    found = []
    for model in table.models:
        cells = tuple(_shown(table, table.cells.get((model, task)), task) for task in table.tasks)
        found.append(Line(model, table.protocol, cells, _average(table, *table.average(model))))
    for row in table.published:
        cells = tuple(_shown_published(table, row, task) for task in table.tasks)
        found.append(Line(row.model, row.protocol, cells, _average(table, *table.mean_of(row.scores)), True))
    return found


def heading(table: ComparisonTable, task: str) -> str:
    """A column's heading: the task, its metric and its split."""
    about = [table.metrics[task], *([table.splits[task]] if task in table.splits else [])]
    if not table.maximise[task]:
        about.append("lower is better")
    return f"{task} ({', '.join(about)})"


def notes(table: ComparisonTable) -> list[str]:
    """What a reader has to know: scores of subsets; sources of published rows, and splits that differ from ours."""
    subsets = [f"{SUBSET} {model} on a subset of {task}: {cell.subset}." for (model, task), cell in table.cells.items()
               if cell.subset]  # fmt: skip
    if not table.published:
        return subsets
    sources: dict[str, list[str]] = {}
    for row in table.published:
        if not row.source.startswith("HEAR leaderboard"):
            sources.setdefault(row.source, []).append(row.model)
    found = [f"{', '.join(models)}: {source}." for source, models in sources.items()]
    if not found:
        found = ["Published rows: the HEAR leaderboard, which links each model."]
    by_protocol: dict[str, dict[str, list[str]]] = {}
    for (protocol, task), split in table.published_splits.items():
        if split != "official":
            by_protocol.setdefault(protocol, {}).setdefault(split, []).append(task)
    for protocol, tasks in by_protocol.items():
        splits = "; ".join(f"{split} ({', '.join(names)})" for split, names in tasks.items())
        found.append(f"Splits of {protocol}: {splits}.")
    return subsets + found


def _digits(table: ComparisonTable, task: str) -> int:
    return 1 if metric_scale(table.metrics[task]) == 100.0 else 3


def _shown(table: ComparisonTable, cell: Cell | None, task: str) -> tuple[str, bool]:
    if cell is None:
        return "", False
    if math.isnan(cell.score):
        return "n/a", False
    digits = _digits(table, task)
    text = f"{cell.score:.{digits}f}"
    best = table.best(task)
    # Ties as printed share the mark: a reader cannot tell them apart.
    is_best = best is not None and text == f"{best:.{digits}f}"
    text += SUBSET if cell.subset else ""
    if cell.low is not None and cell.high is not None:
        text += f" [{cell.low:.{digits}f}, {cell.high:.{digits}f}]"
    elif cell.spread is not None:
        text += f" ± {cell.spread:.{digits}f}"
    return text, is_best


def _shown_published(table: ComparisonTable, row: PublishedRow, task: str) -> tuple[str, bool]:
    if task not in row.scores:
        return "", False
    best = table.best_published(task)
    text = f"{row.scores[task]:.1f}"
    return text, best is not None and text == f"{best:.1f}"


def _average(table: ComparisonTable, mean: float | None, count: int) -> str:
    if mean is None:
        return ""
    return f"{mean:.1f}" if count == len(table.tasks) else f"{mean:.1f} (of {count})"


def to_markdown(tables: Sequence[ComparisonTable]) -> str:
    """All tables as Markdown. Bold: best of a column; ±: deviation over folds or seeds; [ ]: 95 % interval."""
    parts = []
    for table in tables:
        with_protocol = bool(table.published)
        heads = ["model", *(["protocol"] if with_protocol else []), *(heading(table, t) for t in table.tasks), "mean"]
        text = [f"### Protocol: {table.protocol}", "", _row(heads)]
        text.append(_row(["---"] * (2 if with_protocol else 1) + ["---:"] * (len(table.tasks) + 1)))
        for line in lines(table):
            cells = [f"**{cell}**" if best else cell for cell, best in line.cells]
            text.append(_row([line.model, *([line.protocol] if with_protocol else []), *cells, line.mean]))
        if found := notes(table):
            text += ["", *(f"- {note}" for note in found)]
        parts.append("\n".join(text) + "\n")
    return "\n".join(parts)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def to_rich(table: ComparisonTable) -> RichTable:
    """One table for the terminal."""
    shown = RichTable(title=f"protocol {table.protocol}", title_justify="left", title_style="bold", pad_edge=False)
    shown.add_column("model", no_wrap=True)
    if table.published:
        shown.add_column("protocol")
    for task in table.tasks:
        shown.add_column(f"{task}\n{table.metrics[task]}", justify="right")
    shown.add_column("mean", justify="right")
    before = False
    for line in lines(table):
        if line.published and not before:
            shown.add_section()
        before = line.published
        cells = [Text(text, style="bold green" if best else "") for text, best in line.cells]
        shown.add_row(Text(line.model), *([Text(line.protocol)] if table.published else []), *cells, Text(line.mean))
    if subsets := [note for note in notes(table) if note.startswith(SUBSET)]:
        shown.caption, shown.caption_justify = Text("\n".join(subsets)), "left"
    return shown


def to_csv(records: Iterable[ResultRecord], *, intervals: bool = False, figures: Iterable[PublishedFigure] = ()) -> str:
    """Every metric of every record, one row each, then published figures: what a program or a spreadsheet reads.

    Scores are as the scorer gives them, from 0 to 1 where others print per cent; those of ``figures`` likewise.
    ``low``, ``high`` and ``interval_over`` are filled with ``intervals``; ``source`` for published figures alone.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ["model", "module", "weights_hash", "task", "task_revision", "protocol", "seed", "metric", "primary", "score",
         "std_over_folds", "n_folds", "n_clips", "low", "high", "interval_over", "split", "source", "options",
         "behaviour"]
    )  # fmt: skip
    for record in records:
        for metric, score in record.scores.items():
            std = record.scores_std.get(metric)
            writer.writerow(
                [record.model.label, record.model.module, record.model.weights_hash, record.task.name,
                 record.task.revision, record.protocol.title, record.seed, metric,
                 int(metric == record.task.primary_metric), repr(score), "" if std is None else repr(std),
                 len(record.folds), record.task.n_clips, *(_ends(record, metric) if intervals else ("", "", "")),
                 _split(record), "", json.dumps(record.model.options) if record.model.options else "",
                 behaviour_digest(record.model.behaviour)]
            )  # fmt: skip
    for figure in figures:
        score_text = "" if figure.score is None else f"{figure.score / metric_scale(figure.metric):.9g}"
        cells = [figure.model, "", "", figure.task, "", figure.protocol, "", figure.metric, 1, score_text]
        writer.writerow([*cells, *[""] * 6, figure.split, figure.source, "", ""])
    return stream.getvalue()


def _split(record: ResultRecord) -> str:
    text = split_text([record], (record.task.folder_name,))
    return f"{text}; subset: {record.task.subset}" if record.task.subset else text


def _ends(record: ResultRecord, metric: str) -> tuple[str, str, str]:
    from benchmarks.reading.statistics.intervals import record_interval

    found = record_interval(record, metric)
    return ("", "", "") if found is None else (repr(found.low), repr(found.high), found.over)
