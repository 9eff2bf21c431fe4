"""A process that runs a function of a sibling, talks through a connection, and ends with the one that started it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.connection import wait

from hear_delores.siblings import call

__all__ = ["Spawned"]

#: How long a process may take to end by itself.
END_SECONDS = 10.0


class Spawned:
    """A fresh Python that runs ``function`` of a sibling's ``module`` on the other end of :attr:`connection`.

    Attributes:
        process: multiprocessing's process.
        connection: this end.
    """

    def __init__(self, module: str, function: str, *arguments: object, name: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, there = context.Pipe()
        self.process = context.Process(target=_run, args=(module, function, there, *arguments), name=name)
        self.process.start()
        there.close()

    def end(self) -> int | None:
        """Waits for the end of the process, or makes it; its exit code."""
        self.connection.close()
        self.process.join(END_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        return self.process.exitcode


def _run(module: str, function: str, *arguments: object) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    call(module, function, *arguments)


def _end_with_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])  # type: ignore[union-attr]
    os._exit(1)
