"""The page itself: one template, its style and its script, under a policy that forbids every request."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from operator import attrgetter
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from benchmarks.reading.report.bars import task_bars
from benchmarks.reading.report.confusion import confusions
from benchmarks.reading.report.costs import costs, duration_text, memory_text
from benchmarks.reading.report.curves import PretrainRun, curves_of, letter, read_run
from benchmarks.reading.report.gather import Gathered
from benchmarks.reading.report.layer_bars import layer_bars
from benchmarks.reading.report.maps import embedding_maps
from benchmarks.reading.report.over_tasks import over_tasks
from benchmarks.reading.report.perturbed_bars import perturbed_bars
from benchmarks.reading.report.provenance import model_facts, option_texts, subset_texts, version_counts
from benchmarks.reading.report.score_table import cell_note, clips_of, shade
from benchmarks.reading.report.svg import number_text, templates
from benchmarks.reading.tables.shown import chance_line, lines, notes
from benchmarks.tasks.vocabulary import read_vocabulary
from hear_delores.errors import DeloresError

__all__ = ["Sources", "render_report"]

#: Bar cards that stand open at first; more would be a wall.
OPEN_CARDS = 12


@dataclass(frozen=True)
class Sources:
    """What the page shows beside the records; all of it may be missing."""

    pretrain: Sequence[Path] = ()
    embeddings: Path | None = None
    tasks_dir: Path | None = None


def render_report(found: Gathered, sources: Sources, *, title: str = "DeLoRes report") -> str:
    """The page as one string; the same records give the same bytes.

    Raises DeloresError for predictions, embeddings or logs that are missing or damaged.
    """
    runs = _runs(sources.pretrain)
    maps = embedding_maps(found, sources.embeddings) if sources.embeddings is not None else None
    vocabularies = {**_vocabularies(found, sources.tasks_dir), **(maps.vocabularies if maps is not None else {})}
    summed, each = costs(found)
    curves = curves_of(runs)
    style, script = _asset("report.css"), _asset("report.js")
    return _environment().get_template("report.html.j2").render(
        title=title,
        style=Markup(style),
        script=Markup(script),
        style_hash=_sha256(style),
        script_hash=_sha256(script),
        found=found,
        versions=version_counts(found.records),
        cards=[task_bars(found, column) for column in found.tasks],
        open_cards=OPEN_CARDS,
        confusions=confusions(found, vocabularies),
        maps=maps,
        runs=[(letter(index), run, _run_facts(run)) for index, run in enumerate(runs)],
        over_tasks=over_tasks(found),
        perturbed=perturbed_bars(found),
        layers=layer_bars(found, sources.embeddings),
        curves=curves,
        quantities=list(dict.fromkeys(curve.name for curve in curves)),
        summed=summed,
        each=each,
    )  # fmt: skip


def _runs(paths: Sequence[Path]) -> list[PretrainRun]:
    runs = [read_run(path) for path in paths]
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise DeloresError(f"--pretrain names two runs called {name!r}; rename one of the folders")
    return runs


def _run_facts(run: PretrainRun) -> list[str]:
    head, data = run.head, run.head.get("data")
    facts = [str(head["method"])] if "method" in head else []
    if isinstance(data, dict):
        if isinstance(data.get("clips"), int):
            facts.append(f"{data['clips']:,} clips")
        if isinstance(data.get("hours"), (int, float)):
            facts.append(f"{data['hours']:.1f} h of audio")
    planned = head.get("steps")
    facts.append(f"{run.steps:,} of {planned:,} steps" if isinstance(planned, int) else f"{run.steps:,} steps")
    if "seconds" in run.last:
        facts.append(duration_text(run.last["seconds"]))
    if run.events.get("skipped"):
        facts.append(f"{run.events['skipped']} files skipped")
    if run.unfinished_line:
        facts.append("the log's last line is unfinished and left out")
    return facts


def _vocabularies(found: Gathered, tasks_dir: Path | None) -> dict[str, tuple[str, ...]]:
    """Class names from the task folders under ``tasks_dir``."""
    if tasks_dir is None:
        return {}
    if not tasks_dir.is_dir():
        raise DeloresError(f"{tasks_dir}: no such folder of tasks; make one with 'delores prepare'")
    folders = sorted({record.task.folder_name for record in found.records})
    named = {folder: tasks_dir / folder / "labelvocabulary.csv" for folder in folders}
    return {folder: tuple(read_vocabulary(file)) for folder, file in named.items() if file.is_file()}


def _asset(name: str) -> str:
    return files("benchmarks.reading.report").joinpath(name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _distinct(records: Iterable[Any], name: str) -> list[Any]:
    """What an attribute such as ``task.revision`` is in some records, each value once; of lists their items."""
    values = map(attrgetter(name), records)
    return list(dict.fromkeys(item for value in values for item in (value if isinstance(value, list) else [value])))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = templates(
        duration=duration_text, memory=memory_text, number=number_text, lines=lines, notes=notes, note=cell_note,
        chance_line=chance_line,
        model_facts=model_facts, options=option_texts, subsets=subset_texts,
    )  # fmt: skip
    environment.globals |= {"clips_of": clips_of, "shade": shade, "distinct": _distinct}
    return environment
