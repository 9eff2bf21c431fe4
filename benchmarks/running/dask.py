"""Jobs on the workers of a Dask cluster that is there, whose machines share the folders of tasks and results."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks.embedding.foreign_code import one_line
from benchmarks.running.apart import run_anywhere
from benchmarks.running.job import Done, Job, JobResult
from benchmarks.scoring.protocols import find_protocol
from benchmarks.scoring.record_maker import package_version
from benchmarks.tasks.folder import METADATA_FILE
from hear_delores.errors import DeloresError
from hear_delores.siblings import call

__all__ = ["run_on_dask"]

#: How long the scheduler may take to answer, and how long there may be no worker at the start.
CONNECT_SECONDS, WORKERS_SECONDS = 10.0, 60.0


def run_on_dask(jobs: Sequence[Job], address: str, done: Done) -> None:
    """Runs jobs on the workers of the scheduler at ``address``, as many at a time as there are workers.

    ``done(number, result)`` is called here as jobs finish, in whatever order. Dask gives the job of a worker that dies
    to another, and gives it up after some deaths (its setting ``distributed.scheduler.allowed-failures``, 3). Workers
    that join later are used too.

    Raises:
        DeloresError: the package ``distributed`` is missing, no scheduler answers or it is lost, there is no worker, or
            one has another version or does not see the folders.
    """
    try:
        from distributed import Client, as_completed
        from distributed.comm import get_address_host_port
    except ImportError:
        hint = "--scheduler needs the package distributed; install it with: pip install 'hear-delores[cluster]'"
        raise DeloresError(hint) from None
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what counts is in the errors below
    try:
        # A client that cannot connect is left behind half-made, and can hang the process when it is collected.
        socket.create_connection(get_address_host_port(address), CONNECT_SECONDS).close()
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise DeloresError(
            f"no Dask scheduler answered at {address} within {CONNECT_SECONDS:g} s ({one_line(error)}); give the "
            "address of a running one, tcp://HOST:PORT"
        ) from None
    numbers: dict[Any, int] = {}  # by future, of jobs that are not done
    completed = as_completed(loop=client.loop)
    waiting = [(number, _with_full_paths(job)) for number, job in reversed(list(enumerate(jobs)))]
    try:
        _check_workers(client, address, [job for _, job in waiting])
        while waiting or numbers:
            # Never more than there are workers: each runs one at a time, and Dask gives work to those without.
            while waiting and len(numbers) < max(1, len(client.nthreads())):
                number, job = waiting.pop()
                future = client.submit(call, __name__, "_run_on_worker", pickle.dumps((job, os.getcwd())), pure=False)
                numbers[future] = number
                completed.add(future)
            future = next(completed)
            try:
                result = future.result()
            except Exception as error:  # its workers died, or it cannot be sent
                result = JobResult(failures=[one_line(error)])
            if client.status != "running":
                raise DeloresError(f"lost the Dask scheduler at {address}; run the same command again to continue")
            done(numbers.pop(future), result)
    finally:
        with contextlib.suppress(Exception):  # the cluster may be gone
            client.cancel(list(numbers))
        client.close(timeout=5)


def _with_full_paths(job: Job) -> Job:
    """The job with paths that do not depend on where this process stands."""
    model = job.model.with_full_paths()
    return replace(job, model=model, task=job.task.absolute(), out=job.out.absolute())


def _check_workers(client: Any, address: str, jobs: Sequence[Job]) -> None:
    """Raises DeloresError unless there are workers, of this version, that see all folders."""
    try:
        client.wait_for_workers(1, timeout=WORKERS_SECONDS)
    except TimeoutError:
        hint = f"it has had no worker for {WORKERS_SECONDS:g} s; start some with: dask worker {address} --nthreads 1"
        raise DeloresError(f"the Dask scheduler at {address} answers, but {hint}") from None
    out = jobs[0].out
    out.mkdir(parents=True, exist_ok=True)
    weights = {job.model.path for job in jobs if os.path.isabs(job.model.path)}
    weights |= {job.model.module for job in jobs if job.model.file is not None}
    paths = [str(out), *weights, *sorted({str(job.task / METADATA_FILE) for job in jobs})]
    answers = client.run(call, __name__, "_fault_of_worker", _versions(), paths, on_error="return")
    for worker, answer in answers.items():
        if isinstance(answer, BaseException):
            answer = f"cannot run this project ({one_line(answer)}); install hear-delores there as here"
        if answer:
            raise DeloresError(f"the Dask worker {worker} {answer}")


def _fault_of_worker(expected: dict[str, str], paths: Sequence[str]) -> str:
    """On a worker: what it lacks; "" if nothing."""
    if (found := _versions()) != expected:
        return f"has {found}, expected {expected} as here; install the same and start it again"
    if missing := [path for path in paths if not os.path.exists(path)]:
        return (
            f"does not see {missing[0]}; tasks, weights and --out must lie on a file system that all machines share "
            "under the same path"
        )
    return "" if os.access(paths[0], os.W_OK) else f"must not write into {paths[0]}"


def _versions() -> dict[str, str]:
    """Of what decides scores here; other packages' are in each record."""
    return {"hear-delores": package_version("hear-delores"), "scoring": str(find_protocol("hear").version)}


# Torch's random numbers belong to the whole process, and a Dask worker runs as many tasks as it has threads.
_ONE_AT_A_TIME = threading.Lock()


def _run_on_worker(pickled: bytes) -> JobResult:
    """On a worker: the job, with as many threads as the worker has.

    Args:
        pickled: the job and the folder where the user stands. Dask would unpickle it before our packages are known.
    """
    from distributed import get_worker

    job, directory = pickle.loads(pickled)
    with _ONE_AT_A_TIME:
        if directory not in sys.path:
            sys.path.append(directory)  # model modules are looked for where the user stands, too
        torch.set_num_threads(get_worker().state.nthreads)
        return run_anywhere(job)
