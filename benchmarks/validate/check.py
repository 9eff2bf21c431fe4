"""What a check is: one point of the contract, what it finds, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from benchmarks.validate.subject import Subject

__all__ = ["Check", "Finding", "Outcome", "check", "fail", "first_line", "warn"]

Level = Literal["fail", "warn"]
Verdict = Literal["pass", "warn", "fail", "skip"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (*fail*) or inadvisable (*warn*)."""

    level: Level
    message: str


def fail(message: str) -> Finding:
    """A finding that breaks the API or would make a score wrong."""
    return Finding("fail", message)


def warn(message: str) -> Finding:
    """A finding that the API allows, but that has a cost."""
    return Finding("warn", message)


def first_line(error: BaseException) -> str:
    """The class of an error and the first line of its message."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else '(no message)'}"


Run = Callable[["Subject"], Iterator[Finding]]


@dataclass(frozen=True)
class Check:
    """One point of the contract. ``run`` yields findings; a check without findings has passed."""

    name: str
    run: Run
    official: bool  # hear-validator 2021.0.6 makes this check too
    needs: tuple[str, ...]
    slow: bool

    @property
    def explanation(self) -> str:
        """Why the point matters and how to fix a model that misses it."""
        return " ".join((self.run.__doc__ or "").split())


@dataclass
class Outcome:
    """The verdict of one check, with its findings."""

    check: Check
    verdict: Verdict
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0
    reason: str = ""  # why it was skipped


def check(
    name: str, *, official: bool = False, needs: tuple[str, ...] = (), slow: bool = False
) -> Callable[[Run], Check]:
    """Makes a function a check called ``name``, which is skipped when one of ``needs`` did not pass."""
    return lambda run: Check(name, run, official, needs, slow)
