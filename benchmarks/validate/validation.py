"""Runs the checks in order and collects what they find: here, or for pytest in a process of their own."""

from __future__ import annotations

import contextlib
import io
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from multiprocessing.connection import Connection

from benchmarks.embedding.foreign_code import ForeignExit
from benchmarks.validate.check import Check, NotJudged, Outcome, Verdict, fail, first_line
from benchmarks.validate.checks import all_checks
from benchmarks.validate.process_state import kept
from benchmarks.validate.subject import Subject
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.siblings import current_folder_last

__all__ = ["Validation", "explain", "find_check", "serve", "validate"]


#: With ``fast``, no further check begins when those of the loaded model have taken so many seconds.
FAST_S = 6.0


def find_check(name: str) -> Check:
    """The check of that name; an unknown one is a :class:`DeloresError`."""
    checks = all_checks()
    if name not in checks:
        raise DeloresError(f"no check is called {name!r}. {did_you_mean(name, checks)}")
    return checks[name]


def explain(name: str) -> str:
    """The explanation of one check; an unknown name is a :class:`DeloresError`."""
    return find_check(name).explanation


@dataclass
class Validation:
    """The checks on one module. Each is run once, when it is first asked for, after those that it needs.

    Args:
        module: a model, ``[LABEL=]MODEL[@WEIGHTS][?option=value&...]``.
        model_path: weights for ``load_model``; "" calls it without an argument.
        device: where the model is put; None takes CUDA when torch has any.
        long: also run the slow checks (20 minutes of audio).
        fast: leave out the heavy checks and sounds of more than some seconds, and begin no check that
            hear-validator does not make when :data:`FAST_S` are over.
        progress: called with each check before it runs.
    """

    module: str
    model_path: str = ""
    _: KW_ONLY
    device: str | None = None
    long: bool = False
    fast: bool = False
    progress: Callable[[Check], None] | None = None

    def __post_init__(self) -> None:
        if self.long and self.fast:
            raise DeloresError("long and fast exclude each other; choose one")
        self.checks = all_checks()
        self.subject = Subject(self.module, self.model_path, self.device, fast=self.fast)
        self.outcomes: dict[str, Outcome] = {}
        self._seconds = 0.0  # that the checks of the loaded model have taken

    def outcome(self, name: str) -> Outcome:
        """The outcome of the check ``name``; an unknown name is a :class:`DeloresError`."""
        if name not in self.outcomes:
            outcome = self.outcomes[name] = self._run(find_check(name))
            if outcome.verdict == "fail":
                self.subject.failed.add(name)
        return self.outcomes[name]

    def __iter__(self) -> Iterator[Outcome]:
        """The outcome of every check, in order, each as soon as there is one."""
        return (self.outcome(name) for name in self.checks)

    def _run(self, item: Check) -> Outcome:
        if item.slow and not self.long:
            return Outcome(item, "skip", reason="run with --long")
        if item.heavy and self.fast:
            return Outcome(item, "skip", reason="left out by --fast")
        if self.fast and not item.official and self._seconds > FAST_S:
            return Outcome(item, "skip", reason=f"left out by --fast, whose {FAST_S:g} s are over")
        for name in item.after:
            self.outcome(name)
        for need in item.needs:
            if cause := self.outcome(need).blocks:
                return Outcome(item, "skip", reason=f"{cause} failed", blocked_by=cause)
        if self.progress is not None:
            self.progress(item)
        outcome = _judge(item, self.subject)
        if item.name not in ("import", "load"):  # how long these take is up to the model
            self._seconds += outcome.seconds
        return outcome


def validate(
    module: str,
    model_path: str = "",
    *,
    device: str | None = None,
    long: bool = False,
    fast: bool = False,
    progress: Callable[[Check], None] | None = None,
) -> list[Outcome]:
    """The outcome of every check on ``module``, in order; arguments as :class:`Validation` takes them.

    What the module does to torch's settings and to the random states is undone at the end.
    """
    with kept():
        return list(Validation(module, model_path, device=device, long=long, fast=fast, progress=progress))


def _judge(item: Check, subject: Subject) -> Outcome:
    started = time.perf_counter()
    silent = io.StringIO()
    with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            findings = list(item.run(subject))
        except KeyboardInterrupt:
            raise
        except NotJudged as error:
            return Outcome(item, "skip", reason=str(error), seconds=time.perf_counter() - started)
        except (DeloresError, ForeignExit) as error:  # ours or a model's, made to be read as it is
            findings = [fail(" ".join(str(error).split()))]
        # SystemExit, and BaseException subclasses as hear-validator's own ModelError, come from models too.
        except BaseException as error:
            findings = [fail(f"raised {first_line(error)}")]
    levels = {finding.level for finding in findings}
    verdict: Verdict = "fail" if "fail" in levels else "warn" if levels else "pass"
    return Outcome(item, verdict, findings, time.perf_counter() - started)


def serve(
    connection: Connection, module: str, model_path: str, device: str | None, long: bool, fast: bool = False
) -> None:
    """The other side of ``hear_delores.pytest_plugin``: sends the checks, then the outcome of each that is named.

    A check is its (name, explanation); an outcome is its (verdict, [(level, message), ...], reason).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # pytest has the same Ctrl-C, and ends this process
    current_folder_last()
    validation = Validation(module, model_path, device=device, long=long, fast=fast)
    with contextlib.suppress(EOFError, OSError):
        connection.send([(check.name, check.explanation) for check in validation.checks.values()])
        while True:
            outcome = validation.outcome(connection.recv())
            findings = [(finding.level, finding.message) for finding in outcome.findings]
            connection.send((outcome.verdict, findings, outcome.reason))
