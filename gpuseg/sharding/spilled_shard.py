"""A shard whose rows are on the scratch disk of its worker, and mapped into memory block by block.

It serves shards that do not fit in the memory of their worker. Algorithms see the same rows in the
same order as in a resident shard.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpuseg.runtime.executor import BLOCK_ROWS, TaskContext
from gpuseg.runtime.scratch import ScratchArray
from gpuseg.sharding.shard import Block, Shard, compose_masks

R = TypeVar("R")


class SpilledShard(Shard):
    """Rows in files; see `sharding.shard.Shard`.

    Parameters
    ----------
    x : ScratchArray
        float32 (n, d)
    weight : ScratchArray or None
        float64 (n,)
    source : object
    """

    def __init__(self, x: ScratchArray, weight: ScratchArray | None, source: Any) -> None:
        super().__init__(x.values, None if weight is None else weight.values, source=source)
        self._x, self._weight = x, weight

    def map_blocks(
        self, context: TaskContext, function: Callable[[Block], R], products: int = 0
    ) -> Iterator[R]:
        """Call `function` on blocks that cover the shard; yield results in row order."""

        def call(block: Block) -> tuple[Block, R]:
            try:
                return block, function(block)
            finally:
                self._release(block)

        for block, result in super().map_blocks(context, call, products):
            yield result
            self._release(block)  # the result may be the block, and its reader has used it

    def _release(self, block: Block) -> None:
        self._x.release(block.x)
        if self._weight is not None and block.weight is not None:
            self._weight.release(block.weight)

    def convert_rows(self, convert: Callable[[NDArray[Any]], Any]) -> None:
        """Do nothing: the rows stay where they are, and a device gets them block by block."""

    def transform_rows(self, context: TaskContext, change: Callable[[Any], Any]) -> None:
        """Replace all rows, block by block: in place, or by rows with fewer columns.

        Rows with fewer columns move to the front of the file. There they replace rows that have
        been transformed already, since the results come in the order of the rows.
        """
        n_rows, width = self.x.shape
        for block, x in self.map_blocks(context, lambda block: (block, change(block.x))):
            if x is block.x:
                continue
            if x.shape[1] > width:
                raise ValueError(f"rows of {width} columns cannot get {x.shape[1]}")
            self._x.reshape((n_rows, x.shape[1]))
            self._x.values[block.rows] = x
            self._x.release(self._x.values[block.rows])
        self.x = self._x.values

    def filter_rows(self, context: TaskContext, kept: NDArray[np.bool_]) -> None:
        """Drop the rows that are not kept, bool (n_rows,), in place; before any other pass."""
        if kept.all():
            return
        self.x = _compact(self._x, kept)
        if self._weight is not None:
            self.weight = _compact(self._weight, kept)
        self.kept = compose_masks(self.kept, kept)


def _compact(file: ScratchArray, kept: NDArray[np.bool_]) -> NDArray[Any]:
    """Move the rows that are kept to the front of the file; return them."""
    count = 0
    for start in range(0, len(kept), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        block = file.values[rows][kept[rows]]
        file.values[count : count + len(block)] = block
        file.release(file.values[count : start + BLOCK_ROWS])
        count += len(block)
    file.reshape((count, *file.values.shape[1:]))
    return file.values
