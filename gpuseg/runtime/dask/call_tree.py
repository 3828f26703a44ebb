"""Calls on many workers, passed on from worker to worker.

The caller sends the calls to a few workers. Each makes its own calls, and passes the rest on to a
few others; results come back the same way. So a call on n workers costs the caller and the
scheduler a few messages instead of n, and takes a time that grows with log n.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from distributed import Worker
from distributed.protocol.pickle import dumps

from gpuseg.runtime.dask.worker import CallOutcome

FAN_OUT = 8
"""To how many workers the caller, and each worker, passes calls on."""


@dataclass(frozen=True)
class WorkerCall:
    """A call of a function that a worker awaits.

    Attributes
    ----------
    number : int
        Number of the shard, or other key of the outcome.
    function : callable
        Called as ``function(*args, dask_worker=worker)``; returns a `CallOutcome`.
    args : tuple
    """

    number: int
    function: Callable[..., Coroutine[Any, Any, CallOutcome]]
    args: tuple[Any, ...]


@dataclass(frozen=True)
class WorkerCalls:
    """All calls on one worker.

    Attributes
    ----------
    address : str
    calls : tuple of WorkerCall
    """

    address: str
    calls: tuple[WorkerCall, ...]


def branches(workers: Sequence[WorkerCalls]) -> list[Sequence[WorkerCalls]]:
    """Divide workers into at most `FAN_OUT` groups of about the same size."""
    n = min(FAN_OUT, len(workers))
    bounds = [len(workers) * i // n for i in range(n + 1)] if n else [0]
    return [workers[start:stop] for start, stop in pairwise(bounds)]


async def call_tree(workers: Sequence[WorkerCalls], dask_worker: Worker) -> dict[int, CallOutcome]:
    """Make the calls on the first of the workers, which is this one, and pass on the others.

    Returns
    -------
    dict of int to CallOutcome
        By number of the call. Those of workers that cannot be reached are missing.
    """
    this, others = workers[0], workers[1:]
    passed_on, outcomes = await asyncio.gather(
        asyncio.gather(*(_pass_on(dask_worker, branch) for branch in branches(others))),
        asyncio.gather(
            *(call.function(*call.args, dask_worker=dask_worker) for call in this.calls)
        ),
    )
    result = dict(zip((call.number for call in this.calls), outcomes, strict=True))
    for answer in passed_on:
        result |= answer
    return result


async def _pass_on(worker: Worker, branch: Sequence[WorkerCalls]) -> dict[int, CallOutcome]:
    """Pass calls on to the first worker of a branch; no outcomes if it cannot be reached."""
    try:
        answer = await worker.rpc(branch[0].address).run(
            function=dumps(call_tree), args=dumps((branch,)), kwargs=dumps({}), wait=True
        )
    except OSError:  # Dask's errors of lost connections are kinds of it
        return {}
    if answer["status"] != "OK":
        return {}
    outcomes: dict[int, CallOutcome] = answer["result"]
    return outcomes
