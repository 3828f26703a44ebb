"""Dask arrays and frames: seen as a list of parts, computed where the workers are."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from gpuseg.errors import ResourceError
from gpuseg.runtime.executor import Executor


def is_collection(X: Any) -> bool:
    """Whether X is a Dask array or frame; Dask is not imported to find out."""
    return "dask" in sys.modules and hasattr(X, "__dask_graph__")


def parts_of(X: Any) -> list[Any]:
    """Return the row parts of a Dask array or frame, as delayed objects."""
    if hasattr(X, "rechunk"):
        X = X.rechunk({1: -1}) if X.ndim == 2 else X
        return list(X.to_delayed().ravel())
    return list(X.to_delayed())


def mapped(X: Any, function: Callable[[Any], Any], dtype: Any, width: int | None) -> Any:
    """Return function(part) of each part as a lazy Dask array, (n,) or (n, width)."""
    import dask.array as da
    from dask.delayed import delayed

    def of_part(part: Any) -> Any:
        if len(part):
            return function(part)
        return np.empty((0,) if width is None else (0, width), dtype)

    shapes = X.chunks[0] if hasattr(X, "chunks") else [float("nan")] * X.npartitions
    pieces = [
        da.from_delayed(
            delayed(of_part)(part), (rows,) if width is None else (rows, width), dtype=dtype
        )
        for part, rows in zip(parts_of(X), shapes, strict=True)
    ]
    return da.concatenate(pieces)


@contextmanager
def on_workers(
    client: Any,
    parts: Sequence[Any],
    weights: Sequence[Any] | None,
    convert: Callable[[Any, Any], Any],
    build: Callable[[Sequence[Any]], Any],
) -> Iterator[Executor]:
    """Place shards made of the parts: consecutive ones on the same worker, one shard each.

    Parameters
    ----------
    client : distributed.Client or None
        None means the current one.
    convert : callable
        Takes a part and its weights; called on the worker.
    build : callable
        Makes a shard of what `convert` returned for several parts.

    Raises
    ------
    ResourceError
        Without a client.
    """
    from dask.delayed import delayed
    from distributed import wait

    from gpuseg.runtime.dask.executor import DaskExecutor

    client = client or _current_client()
    executor = DaskExecutor(client, client.scheduler.address, None, lambda rows: None)
    workers = executor.workers()
    n_shards = min(len(workers), len(parts))
    owned = weights if weights is not None else [None] * len(parts)
    converted = [delayed(convert)(part, own) for part, own in zip(parts, owned, strict=True)]
    futures = []
    for i in range(n_shards):
        own = converted[i * len(parts) // n_shards : (i + 1) * len(parts) // n_shards]
        futures.append(client.compute(own, workers=[workers[i]], allow_other_workers=True))
    with client.as_current():
        wait([future for own in futures for future in own])
    try:
        executor.load(_built, [build] * n_shards, futures)
        yield executor
    finally:
        executor.close()


def _built(build: Callable[..., Any], *parts: Any) -> Any:
    """Build a shard of parts that are, but for a lost worker, on this very worker."""
    return build(parts[:-1])  # the last is the Env, which none of this needs


def _current_client() -> Any:
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        raise ResourceError(
            "X is a Dask collection, but there is no Dask client: start one with "
            "distributed.Client(), or pass client="
        ) from None
