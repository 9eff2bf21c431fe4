"""The comparison tables of some records in every format: what ``delores tables`` writes and ``tables()`` returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reading.figure import PublishedFigure
from benchmarks.reading.published import published_figures
from benchmarks.reading.statistics.robustness import robustness_of
from benchmarks.reading.tables.plain import to_csv, to_markdown
from benchmarks.reading.tables.robustness_table import robustness_tables
from benchmarks.reading.tables.table import ComparisonTable, comparison_tables
from benchmarks.reading.tables.text_table import TextTable
from benchmarks.reading.tables.typeset import to_html, to_latex
from benchmarks.results.format import ResultRecord
from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["ResultTables"]


@dataclass(frozen=True)
class ResultTables:
    """Tables with the records and the published figures that they were made of.

    Attributes:
        tables: one for each protocol.
        records: those that are shown.
        figures: the published ones, for the CSV.
        intervals: whether 95 % intervals are shown.
        others: those of perturbed test clips, where there are some; they stand below the tables.
    """

    tables: list[ComparisonTable]
    records: list[ResultRecord]
    figures: list[PublishedFigure]
    intervals: bool = False
    others: tuple[TextTable, ...] = ()

    @classmethod
    def of(
        cls,
        records: Sequence[ResultRecord],
        tasks: Sequence[str] | None = None,
        *,
        paper: str | None = None,
        overlay: str | Path | None = None,
        intervals: bool = False,
        over_seeds: bool = False,
    ) -> ResultTables:
        """The tables of ``records``; see :func:`~benchmarks.reading.tables.table.comparison_tables`."""
        found = comparison_tables(
            records, tasks, intervals=intervals, paper=paper, overlay=overlay, whole_paper=True, over_seeds=over_seeds
        )
        figures = published_figures(paper, overlay) if paper else []
        shown = [record for record in records if not tasks or record.task.name in tasks]
        return cls(found, shown, figures, intervals, tuple(robustness_tables(robustness_of(shown))))

    def __iter__(self) -> Iterator[ComparisonTable]:
        """The tables, one for each protocol."""
        return iter(self.tables)

    def __str__(self) -> str:
        """As Markdown."""
        return self.text("md")

    def _repr_html_(self) -> str:
        """What a notebook shows: the tables of the HTML page, without what the page has around them."""
        text = self.text("html")
        return text.partition("<body>")[2].partition("</body>")[0] or text

    def text(self, kind: str) -> str:
        """As ``md``, ``csv`` (one row for each score), ``tex`` or ``html`` (a whole page)."""
        if kind == "md":
            return to_markdown(self.tables, self.others)
        if kind == "csv":
            return to_csv(self.records, intervals=self.intervals, figures=self.figures)
        if kind == "tex":
            return to_latex(self.tables, self.others)
        if kind == "html":
            return to_html(self.tables, self.others)
        raise DeloresError(f"unknown format {kind!r} of tables. {did_you_mean(kind, ('md', 'csv', 'tex', 'html'))}")
