"""Threads that compute side by side, each with its share of torch's threads: no barrier between any two operations.

Torch splits each operation between its threads and waits for the slowest at its end. With small operations, or on a
machine that does other work too, that waiting takes more time than is gained.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["side_by_side"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_POOLS: dict[tuple[int, int, int], ThreadPoolExecutor] = {}
_LOCK = threading.Lock()


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """``work(item)`` of each item, in order; at most ``workers`` of them are computed at once.

    Torch's own number of threads is divided among the workers, and stays what it is for the caller. Modes that
    belong to a thread (gradients, autocast) are not the caller's in ``work``: it sets its own.
    """
    if workers <= 1 or len(items) <= 1:
        return map(work, items)
    workers = min(workers, len(items))
    return _pool(workers, max(1, torch.get_num_threads() // workers)).map(work, items)


def _pool(workers: int, threads: int) -> ThreadPoolExecutor:
    """Kept for the next call; a forked process, which has no threads of its parent's, gets one of its own."""
    key = (os.getpid(), workers, threads)
    with _LOCK:
        if key not in _POOLS:
            _POOLS[key] = _started(workers, threads)
        return _POOLS[key]


def _started(workers: int, threads: int) -> ThreadPoolExecutor:
    """A pool all of whose threads run, so that the default of other threads can be put back at once.

    ``torch.set_num_threads`` counts for the thread that calls it and, as a default, for all that begin later.
    """
    before = torch.get_num_threads()
    ready = threading.Barrier(workers)

    def start(_: int) -> None:
        torch.get_num_threads()  # a thread takes the default when it first asks, and would take it later
        torch.set_num_threads(threads)
        ready.wait()

    pool = ThreadPoolExecutor(workers, thread_name_prefix="hear_delores")
    try:
        list(pool.map(start, range(workers)))
    finally:
        torch.set_num_threads(before)
    return pool
