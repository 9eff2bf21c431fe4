"""Learning curves of pre-training runs: every number that ``log.jsonl`` holds, over steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from benchmarks.reading.report.svg import Axis, axis_of, draw, fixed, tick_texts
from hear_delores.documents import parse_json, read_text
from hear_delores.errors import DeloresError

__all__ = ["Curve", "PretrainRun", "curves_of", "draw_curve", "read_run"]

#: What steps are counted by, and not drawn over them.
COUNTERS = ("step", "epoch", "clips", "seconds")
#: Points of one line: more than a screen can show.
MAX_POINTS = 300
WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 18, 10, 24


@dataclass(frozen=True)
class PretrainRun:
    """One run: ``series`` are {name: ((step, value), ...)}, ``head`` the line that the log begins with."""

    name: str
    head: dict[str, Any]
    series: dict[str, tuple[tuple[float, float], ...]]
    last: dict[str, float]
    events: dict[str, int] = field(default_factory=dict)
    unfinished_line: bool = False

    @property
    def method(self) -> str:
        """What the log says was trained, "" where it does not."""
        return str(self.head.get("method", ""))

    @property
    def steps(self) -> int:
        """The last step that was logged."""
        return int(self.last.get("step", 0))


@dataclass(frozen=True)
class Curve:
    """One quantity of all runs of one method that log it; ``method`` is "" where one method alone does."""

    name: str
    method: str
    log: bool
    thinned: bool
    drawing: Markup


def read_run(path: str | Path) -> PretrainRun:
    """A run's log. A step that was logged twice counts as it was logged last (a run that was resumed).

    A last line that was not finished, as a killed run leaves it, is left out and said.

    Raises DeloresError for a missing log, another damaged line, or a log without any number.
    """
    folder = Path(path)
    file = folder / "log.jsonl" if folder.is_dir() else folder
    if not file.is_file():
        raise DeloresError(f"{file}: no such log; --pretrain takes the folder of a 'delores pretrain' run")
    text = read_text(file)
    rows, unfinished = _lines(file, text)
    head: dict[str, Any] = next((row for row in rows if row.get("event") == "start"), {})
    events: dict[str, int] = {}
    series: dict[str, dict[float, float]] = {}
    last: dict[str, float] = {}
    for row in rows:
        if "event" in row:
            events[str(row["event"])] = events.get(str(row["event"]), 0) + 1
            continue
        last = {name: float(value) for name, value in row.items() if _is_number(value)}
        if "step" not in last:
            raise DeloresError(f"{file}: expected a number as step in every line, got {row.get('step')!r}")
        for name, value in last.items():
            if name not in COUNTERS:
                series.setdefault(name, {})[last["step"]] = value
    if not series:
        raise DeloresError(f"{file}: holds no logged step yet; wait until the run has logged one, or leave the run out")
    ordered = {name: tuple(sorted(values.items())) for name, values in series.items()}
    return PretrainRun(
        folder.resolve().name if folder.is_dir() else folder.stem, head, ordered, last, events, unfinished
    )


def _lines(file: Path, text: str) -> tuple[list[dict[str, Any]], bool]:
    rows: list[dict[str, Any]] = []
    parts = text.split("\n")
    for number, line in enumerate(parts, start=1):
        if not line.strip():
            continue
        try:
            value = parse_json(line, f"{file}, line {number}", nan=True, advice="correct or remove this log line")
        except DeloresError:
            if number == len(parts):  # nothing ends it: the run was killed, or is writing it now
                return rows, True
            raise
        rows.append(value)
    return rows, False


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def curves_of(runs: Sequence[PretrainRun]) -> list[Curve]:
    """One drawing for each logged quantity, loss first, in the order in which the logs name them.

    Two methods' losses are not on one scale, so that a quantity that several methods log is drawn once for each.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.series))
    names.sort(key=lambda name: (name != "loss", name == "lr"))
    found = []
    for name in names:
        methods = list(dict.fromkeys(run.method for run in runs if name in run.series))
        for method in methods:
            found.append(draw_curve(name, runs, method, method if len(methods) > 1 else ""))
    return found


def draw_curve(name: str, runs: Sequence[PretrainRun], method: str, shown_method: str = "") -> Curve:
    """The lines of all runs of a method that log ``name``: each its own dash and colour, its letter at the end."""
    own = [
        (index, run.series[name]) for index, run in enumerate(runs) if name in run.series and run.method == method
    ]  # fmt: skip
    axis = axis_of([value for _, points in own for _, value in points])
    across = Axis(0.0, max([step for _, points in own for step, _ in points] + [1.0]))
    title = f"{name}{f' of {shown_method}' if shown_method else ''} over pre-training steps"
    paths, ends, thinned = [], [], False
    for index, points in own:
        shown = _thin(points)
        thinned |= len(shown) < len(points)
        pieces = [[(_x(across, step), _y(axis, value)) for step, value in piece] for piece in _finite(shown, axis)]
        paths.append(
            (index, " ".join("M" + "L".join(f"{fixed(x, 1)} {fixed(y, 1)}" for x, y in piece) for piece in pieces))
        )
        ends += [(*pieces[-1][-1], index)] if pieces else []
    drawing = draw(
        "curve", title=title, paths=paths, letters=_letters(ends),
        up=[(text, _y(axis, tick)) for tick, text in _labelled(axis)],
        across=[(text, _x(across, tick)) for tick, text in _labelled(across)],
        width=WIDTH, height=HEIGHT, left=LEFT, right=RIGHT, bottom=BOTTOM,
    )  # fmt: skip
    return Curve(name, shown_method, axis.log, thinned, drawing)


def _labelled(axis: Axis) -> list[tuple[float, str]]:
    return list(zip(axis.ticks(4), tick_texts(axis.ticks(4)), strict=True))


def letter(index: int) -> str:
    """A for the first run, and so on; numbers beyond Z."""
    return chr(65 + index) if index < 26 else str(index + 1)


def _letters(ends: list[tuple[float, float, int]]) -> list[tuple[int, str, float, float]]:
    """The runs' letters right of their lines, moved apart where they would cover each other."""
    found, last = [], -math.inf
    for x, y, index in sorted(ends, key=lambda end: (end[1], end[2])):
        last = max(y + 4, last + 12)
        found.append((index, letter(index), x + 4, last))
    return found


def _x(axis: Axis, step: float) -> float:
    return LEFT + axis.at(step) * (WIDTH - LEFT - RIGHT)


def _y(axis: Axis, value: float) -> float:
    return TOP + (1 - axis.at(value)) * (HEIGHT - TOP - BOTTOM)


def _finite(points: Sequence[tuple[float, float]], axis: Axis) -> list[list[tuple[float, float]]]:
    """The line in pieces: a NaN, an infinity, or on a logarithmic axis a value that is not positive, leaves a gap."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for step, value in points:
        if math.isfinite(value) and (value > 0 or not axis.log):
            pieces[-1].append((step, value))
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def _thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most MAX_POINTS: of each stretch the lowest and the highest, so that no spike is lost."""
    if len(points) <= MAX_POINTS:
        return list(points)
    stretch = math.ceil(len(points) / (MAX_POINTS // 2))
    kept: list[tuple[float, float]] = []
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        finite = [point for point in part if math.isfinite(point[1])] or list(part)
        kept += sorted({min(finite, key=lambda p: p[1]), max(finite, key=lambda p: p[1])})
    return kept
