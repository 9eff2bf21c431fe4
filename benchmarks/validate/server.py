"""The checks in a process of their own, one at a time as pytest asks for them."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait

from benchmarks.validate.suite import CHECKS, Validation
from hear_delores.siblings import current_folder_last

__all__ = ["serve"]


def serve(connection: Connection, module: str, model_path: str, device: str | None, long: bool) -> None:
    """The other side of ``hear_delores.pytest_plugin``: sends the checks, then the outcome of each that is named.

    A check is its (name, explanation); an outcome is its (verdict, [(level, message), ...], reason).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # pytest has the same Ctrl-C, and ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    current_folder_last()
    validation = Validation(module, model_path, device=device, long=long)
    with contextlib.suppress(EOFError, OSError):
        connection.send([(check.name, check.explanation) for check in CHECKS.values()])
        while True:
            outcome = validation.outcome(connection.recv())
            findings = [(finding.level, finding.message) for finding in outcome.findings]
            connection.send((outcome.verdict, findings, outcome.reason))


def _end_with_parent() -> None:
    wait([parent_process().sentinel])  # type: ignore[union-attr]
    os._exit(1)
