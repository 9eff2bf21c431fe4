"""Comparison tables: models by tasks, one table per protocol, measured beside published.

What of them is printed is in ``shown.py``; ``plain.py`` (Markdown, CSV, the terminal) and ``typeset.py`` (LaTeX, HTML)
print it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

import numpy as np

from benchmarks.metrics.chance import Chance
from benchmarks.metrics.registry import metric_bounds, metric_scale
from benchmarks.reading.published import PAPERS, PublishedFigure, published_figures, published_table_six
from benchmarks.reading.statistics.overall import Overall, leaderboard_scores, overall_of
from benchmarks.reading.statistics.record_chance import column_chance
from benchmarks.results.format import ResultRecord
from benchmarks.results.record import refuse_repeats
from hear_delores.errors import DeloresError

__all__ = [
    "Cell",
    "ComparisonTable",
    "PublishedRow",
    "comparison_tables",
    "measured_kind",
    "paper_columns",
    "published_rows",
    "split_text",
    "task_columns",
    "with_overall",
]

#: How the protocol of a published figure begins, and that of the measured ones it may stand beside.
BESIDE = {"hear": "hear", "linear": "linear", "transfer": "finetune", "fine": "finetune"}
#: The paper's table 6 sets frozen and fine-tuned encoders side by side: what of our protocols is which.
TABLE_SIX = "linear and finetune (table 6)"
FROZEN_OR_TUNED = {"linear": "frozen", "finetune": "fine-tuned"}


@dataclass(frozen=True)
class Cell:
    """The primary score of a model on a task, as printed (per cent where customary).

    ``spread`` is the standard deviation (ddof 1) over folds, or over seeds where a task has one split;
    None when there is one number alone. ``low`` and ``high`` are the ends of its 95 % interval, if asked for.
    """

    score: float
    spread: float | None
    spread_over: str
    n_seeds: int
    low: float | None = None
    high: float | None = None
    interval_over: str = ""
    #: How much of the task was left out, if anything was; such a score is not of the task.
    subset: str = ""
    #: Whether guesses may score as well: the interval holds the chance level, or lies on its worse side.
    at_chance: bool = False

    def beside(self, chance: Chance | None, maximise: bool) -> Cell:
        """The cell, marked where it is at chance; without an interval, where the score is within reach of guesses."""
        if chance is None or math.isnan(self.score):
            return self
        if self.low is None or self.high is None:
            return replace(self, at_chance=chance.holds(self.score, maximise))
        level = chance.best(maximise)
        return replace(self, at_chance=self.low <= level if maximise else self.high >= level)


@dataclass(frozen=True)
class PublishedRow:
    """A published model: scores by task as printed (a task without one is absent), protocol and source."""

    model: str
    protocol: str
    source: str
    scores: dict[str, float]


@dataclass(frozen=True)
class ComparisonTable:
    """Models (rows) by tasks (columns) under one protocol; published rows stand below, each with its own protocol.

    ``chance`` holds the chance level, as printed, of each task of which it is known; ``untrained`` a line for each
    result of which no head learnt anything; ``overall`` the figures over tasks of each row, measured ones first, where
    they were asked for.
    """

    protocol: str
    models: tuple[str, ...]
    tasks: tuple[str, ...]
    metrics: dict[str, str]
    maximise: dict[str, bool]
    cells: dict[tuple[str, str], Cell]
    splits: dict[str, str] = field(default_factory=dict)
    published: tuple[PublishedRow, ...] = ()
    published_splits: dict[tuple[str, str], str] = field(default_factory=dict)  # by protocol and task
    chance: dict[str, Chance] = field(default_factory=dict)
    untrained: tuple[str, ...] = ()
    overall: tuple[Overall, ...] = ()

    def measured(self, task: str) -> list[float]:
        """The measured scores of a task, in the order of the models."""
        return [self.cells[model, task].score for model in self.models if (model, task) in self.cells]

    def best(self, task: str) -> float | None:
        """The best measured score of a task, or None when nothing was measured."""
        return self._best(task, self.measured(task))

    def best_published(self, task: str) -> float | None:
        """The best published score of a task, or None."""
        return self._best(task, [row.scores[task] for row in self.published if task in row.scores])

    def _best(self, task: str, scores: list[float]) -> float | None:
        scores = [score for score in scores if score == score]
        if not scores:
            return None
        return max(scores) if self.maximise[task] else min(scores)

    def average(self, model: str) -> tuple[float | None, int]:
        """The mean over tasks whose score is better when higher, and over how many of them it is."""
        return self.mean_of({task: self.cells[model, task].score for task in self.tasks if (model, task) in self.cells})

    def mean_of(self, scores: Mapping[str, float]) -> tuple[float | None, int]:
        """As :meth:`average`, of any scores by task; a NaN is left out."""
        kept = [score for task, score in scores.items() if self.maximise[task] and not math.isnan(score)]
        return (fmean(kept) if kept else None), len(kept)


def comparison_tables(
    records: Iterable[ResultRecord],
    tasks: Sequence[str] | None = None,
    *,
    intervals: bool = False,
    paper: str | None = None,
    overlay: str | Path | None = None,
    whole_paper: bool = False,
    over_seeds: bool = False,
) -> list[ComparisonTable]:
    """One table per protocol variant, rows and columns in the order in which the records come.

    Rows are named by the model's label; several models under one label are told apart by what differs: the first
    digits of the weights' hash, module, options, behaviour. Several seeds of one model, task and protocol are
    averaged. A task in two modes
    (``nsynth_pitch`` 5h and 50h) is two columns.

    Args:
        records: result records.
        tasks: names of tasks (or of task folders, or columns) to keep, in this order; None keeps all.
        intervals: add 95 % intervals, from the predictions saved beside the records.
        paper: a name of ``PAPERS``: the columns of that paper's tables, the published figures below. Its tables need
            no records.
        overlay: further published figures, or other people's results (see ``published.py``).
        whole_paper: with ``delores`` tables 4 (``linear``), 5 (``finetune``) and 6 (both, frozen beside fine-tuned)
            come out whether or not anything was measured for them.
        over_seeds: intervals are over seeds, and each row has its overall scores; so for the papers ``papers``, too.

    Raises:
        DeloresError: there is no record, two are of one model, task, protocol and seed, or two of one task have
            different task revisions or primary metrics, which cannot be compared.
    """
    from benchmarks.tasks.suites import find_suite

    records = list(records)
    columns = _chosen(paper_columns(paper) if paper else task_columns(records), tasks)
    wanted = {folder for folders in columns.values() for folder in folders}
    given, records = records, [r for r in records if r.task.folder_name in wanted]
    if not records and (given or not paper or not columns):
        whose = f" of a task of --paper {paper}" if paper else ""
        raise DeloresError(f"there are no results{whose} to put in a table; run `delores run` or `delores score` first")
    _refuse_mixed_tasks(records)
    figures = published_figures(paper, overlay) if paper else []
    models = refuse_repeats(records)
    names = {id(r): str(models.name(r.model)) for r in records}
    over_seeds = over_seeds or (paper is not None and find_suite(paper).over_seeds)
    kind = "seeds" if over_seeds else "clips" if intervals else ""
    titles = dict.fromkeys(
        [r.protocol.title for r in records] or [measured_kind(figure.protocol) for figure in figures]
    )
    whole_paper = whole_paper and paper == "delores"
    if whole_paper:
        titles |= dict.fromkeys(FROZEN_OR_TUNED)
    of = {title: [r for r in records if r.protocol.title == title] for title in titles}
    found = [_table(title, of[title], columns, names, _fitting(figures, title), kind) for title in titles]
    if over_seeds:
        found = [with_overall(table, of[table.protocol], names) for table in found]
    if whole_paper:
        order = list(dict.fromkeys(names.values()))
        own = [r for title in FROZEN_OR_TUNED for r in of[title]]
        own.sort(key=lambda r: order.index(names[id(r)]))
        name_of = {id(r): f"{names[id(r)]}, {FROZEN_OR_TUNED[r.protocol.title]}" for r in own}
        found.append(_table(TABLE_SIX, own, columns, name_of, published_table_six(), kind))
    return found


def task_columns(records: Sequence[ResultRecord]) -> dict[str, tuple[str, ...]]:
    """{column: its task folders}: a task's name, with the mode where it has several."""
    modes = Counter(name for name, _ in {(record.task.name, record.task.mode) for record in records})
    found: dict[str, dict[str, None]] = {}
    for task in (record.task for record in records):
        name = f"{task.name}-{task.mode}" if modes[task.name] > 1 else task.name
        found.setdefault(name, {})[task.folder_name] = None
    return {name: tuple(folders) for name, folders in found.items()}


def paper_columns(paper: str) -> dict[str, tuple[str, ...]]:
    """{column: its task folders} of a paper's tables; other splits and subsets are columns of their own."""
    from benchmarks.tasks.registry import list_columns, list_suites, list_tasks

    if paper != "delores" and paper in PAPERS:
        found = {name: tuple(spec.folder_name for spec in specs) for name, specs in list_columns().items()}
        if paper in list_suites() and paper != "hear":
            wanted = {spec.folder_name for spec in list_tasks(paper)}
            return {name: folders for name, folders in found.items() if wanted.issuperset(folders)}
        return found | {f"{name} (subset)": tuple(f"{f}_subset" for f in folders) for name, folders in found.items()}
    if paper != "delores":
        published_figures(paper)  # says which there are
    found = {}
    for spec in list_tasks("delores"):
        found[spec.name] = (spec.folder_name,)
        # Another split (the paper's among them) and a part of the corpus are tasks of their own.
        for mode in (*spec.variants, *(f"{mode}_subset" for mode in spec.variants)):
            if mode != spec.mode:
                found[f"{spec.name}-{mode}"] = (f"{spec.name}-{spec.version}-{mode}",)
    return found


def _chosen(columns: dict[str, tuple[str, ...]], tasks: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    """Those of some names of columns, folders or tasks, in their order; all for None."""
    return columns if tasks is None else {
        name: folders
        for task in tasks
        for name, folders in columns.items()
        if task == name or any(f"{folder}-".startswith(f"{task}-") for folder in folders)
    }  # fmt: skip


def _table(
    protocol: str,
    records: list[ResultRecord],
    columns: Mapping[str, tuple[str, ...]],
    name_of: Mapping[int, str],
    figures: Sequence[PublishedFigure],
    intervals: str,
) -> ComparisonTable:
    """One table of ``records``, each in the row that ``name_of`` names by its id, above the rows of ``figures``.

    ``intervals`` are over ``clips`` (over folds where there are several), over ``seeds``, or "": none.
    """
    groups: dict[tuple[str, str], list[ResultRecord]] = {}
    for record in records:
        groups.setdefault((name_of[id(record)], record.task.folder_name), []).append(record)
    models = tuple(dict.fromkeys(model for model, _ in groups))
    cells: dict[tuple[str, str], Cell] = {}
    # Task by task: all models of a task share one set of bootstrap draws.
    for column, folders in columns.items():
        for model in models:
            own = [groups[model, folder] for folder in folders if (model, folder) in groups]
            if len(folders) == len(own):  # a column of two tasks needs both
                cells[model, column] = _cell(own[0], intervals) if len(own) == 1 else _joined(own)
    task_of = {record.task.folder_name: record.task for record in records}
    first = {column: task_of[f] for column, folders in columns.items() for f in folders if f in task_of}
    chances = {column: column_chance(records, columns[column]) for column in first}
    cells = {key: cell.beside(chances[key[1]], first[key[1]].maximise) for key, cell in cells.items()}
    metrics = {figure.task: figure.metric for figure in figures if figure.score is not None}
    shown = [column for column in columns if column in first or column in metrics]
    return ComparisonTable(
        protocol=protocol,
        models=models,
        tasks=tuple(shown),
        metrics={c: first[c].primary_metric if c in first else metrics[c] for c in shown},
        maximise={c: first[c].maximise if c in first else metrics[c] != "segment_1s_er" for c in shown},
        cells=cells,
        splits={c: split_text(records, columns[c]) for c in first},
        published=published_rows(figures, columns),
        published_splits={(f.protocol, f.task): f.split for f in figures if f.split and f.task in shown},
        chance={column: chance for column, chance in chances.items() if chance is not None},
        untrained=tuple(
            f"{name_of[id(r)]} on {r.task.name}, seed {r.seed}: {r.untrained}" for r in records if r.untrained
        ),
    )


def with_overall(
    table: ComparisonTable, records: Sequence[ResultRecord], name_of: Mapping[int, str]
) -> ComparisonTable:
    """The table with the overall scores of its rows. Of published rows those with a score on every task stay.

    ``records`` are those of the table, and ``name_of`` names the row of each by its id.
    """
    from benchmarks.tasks.registry import join_columns

    whole = tuple(row for row in table.published if all(task in row.scores for task in table.tasks))
    table = replace(table, published=whole)
    measured = [[table.cells.get((model, task)) for task in table.tasks] for model in table.models]
    scores = [[math.nan if cell is None else cell.score for cell in row] for row in measured]
    scores += [[row.scores[task] for task in table.tasks] for row in whole]
    by_task: dict[str, dict[str, list[float]]] = {model: {} for model in table.models}
    for record in records:
        by_task[name_of[id(record)]].setdefault(record.task.folder_name, []).append(record.primary_score)
    columns = {
        model: join_columns({task: fmean(values) for task, values in own.items()}) for model, own in by_task.items()
    }
    normalised = leaderboard_scores(columns, published=bool(whole))
    names = [*table.models, *(row.model for row in whole)]
    maximise = [table.maximise[task] for task in table.tasks]
    return replace(table, overall=tuple(overall_of(names, np.array(scores), maximise, normalised)))


def measured_kind(protocol: str) -> str:
    """The protocol of ours that published figures of this one stand beside."""
    return next((ours for theirs, ours in BESIDE.items() if protocol.startswith(theirs)), protocol)


def _fitting(figures: Sequence[PublishedFigure], protocol: str) -> list[PublishedFigure]:
    """Fine-tuned models stand beside fine-tuned ones; the leaderboard beside its own protocol alone."""
    tuned = protocol.startswith(("finetune", "fine-tune", "transfer"))
    return [
        figure
        for figure in figures
        if figure.protocol.startswith(("transfer", "fine")) == tuned
        and (not figure.protocol.startswith("hear") or protocol.startswith("hear"))
    ]


def published_rows(figures: Iterable[PublishedFigure], columns: Container[str]) -> tuple[PublishedRow, ...]:
    """A row for each model and protocol, of its scores on ``columns``; it may have none."""
    rows: dict[tuple[str, str], PublishedRow] = {}
    for figure in figures:
        key = figure.model, figure.protocol
        row = rows.setdefault(key, PublishedRow(*key, figure.source, {}))
        if figure.task in columns and figure.score is not None:
            row.scores.setdefault(figure.task, figure.score)
            rows[key] = replace(row, source=figure.source)
    return tuple(rows.values())


def split_text(records: Sequence[ResultRecord], folders: tuple[str, ...]) -> str:
    """Of a column: how many folds were tested, and the mode where it is not the whole task."""
    record = next(r for r in records if r.task.folder_name in folders)
    folds = f"{len(record.folds)} folds" if len(record.folds) > 1 else "one split"
    return folds if record.task.mode == "full" else f"{folds}, {record.task.mode}"


def _refuse_mixed_tasks(records: list[ResultRecord]) -> None:
    seen: dict[tuple[str, str], ResultRecord] = {}
    for record in records:
        first = seen.setdefault((record.task.name, record.task.mode), record)
        for what, one, other in (
            ("revisions", first.task.revision[:8], record.task.revision[:8]),
            ("primary metrics", first.task.primary_metric, record.task.primary_metric),
        ):
            if one != other:
                raise DeloresError(
                    f"results of {record.task.name} come from two {what} ({one} of {first.model.label}, {other} of"
                    f" {record.model.label}) and cannot share a table; score both on one, or name one results folder"
                )


def _cell(records: list[ResultRecord], intervals: str = "") -> Cell:
    metric = records[0].task.primary_metric
    scale = metric_scale(metric)
    scores = [scale * record.scores[metric] for record in records]
    mean, folds = fmean(scores), len(records[0].folds)
    spread, over = None, ""
    if len(scores) > 1:
        spread, over = (sum((score - mean) ** 2 for score in scores) / (len(scores) - 1)) ** 0.5, "seeds"
    elif folds > 1:
        spread, over = scale * records[0].scores_std[metric], f"{folds} folds"
    subset = "; ".join(dict.fromkeys(record.task.subset for record in records if record.task.subset))
    cell = Cell(mean, spread, over, len(scores), subset=subset)
    if not intervals:
        return cell
    from benchmarks.reading.statistics.intervals import fold_interval, record_interval

    if intervals == "seeds":
        found = fold_interval([record.scores[metric] for record in records], metric_bounds(metric))
        found = found and replace(found, over=f"{len(records)} seeds")
    else:
        found = record_interval(records)
    if found is None:
        return cell
    return replace(cell, low=scale * found.low, high=scale * found.high, interval_over=found.over)


def _joined(groups: list[list[ResultRecord]]) -> Cell:
    """A column of several tasks (Beehive): the plain mean; its two numbers give no deviation worth showing."""
    cells = [_cell(group) for group in groups]
    subset = "; ".join(dict.fromkeys(cell.subset for cell in cells if cell.subset))
    return Cell(fmean(cell.score for cell in cells), None, "", min(cell.n_seeds for cell in cells), subset=subset)
