"""How an estimator reads rows: the matrix that it clusters, from any X that is in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.estimators._inputs.arrays import as_matrix, refuse_not_finite
from gpuseg.estimators._inputs.gpu import gpu_matrix, is_on_gpu
from gpuseg.estimators._inputs.origins import column_ranges
from gpuseg.numerics.origin import ColumnRanges, subtract_origin
from gpuseg.runtime.executor import LocalExecutor, TaskContext
from gpuseg.sharding.shard import Shard


class RowFormat(Protocol):
    """Reads rows; it can be pickled, since workers read the partitions of a Dask collection."""

    @property
    def origin(self) -> NDArray[np.float64] | None:
        """What is subtracted from the rows, float64 (d,); None if nothing is."""
        ...

    def read(self, X: Any, estimator: Any, *, reset: bool) -> Any:
        """Return X as the rows of a shard, (n, d), C-order.

        Parameters
        ----------
        reset : bool
            Whether the estimator gets width and names of X (fit), or they are checked (predict).

        Raises
        ------
        DataError
            For X that is not a table of numbers.
        """
        ...

    def on_one_thread(self) -> RowFormat:
        """Return the format for a caller that has one thread."""
        ...

    def column_ranges(self, X: Any, estimator: Any) -> ColumnRanges | None:
        """Return the ranges of the columns of X; None if the format needs no origin for X."""
        ...

    def with_origin(self, origin: NDArray[np.float64] | None) -> RowFormat:
        """Return the format that measures the columns from an origin, float64 (d,)."""
        ...


@dataclass(frozen=True)
class KMeansRows:
    """float32 rows, on the GPU where X is; for the cosine, rows of length one.

    Attributes
    ----------
    backend : str
    metric : {"euclidean", "cosine"}
    n_threads : int or None
    origin : float64 (d,) or None
        Subtracted from the rows before they become float32 (`numerics.origin`).
    """

    backend: str
    metric: str
    n_threads: int | None
    origin: NDArray[np.float64] | None = None

    def read(self, X: Any, estimator: Any, *, reset: bool) -> Any:
        """See `RowFormat`."""
        if self.origin is not None:
            return self._moved(X, estimator, reset)
        if is_on_gpu(X):
            x = gpu_matrix(X, estimator, self.backend, reset)
        else:
            x = as_matrix(X, estimator, reset)
        if self.metric != "cosine":
            return x
        return unit_rows(x, self.backend, LocalExecutor(self.n_threads).context)

    def _moved(self, X: Any, estimator: Any, reset: bool) -> Any:
        """Return the rows measured from the origin; those of a GPU by way of the host."""
        assert self.origin is not None
        if not is_on_gpu(X):
            x = as_matrix(X, estimator, reset, keep_float64=True)
            return subtract_origin(x, self.origin)
        device = registry.get("cuda")
        x = device.to_host(gpu_matrix(X, estimator, self.backend, reset, np.float64))
        return device.to_device(subtract_origin(x, self.origin))

    def on_one_thread(self) -> KMeansRows:
        """See `RowFormat`."""
        return replace(self, n_threads=1)

    def column_ranges(self, X: Any, estimator: Any) -> ColumnRanges | None:
        """See `RowFormat`; the cosine needs the direction from 0."""
        return None if self.metric == "cosine" else column_ranges(X, estimator)

    def with_origin(self, origin: NDArray[np.float64] | None) -> KMeansRows:
        """See `RowFormat`."""
        return replace(self, origin=origin)


@dataclass(frozen=True)
class DBSCANRows:
    """Finite float32 or float64 rows on the host, where they are laid out in tiles."""

    origin: ClassVar[None] = None

    def read(self, X: Any, estimator: Any, *, reset: bool) -> Any:
        """See `RowFormat`."""
        if is_on_gpu(X):
            x = registry.get("cuda").to_host(gpu_matrix(X, estimator, "cuda", reset))
        else:
            x = as_matrix(X, estimator, reset, keep_float64=True)
        refuse_not_finite(x)
        return x

    def on_one_thread(self) -> DBSCANRows:
        """See `RowFormat`."""
        return self

    def column_ranges(self, X: Any, estimator: Any) -> ColumnRanges | None:
        """See `RowFormat`; float64 rows are measured from their tiles."""
        return None

    def with_origin(self, origin: NDArray[np.float64] | None) -> DBSCANRows:
        """See `RowFormat`."""
        return self


def unit_rows(x: Any, backend: str, context: TaskContext) -> Any:
    """Return a copy with the rows scaled to length one; rows of zeros become NaN."""
    unit = replace(FeatureTransform.identity(x.shape[1]), unit=True)
    shard = Shard(x.copy())
    shard.transform_rows(context, lambda rows: registry.get(backend).prepare(rows, unit))
    return shard.x
