"""Comparison tables as Markdown, as CSV and on the terminal; ``typeset.py`` has LaTeX and HTML."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from benchmarks.reading.published import PublishedFigure
from benchmarks.reading.tables.shown import heading, lines, notes, subset_notes
from benchmarks.reading.tables.table import ComparisonTable, metric_scale, split_text
from benchmarks.results.identity import behaviour_digest
from benchmarks.results.record import ResultRecord

__all__ = ["to_csv", "to_markdown", "to_rich", "to_rich_blocks"]


def to_markdown(tables: Sequence[ComparisonTable]) -> str:
    """All tables as Markdown. Bold: best of a column; ±: deviation over folds or seeds; [ ]: 95 % interval."""
    parts = []
    for table in tables:
        with_protocol = bool(table.published)
        heads = ["model", *(["protocol"] if with_protocol else []), *(heading(table, t) for t in table.tasks), "mean"]
        text = [f"### Protocol: {table.protocol}", "", _row(heads)]
        text.append(_row(["---"] * (2 if with_protocol else 1) + ["---:"] * (len(table.tasks) + 1)))
        for line in lines(table):
            cells = [f"**{cell.text}**" if cell.best else cell.text for cell in line.cells]
            text.append(_row([line.model, *([line.protocol] if with_protocol else []), *cells, line.mean.text]))
        if found := notes(table):
            text += ["", *(f"- {note}" for note in found)]
        parts.append("\n".join(text) + "\n")
    return "\n".join(parts)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def to_rich(table: ComparisonTable, columns: Sequence[int] | None = None) -> RichTable:
    """One table for the terminal: all of it, or the tasks at ``columns``, with the mean behind the last task.

    A part is narrow: names of tasks are broken, and the protocols stand in the title, or in the first part alone.
    """
    is_part = columns is not None
    published = {row.protocol for row in table.published}
    in_title = is_part and len(published) == 1
    title = f"protocol {table.protocol}" + (f"; published: {', '.join(published)}" if in_title else "")
    columns = range(len(table.tasks)) if columns is None else columns
    with_mean = columns[-1] == len(table.tasks) - 1
    shown = RichTable(title=title, title_justify="left", title_style="bold", pad_edge=False)
    shown.add_column("model", no_wrap=True)
    with_protocol = bool(published) and not in_title and columns[0] == 0
    if with_protocol:
        shown.add_column("protocol")
    for task in (table.tasks[number] for number in columns):
        name = "\n".join(_broken(task)) if is_part else task
        shown.add_column(f"{name}\n{table.metrics[task]}", justify="right", overflow="fold")
    if with_mean:
        shown.add_column("mean", justify="right")
    before = False
    for line in lines(table):
        if line.published and not before:
            shown.add_section()
        before = line.published
        chosen = [line.cells[number] for number in columns]
        cells = [Text(cell.text, style="bold green" if cell.best else "") for cell in chosen]
        protocol = [Text(line.protocol)] if with_protocol else []
        shown.add_row(Text(line.model), *protocol, *cells, *([Text(line.mean.text)] if with_mean else []))
    if subsets := subset_notes(table):
        shown.caption, shown.caption_justify = Text("\n".join(subsets)), "left"
    return shown


def _broken(name: str) -> list[str]:
    """A task's name in lines of about a score's width, broken at blanks and underscores."""
    return [line.replace("_ ", "_") for line in textwrap.wrap(name.replace("_", "_ "), 12, break_long_words=False)]


def to_rich_blocks(table: ComparisonTable, console: Console) -> list[RichTable]:
    """The table as blocks below one another, each with as many tasks as fit into the width of ``console``."""
    unbounded = console.options.update(max_width=10_000)
    blocks: list[list[int]] = [[0]]
    for number in range(1, len(table.tasks)):
        wider = [*blocks[-1], number]
        if console.measure(to_rich(table, wider), options=unbounded).maximum <= console.width:
            blocks[-1] = wider
        else:
            blocks.append([number])
    return [to_rich(table, block) for block in blocks]


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
