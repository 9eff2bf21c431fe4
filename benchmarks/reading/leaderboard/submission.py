"""A submission to the HEAR leaderboard: its row, and the CSV with the row appended.

The leaderboard is one CSV, changed by pull requests that append one row. A comma inside a cell breaks the site,
and the site ranks by the plain sum, so a blank costs the whole score of its task. The model's name in the row is the
team's name and a short name of the model.

Beehive is two tasks, with the hives of training and test exchanged; the benchmark does not say how they are joined.
Here it is the mean of the two folds, as heareval takes the mean over folds of k-fold tasks; both are needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date as calendar_date

from benchmarks.reading.published import published_text
from benchmarks.results.format import ResultRecord
from benchmarks.results.record import refuse_repeats
from benchmarks.tasks.registry import TaskSpec, join_columns, list_columns
from hear_delores.errors import DeloresError
from pretrain.inputs.csv_table import read_rows

__all__ = [
    "BEEHIVE_RULE",
    "Submission",
    "SubmissionFacts",
    "append_row",
    "column_scores",
    "leaderboard_header",
    "prepare_submission",
    "select_records",
]

FIRST_COLUMNS = ("Model", "URL", "Submission Date")
BEEHIVE_RULE = "Beehive is the mean of beehive_states_fold0 and beehive_states_fold1."


@dataclass(frozen=True)
class SubmissionFacts:
    """What the pull request's template asks for beyond the scores.

    ``data_kinds`` are the kinds of pre-training data whose boxes are ticked, such as speech.
    """

    name: str
    url: str
    date: str
    team: str = ""
    authors: str = ""
    paper: str = ""
    description: str = ""
    pretraining_data: str = ""
    why_missing: str = ""
    data_kinds: tuple[str, ...] = ()

    @property
    def short_name(self) -> str:
        """The model's name without the team's before it."""
        begins = self.team and self.name.casefold().startswith(f"{self.team.casefold()} ")
        return self.name[len(self.team) :].strip() if begins else self.name

    @property
    def row_name(self) -> str:
        """The model's name on the leaderboard: the team's name and the short name.

        >>> SubmissionFacts("small", "", "", team="A team").row_name
        'A team small'
        >>> SubmissionFacts("A team small", "", "", team="A team").row_name
        'A team small'
        """
        return f"{self.team} {self.short_name}" if self.team else self.name


@dataclass(frozen=True)
class Submission:
    """A row that the leaderboard accepts. ``row`` has one text for each column of ``header``."""

    header: tuple[str, ...]
    row: tuple[str, ...]
    records: tuple[ResultRecord, ...]
    missing: tuple[str, ...]
    facts: SubmissionFacts


def leaderboard_header(text: str, name: str = "the leaderboard CSV") -> tuple[str, ...]:
    """The columns of a leaderboard CSV. Raises DeloresError when they are not the expected ones."""
    header = tuple(next(read_rows(text.removeprefix("\ufeff"), name), (1, []))[1])
    expected = {*FIRST_COLUMNS, *list_columns()}
    if header[:3] != FIRST_COLUMNS or set(header) != expected or len(header) != len(expected):
        odd = sorted(set(header) ^ expected) or ["their order"]
        raise DeloresError(
            f"{name}: expected the columns {', '.join(FIRST_COLUMNS)} and the"
            f" {len(expected) - 3} tasks; wrong: {odd[0]}"
        )
    return header


def append_row(text: str, row: Sequence[str]) -> str:
    """The CSV's text with one more row. Existing text stays as it is, and so do the line ends.

    >>> append_row("a,b\\r\\n1,2", ["3", ""])
    'a,b\\r\\n1,2\\r\\n3,'
    """
    for cell in row:
        _check_cell("a cell", cell, may_be_blank=True)
    end = "\r\n" if "\r\n" in text else "\n"
    line = ",".join(row)
    return f"{text}{line}{end}" if text.endswith("\n") else f"{text}{end}{line}"


def _check_cell(what: str, text: str, *, may_be_blank: bool = False) -> None:
    if not text and not may_be_blank:
        raise DeloresError(f"{what} is empty; the leaderboard needs it")
    bad = [mark for mark in (",", '"', "\n", "\r", "\t") if mark in text]
    if bad:
        raise DeloresError(f"{what} holds {bad[0]!r}, which breaks the leaderboard's site: {text!r}; remove it")
    if text != text.strip():
        raise DeloresError(f"{what} begins or ends with a blank: {text!r}; remove it")


# --- from records to scores


def select_records(
    records: Iterable[ResultRecord], *, model: str | None = None, seed: int | None = None
) -> list[ResultRecord]:
    """The records of one model under protocol hear, one for each leaderboard task.

    Args:
        model: the label of the model to take where the records hold several, or its name as tables show it.
        seed: the seed to take where there are several.

    Raises:
        DeloresError: none, several models, weights, protocols or seeds, a task on a subset or not the official
            one, missing metrics or folds.
    """
    specs = {spec.folder_name: spec for column in list_columns().values() for spec in column}
    names = {spec.name for spec in specs.values()}
    chosen = [r for r in records if r.task.name in names]
    rows = refuse_repeats(chosen)
    chosen = [r for r in chosen if model is None or model in (r.model.label, rows.name(r.model))]
    if not chosen:
        whose = f" of the model {model!r}" if model else ""
        raise DeloresError(f"there is no result of a HEAR task{whose} here; run `delores run --suite hear` first")
    _refuse_several("models", {r.model.label for r in chosen}, "name one with --model")
    _refuse_several("weights of one model", {r.model.weights_hash[:8] or "unknown" for r in chosen}, "keep one set")
    named = {str(rows.name(r.model)) for r in chosen}
    _refuse_several("models under one label", named, "name one with --model")
    _refuse_several("protocols", {r.protocol.title for r in chosen}, "give the results of one")
    if chosen[0].protocol.title != "hear":
        raise DeloresError(
            f"the leaderboard's scores follow protocol hear with its default options, these {chosen[0].protocol.title};"
            " score again with `delores score --protocol hear`"
        )
    if seed is not None:
        chosen = [r for r in chosen if r.seed == seed]
        if not chosen:
            raise DeloresError(f"no result has the seed {seed}; give another")
    _refuse_several("seeds", {str(r.seed) for r in chosen}, "choose one with --seed")
    taken: dict[str, ResultRecord] = {}
    for record in chosen:
        folder = record.task.folder_name
        if folder not in specs:
            raise DeloresError(f"{folder} is not the official task; the leaderboard takes {_official(record, specs)}")
        if folder in taken:
            raise DeloresError(f"there are two results of {folder}; give the folder of one")
        _check_official(record, specs[folder])
        taken[folder] = record
    return list(taken.values())


def _refuse_several(what: str, found: set[str], advice: str) -> None:
    if len(found) > 1:
        raise DeloresError(f"the results mix several {what} ({', '.join(sorted(found))}); {advice}")


def _official(record: ResultRecord, specs: Mapping[str, TaskSpec]) -> str:
    return " or ".join(folder for folder, spec in specs.items() if spec.name == record.task.name)


def _check_official(record: ResultRecord, spec: TaskSpec) -> None:
    task, where = record.task, record.task.folder_name
    if task.subset is not None or task.n_clips < spec.clips:
        part = task.subset or f"{task.n_clips:,} of {spec.clips:,} clips"
        raise DeloresError(f"{where} was run on a subset ({part}); run it on the whole task")
    if task.primary_metric != spec.evaluation[0]:
        raise DeloresError(f"{where} was scored by {task.primary_metric}, the leaderboard shows {spec.evaluation[0]}")
    missing = [metric for metric in spec.evaluation if metric not in record.scores]
    if missing:
        raise DeloresError(f"{where} lacks the metric {missing[0]}; score again with the official task_metadata.json")
    if len(record.folds) != (spec.nfolds or 1):
        raise DeloresError(
            f"{where} has {len(record.folds)} tested folds, but {spec.nfolds or 1} are expected; score again"
        )
    if not math.isfinite(record.primary_score):
        raise DeloresError(f"{where}: {task.primary_metric} is {record.primary_score}, not a number to submit")


def column_scores(records: Iterable[ResultRecord]) -> dict[str, float]:
    """Primary scores by leaderboard column; Beehive only if both of its tasks have one."""
    return join_columns({r.task.folder_name: r.primary_score for r in records})


# --- the row and its pull request


def prepare_submission(
    records: Iterable[ResultRecord],
    facts: SubmissionFacts,
    *,
    leaderboard: str | None = None,
    model: str | None = None,
    seed: int | None = None,
) -> Submission:
    """The leaderboard row of one model's records.

    Args:
        leaderboard: the current CSV's text; None takes the copy that comes with this package.

    Raises:
        DeloresError: unfit records (see :func:`select_records`), a cell that would break the site, a name that is
            taken, or missing tasks without a word why.
    """
    text = published_text("leaderboard.csv") if leaderboard is None else leaderboard
    header = leaderboard_header(text)
    _check_cell("the model's name", facts.name)
    _check_cell("the team's name", facts.team, may_be_blank=True)
    _check_cell("the URL", facts.url)
    if not facts.url.startswith(("https://", "http://")) or " " in facts.url:
        raise DeloresError(f"expected a URL that begins with https://, got {facts.url!r}")
    try:
        calendar_date.fromisoformat(facts.date)
    except ValueError:
        raise DeloresError(f"expected a date as 2026-01-31, got {facts.date!r}") from None
    taken = {row[0].casefold() for _, row in read_rows(text, "the leaderboard CSV")}
    if facts.row_name.casefold() in taken:
        raise DeloresError(f"the leaderboard has a model called {facts.row_name!r} already; choose another name")
    chosen = select_records(records, model=model, seed=seed)
    scores = column_scores(chosen)
    missing = tuple(column for column in header[3:] if column not in scores)
    if missing and not facts.why_missing:
        raise DeloresError(
            f"{len(missing)} of the {len(header) - 3} tasks have no score ({', '.join(missing)}), and the site ranks by"
            " the sum; run them, or say why they are missing with --why-missing"
        )
    row = (facts.row_name, facts.url, facts.date, *(_number(scores.get(column)) for column in header[3:]))
    return Submission(header, row, tuple(chosen), missing, facts)


def _number(score: float | None) -> str:
    """As the leaderboard writes numbers: nine decimals, zeros at the end left out."""
    if score is None:
        return ""
    whole = f"{score:.9f}".rstrip("0")
    return whole + "0" if whole.endswith(".") else whole
