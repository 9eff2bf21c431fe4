"""What a case of the zoo is: a command, the small inputs it reads, one change to them, and what is then right."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

__all__ = ["EQUAL", "HARMFUL", "HARMLESS", "OPEN", "USAGE", "WRONG", "Case", "Change", "Expectation", "Route"]

Change = Callable[[Path, random.Random], "Expectation | None"]
"""Changes the inputs in a folder, by chance that comes from the seed of the zoo and the name of the case alone.

It returns what is then right where only the changed file can tell (is it still JSON?), else None.
"""


@dataclass(frozen=True)
class Expectation:
    """Which ends of a command are right.

    Attributes:
        name: for the reader of the summary.
        codes: exit codes that are right.
        same: exit code 0 is right only with the result of the untouched inputs; else any valid result will do.
    """

    name: str
    codes: tuple[int, ...]
    same: bool = False


HARMLESS = Expectation("harmless: the same result", (0,), same=True)
EQUAL = Expectation("the same result, or refused", (0, 1, 2), same=True)
OPEN = Expectation("a valid result, or refused", (0, 1, 2))
HARMFUL = Expectation("refused in one line", (1,))
USAGE = Expectation("wrong usage", (2,))
WRONG = Expectation("refused: one line or usage", (1, 2))


@dataclass(frozen=True)
class Route:
    """A command over untouched inputs.

    Attributes:
        name: unique.
        words: of the command line, relative to the working folder; ``in/<input>`` is read, ``out`` written.
            "{url}" stands for the address of the archive server's folder of the case.
        inputs: names of the inputs (see :mod:`tests.zoo.inputs`) that it finds under ``in/``; "run:out/run" is put
            elsewhere.
        result: how what was written is read (a name in :mod:`tests.zoo.results`).
        seconds: that one run may take.
        whole: the untouched inputs give a result.
    """

    name: str
    words: tuple[str, ...]
    inputs: tuple[str, ...]
    result: str
    seconds: float = 60.0
    whole: bool = True

    def to(self, name: str, *more: str) -> Route:
        """The same with more words."""
        return replace(self, name=name, words=(*self.words, *more))


@dataclass(frozen=True)
class Case:
    """One change to the inputs of one command.

    Attributes:
        words: another command line than the route's.
        first: a command line that is run before the change: what it left must not stand in for what is new.
        mention: what the output must name where the exit code is 0: a note that something is taken so and so.
        agree: cases of one such name must all be taken or all be refused: one format, several readers.
    """

    kind: str
    name: str
    route: Route
    expect: Expectation
    change: Change | None = None
    words: tuple[str, ...] | None = field(default=None)
    first: tuple[str, ...] | None = None
    mention: str = ""
    agree: str = ""

    @property
    def command(self) -> tuple[str, ...]:
        """The words of the command line after ``delores``."""
        return self.route.words if self.words is None else self.words
