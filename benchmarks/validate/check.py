"""What a check is: one point of the contract, what it finds, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from benchmarks.validate.subject import Subject

__all__ = ["Check", "Finding", "NotJudged", "Outcome", "check", "fail", "first_line", "warn"]

Level = Literal["fail", "warn"]
Verdict = Literal["pass", "warn", "fail", "skip"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (*fail*) or inadvisable (*warn*).

    Attributes:
        goes_on: a failure after which the checks that need this one can still be made.
    """

    level: Level
    message: str
    goes_on: bool = False


def fail(message: str, *, goes_on: bool = False) -> Finding:
    """A finding that breaks the API or would make a score wrong."""
    return Finding("fail", message, goes_on)


def warn(message: str) -> Finding:
    """A finding that the API allows, but that has a cost."""
    return Finding("warn", message)


class NotJudged(Exception):
    """A check cannot be made on this model; the message is the reason."""


def first_line(error: BaseException) -> str:
    """The class of an error and the first line of its message."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else '(no message)'}"


Run = Callable[["Subject"], Iterator[Finding]]


@dataclass(frozen=True)
class Check:
    """One point of the contract. ``run`` yields findings; a check without findings has passed.

    Attributes:
        official: hear-validator 2021.0.6 makes this check too.
        needs: checks without which this one can say nothing: it is skipped when one of them fails.
        after: checks that are made first, whatever becomes of them.
        slow: made with ``--long`` alone.
        heavy: not made with ``--fast``.
    """

    name: str
    run: Run
    official: bool
    needs: tuple[str, ...]
    after: tuple[str, ...]
    slow: bool
    heavy: bool

    @property
    def explanation(self) -> str:
        """Why the point matters and how to fix a model that misses it."""
        return " ".join((self.run.__doc__ or "").split())


@dataclass
class Outcome:
    """The verdict of one check, with its findings.

    Attributes:
        reason: why it was skipped.
        blocked_by: the check whose failure kept this one from being made.
    """

    check: Check
    verdict: Verdict
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0
    reason: str = ""
    blocked_by: str = ""

    @property
    def blocks(self) -> str:
        """The check whose failure keeps those that need this one from being made; "" when they can be made."""
        if any(finding.level == "fail" and not finding.goes_on for finding in self.findings):
            return self.check.name
        return self.blocked_by


def check(
    name: str,
    *,
    official: bool = False,
    needs: tuple[str, ...] = (),
    after: tuple[str, ...] = (),
    slow: bool = False,
    heavy: bool = False,
) -> Callable[[Run], Check]:
    """Makes a function a check called ``name``; the arguments are those of :class:`Check`."""
    return lambda run: Check(name, run, official, needs, after, slow, heavy)
