"""Ranks that meet by functions of their caller, as the tasks of Spark do."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from typing import Any

import pytest

from gpuseg.runtime.executor import TaskContext
from gpuseg.runtime.ranks.environment import RankEnvironment
from gpuseg.runtime.ranks.rank_worker import RankOptions
from gpuseg.runtime.ranks.rank_zero import open_ranks
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


@pytest.mark.slow
def test_ranks_meet_by_functions() -> None:
    await_text, publish = multiprocessing.Pipe(duplex=False)
    await_code, send_code = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("spawn")
    other = context.Process(target=serve, args=(await_text, send_code))
    other.start()
    rendezvous = FunctionRendezvous(publish.send, lambda seconds: None)
    with (
        open_ranks(RankEnvironment(0, 2, 0, 2), rendezvous, OPTIONS) as ranks,
        ranks.executor(lambda rows: None, lambda text: None) as executor,
    ):
        executor.load(load, [1, 20, 300])
        assert executor.map(doubled) == [2, 40, 600]
        assert executor.describe()["n_workers"] == 2
    assert await_code.poll(30)
    assert await_code.recv() == 0
    other.join(30)
    assert other.exitcode == 0
