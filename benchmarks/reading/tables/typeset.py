"""Comparison tables as LaTeX (booktabs) and as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from benchmarks.reading.tables.shown import about, chance_line, label_heads, lines, notes, tail_heads
from benchmarks.reading.tables.table import ComparisonTable
from benchmarks.reading.tables.text_table import TextTable

__all__ = ["escape_latex", "to_html", "to_latex"]

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "†": r"\textdagger{}", "‡": r"\textdaggerdbl{}", "|": r"\textbar{}",
}  # fmt: skip


def escape_latex(text: str) -> str:
    r"""``text`` with every character that LaTeX reads as a command made to print as itself.

    >>> print(escape_latex("top1_acc & 5%"))
    top1\_acc \& 5\%
    """
    return "".join(_SPECIAL.get(character, character) for character in text)


def to_latex(tables: Sequence[ComparisonTable], others: Sequence[TextTable] = (), *, document: bool = False) -> str:
    """All tables as LaTeX ``table`` environments; they need the packages booktabs and graphicx.

    Args:
        others: stand below.
        document: a whole document that compiles by itself, instead of what a paper includes.
    """
    environment = Environment(
        loader=PackageLoader(__package__, "."), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        block_start_string="<%", block_end_string="%>", variable_start_string="<<", variable_end_string=">>",
        comment_start_string="<#", comment_end_string="#>", keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {**_FILTERS, "tex": escape_latex}
    return environment.get_template("tables.tex.j2").render(
        tables=tables, others=others, document=document, about=about
    )


def _legend(table: ComparisonTable) -> str:
    marks = ["Best in bold" + (", measured and published apart" if table.published else "")]
    if any(cell.low is not None for cell in table.cells.values()):
        over = "seeds" if table.overall else "clips (over folds for k-fold tasks)"
        marks.append(f"in brackets 95 % intervals over {over}")
    if any(cell.spread is not None and cell.low is None for cell in table.cells.values()):
        marks.append("± is the standard deviation over folds or seeds")
    marks.append("empty cells have no score and enter no mean")
    return "; ".join(marks) + "."


def to_html(tables: Sequence[ComparisonTable], others: Sequence[TextTable] = (), *, title: str = "Results") -> str:
    """All tables as one HTML page: light and dark by the reader's setting, wide tables scroll, no request is made.

    ``others`` stand below.
    """
    environment = Environment(
        loader=PackageLoader(__package__, "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= _FILTERS
    return environment.get_template("tables.html.j2").render(tables=tables, others=others, title=title, about=about)


_FILTERS = {
    "legend": _legend, "label_heads": label_heads, "tail_heads": tail_heads, "lines": lines, "chance_line": chance_line,
    "notes": notes,
}  # fmt: skip
