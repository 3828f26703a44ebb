"""A shard of several matrices, such as the partitions of a collection, without copying them."""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Block, Shard

R = TypeVar("R")

Chunk = tuple[NDArray[np.float32], NDArray[np.float64] | None]
"""Rows and their weights."""


class ChunkedShard(Shard):
    """Consecutive rows in several matrices; see `sharding.shard.Shard`.

    Parameters
    ----------
    chunks : sequence of Chunk
        float32 (n_i, d), C-order, and float64 (n_i,) or None, in the order of the rows.
    """

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        x, weight = chunks[0]
        super().__init__(x[:0], None if weight is None else weight[:0])
        self._chunks = list(chunks)
        self._starts = list(accumulate((len(x) for x, _ in chunks), initial=0))

    @property
    def n_rows(self) -> int:
        return self._starts[-1]

    def convert_rows(self, convert: Callable[[NDArray[Any]], Any]) -> None:
        """Replace rows and weights by ``convert`` of them."""
        super().convert_rows(convert)
        self._chunks = [
            (convert(x), None if weight is None else convert(weight)) for x, weight in self._chunks
        ]

    def map_blocks(
        self, context: TaskContext, function: Callable[[Block], R], products: int = 0
    ) -> Iterator[R]:
        """Call `function` on blocks that cover the shard; yield results in row order."""

        def call(block_start: tuple[int, int]) -> R:
            chunk, first = block_start
            x, weight = self._chunks[chunk]
            rows = slice(first, min(first + self.block_rows(x, context.threads, products), len(x)))
            offset = self._starts[chunk]
            shard_rows = slice(offset + rows.start, offset + rows.stop)
            return function(Block(x[rows], None if weight is None else weight[rows], shard_rows))

        block_starts = [
            (chunk, first)
            for chunk, (x, _) in enumerate(self._chunks)
            for first in range(0, len(x), self.block_rows(x, context.threads, products))
        ]
        return context.map(call, block_starts or [(0, 0)])
