"""Jobs whose model cannot be loaded beside another of this process: each in a process of its own."""

from __future__ import annotations

import contextlib
import sys
from multiprocessing.connection import Connection

import torch

from benchmarks.embedding.isolation import folders_of_models
from benchmarks.running.job import Job, JobResult, Say, run_job
from benchmarks.running.run_bar import Inner, nothing
from hear_delores.spawned import Spawned

__all__ = ["forget_apart", "run_anywhere"]

#: The process of the model that was last run apart, and its run and model.
_APART: list[tuple[tuple[str, object], Spawned]] = []


def run_anywhere(job: Job, say: Say = lambda text: None, inner: Inner = nothing) -> JobResult:
    """What :func:`benchmarks.running.job.run_job` returns, of a process of its own if the model needs one.

    A model needs one when another has brought modules of the same names; see :mod:`benchmarks.embedding.isolation`.
    The process is kept for the model's other tasks.
    """
    result = run_job(job, say, inner)
    if not result.clash:
        return result
    key = (job.run, job.model)
    if not _APART or _APART[0][0] != key:
        forget_apart()
        arguments = (folders_of_models(), torch.get_num_threads())
        _APART.append((key, Spawned(__name__, "_serve", *arguments, name="delores-model")))
    child = _APART[0][1]
    try:
        child.connection.send(job)
        result = child.connection.recv()
    except (EOFError, OSError):
        _APART.clear()
        reason = f"its process ended with exit code {child.end()}"
        result = JobResult(failures=[f"model {job.model.label}: {reason}"])
    for line in result.lines:
        say(line)
    return result


def forget_apart() -> None:
    """Ends the process of a model that was run apart."""
    while _APART:
        _APART.pop()[1].end()


def _serve(connection: Connection, others: list[str], threads: int) -> None:
    """A process: runs the jobs of one model that come, without the folders of the other models."""
    sys.path[:] = [entry for entry in sys.path if entry not in others]
    torch.set_num_threads(threads)
    with contextlib.suppress(EOFError, OSError):
        while True:
            connection.send(run_job(connection.recv()))
