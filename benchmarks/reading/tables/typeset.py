"""Comparison tables as LaTeX (booktabs) and as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from benchmarks.reading.tables.shown import about, label_heads, lines, notes
from benchmarks.reading.tables.table import ComparisonTable

__all__ = ["escape_latex", "to_html", "to_latex"]

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "†": r"\textdagger{}", "|": r"\textbar{}",
}  # fmt: skip
PREAMBLE = r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage[landscape,margin=15mm]{geometry}
\usepackage{booktabs}
\usepackage{graphicx}
\begin{document}
"""


def escape_latex(text: str) -> str:
    r"""``text`` with every character that LaTeX reads as a command made to print as itself.

    >>> print(escape_latex("top1_acc & 5%"))
    top1\_acc \& 5\%
    """
    return "".join(_SPECIAL.get(character, character) for character in text)


def to_latex(tables: Sequence[ComparisonTable], *, document: bool = False) -> str:
    """All tables as LaTeX ``table`` environments; they need the packages booktabs and graphicx.

    Args:
        document: a whole document that compiles by itself, instead of what a paper includes.
    """
    body = "\n".join(_latex_table(table) for table in tables)
    if document:
        return f"{PREAMBLE}{body}\\end{{document}}\n"
    return f"% \\usepackage{{booktabs}}\n% \\usepackage{{graphicx}}\n{body}"


def _latex_table(table: ComparisonTable) -> str:
    shown = lines(table)
    names = [(escape_latex(task), escape_latex(about(table, task))) for task in table.tasks]
    heads = [rf"\rotatebox{{60}}{{\shortstack[l]{{{task}\\{{\footnotesize ({small})}}}}}}" for task, small in names]
    columns = "l" * len(label_heads(table)) + "r" * (len(table.tasks) + 1)
    rows = [_latex_row([*label_heads(table), *heads, "mean"]), r"\midrule"]
    for number, line in enumerate(shown):
        if line.published and number and not shown[number - 1].published:
            rows.append(r"\midrule")
        labels = map(escape_latex, line.labels)
        cells = (escape_latex(cell.text) for cell in line.cells)
        cells = (rf"\textbf{{{text}}}" if cell.best else text for text, cell in zip(cells, line.cells, strict=True))
        rows.append(_latex_row([*labels, *cells, escape_latex(line.mean.text)]))
    caption = f"Protocol {table.protocol}. {_legend(table)}"
    remarks = escape_latex(" ".join(notes(table)))
    below = f"\\par\\medskip\n\\parbox{{\\textwidth}}{{\\footnotesize {remarks}}}\n" if remarks else ""
    body = "\n".join(rows)
    # A table within the line keeps its size; a wider one shrinks to it.
    return rf"""\begin{{table}}[p]
\centering
\caption{{{escape_latex(caption)}}}
\medskip
\sbox0{{%
\begin{{tabular}}{{{columns}}}
\toprule
{body}
\bottomrule
\end{{tabular}}}}%
\ifdim\wd0>\textwidth\resizebox{{\textwidth}}{{!}}{{\usebox0}}\else\usebox0\fi
{below}\end{{table}}
"""


def _latex_row(cells: Sequence[str]) -> str:
    # A cell that begins with [ would be read as an argument of the \\ before it.
    return " & ".join("{}" + cell if cell.startswith("[") else cell for cell in cells) + r" \\"


def _legend(table: ComparisonTable) -> str:
    marks = ["Best in bold" + (", measured and published apart" if table.published else "")]
    if any(cell.low is not None for cell in table.cells.values()):
        marks.append("in brackets 95 % intervals over clips (over folds for k-fold tasks)")
    if any(cell.spread is not None and cell.low is None for cell in table.cells.values()):
        marks.append("± is the standard deviation over folds or seeds")
    marks.append("empty cells have no score and enter no mean")
    return "; ".join(marks) + "."


def to_html(tables: Sequence[ComparisonTable], *, title: str = "Results") -> str:
    """All tables as one HTML page: light and dark by the reader's setting, wide tables scroll, no request is made."""
    environment = Environment(
        loader=PackageLoader(__package__, "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"legend": _legend, "label_heads": label_heads, "lines": lines, "notes": notes}
    return environment.get_template("tables.html.j2").render(tables=tables, title=title, about=about)
