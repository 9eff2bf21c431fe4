"""The checks in a process of their own, one at a time as pytest asks for them."""

from __future__ import annotations

import contextlib
import signal
from multiprocessing.connection import Connection

from benchmarks.validate.suite import Validation
from hear_delores.siblings import current_folder_last

__all__ = ["serve"]


def serve(connection: Connection, module: str, model_path: str, device: str | None, long: bool) -> None:
    """The other side of ``hear_delores.pytest_plugin``: sends the checks, then the outcome of each that is named.

    A check is its (name, explanation); an outcome is its (verdict, [(level, message), ...], reason).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # pytest has the same Ctrl-C, and ends this process
    current_folder_last()
    validation = Validation(module, model_path, device=device, long=long)
    with contextlib.suppress(EOFError, OSError):
        connection.send([(check.name, check.explanation) for check in validation.checks.values()])
        while True:
            outcome = validation.outcome(connection.recv())
            findings = [(finding.level, finding.message) for finding in outcome.findings]
            connection.send((outcome.verdict, findings, outcome.reason))
