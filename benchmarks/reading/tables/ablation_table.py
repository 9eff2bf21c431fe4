"""The table of an ablation: what differs between runs, how they went, and their scores task by task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from statistics import fmean, stdev
from typing import Literal

from rich.table import Table as RichTable

from benchmarks.reading.tables.plain import markdown_table
from benchmarks.reading.tables.shown import heading, lines
from benchmarks.reading.tables.table import ComparisonTable, comparison_tables
from benchmarks.results.format import ResultRecord

__all__ = ["AblationRow", "AblationTable", "ablation_tables", "on_validation", "to_csv", "to_markdown", "to_rich"]

FACTS = ("setting", "differs", "steps", "clips", "hours", "loss", "diagonal", "rank")
SPLITS = {"valid": "validation", "test": "test"}


@dataclass(frozen=True)
class AblationRow:
    """A setting and how its run ended; None for what there is not, as of an encoder that was not trained.

    Attributes:
        name: the label of its records.
        differs: from the base.
        clips: seen, each view pair once. ``hours``: of training alone.
        loss, diagonal, rank: of the last line of the log: the mean loss since the line before, the mean diagonal of
            the cross-correlation, the effective rank of the embeddings.
    """

    name: str
    differs: str
    steps: int | None = None
    clips: int | None = None
    hours: float | None = None
    loss: float | None = None
    diagonal: float | None = None
    rank: float | None = None

    def shown(self) -> list[str]:
        """The facts as a table shows them."""
        formats = ("", "", ",", ",", ".2f", ".4g", ".3f", ".1f")
        return ["" if v is None else format(v, f) for v, f in zip(astuple(self), formats, strict=True)]


@dataclass(frozen=True)
class AblationTable:
    """The settings under one protocol. ``scores`` has the cells of a row by its name, absent where none is."""

    title: str
    protocol: str
    rows: tuple[AblationRow, ...]
    scores: ComparisonTable | None

    def heads(self) -> list[str]:
        """All column headings."""
        return [*FACTS, *([heading(self.scores, task) for task in self.scores.tasks] if self.scores else []), "mean"]

    def body(self, bold: str = "") -> list[list[str]]:
        """The rows as printed; the best score of a task stands between two ``bold``."""
        found = {line.model: line for line in lines(self.scores)} if self.scores else {}
        empty = [""] * (len(self.heads()) - len(FACTS))
        body = []
        for row in self.rows:
            line = found.get(row.name)
            cells = [f"{bold}{c.text}{bold}" if c.best else c.text for c in line.cells] if line else []
            body.append([*row.shown(), *([*cells, line.mean.text] if line else empty)])
        return body


def on_validation(record: ResultRecord) -> ResultRecord:
    """The record with the validation scores of its classifiers in place of their test scores.

    Per fold, the primary metric on the split that epoch and hyper-parameters were chosen on: a little flattered,
    alike for all models. Mean and standard deviation (ddof 1) over folds.
    """
    metric = record.task.primary_metric
    scores = [fold.validation_score for fold in record.folds]
    spread = {metric: stdev(scores)} if len(scores) > 1 else {}
    return record.model_copy(update={"scores": {metric: fmean(scores)}, "scores_std": spread})


def ablation_tables(rows: Sequence[AblationRow], records: Sequence[ResultRecord], split: str) -> list[AblationTable]:
    """One table per protocol, rows in the order given; without records one table without scores.

    Args:
        records: of the models whose labels the rows are named by.
        split: "valid" or "test".
    """
    if not records:
        return [AblationTable("Nothing scored yet", "", tuple(rows), None)]
    chosen = [on_validation(record) for record in records] if split == "valid" else list(records)
    return [
        AblationTable(f"Protocol: {table.protocol}, {SPLITS[split]} scores", table.protocol, tuple(rows), table)
        for table in comparison_tables(chosen)
    ]


def to_markdown(tables: Sequence[AblationTable], failed: Sequence[str] = ()) -> str:
    """The tables as Markdown, best scores bold, and what failed below them."""
    parts = [markdown_table(table.title, table.heads(), table.body("**"), texts=2) for table in tables]
    if failed:
        parts.append("\n".join(["Failed:", "", *(f"- {text}" for text in failed)]) + "\n")
    return "\n".join(parts)


def to_csv(tables: Sequence[AblationTable]) -> str:
    """One row per protocol and setting, numbers in full; scores as the table shows them (per cent where customary)."""
    import pandas as pd

    tasks = list(dict.fromkeys(task for table in tables if table.scores for task in table.scores.tasks))
    rows = []
    for table in tables:
        for row in table.rows:
            found = {"protocol": table.protocol, **dict(zip(FACTS, astuple(row), strict=True))}
            if table.scores:
                found |= {task: cell.score for (model, task), cell in table.scores.cells.items() if model == row.name}
                found["mean"] = table.scores.average(row.name)[0]
            rows.append(found)
    frame = pd.DataFrame(rows, columns=["protocol", *FACTS, *tasks, "mean"], dtype=object)
    return str(frame.to_csv(index=False, lineterminator="\n"))


def to_rich(table: AblationTable) -> RichTable:
    """One table for the terminal: narrower, without what differs and without metrics and splits of the tasks."""
    tasks = table.scores.tasks if table.scores else ()
    heads = (*FACTS, *tasks, "mean")
    kept = [number for number, head in enumerate(heads) if head not in ("differs", "steps") or number >= len(FACTS)]
    shown = RichTable(title=table.title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for number in kept:
        side: Literal["left", "right"] = "left" if number == 0 else "right"
        shown.add_column(heads[number], justify=side, no_wrap=number < len(FACTS), overflow="fold")
    for cells in table.body():
        shown.add_row(*(cells[number] for number in kept))
    return shown
