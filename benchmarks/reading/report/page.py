"""The page itself: one template, its style and its script, under a policy that forbids every request."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from benchmarks.reading.report.bars import task_bars
from benchmarks.reading.report.confusion import confusions
from benchmarks.reading.report.costs import costs, duration_text, memory_text
from benchmarks.reading.report.curves import PretrainRun, curves_of, letter, read_run
from benchmarks.reading.report.gather import Gathered
from benchmarks.reading.report.maps import Maps, embedding_maps
from benchmarks.reading.report.provenance import facts_of
from benchmarks.reading.report.score_table import grid_of
from benchmarks.reading.report.svg import number_text
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
        facts=facts_of(found),
        left_out=found.left_out,
        grids=[grid_of(found, number) for number in range(len(found.tables))],
        cards=[task_bars(found, column) for column in found.tasks],
        open_cards=OPEN_CARDS,
        confusions=confusions(found, vocabularies),
        maps=maps,
        symbols=_symbols(maps),
        runs=[(letter(index), run, _run_facts(run)) for index, run in enumerate(runs)],
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


def _symbols(maps: Maps | None) -> Markup:
    """The marks that drawings refer to, once for the whole page, 0 at the middle of each."""
    shapes = [
        '<circle r="3.4"/>',
        '<rect x="-3" y="-3" width="6" height="6"/>',
        '<path d="M0-4 3.8 3H-3.8Z"/>',
        '<path d="M0-4.4 3.6 0 0 4.4-3.6 0Z"/>',
        '<path d="M0 4 3.8-3H-3.8Z"/>',
        '<path class="thin" d="M-3.4 0H3.4M0-3.4V3.4"/>',
        '<path class="thin" d="M-3-3 3 3M3-3-3 3"/>',
        '<path d="M0-4.6 1.2-1.4 4.4-1.4 1.9.6 2.8 3.8 0 1.9-2.8 3.8-1.9.6-4.4-1.4-1.2-1.4Z"/>',
    ]
    # The constant shapes above hold nothing of anyone's data.
    marked = [f'<g id="shape{index}">{shape}</g>' for index, shape in enumerate(shapes)] if maps is not None else []
    hatch = '<path class="hatch-line" d="M-1 1 1-1M0 6 6 0M5 7 7 5"/>'
    return Markup(
        '<svg class="symbols" width="0" height="0" aria-hidden="true"><defs>'
        '<path id="diamond" d="M0-5 5 0 0 5-5 0Z"/>'
        '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<rect class="hatch-ground" width="6" height="6"/>{hatch}</pattern>{"".join(marked)}</defs></svg>'
    )


def _asset(name: str) -> str:
    return files("benchmarks.reading.report").joinpath(name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_asset), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    helpers: dict[str, Any] = {"duration": duration_text, "memory": memory_text, "number": number_text}
    environment.filters.update(helpers)
    return environment
