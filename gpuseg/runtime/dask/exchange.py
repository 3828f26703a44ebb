"""An all-to-all exchange without tasks: workers fetch their pieces from each other.

1. The caller calls each shard once, to split it. Its worker keeps the pieces and answers which of
   them are not empty.
2. The caller calls each receiver once, and tells it who has pieces for it.
3. The receiver fetches them, from each worker in one message, and works on them.

So n shards take 2 n calls, and the messages between workers are as many as there are pairs of
workers with something to exchange. Tasks for the pieces would be n² for the one scheduler.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from distributed import Worker
from distributed.protocol.serialize import to_serialize

from gpuseg.runtime.dask.worker import CallOutcome, ShardCall, call_shard, forget, run_in_thread

_OPERATION = "gpuseg_pieces"

_REQUESTS = 8
"""Workers that one receiver fetches from at the same time."""


class PiecesLost(Exception):
    """A worker has no longer the pieces that another one was told to fetch, or is lost."""


@dataclass(frozen=True)
class PieceHolder:
    """A worker with pieces for a receiver.

    Attributes
    ----------
    address : str
    shards : tuple of int
        The shards on it that the pieces were split from.
    """

    address: str
    shards: tuple[int, ...]


@dataclass(frozen=True)
class PieceRequest:
    """What a receiver has to fetch.

    Attributes
    ----------
    exchange : str
        Run and name.
    receiver : int
    n_shards : int
        Number of shards that were split.
    holders : sequence of PieceHolder
    """

    exchange: str
    receiver: int
    n_shards: int
    holders: Sequence[PieceHolder]


_PIECES: dict[tuple[str, int], tuple[str, dict[int, Any]]] = {}
"""By run and shard: the last exchange, and the pieces that nobody has fetched, by receiver."""


async def split_shard(
    call: ShardCall, args: tuple[Any, ...], exchange: str, shard: int, dask_worker: Worker
) -> CallOutcome:
    """Split a shard and keep the pieces; the result is the numbers of those that are not None."""
    outcome = await call_shard(call, args, dask_worker)
    if outcome.error is not None:
        return outcome
    dask_worker.handlers.setdefault(_OPERATION, _give)
    pieces = {i: piece for i, piece in enumerate(outcome.result) if piece is not None}
    _PIECES[_run_of(exchange), shard] = exchange, pieces
    return outcome._replace(result=tuple(pieces))


async def take_pieces(call: ShardCall, request: PieceRequest, dask_worker: Worker) -> CallOutcome:
    """Fetch the pieces of a receiver and call a function of its shard on them."""
    return await _on_pieces(
        dask_worker, request, lambda pieces: call_shard(call, (pieces,), dask_worker)
    )


async def join_pieces(
    join: Callable[[Sequence[Any]], Any], request: PieceRequest, dask_worker: Worker
) -> CallOutcome:
    """Fetch the pieces of a receiver and join them."""
    return await _on_pieces(
        dask_worker,
        request,
        lambda pieces: run_in_thread(dask_worker, lambda: CallOutcome(None, join(pieces))),
    )


async def _on_pieces(
    worker: Worker,
    request: PieceRequest,
    work: Callable[[list[Any]], Coroutine[Any, Any, CallOutcome]],
) -> CallOutcome:
    """Return the outcome of work on the pieces of a receiver; `PiecesLost` is part of it."""
    try:
        pieces = await _fetch(worker, request)
    except PiecesLost as lost:
        return CallOutcome(lost)
    return await work(pieces)


async def _fetch(worker: Worker, request: PieceRequest) -> list[Any]:
    """Return the pieces for a receiver in the order of the shards; None where there is none."""
    pieces: list[Any] = [None] * request.n_shards
    turns = asyncio.Semaphore(_REQUESTS)

    async def fetch(holder: PieceHolder) -> None:
        if holder.address == worker.address:
            given = _given(request.exchange, request.receiver, holder.shards)
        else:
            async with turns:
                given = await _ask(worker, holder, request.exchange, request.receiver)
        if given is None:
            raise PiecesLost(holder.address)
        for shard, piece in zip(holder.shards, given, strict=True):
            pieces[shard] = piece

    await asyncio.gather(*map(fetch, request.holders))
    return pieces


async def _ask(
    worker: Worker, holder: PieceHolder, exchange: str, receiver: int
) -> list[Any] | None:
    """Ask another worker for pieces; None if it cannot be reached, or has them no longer."""
    try:
        answer = await getattr(worker.rpc(holder.address), _OPERATION)(
            exchange=exchange, receiver=receiver, shards=list(holder.shards)
        )
    except OSError:  # Dask's errors of lost connections are kinds of it
        return None
    given: list[Any] | None = answer["pieces"]
    return given


async def _give(exchange: str, receiver: int, shards: list[int]) -> dict[str, Any]:
    """Answer another worker that asks for pieces."""
    given = _given(exchange, receiver, shards)
    return {"pieces": given if given is None else [to_serialize(piece) for piece in given]}


def _given(exchange: str, receiver: int, shards: Sequence[int]) -> list[Any] | None:
    """Return the pieces of some shards for a receiver, and forget them."""
    given = []
    for shard in shards:
        kept, pieces = _PIECES.get((_run_of(exchange), shard), ("", {}))
        if kept != exchange or receiver not in pieces:
            return None
        given.append(pieces.pop(receiver))
    return given


def forget_run(run: str) -> None:
    """Drop the shards of a run, and the pieces of them that nobody has fetched."""
    forget(run)
    for key in [key for key in _PIECES if key[0] == run]:
        del _PIECES[key]


def _run_of(exchange: str) -> str:
    return exchange.split("/")[0]
