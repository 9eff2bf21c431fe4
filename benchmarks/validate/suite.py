"""Runs the checks in order and collects what they find."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from collections.abc import Callable, Iterator

from benchmarks.embedding.foreign_code import ForeignExit
from benchmarks.validate.check import Check, Outcome, Verdict, fail
from benchmarks.validate.checks import all_checks
from benchmarks.validate.state import kept
from benchmarks.validate.subject import Subject
from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["Validation", "explain", "find_check", "validate"]


def find_check(name: str) -> Check:
    """The check of that name; an unknown one is a :class:`DeloresError`."""
    checks = all_checks()
    if name not in checks:
        raise DeloresError(f"no check is called {name!r}. {did_you_mean(name, checks)}")
    return checks[name]


def explain(name: str) -> str:
    """The explanation of one check; an unknown name is a :class:`DeloresError`."""
    return find_check(name).explanation


class Validation:
    """The checks on one module. Each is run once, when it is first asked for, after those that it needs.

    Args:
        module: an importable module with the three functions of the HEAR common API.
        model_path: weights for ``load_model``; "" calls it without an argument.
        device: where the model is put; None takes CUDA when torch has any.
        long: also run the slow checks (20 minutes of audio).
        progress: called with each check before it runs.
    """

    def __init__(
        self,
        module: str,
        model_path: str = "",
        *,
        device: str | None = None,
        long: bool = False,
        progress: Callable[[Check], None] | None = None,
    ) -> None:
        self.checks = all_checks()
        self.subject = Subject(module, model_path, device)
        self.long = long
        self.progress = progress
        self.outcomes: dict[str, Outcome] = {}

    def outcome(self, name: str) -> Outcome:
        """The outcome of the check ``name``; an unknown name is a :class:`DeloresError`."""
        if name not in self.outcomes:
            self.outcomes[name] = self._run(find_check(name))
        return self.outcomes[name]

    def __iter__(self) -> Iterator[Outcome]:
        """The outcome of every check, in order, each as soon as there is one."""
        return (self.outcome(name) for name in self.checks)

    def _run(self, item: Check) -> Outcome:
        if item.slow and not self.long:
            return Outcome(item, "skip", reason="run with --long")
        for need in item.needs:
            if self.outcome(need).verdict in ("fail", "skip"):
                return Outcome(item, "skip", reason=f"{need} did not pass")
        if self.progress is not None:
            self.progress(item)
        return _judge(item, self.subject)


def validate(
    module: str,
    model_path: str = "",
    *,
    device: str | None = None,
    long: bool = False,
    progress: Callable[[Check], None] | None = None,
) -> list[Outcome]:
    """The outcome of every check on ``module``, in order; arguments as :class:`Validation` takes them.

    What the module does to torch's settings and to the random states is undone at the end.
    """
    with kept():
        return list(Validation(module, model_path, device=device, long=long, progress=progress))


def _judge(item: Check, subject: Subject) -> Outcome:
    started = time.perf_counter()
    silent = io.StringIO()
    with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            findings = list(item.run(subject))
        except KeyboardInterrupt:
            raise
        except (DeloresError, ForeignExit) as error:  # ours or a model's, made to be read as it is
            findings = [fail(" ".join(str(error).split()))]
        # SystemExit, and BaseException subclasses as hear-validator's own ModelError, come from models too.
        except BaseException as error:
            text = str(error).strip().splitlines()
            findings = [fail(f"raised {type(error).__name__}: {text[0] if text else '(no message)'}")]
    verdict: Verdict = "pass"
    if findings:
        verdict = "fail" if any(f.level == "fail" for f in findings) else "warn"
    return Outcome(item, verdict, findings, time.perf_counter() - started)
