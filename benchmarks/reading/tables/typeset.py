"""Comparison tables as LaTeX (booktabs) and as one HTML page that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Sequence

from benchmarks.reading.tables.shown import Line, about, lines, notes
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
    shown, with_protocol = lines(table), bool(table.published)
    heads = [rf"\rotatebox{{60}}{{\shortstack[l]{{{_two_lines(table, task)}}}}}" for task in table.tasks]
    columns = "l" * (2 if with_protocol else 1) + "r" * (len(table.tasks) + 1)
    rows = [_latex_row(["model", *(["protocol"] if with_protocol else []), *heads, "mean"]), r"\midrule"]
    for number, line in enumerate(shown):
        if line.published and number and not shown[number - 1].published:
            rows.append(r"\midrule")
        cells = [escape_latex(cell.text) for cell in line.cells]
        cells = [rf"\textbf{{{text}}}" if cell.best else text for text, cell in zip(cells, line.cells, strict=True)]
        protocol = [escape_latex(line.protocol)] if with_protocol else []
        rows.append(_latex_row([escape_latex(line.model), *protocol, *cells, escape_latex(line.mean.text)]))
    caption = f"Protocol {table.protocol}. {_legend(table)}"
    remarks = escape_latex(" ".join(notes(table)))
    below = [r"\par\medskip", rf"\parbox{{\textwidth}}{{\footnotesize {remarks}}}"] if remarks else []
    # A table within the line keeps its size; a wider one shrinks to it.
    return "\n".join(
        [
            r"\begin{table}[p]",
            r"\centering",
            rf"\caption{{{escape_latex(caption)}}}",
            r"\medskip",
            r"\sbox0{%",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}}%",
            r"\ifdim\wd0>\textwidth\resizebox{\textwidth}{!}{\usebox0}\else\usebox0\fi",
            *below,
            r"\end{table}",
            "",
        ]
    )


def _two_lines(table: ComparisonTable, task: str) -> str:
    return rf"{escape_latex(task)}\\{{\footnotesize ({escape_latex(about(table, task))})}}"


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


# --- HTML

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .3rem; }
p, ul { max-width: 60rem; margin: .3rem 0 .8rem; }
ul { padding-left: 1.2rem; }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid; outline-offset: 2px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap; }
thead th { border-top: 2px solid; border-bottom: 1px solid; vertical-align: bottom; white-space: normal; }
thead small { display: block; font-weight: normal; }
tbody { border-bottom: 2px solid; }
tbody.published td, tbody.published th { font-style: italic; }
tbody.published b { font-style: normal; }
th:first-child { text-align: left; position: sticky; left: 0; background: Canvas; }
tbody th { font-weight: normal; }
td.text { text-align: left; }
tbody tr:hover > * { background: color-mix(in srgb, CanvasText 10%, Canvas); }
@media (max-width: 40rem) { body { margin: .8rem; } th:first-child { white-space: normal; max-width: 8rem; } }
@media print { .scroll { overflow: visible; } table { font-size: 8pt; } th:first-child { position: static; } }
"""


def to_html(tables: Sequence[ComparisonTable], *, title: str = "Results") -> str:
    """All tables as one HTML page: light and dark by the reader's setting, wide tables scroll, no request is made."""
    sections = "\n".join(_html_table(table) for table in tables)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n{sections}\n</body>\n</html>\n"
    )


def _html_table(table: ComparisonTable) -> str:
    with_protocol = bool(table.published)
    heads = ['<th scope="col">model</th>', *(['<th scope="col">protocol</th>'] if with_protocol else [])]
    for task in table.tasks:
        small = html.escape(about(table, task))
        heads.append(f'<th scope="col">{html.escape(task)}<small>{small}</small></th>')
    heads.append('<th scope="col">mean</th>')
    shown = lines(table)
    bodies = []
    for published, name in ((False, "measured"), (True, "published")):
        rows = [_html_row(line, with_protocol) for line in shown if line.published == published]
        if rows:
            bodies.append(f'<tbody class="{name}">\n' + "\n".join(rows) + "\n</tbody>")
    remarks = "".join(f"<li>{html.escape(note)}</li>" for note in notes(table))
    protocol = html.escape(table.protocol)
    # Heading, legend and notes stand outside of the box that scrolls: on a phone they would be cut off with it.
    return (
        f"<section>\n<h2>Protocol {protocol}</h2>\n<p>{html.escape(_legend(table))}</p>\n"
        f'<div class="scroll" role="region" tabindex="0" aria-label="Protocol {protocol}">\n'
        f"<table>\n<caption>Scores under protocol {protocol}</caption>\n"
        f"<thead><tr>{''.join(heads)}</tr></thead>\n" + "\n".join(bodies) + "\n</table>\n</div>\n"
        + (f"<ul>{remarks}</ul>\n" if remarks else "") + "</section>"
    )  # fmt: skip


def _html_row(line: Line, with_protocol: bool) -> str:
    cells = [f"<b>{html.escape(cell.text)}</b>" if cell.best else html.escape(cell.text) for cell in line.cells]
    protocol = f'<td class="text">{html.escape(line.protocol)}</td>' if with_protocol else ""
    model, mean = html.escape(line.model), html.escape(line.mean.text)
    return (
        f'<tr><th scope="row">{model}</th>{protocol}{"".join(f"<td>{cell}</td>" for cell in cells)}<td>{mean}</td></tr>'
    )
