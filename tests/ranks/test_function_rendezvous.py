"""Ranks that meet by functions of their caller, as the tasks of Spark do."""

from __future__ import annotations

import multiprocessing
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import pytest
from support.held_run import wait_for

from gpuseg.runtime.executor import TaskContext
from gpuseg.runtime.ranks.environment import RankEnvironment
from gpuseg.runtime.ranks.rank_worker import RankOptions
from gpuseg.runtime.ranks.rank_zero import OpenRanks, open_ranks
from gpuseg.runtime.ranks.rendezvous import FunctionRendezvous
from gpuseg.runtime.ranks.worker_rank import serve_rank

OPTIONS = RankOptions(threads=1, start_timeout=60.0)


def serve(texts: Connection, codes: Connection) -> None:
    """Be rank 1, and tell how the run has ended."""

    def await_text(seconds: float) -> Any:
        return texts.recv() if texts.poll(seconds) else None

    rendezvous = FunctionRendezvous(lambda text: None, await_text)
    codes.send(serve_rank(RankEnvironment(1, 2, 1, 2), rendezvous, OPTIONS).code)


def load(plan: int, context: TaskContext) -> list[int]:
    return [plan]


def doubled(shard: list[int], context: TaskContext) -> int:
    return 2 * shard[0]


@contextmanager
def two_ranks() -> Iterator[tuple[OpenRanks, SpawnProcess, Connection]]:
    """Open two ranks; give those, the process of rank 1, and how that tells the end."""
    await_text, publish = multiprocessing.Pipe(duplex=False)
    await_code, send_code = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("spawn")
    other = context.Process(target=serve, args=(await_text, send_code))
    other.start()
    rendezvous = FunctionRendezvous(publish.send, lambda seconds: None)
    try:
        with open_ranks(RankEnvironment(0, 2, 0, 2), rendezvous, OPTIONS) as ranks:
            yield ranks, other, await_code
        other.join(30)
    finally:
        other.kill()


@pytest.mark.slow
def test_ranks_meet_by_functions() -> None:
    with (
        two_ranks() as (ranks, other, await_code),
        ranks.executor(lambda rows: None, lambda text: None) as executor,
    ):
        executor.load(load, [1, 20, 300])
        assert executor.map(doubled) == [2, 40, 600]
        assert executor.describe()["n_workers"] == 2
    assert await_code.poll(30)
    assert await_code.recv() == 0
    assert other.exitcode == 0


@pytest.mark.slow
def test_a_rank_that_is_lost_before_it_has_a_shard_is_named() -> None:
    messages: list[str] = []
    with two_ranks() as (ranks, other, _):
        with ranks.executor(lambda rows: None, messages.append) as executor:
            other.kill()
            other.join(30)
            wait_for(lambda: len(executor.workers()) == 1)
            executor.load(load, [1, 20, 300])
            assert executor.map(doubled) == [2, 40, 600]
        with ranks.executor(lambda rows: None, messages.append) as executor:
            executor.load(load, [4])
            assert executor.map(doubled) == [8]
    assert messages == [f"lost rank 1 on {socket.gethostname()}; the others do its work"]
