"""Published figures to compare with measured ones, each with its protocol, split and source.

``published/*.csv`` have the columns model, task, metric, score (per cent; empty where none was published or known),
protocol, split and source. ``published/leaderboard.csv`` is the HEAR leaderboard, byte for byte. A user's overlay
file of the same columns replaces or adds rows, e.g. the DeLoRes-M figures, which are left empty here; results of
others are added as they are.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from benchmarks.reading.figure import PublishedFigure
from hear_delores.documents import read_text
from hear_delores.errors import DeloresError, did_you_mean
from pretrain.inputs.csv_table import parse_table, read_number

__all__ = [
    "COLUMNS",
    "PAPERS",
    "PublishedFigure",
    "published_figures",
    "published_table_six",
    "published_text",
    "read_figures",
]

COLUMNS = ("model", "task", "metric", "score", "protocol", "split", "source")
PAPERS = {
    "delores": ("delores_linear.csv", "delores_transfer.csv", "delores_random_init.csv", "byola_readme.csv"),
    "hear": ("leaderboard.csv",),
    "audio-barlow-twins": ("audio_barlow_twins.csv",),
    "papers": ("leaderboard.csv", "audio_barlow_twins.csv"),
    "papers+": ("leaderboard.csv", "audio_barlow_twins.csv"),
}


def published_text(name: str) -> str:
    """The content of a file in ``published/``, line ends and all."""
    return files("benchmarks.reading").joinpath("published", name).read_bytes().decode("utf-8")


def published_figures(paper: str, overlay: str | Path | None = None) -> list[PublishedFigure]:
    """The published figures of a paper, in the order of its tables.

    Args:
        paper: ``delores`` (the paper's tables 4, 5 and 6, and BYOL-A's README), ``hear`` (the leaderboard),
            ``audio-barlow-twins`` (AudioNTT, ResNet-18 and ViT, untrained and with Barlow Twins), ``papers`` and
            ``papers+`` (the last two together).
        overlay: a CSV of the same columns, of which a row replaces that of its model, task and protocol, or is added;
            or heareval's result folders or a JSON file of scores (see ``foreign_results.py``), which are added.

    Raises:
        DeloresError: an unknown paper, or an overlay with a wrong column or score.
    """
    if paper not in PAPERS:
        raise DeloresError(f"unknown paper {paper!r}. {did_you_mean(paper, PAPERS)}")
    found: dict[tuple[str, str, str], PublishedFigure] = {}
    figures: list[PublishedFigure] = []
    for name in PAPERS[paper]:
        figures += _leaderboard_figures() if name == "leaderboard.csv" else read_figures(published_text(name), name)
    # Table 6 repeats DeLoRes of tables 4 and 5 (once 0.1 off): the first one stands.
    for figure in figures:
        found.setdefault((figure.model, figure.task, figure.protocol), figure)
    if overlay is not None:
        own: set[tuple[str, str, str]] = set()
        for figure in _overlay_figures(Path(overlay)):
            key = figure.model, figure.task, figure.protocol
            if key in own:
                raise DeloresError(f"{overlay}: two figures of {', '.join(key)}; keep one")
            own.add(key)
            found[key] = figure
    return list(found.values())


def _overlay_figures(path: Path) -> list[PublishedFigure]:
    if path.is_dir() or path.suffix == ".json":
        from benchmarks.reading.foreign_results import foreign_figures

        return foreign_figures(path)
    return read_figures(read_text(path), str(path))


def published_table_six() -> list[PublishedFigure]:
    """The paper's table 6 as printed: random initialisation and DeLoRes, each frozen and fine-tuned."""
    name = "delores_random_init.csv"
    return [
        replace(figure, model=f"{figure.model}, {'fine-tuned' if figure.protocol.startswith('transfer') else 'frozen'}")
        for figure in read_figures(published_text(name), name)
    ]


def read_figures(text: str, name: str) -> list[PublishedFigure]:
    """The figures of a CSV's text; ``name`` is what errors call it. Raises DeloresError naming the line."""
    figures = []
    for line, row in parse_table(text, name, COLUMNS).rows:
        where = f"{name}, line {line}"
        cells = {column: row[column] for column in COLUMNS}
        for needed in ("model", "task", "protocol", "source"):
            if not cells[needed]:
                raise DeloresError(f"{where}: the column {needed!r} is empty; every figure needs it")
        score = read_number(cells["score"]) if cells["score"] else None
        if score is not None and not 0 <= score <= 100:
            raise DeloresError(
                f"{where}: expected a score in per cent, from 0 to 100, or nothing; got {cells['score']!r}"
            )
        figures.append(PublishedFigure(**{**cells, "score": score}))  # type: ignore[arg-type]
    return figures


def _leaderboard_figures() -> list[PublishedFigure]:
    from benchmarks.tasks.registry import list_columns

    metrics = {column: specs[0].evaluation[0] for column, specs in list_columns().items()}
    rows = parse_table(published_text("leaderboard.csv"), "leaderboard.csv", ("Model", *metrics)).rows
    return [
        PublishedFigure(
            model=row["Model"],
            task=column,
            metric=metrics[column],
            score=100 * float(row[column]) if row[column] else None,
            protocol="hear (leaderboard)",
            split="official",
            source=f"HEAR leaderboard, {row['Submission Date']}, {row['URL']}",
        )
        for _, row in rows
        for column in metrics
    ]
