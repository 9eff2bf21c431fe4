"""Work done ahead: ``map`` in every respect but when and where it happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from pretrain.data.ahead import ahead

THREADS = (0, 1, 3)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("depth", [1, 2, 100])
def test_results_come_in_the_order_of_the_items(threads: int, depth: int) -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number % 4 == 0 else 0)
        return 10 * number

    assert list(ahead(slow_first, range(12), threads, depth)) == [10 * number for number in range(12)]
    assert list(ahead(slow_first, [], threads, depth)) == []


@pytest.mark.parametrize("threads", THREADS)
def test_an_error_comes_in_its_turn_and_ends_the_work(threads: int) -> None:
    begun: list[int] = []

    def fail_at_three(number: int) -> int:
        begun.append(number)
        if number == 3:
            raise ValueError("the third")
        return number

    made = ahead(fail_at_three, range(1000), threads, 4)
    assert [next(made) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the third"):
        next(made)
    assert list(made) == []
    assert len(begun) <= 3 + 4


@pytest.mark.parametrize(("threads", "depth"), [(1, 1), (2, 3), (8, 3)])
def test_no_more_than_depth_results_are_made_or_kept(threads: int, depth: int) -> None:
    lock, begun, most, used = threading.Lock(), 0, 0, 0

    def count(number: int) -> int:
        nonlocal begun, most
        with lock:
            begun += 1
            most = max(most, begun - used)
        return number

    for _ in ahead(count, range(30), threads, depth):
        time.sleep(0.002)  # threads that could run further ahead would now
        used += 1
    assert most == depth


def test_without_threads_nothing_is_done_before_it_is_asked_for() -> None:
    where: list[threading.Thread] = []
    made = ahead(lambda _: where.append(threading.current_thread()), range(5), 0, 4)
    next(made)
    assert where == [threading.current_thread()]


def test_closing_cancels_what_has_not_begun_and_waits_for_what_has() -> None:
    begun: list[int] = []
    ended: list[int] = []

    def slow(number: int) -> int:
        begun.append(number)
        time.sleep(0.02)
        ended.append(number)
        return number

    made = ahead(slow, range(100), 1, 50)
    assert next(made) == 0
    made.close()  # type: ignore[attr-defined]
    assert begun == ended
    assert len(begun) < 50
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_items_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    made = ahead(abs, items(), 2, 4)
    assert next(made) == 0
    assert taken == [0, 1, 2, 3]
    made.close()  # type: ignore[attr-defined]
