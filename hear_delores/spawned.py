"""A process that runs a function of a sibling, talks through a connection, and ends with the one that started it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.connection import wait
from multiprocessing.util import Finalize

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
        # multiprocessing lets a daemon, such as a worker of a Dask nanny, have no children: it would leave them behind
        # when it is terminated. This one ends with its parent in any case.
        parent = multiprocessing.current_process()
        was_daemon, parent.daemon = parent.daemon, False
        try:
            self.process = context.Process(target=_run, args=(module, function, there, *arguments), name=name)
            self.process.start()
        finally:
            parent.daemon = was_daemon
        there.close()
        # Before a process exits, it waits for its children: this one then finds that nobody is at the other end.
        Finalize(self, self.connection.close, exitpriority=10)

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
