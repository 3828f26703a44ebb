"""A shard whose rows are on the device of a backend from the start."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.runtime.executor import BLOCK_ROWS, TaskContext
from gpuseg.sharding.shard import Shard, compose_masks


class DeviceShard(Shard):
    """See `sharding.shard.Shard`; rows are left out where they lie.

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

    def filter_rows(self, env: TaskContext, kept: NDArray[np.bool_]) -> None:
        """Leave out the rows that are not kept, bool (n_rows,), in place; before any other pass."""
        if kept.all():
            return
        b, count = registry.get(self._backend), 0
        for start in range(0, self.n_rows, BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            own = b.to_device(np.flatnonzero(kept[rows]))
            after = slice(count, count + len(own))
            self.x[after] = self.x[rows][own]
            if self.weight is not None:
                self.weight[after] = self.weight[rows][own]
            count += len(own)
        self.x = self.x[:count]
        if self.weight is not None:
            self.weight = self.weight[:count]
        self.kept = compose_masks(self.kept, kept)

    def drop_missing(self, env: TaskContext) -> None:
        """Leave out the rows with a missing feature; before any other pass."""
        b = registry.get(self._backend)
        starts = range(0, max(self.n_rows, 1), BLOCK_ROWS)
        pieces = (self.x[i : i + BLOCK_ROWS] for i in starts)
        self.filter_rows(
            env, np.concatenate([b.to_host((~np.isnan(x)).all(axis=1)) for x in pieces])
        )


def is_on_device(shard: Shard, env: TaskContext) -> bool:
    """Whether the rows are in the memory of a device."""
    return not isinstance(shard.x, np.ndarray)
