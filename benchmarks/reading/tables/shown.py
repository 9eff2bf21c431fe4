"""A comparison table as it is printed: the rows, headings and notes that every form and the report share."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from benchmarks.metrics.registry import metric_scale
from benchmarks.reading.statistics.intervals import Interval
from benchmarks.reading.statistics.overall import Overall
from benchmarks.reading.tables.table import Cell, ComparisonTable, PublishedRow

__all__ = [
    "Line",
    "ShownCell",
    "ShownMean",
    "about",
    "chance_line",
    "chance_notes",
    "heading",
    "label_heads",
    "lines",
    "notes",
    "subset_notes",
    "tail_heads",
]

#: Behind a score that is of a part of the task alone.
SUBSET = "†"
#: Behind a score that guesses reach as well.
AT_CHANCE = "‡"


@dataclass(frozen=True)
class ShownCell:
    """A score as printed; all of it is empty where there is none.

    ``detail`` is the interval or the deviation, ``mark`` the signs of a score that is of a part of the task alone, and
    of one at chance.
    ``value`` is the score as a number, None where there is none or NaN, and ``cell`` what was measured.
    """

    score: str = ""
    detail: str = ""
    mark: str = ""
    best: bool = False
    value: float | None = None
    cell: Cell | None = None

    @property
    def text(self) -> str:
        """The whole cell."""
        return f"{self.score}{self.mark} {self.detail}".rstrip()


@dataclass(frozen=True)
class ShownMean:
    """The mean over tasks; ``over`` says of how many tasks, "" where of all, and ``score`` is "" without any."""

    value: float | None
    over: str

    @property
    def score(self) -> str:
        """The mean alone."""
        return "" if self.value is None else f"{self.value:.1f}"

    @property
    def text(self) -> str:
        """The whole cell."""
        return f"{self.score} ({self.over})" if self.over else self.score


@dataclass(frozen=True)
class Line:
    """One row: a cell for each task, and their mean. ``labels`` are what stands before them, the model first.

    ``tail`` is what stands behind the mean: the overall scores, where they were asked for.
    """

    labels: tuple[str, ...]
    cells: tuple[ShownCell, ...]
    mean: ShownMean
    published: bool = False
    tail: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """The name of the row."""
        return self.labels[0]


def label_heads(table: ComparisonTable) -> list[str]:
    """What stands above the labels of the rows: published rows have protocols of their own."""
    return ["model", "protocol"] if table.published else ["model"]


def tail_heads(table: ComparisonTable) -> list[str]:
    """What stands above the overall scores behind the mean; nothing where there are none."""
    return ["s(m)", "leaderboard", "mean rank"] if table.overall else []


def lines(table: ComparisonTable) -> list[Line]:
    """The rows of a table, measured first. Best of a column: among measured rows, and apart among published ones.

    The row of chance levels, which is no model's, is :func:`chance_line`.
    """
    found = []
    for model in table.models:
        cells = tuple(_measured(table, table.cells.get((model, task)), task) for task in table.tasks)
        labels = (model, table.protocol) if table.published else (model,)
        found.append(Line(labels, cells, _mean(table, *table.average(model))))
    for row in table.published:
        cells = tuple(_published(table, row, task) for task in table.tasks)
        found.append(Line((row.model, row.protocol), cells, _mean(table, *table.mean_of(row.scores)), True))
    if table.overall:
        found = [replace(line, tail=_tail(each)) for line, each in zip(found, table.overall, strict=True)]
    return found


def chance_line(table: ComparisonTable) -> Line | None:
    """The row at the foot of a table: what guesses score on each task. None where that is of no task known."""
    if not table.chance:
        return None
    ranges, cells = any(cell.low is not None for cell in table.cells.values()), []
    for task in table.tasks:
        if (chance := table.chance.get(task)) is None:
            cells.append(ShownCell())
            continue
        digits, level = _digits(table, task), chance.best(table.maximise[task])
        detail = f"[{chance.low:.{digits}f}, {chance.high:.{digits}f}]" if ranges else ""
        cells.append(ShownCell(f"{level:.{digits}f}", detail, value=level))
    levels = {task: chance.best(table.maximise[task]) for task, chance in table.chance.items()}
    labels = ("chance", "guesses") if table.published else ("chance",)
    tail = tuple("" for _ in tail_heads(table))
    return Line(labels, tuple(cells), _mean(table, *table.mean_of(levels)), tail=tail)


def about(table: ComparisonTable, task: str) -> str:
    """What a column's heading says beside the task: its metric, its split, and whether less is better."""
    found = [table.metrics[task], *([table.splits[task]] if task in table.splits else [])]
    return ", ".join(found if table.maximise[task] else [*found, "lower is better"])


def heading(table: ComparisonTable, task: str) -> str:
    """A column's heading in one line."""
    return f"{task} ({about(table, task)})"


def notes(table: ComparisonTable) -> list[str]:
    """What a reader has to know: scores of subsets and at chance, what did not train, sources and splits of others."""
    return subset_notes(table) + chance_notes(table) + _overall_notes(table) + _source_notes(table)


def chance_notes(table: ComparisonTable) -> list[str]:
    """What the row of chance levels and the mark of scores at chance mean, and on what no head learnt anything."""
    found = [f"{text}." for text in table.untrained]
    if table.chance:
        how = "answers drawn at random as often as they occur, or the one best answer for every clip"
        found.insert(0, f"chance: what guesses score ({how}, whichever scores better).")
    if any(cell.at_chance for cell in table.cells.values()):
        found.insert(1, f"{AT_CHANCE} at chance: {_reach(table)}.")
    return found


def _reach(table: ComparisonTable) -> str:
    marked = [cell for cell in table.cells.values() if cell.at_chance]
    interval, reach = "its 95 % interval holds the chance level or lies below it", "95 % of guesses reach no further"
    kinds = [interval] if any(cell.low is not None for cell in marked) else []
    return " or ".join(kinds + ([reach] if any(cell.low is None for cell in marked) else []))


def _overall_notes(table: ComparisonTable) -> list[str]:
    """What the overall scores are, and over which rows."""
    if not table.overall:
        return []
    ranked = sum(each.rank is not None for each in table.overall)
    return [
        f"s(m): each task min-max normalised over the {ranked} rows that have every task, then averaged, in per cent, "
        "with Student's 95 % interval over tasks. "
        "leaderboard: the normalised score among the leaderboard's models, tasks without a score imputed. "
        "mean rank: over tasks, among the same rows, with the same kind of interval."
    ]


def subset_notes(table: ComparisonTable) -> list[str]:
    """The scores that are of a part of a task alone."""
    return [f"{SUBSET} {model} on a subset of {task}: {cell.subset}." for (model, task), cell in table.cells.items()
            if cell.subset]  # fmt: skip


def _source_notes(table: ComparisonTable) -> list[str]:
    """Where the published rows come from, and their splits where these are not the official ones."""
    if not table.published:
        return []
    sources: dict[str, list[str]] = {}
    for row in table.published:
        if not row.source.startswith("HEAR leaderboard"):
            sources.setdefault(row.source, []).append(row.model)
    found = [f"{', '.join(models)}: {source}." for source, models in sources.items()]
    if len(found) < len({row.source.startswith("HEAR leaderboard") or row.source for row in table.published}):
        found.append(f"{'Other p' if found else 'P'}ublished rows: the HEAR leaderboard, which links each model.")
    by_protocol: dict[str, dict[str, list[str]]] = {}
    for (protocol, task), split in table.published_splits.items():
        if split != "official":
            by_protocol.setdefault(protocol, {}).setdefault(split, []).append(task)
    for protocol, tasks in by_protocol.items():
        splits = "; ".join(f"{split} ({', '.join(names)})" for split, names in tasks.items())
        found.append(f"Splits of {protocol}: {splits}.")
    return found


def _measured(table: ComparisonTable, cell: Cell | None, task: str) -> ShownCell:
    if cell is None:
        return ShownCell()
    if math.isnan(cell.score):
        return ShownCell("n/a", cell=cell)
    digits, detail = _digits(table, task), ""
    if cell.low is not None and cell.high is not None:
        detail = f"[{cell.low:.{digits}f}, {cell.high:.{digits}f}]"
    elif cell.spread is not None:
        detail = f"± {cell.spread:.{digits}f}"
    text, best = f"{cell.score:.{digits}f}", table.best(task)
    # Ties as printed share the mark: a reader cannot tell them apart.
    is_best = best is not None and text == f"{best:.{digits}f}"
    mark = (SUBSET if cell.subset else "") + (AT_CHANCE if cell.at_chance else "")
    return ShownCell(text, detail, mark, is_best, cell.score, cell)


def _digits(table: ComparisonTable, task: str) -> int:
    return 1 if metric_scale(table.metrics[task]) == 100.0 else 3


def _tail(overall: Overall) -> tuple[str, ...]:
    return (
        _with_interval(overall.min_max, overall.min_max_interval),
        "" if overall.normalised is None else f"{overall.normalised:+.3f}",
        _with_interval(overall.rank, overall.rank_interval),
    )


def _with_interval(value: float | None, interval: Interval | None) -> str:
    text = "" if value is None else f"{value:.1f}"
    return text if interval is None else f"{text} [{interval.low:.1f}, {interval.high:.1f}]"


def _published(table: ComparisonTable, row: PublishedRow, task: str) -> ShownCell:
    if task not in row.scores:
        return ShownCell()
    text, best = f"{row.scores[task]:.1f}", table.best_published(task)
    return ShownCell(text, best=best is not None and text == f"{best:.1f}", value=row.scores[task])


def _mean(table: ComparisonTable, mean: float | None, count: int) -> ShownMean:
    return ShownMean(mean, "" if mean is None or count == len(table.tasks) else f"of {count}")
