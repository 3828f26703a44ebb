"""A shard with rows that were read into the memory of a device."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.runtime.executor import BLOCK_ROWS, TaskContext
from gpuseg.sharding.shard import Shard, compose_masks


class DeviceShard(Shard):
    """See `sharding.shard.Shard`; rows are filtered on the device.

    Parameters
    ----------
    x : float32 (n, d), C-order
    weight : float64 (n,) or None
    backend : str
    source : object
    """

    def __init__(self, x: Any, weight: Any, backend: str, source: Any) -> None:
        super().__init__(x, weight, source=source)
        self._backend = backend

    def filter_rows(self, context: TaskContext, kept: NDArray[np.bool_]) -> None:
        """Drop the rows that are not kept, bool (n_rows,), in place; before any other pass."""
        if kept.all():
            return
        b, count = registry.get(self._backend), 0
        for start in range(0, self.n_rows, BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            index = b.to_device(np.flatnonzero(kept[rows]))
            target = slice(count, count + len(index))
            self.x[target] = self.x[rows][index]
            if self.weight is not None:
                self.weight[target] = self.weight[rows][index]
            count += len(index)
        self.x = self.x[:count]
        if self.weight is not None:
            self.weight = self.weight[:count]
        self.kept = compose_masks(self.kept, kept)

    def drop_missing(self, context: TaskContext) -> None:
        """Drop the rows with a missing feature; before any other pass."""
        b = registry.get(self._backend)
        starts = range(0, max(self.n_rows, 1), BLOCK_ROWS)
        blocks = (self.x[i : i + BLOCK_ROWS] for i in starts)
        complete = [b.to_host((~np.isnan(x)).all(axis=1)) for x in blocks]
        self.filter_rows(context, np.concatenate(complete))


def is_on_device(shard: Shard, context: TaskContext) -> bool:
    """Return whether the rows are in the memory of a device."""
    return not isinstance(shard.x, np.ndarray)
