"""What the kinds share: cases of a text or JSON file changed without knowing what it means, and of JSON values."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tests.zoo.cases import EQUAL, HARMFUL, OPEN, Case, Change, Expectation, Route
from tests.zoo.mutations import IN_PLACE, VALUES, json_paths, mutate_bytes, put, set_value, write_json

__all__ = ["TEXT_DAMAGE", "byte_cases", "json_cases", "place_cases", "replace_text", "value_cases"]

HANGS = 20.0  # seconds after which a command that waits for a FIFO is taken to wait for ever
TEXT_DAMAGE = (
    "truncate", "flip bits", "insert bytes", "delete bytes", "zero a range", "swap blocks", "twice", "trailing bytes",
    "trailing zeros", "random bytes", "web page", "git lfs pointer", "gzip", "repeat a line", "delete a line",
    "swap lines", "utf-16", "byte order mark", "two byte order marks", "crlf", "cr", "latin-1", "nul", "blank lines",
    "leading blank line", "line separator", "surrogates",
)  # fmt: skip


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key twice")
    return dict(pairs)


def _constant(name: str) -> Any:
    raise ValueError(name)


def parse_json(data: bytes) -> Any:
    """Strictly: UTF-8, no NaN, no key twice."""
    return json.loads(data.decode("utf-8"), object_pairs_hook=_pairs, parse_constant=_constant)


def parse_csv(data: bytes) -> Any:
    """Rows of stripped fields, blank lines left out."""
    text = data.decode("utf-8")
    if "\0" in text:
        raise ValueError("NUL")
    rows = [[field.strip() for field in row] for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("rows of different lengths")
    return rows


def parse_yaml(data: bytes) -> Any:
    """As PyYAML's safe loader has it."""
    return yaml.safe_load(data.decode("utf-8"))


PARSERS: dict[str, Callable[[bytes], Any]] = {".json": parse_json, ".csv": parse_csv, ".yaml": parse_yaml}


def _damage(file: str, how: str) -> Change:
    def change(work: Path, rng: random.Random) -> Expectation | None:
        path = work / file
        parse = PARSERS.get(path.suffix)
        before = path.read_bytes()
        mutate_bytes(path, how, rng)
        if parse is None:
            return None
        try:
            value = parse(path.read_bytes())
        except Exception:  # whatever the parsers raise: it is not of the format any more
            # A byte order mark, other line ends and blank lines are read or refused; anything else is refused.
            return (
                EQUAL
                if how in ("byte order mark", "cr", "crlf", "blank lines", "leading blank line", "utf-16")
                else HARMFUL
            )
        return EQUAL if value == parse(before) else OPEN

    return change


def byte_cases(
    kind: str, route: Route, file: str, hows: Iterable[str] = TEXT_DAMAGE, times: int = 1, expect: Expectation = OPEN,
    agree: bool = False,
) -> list[Case]:  # fmt: skip
    """One file damaged in each of some ways, ``times`` each at other places."""
    name = Path(file).name
    return [
        Case(
            kind, f"{route.name}: {name}: {how}{f' {time}' if time else ''}", route, expect, _damage(file, how),
            agree=f"{name}: {how}" if agree else "",
        )
        for how in hows
        for time in range(times)
    ]  # fmt: skip


def place_cases(
    kind: str, route: Route, file: str, whats: Iterable[str] = tuple(IN_PLACE), expect: Expectation = HARMFUL
) -> list[Case]:
    """Something else in the file's place: nothing, a folder, a FIFO, a link, a device."""

    quick = replace(route, seconds=min(route.seconds, HANGS))

    def change(what: str) -> Change:
        return lambda work, rng: put(work / file, what)

    return [
        Case(kind, f"{route.name}: {Path(file).name}: {what} in its place", quick, expect, change(what))
        for what in whats
    ]


def _set_json(file: str, place: tuple[Any, ...], new: Any) -> Change:
    def change(work: Path, rng: random.Random) -> None:
        path = work / file
        write_json(path, set_value(json.loads(path.read_text()), place, new))

    return change


def _shown(value: Any) -> str:
    if value is ...:
        return "removed"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:30]}... ({len(text)} characters)"


def json_cases(
    kind: str, route: Route, file: str, changes: Iterable[tuple[tuple[Any, ...], Any, Expectation]], agree: bool = False
) -> list[Case]:
    """Single values replaced, or removed (``...``), each with what is then right."""
    found = []
    for place, new, expect in changes:
        what = f"{Path(file).name}: {'.'.join(map(str, place))} = {_shown(new)}"
        found.append(
            Case(kind, f"{route.name}: {what}", route, expect, _set_json(file, place, new), agree=what if agree else "")
        )
    return found


def value_cases(kind: str, route: Route, file: str, count: int) -> list[Case]:
    """Any value of a JSON file replaced by any other, removed or renamed: valid results or one line."""

    def change(work: Path, rng: random.Random) -> Expectation | None:
        path = work / file
        value = json.loads(path.read_text())
        place = rng.choice(list(json_paths(value)))
        how = rng.random()
        if how < 0.15:
            new = set_value(value, place)
        elif how < 0.25 and isinstance(place[-1], str):
            new = set_value(
                value, place, rename=rng.choice(("", " " + place[-1], place[-1].upper(), place[-1] + "s", "../x"))
            )
        else:
            new = set_value(value, place, rng.choice(list(VALUES.values())))
        write_json(path, new)
        return EQUAL if new == value else OPEN

    return [
        Case(kind, f"{route.name}: {Path(file).name}: a value {number}", route, OPEN, change) for number in range(count)
    ]


def replace_text(file: str, old: str, new: str, count: int = -1) -> Change:
    """Replaces text in a file, which must be there."""

    def change(work: Path, rng: random.Random) -> None:
        path = work / file
        text = path.read_text(encoding="utf-8")
        if old not in text:
            raise ValueError(f"{file} does not hold {old!r}")
        path.write_text(text.replace(old, new, count), encoding="utf-8", newline="")

    return change


def written(file: str, content: str | bytes) -> Change:
    """Puts other content into a file."""

    def change(work: Path, rng: random.Random) -> None:
        (work / file).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change
