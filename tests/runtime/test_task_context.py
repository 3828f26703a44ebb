"""The threads of a function: order, memory, and what the caller does meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from gpuseg.runtime.executor import TaskContext


def test_results_come_in_order_and_few_wait() -> None:
    """However slowly they are taken: each may be a block of rows."""
    started = 0
    lock = threading.Lock()

    def work(item: int) -> int:
        nonlocal started
        with lock:
            started += 1
        return item * item

    results: Iterator[int] = TaskContext(2).map(work, range(1000))
    for i, result in enumerate(results):
        assert result == i * i
        assert started <= i + 1 + 16 + 1
    assert started == 1000


@pytest.mark.parametrize("threads", [1, 3])
def test_the_caller_is_busy_while_threads_work(threads: int) -> None:
    calls: list[threading.Thread] = []
    done = threading.Event()

    def meanwhile() -> None:
        calls.append(threading.current_thread())
        done.set()

    def wait(item: int) -> bool:
        return done.wait(10) if threads > 1 else True

    context = TaskContext(threads, while_waiting=meanwhile)
    assert list(context.map(wait, range(4))) == [True] * 4
    assert calls == [threading.current_thread()] * (threads > 1)


def test_an_error_ends_the_work() -> None:
    started: list[int] = []

    def fail(item: int) -> None:
        started.append(item)
        if item == 5:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(TaskContext(2).map(fail, range(1000)))
    assert len(started) < 100
