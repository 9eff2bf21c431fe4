"""Comparison tables as Markdown, as CSV and on the terminal; ``typeset.py`` has LaTeX and HTML."""

from __future__ import annotations

import csv
import io
import itertools
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from benchmarks.metrics.chance import Chance
from benchmarks.metrics.registry import METRICS, metric_scale
from benchmarks.reading.published import PublishedFigure
from benchmarks.reading.statistics.record_chance import record_chance
from benchmarks.reading.statistics.robustness import robustness_of
from benchmarks.reading.tables.robustness_table import robustness_blocks, robustness_tables
from benchmarks.reading.tables.shown import (
    Line,
    chance_line,
    chance_notes,
    heading,
    label_heads,
    lines,
    notes,
    subset_notes,
    tail_heads,
)
from benchmarks.reading.tables.table import Cell, ComparisonTable, comparison_tables, split_text
from benchmarks.reading.tables.text_table import TextTable
from benchmarks.results.format import ResultRecord
from benchmarks.results.perturbed import as_perturbed, perturbations_of
from hear_delores.files import atomic_path

__all__ = ["markdown_row", "markdown_table", "to_csv", "to_markdown", "to_rich", "to_rich_blocks", "write_tables"]

CSV_COLUMNS = (
    "model", "module", "weights_hash", "task", "task_revision", "protocol", "seed", "metric", "primary", "score",
    "std_over_folds", "n_folds", "n_clips", "low", "high", "interval_over", "split", "source", "options", "behaviour",
    "at_chance",
)  # fmt: skip

#: Beside these where test clips were perturbed.
CSV_PERTURBED = ("perturbation", "difference")


def to_markdown(tables: Sequence[ComparisonTable], others: Sequence[TextTable] = ()) -> str:
    """All tables as Markdown. Bold: best of a column; ±: deviation over folds or seeds; [ ]: 95 % interval.

    ``others`` stand below.
    """
    parts = []
    for table in tables:
        labels = label_heads(table)
        heads = [*labels, *(heading(table, task) for task in table.tasks), "mean", *tail_heads(table)]
        rows = []
        for line in (*lines(table), *_foot(table)):
            cells = [f"**{cell.text}**" if cell.best else cell.text for cell in line.cells]
            rows.append([*line.labels, *cells, line.mean.text, *line.tail])
        found = "".join(f"\n- {note}" for note in notes(table))
        text = markdown_table(f"Protocol: {table.protocol}", heads, rows, texts=len(labels))
        parts.append(f"{text}{found}\n" if found else text)
    for other in others:
        text = markdown_table(other.title, other.heads, other.rows, texts=1)
        parts.append(text + "".join(f"\n- {note}" for note in other.notes) + "\n" * bool(other.notes))
    return "\n".join(parts)


def _foot(table: ComparisonTable) -> list[Line]:
    foot = chance_line(table)
    return [] if foot is None else [foot]


def markdown_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int) -> str:
    """A titled table; its first ``texts`` columns are text, the others numbers, which stand at the right."""
    rule = ["---"] * texts + ["---:"] * (len(heads) - texts)
    return "\n".join([f"### {title}", "", *map(markdown_row, (heads, rule, *rows))]) + "\n"


def markdown_row(cells: Iterable[str]) -> str:
    """One row of a Markdown table.

    >>> print(markdown_row(["a|b", "1.0"]))
    | a\\|b | 1.0 |
    """
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
    labels = label_heads(table) if not in_title and columns[0] == 0 else ["model"]
    for label in labels:
        shown.add_column(label, no_wrap=label == "model")
    for task in (table.tasks[number] for number in columns):
        name = "\n".join(_broken(task)) if is_part else task
        shown.add_column(f"{name}\n{table.metrics[task]}", justify="right", overflow="fold")
    if with_mean:
        for head in ("mean", *tail_heads(table)):
            shown.add_column(head, justify="right")
    measured_and_published = [list(rows) for _, rows in itertools.groupby(lines(table), lambda line: line.published)]
    for number_of_part, rows in enumerate([*measured_and_published, _foot(table)]):
        if number_of_part:
            shown.add_section()
        for line in rows:
            cells = [Text(cell.text, style="bold green" if cell.best else "") for cell in line.cells]
            mean = [Text(text) for text in (line.mean.text, *line.tail)] if with_mean else []
            shown.add_row(*map(Text, line.labels[: len(labels)]), *(cells[number] for number in columns), *mean)
    if remarks := subset_notes(table) + ([] if is_part else chance_notes(table)):
        shown.caption, shown.caption_justify = Text("\n".join(remarks)), "left"
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
    """Every metric of every record, one row each, then published figures, then chance levels: what a program reads.

    Scores are means over folds as the scorer gives them, from 0 to 1 where others print per cent; those of ``figures``
    likewise. ``low``, ``high`` and ``interval_over`` are filled with ``intervals``; ``source`` for published figures
    alone. ``at_chance`` is 1 where guesses score as well, "" where that is not known. The rows of the model ``chance``
    hold the chance level of each metric, with the range of guesses. Where test clips were perturbed, rows of these name
    the ``perturbation``, and the ``difference`` of the score to that of clean clips. :func:`benchmarks.load_results`
    has the folds.
    """
    from benchmarks.results.frame import run_facts

    records = list(records)
    chances = _chances(records)
    rows = [
        {**run_facts(record), **_measured(record, metric, intervals, chances.get((record.task.folder_name, metric)))}
        for record in records
        for metric in record.scores
    ]
    columns = list(CSV_COLUMNS)
    if views := [(record, as_perturbed(record, name)) for record in records for name in perturbations_of([record])]:
        columns += CSV_PERTURBED
        rows += [_perturbed(*view, metric, intervals) for view in views for metric in view[0].scores]
    rows += [_published(figure) for figure in figures]
    task_of = {record.task.folder_name: record for record in records}
    rows += [_chance_row(task_of[folder], metric, chance) for (folder, metric), chance in chances.items()]
    text = io.StringIO()
    # csv, not pandas, which writes the same bytes: `delores run` ends here, and its import takes a quarter of a second.
    table = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows({"model": row.get("label", row.get("model")), **row} for row in rows)
    return text.getvalue()


def _chances(records: Sequence[ResultRecord]) -> dict[tuple[str, str], Chance]:
    """The chance levels that are known, by task folder and metric: of the first record that knows it."""
    found: dict[tuple[str, str], Chance] = {}
    for record in sorted(records, key=lambda record: bool(record.task.subset)):
        for metric in record.task.metrics:
            key = record.task.folder_name, metric
            if key not in found and (chance := record_chance(record, metric)) is not None:
                found[key] = chance
    return found


def _chance_row(record: ResultRecord, metric: str, chance: Chance) -> dict[str, Any]:
    facts = METRICS[metric]
    return {
        "label": "chance",
        "task": record.task.name,
        "task_revision": record.task.revision,
        "metric": metric,
        "primary": int(metric == record.task.primary_metric),
        "score": repr(chance.best(facts.maximise)),
        "n_folds": len(record.folds),
        "low": repr(chance.low),
        "high": repr(chance.high),
        "interval_over": "guesses",
        "split": split_text([record], (record.task.folder_name,)),
    }


def _measured(record: ResultRecord, metric: str, intervals: bool, chance: Chance | None) -> dict[str, Any]:
    """Numbers as text with every digit, NaN as "nan": an empty cell is a number that there is not."""
    deviation, task = record.scores_std.get(metric), record.task
    split = split_text([record], (task.folder_name,))
    found = {
        "metric": metric,
        "primary": int(metric == task.primary_metric),
        "score": repr(record.scores[metric]),
        "std_over_folds": None if deviation is None else repr(deviation),
        "n_folds": len(record.folds),
        "n_clips": task.n_clips,
        "split": f"{split}; subset: {task.subset}" if task.subset else split,
    }
    cell = Cell(record.scores[metric], None, "", 1)
    if intervals:
        from benchmarks.reading.statistics.intervals import record_interval

        if (ends := record_interval(record, metric)) is not None:
            found |= {"low": repr(ends.low), "high": repr(ends.high), "interval_over": ends.over}
            cell = replace(cell, low=ends.low, high=ends.high)
    if chance is not None:
        found["at_chance"] = int(cell.beside(chance, METRICS[metric].maximise).at_chance)
    return found


def _perturbed(clean: ResultRecord, view: ResultRecord, metric: str, intervals: bool) -> dict[str, Any]:
    from benchmarks.results.frame import run_facts

    difference = repr(view.scores[metric] - clean.scores[metric])
    about = {"perturbation": view.perturbation, "difference": difference}
    return {**run_facts(view), **_measured(view, metric, intervals, None), **about}


def _published(figure: PublishedFigure) -> dict[str, Any]:
    score = None if figure.score is None else f"{figure.score / metric_scale(figure.metric):.9g}"
    about = {name: getattr(figure, name) for name in ("task", "protocol", "metric", "split", "source")}
    return {"label": figure.model, "primary": 1, "score": score, **about}


def write_tables(records: Sequence[ResultRecord], out: Path, shown: Console, *, over_seeds: bool = False) -> None:
    """Writes ``tables.md`` and ``results.csv`` into ``out`` and prints the tables.

    With ``over_seeds`` they have intervals over seeds and the overall scores of papers.
    """
    tables = comparison_tables(records, over_seeds=over_seeds)
    others = robustness_tables(robustness_of(records))
    for table in tables:
        shown.print(to_rich(table), soft_wrap=False)
    for other in others:
        for block in robustness_blocks(other, shown):
            shown.print(block)
    for name, text in (("tables.md", to_markdown(tables, others)), ("results.csv", to_csv(records))):
        with atomic_path(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
