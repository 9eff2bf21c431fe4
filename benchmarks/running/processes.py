"""Jobs side by side, in processes of this machine and within its memory.

Neither ``ProcessPoolExecutor`` nor loky is used here. A worker that dies breaks their pool: all jobs under way are
lost, and none can be named as the cause. A job cannot wait in them until there is memory, or for the worker that has
loaded its model. They do not say what a process holds or how it ended, nor stop a worker before Python 3.14.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from benchmarks.embedding.embed import BATCH_SECONDS
from benchmarks.embedding.foreign_code import Terminated
from benchmarks.running.apart import forget_apart, run_anywhere
from benchmarks.running.job import Done, Job, JobResult
from benchmarks.scoring.rows import IN_MEMORY_BYTES
from benchmarks.tasks.folder import TaskFolder
from hear_delores.memory import available_bytes, keep_freed_memory, resident_bytes
from hear_delores.spawned import Spawned

__all__ = ["expected_bytes", "run_side_by_side"]

#: How often waiting jobs are held against the free memory again.
POLL_SECONDS = 1.0


def run_side_by_side(jobs: Sequence[Job], n: int, done: Done) -> None:
    """Runs jobs in up to ``n`` processes at a time; all of them end with this one, however it ends.

    ``done(number, result)`` is called here as jobs finish, in whatever order. Each process has its share of the
    threads, or OMP_NUM_THREADS of them where that is set. A job begins only if what it is expected to take is free; one
    runs whatever is free. A job whose process dies is tried once more, after all others and alone, and then fails.
    """
    threads = torch.get_num_threads() if "OMP_NUM_THREADS" in os.environ else max(1, torch.get_num_threads() // n)
    peaks: defaultdict[object, int] = defaultdict(int)
    everything = dict(enumerate(jobs))
    died = _deal(everything, n, threads, peaks, done)
    died = _deal({number: everything[number] for number in died}, 1, threads, peaks, done)
    for number, reason in died.items():
        done(number, JobResult(failures=[f"its process died twice, the second time alone: {reason}"]))


def _deal(jobs: Mapping[int, Job], n: int, threads: int, peaks: dict[object, int], done: Done) -> dict[int, str]:
    """Runs jobs; the numbers of those whose process died, with the reason."""
    waiting, died = dict(jobs), {}
    workers: list[_Worker] = []
    try:
        while waiting or any(worker.job for worker in workers):
            _start_what_fits(waiting, workers, n, threads, peaks)
            busy = [worker for worker in workers if worker.job]
            ready = wait([end for worker in busy for end in worker.ends], POLL_SECONDS)
            for worker in busy:
                if not any(end in ready for end in worker.ends):
                    continue
                number, result = worker.number, worker.receive()
                if result is None:
                    workers.remove(worker)
                    died[number] = worker.end()
                    continue
                for key in (jobs[number].model, jobs[number].task):
                    peaks[key] = max(peaks[key], result.peak_bytes or 0)
                done(number, result)
    finally:
        for worker in workers:
            worker.child.process.terminate()  # all at once, before any is waited for
        for worker in workers:
            worker.end()
    return died


def _start_what_fits(
    waiting: dict[int, Job], workers: list[_Worker], n: int, threads: int, peaks: Mapping[object, int]
) -> None:
    """Gives jobs to idle processes, and to new ones, as far as memory allows."""
    while waiting and sum(worker.job is not None for worker in workers) < n:
        idle = next((worker for worker in workers if worker.job is None), None)
        number = _next_job(waiting, workers, idle.model if idle else None)
        job = waiting[number]
        need = max(job.expected_bytes, peaks[job.model], peaks[job.task])
        if not _fits(need, idle, workers):
            # An idle process keeps what it once took; without it there may be room when this is tried again.
            for worker in [worker for worker in workers if worker.job is None]:
                workers.remove(worker)
                worker.child.process.terminate()
                worker.end()
            if workers:
                return
            idle = None
        if idle is None:
            idle = _Worker.spawn(threads)
            workers.append(idle)
        idle.send(number, waiting.pop(number), need)


def _next_job(waiting: Mapping[int, Job], workers: Sequence[_Worker], loaded: Any) -> int:
    """The first job of the model that is loaded, else of one that no process is at, else the first."""
    taken = [worker.model for worker in workers if worker.job]
    return min(waiting, key=lambda number: (waiting[number].model != loaded, waiting[number].model in taken))


def _fits(need: int, idle: _Worker | None, workers: Sequence[_Worker]) -> bool:
    """Whether ``need`` bytes are free beside what the running jobs may still take."""
    free = available_bytes()
    if free is None:
        return True
    growth = sum(max(0, worker.need - worker.resident_bytes) for worker in workers if worker.job)
    return need - (idle.resident_bytes if idle else 0) <= free - growth


@dataclass
class _Worker:
    """A process that runs one job at a time; ``model`` is that of its last."""

    child: Spawned
    job: Job | None = None
    number: int = -1
    model: Any = None
    need: int = 0

    @classmethod
    def spawn(cls, threads: int) -> _Worker:
        """A new process."""
        with _inherited(threads):
            return cls(Spawned(__name__, "_serve", threads, name="delores-run"))

    @property
    def ends(self) -> tuple[Any, ...]:
        """What is ready when there is a result, or when the process has ended."""
        return self.child.connection, self.child.process.sentinel

    @property
    def resident_bytes(self) -> int:
        """The memory that the process holds."""
        return resident_bytes(self.child.process.pid or 0)

    def send(self, number: int, job: Job, need: int) -> None:
        self.number, self.job, self.model, self.need = number, job, job.model, need
        with contextlib.suppress(OSError):  # it has died: receive() finds out
            self.child.connection.send(job)

    def receive(self) -> JobResult | None:
        """The result that is there; None when the process has died."""
        self.job = None
        try:
            return self.child.connection.recv() if self.child.connection.poll() else None
        except (EOFError, OSError):
            return None

    def end(self) -> str:
        """Waits for the end of the process, or makes it; how it ended."""
        code = self.child.end()
        return "killed, as the system does when memory runs out" if code == -9 else f"exit code {code}"


@contextlib.contextmanager
def _inherited(threads: int) -> Iterator[None]:
    """What a process gets when it is started: its threads, and deafness to Ctrl-C, on which we end it ourselves."""
    before = os.environ.get("OMP_NUM_THREADS")
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main else None
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before
        if in_main:
            signal.signal(signal.SIGINT, handler)


def _serve(connection: Connection, threads: int) -> None:
    """A process: runs the jobs that come until no more can."""
    signal.signal(signal.SIGTERM, _terminate)
    keep_freed_memory()
    torch.set_num_threads(threads)
    try:
        with contextlib.suppress(EOFError, OSError):
            while True:
                connection.send(run_anywhere(connection.recv()))
    except Terminated:
        sys.exit(1)
    finally:
        forget_apart()


def _terminate(*_: object) -> None:
    raise Terminated  # an exception removes temporary files; no model may take it for its own


# --- memory

#: Python with torch and what scoring imports, and a model.
BASE_BYTES = 1 << 30
#: Floats that a model holds at once for each sample of audio in a call, at a guess: a convolutional encoder with
#: 64 channels on 64 mel bands holds about 30.
FLOATS_PER_SAMPLE = 64
#: A large embedding; frames a second of an event task; a clip's seconds where the task does not say.
EMBEDDING_SIZE, FRAMES_PER_SECOND, CLIP_SECONDS = 2048, 40, 30.0


def expected_bytes(task: TaskFolder, batch_seconds: float | None = None, needs: Collection[str] = ()) -> int:
    """A first guess, rather too high, of what one model takes on a task, by what protocols need of its clips."""
    call = (batch_seconds or BATCH_SECONDS) * 16000 * 4 * FLOATS_PER_SAMPLE
    rows = float(task.n_clips)
    if task.embedding_type == "event" or "timestamps" in needs:
        rows *= (task.info.sample_duration or CLIP_SECONDS) * FRAMES_PER_SECOND
    # Train, valid and test; what is larger is read from disk as needed.
    return BASE_BYTES + int(max(call, min(rows * EMBEDDING_SIZE * 4, 3 * IN_MEMORY_BYTES)))
