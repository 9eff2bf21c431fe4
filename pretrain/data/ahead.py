"""Work that threads do ahead of its use: reading, decoding and cutting while a network computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["ahead"]

T = TypeVar("T")
R = TypeVar("R")


def ahead(function: Callable[[T], R], items: Iterable[T], threads: int, depth: int) -> Generator[R, None, None]:
    """``map(function, items)``: the same results in the same order, made by threads ahead of their use.

    An error is raised when its turn comes. Then, or when the iterator is closed, what has not begun is cancelled, and
    what has begun is waited for. (``Executor.map`` bounds nothing before Python 3.14.)

    Args:
        threads: 0 makes each result in the calling thread when it is asked for.
        depth: how many results are made or kept at a time, the one that is asked for among them.

    >>> list(ahead(abs, [-1, 2, -3], threads=2, depth=2))
    [1, 2, 3]
    """
    if threads == 0:
        yield from map(function, items)
        return
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ahead")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
