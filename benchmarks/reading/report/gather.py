"""From result records to what the page shows: tables with intervals, and the published figures that belong there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from benchmarks.reading.published import PublishedFigure, published_figures
from benchmarks.reading.statistics.intervals import record_interval, statistics_of
from benchmarks.reading.statistics.weighted import METRIC_NAMES
from benchmarks.reading.tables.shown import ShownCell, lines
from benchmarks.reading.tables.table import (
    ComparisonTable,
    comparison_tables,
    measured_kind,
    paper_columns,
    published_rows,
    task_columns,
)
from benchmarks.results.format import ResultRecord
from benchmarks.results.identity import Models
from benchmarks.results.record import PREDICTIONS_FILE, fold_predictions, refuse_repeats
from hear_delores.errors import DeloresError

__all__ = ["Gathered", "gather"]

#: The papers whose figures stand beside measured ones of the same tasks without being asked for.
PAPERS = ("delores", "hear")


@dataclass(frozen=True)
class Gathered:
    """Everything measured that the page shows.

    ``identities`` tells the rows' models apart, ``columns`` the task folders of each column,
    ``left_out`` one line for each record that was damaged and skipped.
    """

    records: tuple[ResultRecord, ...]
    tables: tuple[ComparisonTable, ...]
    identities: Models
    columns: dict[str, tuple[str, ...]]
    left_out: tuple[str, ...] = ()

    def name(self, record: ResultRecord) -> str:
        """The row that a record stands in."""
        return str(self.identities.name(record.model))

    @property
    def models(self) -> tuple[str, ...]:
        """All measured rows' names, in the records' order."""
        return tuple(dict.fromkeys(self.name(record) for record in self.records))

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """All columns that have a measured score, in the tables' order."""
        measured = {task for table in self.tables for _, task in table.cells}
        return tuple(column for column in self.columns if column in measured)

    @cached_property
    def shown(self) -> dict[tuple[str, str, str], ShownCell]:
        """The measured cells as tables print them: {(protocol, model, column): cell}."""
        return {
            (table.protocol, line.model, task): cell
            for table in self.tables
            for line in lines(table)
            if not line.published
            for task, cell in zip(table.tasks, line.cells, strict=True)
        }

    def of_column(self, column: str) -> list[ResultRecord]:
        """The records of a column, whatever the model and the protocol."""
        return [record for record in self.records if record.task.folder_name in self.columns[column]]

    def of_protocol(self, title: str) -> list[ResultRecord]:
        """The records under a protocol."""
        return [record for record in self.records if record.protocol.title == title]

    def of_model(self, name: str) -> list[ResultRecord]:
        """The records of a row."""
        return [record for record in self.records if self.name(record) == name]

    def of_cell(self, protocol: str, model: str, column: str) -> list[ResultRecord]:
        """The records behind one cell: one for each seed (and for each task of a column of several)."""
        return [r for r in self.of_column(column) if r.protocol.title == protocol and self.name(r) == model]

    def main_table(self, column: str) -> ComparisonTable | None:
        """The table in which most models were measured on a task; of equals the one without a variant, then the first.

        Where one protocol must stand for a task (confusions, maps) it is this one, and the page names it.
        """
        having = [table for table in self.tables if table.measured(column)]
        return max(having, key=lambda each: (len(each.measured(column)), "(" not in each.protocol), default=None)

    def ranked(self, table: ComparisonTable, column: str) -> list[str]:
        """The models measured on a task, best first; a NaN comes last."""
        sign = -1.0 if table.maximise[column] else 1.0

        def key(model: str) -> tuple[bool, float]:
            score = table.cells[model, column].score
            return math.isnan(score), 0.0 if math.isnan(score) else sign * score

        return sorted((m for m in table.models if (m, column) in table.cells), key=key)


def gather(
    records: Sequence[ResultRecord],
    *,
    tasks: Sequence[str] | None = None,
    paper: str | None = None,
    overlay: str | Path | None = None,
    skip_damaged: bool = False,
    left_out: Sequence[str] = (),
) -> Gathered:
    """Tables with 95 % intervals, one per protocol variant, and published figures beside the measured ones.

    With ``paper`` tables are those of ``delores tables --paper``. Without, the columns are the tasks that were
    measured, and a published figure stands beside them when task folder (so version and split), metric and kind of
    protocol are those of the measurement.

    Raises:
        DeloresError: no record; task revisions or metrics that do not mix; predictions that are missing, damaged
            or not those of the scores (with ``skip_damaged`` such a record is left out and named).
    """
    records, left_out = list(records), list(left_out)
    try:
        for record in records:
            _check_folds(record)
        tables = comparison_tables(records, tasks, intervals=True, paper=paper, overlay=overlay)
    except DeloresError:
        if not skip_damaged:
            raise
        records, more = _sound(records)
        left_out += more
        tables = comparison_tables(records, tasks, intervals=True, paper=paper, overlay=overlay)
    columns = paper_columns(paper) if paper else task_columns(records)
    shown = {task for table in tables for task in table.tasks}
    columns = {column: folders for column, folders in columns.items() if column in shown}
    folders = {folder for group in columns.values() for folder in group}
    records = [record for record in records if record.task.folder_name in folders]
    if paper is None:
        tables = [_with_published(table, columns, overlay) for table in tables]
    return Gathered(tuple(records), tuple(tables), refuse_repeats(records), columns, tuple(left_out))


def _sound(records: Sequence[ResultRecord]) -> tuple[list[ResultRecord], list[str]]:
    """The records whose predictions can be read and give their scores, and one line for each other one."""
    kept, messages = [], []
    for record in records:
        try:
            record_interval(record, draws=2)
            _check_folds(record)
            if record.folder is not None:
                fold_predictions(record)
            kept.append(record)
        except DeloresError as error:
            messages.append(str(error))
    return kept, messages


def _check_folds(record: ResultRecord) -> None:
    """Raises DeloresError unless saved predictions of several folds give each fold's score; one fold's interval does.

    The interval of several is that of their scores, and needs no predictions.
    """
    if len(record.folds) > 1 and record.folder is not None and (record.folder / PREDICTIONS_FILE).exists():
        metric = record.task.primary_metric
        statistics_of(record, metric) if metric in METRIC_NAMES else fold_predictions(record)


def _with_published(
    table: ComparisonTable, columns: Mapping[str, tuple[str, ...]], overlay: str | Path | None
) -> ComparisonTable:
    """A table with the published figures of its own tasks, versions, metrics and kind of protocol."""
    figures = []
    for paper in PAPERS:
        ours = {theirs: own for theirs, folders in paper_columns(paper).items() for own in columns
                if columns[own] == folders and own in table.metrics}  # fmt: skip
        if ours:
            known = [each for each in published_figures(paper, overlay) if each.task in ours and each.score is not None]
            figures += [replace(figure, task=ours[figure.task]) for figure in known]
    figures = [figure for figure in figures if _fits(figure, table, figure.task)]
    splits = {(figure.protocol, figure.task): figure.split for figure in figures if figure.split}
    return replace(table, published=published_rows(figures, columns), published_splits=splits)


def _fits(figure: PublishedFigure, table: ComparisonTable, column: str) -> bool:
    if figure.metric != table.metrics[column]:
        return False
    return table.protocol.replace("-", "").startswith(measured_kind(figure.protocol))
