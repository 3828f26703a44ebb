"""Dask arrays and frames: as lists of partitions, and as shards on the workers that hold them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from gpuseg.errors import ResourceError
from gpuseg.runtime.executor import Executor


def partitions_of(X: Any) -> list[Any]:
    """Return the row partitions of a Dask array or frame, as delayed objects."""
    if hasattr(X, "rechunk"):
        X = X.rechunk({1: -1}) if X.ndim == 2 else X
        return list(X.to_delayed().ravel())
    return list(X.to_delayed())


def map_partitions(
    X: Any, function: Callable[[Any], Any], dtype: Any, n_columns: int | None
) -> Any:
    """Return function(partition) of each partition as a lazy Dask array, (n,) or (n, n_columns)."""
    import dask.array as da
    from dask.delayed import delayed

    def call(partition: Any) -> Any:
        if len(partition):
            return function(partition)
        return np.empty((0,) if n_columns is None else (0, n_columns), dtype)

    sizes = X.chunks[0] if hasattr(X, "chunks") else [float("nan")] * X.npartitions
    arrays = [
        da.from_delayed(
            delayed(call)(partition),
            (rows,) if n_columns is None else (rows, n_columns),
            dtype=dtype,
        )
        for partition, rows in zip(partitions_of(X), sizes, strict=True)
    ]
    return da.concatenate(arrays)


def compute_partitions(
    client: Any, partitions: Sequence[Any], function: Callable[[Any], Any]
) -> list[Any]:
    """Return function(partition) of each partition, called on the workers.

    Parameters
    ----------
    client : distributed.Client or None
        None means the current one.
    partitions : sequence of delayed object

    Raises
    ------
    ResourceError
        If there is no client, and if workers or the scheduler are lost.
    """
    from gpuseg.runtime.dask.executor import DaskExecutor

    client = client or _current_client()
    executor = DaskExecutor(client, client.scheduler.address, None, lambda rows: None)
    try:
        return executor.results_of(partial(_submit, client, function, partitions))
    finally:
        executor.close()


@contextmanager
def executor_for_partitions(
    client: Any,
    partitions: Sequence[Any],
    weights: Sequence[Any] | None,
    convert: Callable[[Any, Any], Any],
    build: Callable[[Sequence[Any]], Any],
) -> Iterator[Executor]:
    """Build one shard per worker from consecutive partitions; yield the executor.

    Parameters
    ----------
    client : distributed.Client or None
        None means the current one.
    partitions, weights : sequence of delayed object
    convert : callable
        Takes a partition and its weights; called on the worker.
    build : callable
        Makes a shard from the results of `convert` for several partitions.

    Raises
    ------
    ResourceError
        If there is no client.
    """
    from gpuseg.runtime.dask.executor import DaskExecutor

    client = client or _current_client()
    executor = DaskExecutor(client, client.scheduler.address, None, lambda rows: None)
    workers = executor.workers()
    n_parts, n_shards = len(partitions), min(len(workers), len(partitions))
    bounds = [i * n_parts // n_shards for i in range(n_shards + 1)]
    weights = weights or [None] * n_parts
    submit_inputs = [
        partial(
            _submit, client, convert, partitions[start:stop], weights[start:stop], worker=worker
        )
        for start, stop, worker in zip(bounds, bounds[1:], workers, strict=False)
    ]
    try:
        executor.load(_build_shard, [build] * n_shards, submit_inputs)
        yield executor
    finally:
        executor.close()


def _submit(
    client: Any, function: Callable[..., Any], *args: Sequence[Any], worker: str | None = None
) -> list[Any]:
    """Submit a task of a new key for the call with each tuple of arguments; return the futures.

    Parameters
    ----------
    client : distributed.Client
    args : sequence of delayed object
        As many as there are tasks.
    worker : str, optional
        Where to call the function, while that worker lives.
    """
    from dask.delayed import delayed

    call = delayed(function, pure=False)
    tasks = [call(*arguments) for arguments in zip(*args, strict=True)]
    where = {} if worker is None else {"workers": [worker], "allow_other_workers": True}
    futures: list[Any] = client.compute(tasks, **where)
    return futures


def _build_shard(build: Callable[..., Any], *inputs: Any) -> Any:
    """Build a shard from partitions that are on this worker, unless a worker was lost."""
    *partitions, _context = inputs
    return build(partitions)


def _current_client() -> Any:
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        raise ResourceError(
            "client.missing",
            "X is a Dask collection, but there is no Dask client",
            hint="start one with distributed.Client(), or pass `client`",
            parameter="client",
        ) from None
