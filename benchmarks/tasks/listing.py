"""Tasks as ``delores tasks`` prints them: two lines each in a list, or a card with everything that is known."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tasks.metadata import METADATA_FILE
from benchmarks.tasks.registry import TaskSpec

__all__ = ["Listed", "card", "list_lines", "look_up"]

UNKNOWN = "unknown"
#: Ends the name of a task folder whose corpus lacked files.
SUBSET = "_subset"


@dataclass(frozen=True)
class Listed:
    """A task and which folders of it are in the tasks folder: its own, of another split, or of a subset."""

    spec: TaskSpec
    folders: tuple[str, ...]

    @property
    def is_ready(self) -> bool:
        """Whether the task itself is there, whole."""
        return self.spec.folder_name in self.folders

    @property
    def state(self) -> str:
        """``ready``; else another split that is, ``subset`` where nothing is whole, or ``-``."""
        if self.is_ready:
            return "ready"
        whole = [name.rpartition("-")[2] for name in self.folders if not name.endswith(SUBSET)]
        return whole[0] if whole else "subset" if self.folders else "-"


def look_up(specs: Sequence[TaskSpec], there: Path | Collection[str]) -> list[Listed]:
    """The tasks with what is there of each, in a folder of tasks or among the names of task folders."""
    if isinstance(there, Path):
        there = {path.parent.name for path in there.glob(f"*/{METADATA_FILE}") if path.is_file()}
    found = []
    for spec in specs:
        modes = dict.fromkeys((spec.mode, *spec.variants))
        names = [f"{spec.name}-{spec.version}-{mode}{end}" for mode in modes for end in ("", SUBSET)]
        found.append(Listed(spec, tuple(name for name in names if name in there)))
    return found


def list_lines(tasks: Sequence[Listed], width: int = 80) -> Iterator[str]:
    """The list: below a heading for each suite two lines for each task, cut to ``width`` where a text is long."""
    yield f"{'task':24} {'kind':11} {'cls':>5} {'clips':>7} {'split':7} {'metric':11} here"
    yield f"   {'licence':24} {'size':8} {'get by':9} source"
    listed: list[Listed] = []
    for suite in dict.fromkeys(suite for task in tasks for suite in task.spec.suite):
        of_suite = [task for task in tasks if suite in task.spec.suite]
        if all(task in listed for task in of_suite):
            names = ", ".join(
                task.spec.name if task.spec.mode == "full" else task.spec.folder_name for task in of_suite
            )
            yield from textwrap.wrap(
                f"{suite}: {len(of_suite)} of these tasks: {names}", width, subsequent_indent="   "
            )
            continue
        listed += of_suite
        yield f"{suite}: {_counted(of_suite)}"
        for task in of_suite:
            yield _cut(_figures(task), width)
            spec = task.spec
            way = "either" if len(spec.obtain) > 1 else spec.obtain[0]
            facts = f"   {_cut(spec.licence or UNKNOWN, 24):24} {_size(spec):8} {way:9} {_address(spec.source)}"
            yield _cut(facts, width)


def card(task: Listed, width: int = 80) -> Iterator[str]:
    """Everything about one task, a line or a paragraph a fact."""
    spec = task.spec
    length = f"cut or padded to {spec.sample_duration_s:g} s" if spec.sample_duration_s else "each as long as it is"
    facts = {
        "suite": f"{', '.join(spec.suite)}; {_place(spec)}",
        "what": spec.description,
        "kind": f"{spec.embedding_type}, {spec.prediction_type}, {spec.classes:,} classes",
        "clips": f"{spec.clips:,}, {length}",
        "metrics": ", ".join(spec.evaluation),
        "split": f"{_split(spec)}{f': {spec.split_description}' if spec.split_description else ''}",
        "counts": ", ".join(f"{split} {count:,}" for split, count in spec.counts.items()),
        "source": spec.source,
        "licence": spec.licence or UNKNOWN,
        "size": _size(spec),
        "get by": f"{' or '.join(spec.obtain)}. {spec.obtain_note}".rstrip(". ") + ".",
        "here": ", ".join(task.folders) or "no",
    }
    for mode, variant in spec.variants.items():
        if mode != spec.mode:
            facts[f"split {mode}"] = variant.description if variant.available else f"no: {variant.description}"
    for what, source in spec.cited.items():
        facts[f"cited: {what}"] = source
    yield spec.folder_name
    indent = " " * (2 + max(map(len, facts)) + 2)
    for name, text in facts.items():
        if text:
            lead = f"  {name}".ljust(len(indent))
            yield from textwrap.wrap(
                text,
                width,
                initial_indent=lead,
                subsequent_indent=indent,
                break_on_hyphens=False,
                break_long_words=False,
            )


def _figures(task: Listed) -> str:
    spec = task.spec
    name = spec.name if spec.mode in ("full", "honest") else f"{spec.name} {spec.mode}"
    kind = spec.embedding_type if spec.prediction_type == "multiclass" else f"{spec.embedding_type} multi"
    metric = spec.evaluation[0].removeprefix("event_").removesuffix("_fms")
    return f"{name:24} {kind:11} {spec.classes:5,} {spec.clips:7,} {_split(spec):7} {metric:11} {task.state}"


def _address(source: str) -> str:
    """The web address of a source, else its name."""
    return next((word.split("://")[1] for word in source.split() if "://" in word), source)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _counted(tasks: Sequence[Listed]) -> str:
    columns = {task.spec.leaderboard.name for task in tasks if task.spec.leaderboard is not None}
    count = len(columns) or len(tasks)
    joined = f" in {len(tasks)} folders" if columns and len(columns) < len(tasks) else ""
    return f"{count} task{'s' if count > 1 else ''}{joined}"


def _place(spec: TaskSpec) -> str:
    if spec.leaderboard is not None:
        joined = " (with its other hive, their mean)" if spec.leaderboard.join == "mean" else ""
        return f"the leaderboard's column {spec.leaderboard.name}{joined}"
    if spec.paper is not None:
        length = f"{spec.paper.mean_duration_s:g} s in the mean" if spec.paper.mean_duration_s else "length not told"
        return f"{spec.paper.name} in the paper: {spec.paper.classes:,} classes, {spec.paper.clips:,} clips, {length}"
    return "made by this project"


def _split(spec: TaskSpec) -> str:
    return f"{spec.nfolds}-fold" if spec.nfolds else "TVT"


def _size(spec: TaskSpec) -> str:
    if "generated" in spec.obtain:
        return "none"
    return UNKNOWN if spec.size_bytes is None else f"{spec.size_bytes / 1e9:.1f} GB"
