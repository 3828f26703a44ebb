"""The nearest centers of new rows: for the estimator and for saved models."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gpuseg.backends import registry
from gpuseg.backends.types import Centers
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding import row_passes as passes
from gpuseg.sharding.shard import Shard


class NearestCenter:
    """Finds the nearest center of each row, in blocks, on all threads of a context.

    Labels are those of a fit, bit for bit: see `backends.protocols.CentroidKernels.nearest`.

    Parameters
    ----------
    centers : Centers
        In the units of the rows.
    backend : str
    """

    def __init__(self, centers: Centers, backend: str) -> None:
        self._backend = registry.get(backend)
        self._packed = self._backend.pack(centers)

    def labels(self, x: Any, context: TaskContext) -> Any:
        """Return the nearest center of each row of x, int32 (n,), where x is."""
        return np.concatenate(self._map_blocks(x, context, lambda result: result[0]))

    def squared_distances(self, x: Any, context: TaskContext) -> Any:
        """Return the squared distance of each row to its nearest center, float64 (n,)."""
        return np.concatenate(self._map_blocks(x, context, lambda result: result[1]))

    def labels_and_squares(self, x: Any, context: TaskContext) -> tuple[Any, Any]:
        """Return the labels and the squared distances."""
        labels, squares = zip(*self._map_blocks(x, context, lambda result: result), strict=True)
        return np.concatenate(labels), np.concatenate(squares)

    def _map_blocks(
        self, x: Any, context: TaskContext, take: Callable[[tuple[Any, Any]], Any]
    ) -> list[Any]:
        shard = Shard(x, rows_per_block=self._backend.block_rows(x.shape[1]))
        products = passes.products_per_row(self._packed.k, shard.n_features)
        return list(
            shard.map_blocks(
                context, lambda block: take(self._backend.nearest(block.x, self._packed)), products
            )
        )
