"""Runs the checks in order and collects what they find."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.validate.subject import Subject
from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["CHECKS", "Check", "Finding", "Outcome", "check", "explain", "fail", "validate", "warn"]

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
    """A finding that the API allows and that costs something."""
    return Finding("warn", message)


@dataclass(frozen=True)
class Check:
    """One point of the contract. ``run`` yields findings; none means that it passed."""

    name: str
    run: Callable[[Subject], Iterator[Finding]]
    official: bool  # hear-validator 2021.0.6 makes this check too
    needs: tuple[str, ...]
    slow: bool

    @property
    def explanation(self) -> str:
        """Why the point matters and how to mend a model that misses it."""
        return " ".join((self.run.__doc__ or "").split())


@dataclass
class Outcome:
    """What became of one check."""

    check: Check
    verdict: Verdict
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0
    reason: str = ""  # why it was skipped


CHECKS: dict[str, Check] = {}


def check(name: str, *, official: bool = False, needs: tuple[str, ...] = (), slow: bool = False):  # type: ignore[no-untyped-def]
    """Registers a check under ``name``; it is skipped when one of ``needs`` did not pass."""

    def register(function: Callable[[Subject], Iterator[Finding]]) -> Callable[[Subject], Iterator[Finding]]:
        CHECKS[name] = Check(name, function, official, needs, slow)
        return function

    return register


def explain(name: str) -> str:
    """The explanation of one check; an unknown name is a :class:`DeloresError`."""
    if name not in CHECKS:
        raise DeloresError(f"no check is called {name!r}. {did_you_mean(name, CHECKS)}")
    return CHECKS[name].explanation


def validate(
    module: str,
    model_path: str = "",
    *,
    device: str | None = None,
    long: bool = False,
    progress: Callable[[Check], None] | None = None,
) -> list[Outcome]:
    """The outcome of every check on ``module``, in the order they were run.

    Args:
        module: an importable module with the three functions of the HEAR common API.
        model_path: weights for ``load_model``; "" calls it without an argument.
        device: where a torch model is put; None takes CUDA when there is any.
        long: also run the slow checks (20 minutes of audio).
        progress: called with each check before it runs.
    """
    from benchmarks.validate import behaviour  # noqa: F401  (registers the checks)

    subject = Subject(module, model_path, device)
    outcomes: dict[str, Outcome] = {}
    for item in CHECKS.values():
        if item.slow and not long:
            outcomes[item.name] = Outcome(item, "skip", reason="run with --long")
            continue
        missed = [need for need in item.needs if outcomes[need].verdict in ("fail", "skip")]
        if missed:
            outcomes[item.name] = Outcome(item, "skip", reason=f"{missed[0]} did not pass")
            continue
        if progress is not None:
            progress(item)
        outcomes[item.name] = _run(item, subject)
    return list(outcomes.values())


def _run(item: Check, subject: Subject) -> Outcome:
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            findings = list(item.run(subject))
        except (KeyboardInterrupt, MemoryError):
            raise
        # SystemExit, and BaseException subclasses as hear-validator's own ModelError, come from models too.
        except BaseException as error:
            text = str(error).strip().splitlines()
            findings = [fail(f"raised {type(error).__name__}: {text[0] if text else '(no message)'}")]
    verdict: Verdict = "pass"
    if findings:
        verdict = "fail" if any(f.level == "fail" for f in findings) else "warn"
    return Outcome(item, verdict, findings, time.perf_counter() - started)
