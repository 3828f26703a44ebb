"""A shard: the rows of one worker, and the results for them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpuseg.runtime.executor import BLOCK_ROWS, TaskContext

R = TypeVar("R")

_BLOCKS_PER_THREAD = 16
"""Enough for an even load."""

_MAX_BLOCK_VALUES = 2**21
"""Values of a block of more than `BLOCK_ROWS` rows: 8 MiB."""

_MAX_BLOCK_PRODUCTS = 2**27
"""Products of a block for which a row costs much, as for many centers: some milliseconds."""

_LEAST_ROWS = 4096
"""Least rows of a block for which a row costs much: results of a block cost as much as 100 rows."""

_MIN_WIDTH = 4
"""Features that a row counts with at least: what is computed for a row takes memory, too."""


def compose_masks(before: NDArray[np.bool_] | None, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the mask over all rows, if `kept` is a mask over the rows that `before` kept."""
    if before is None:
        return kept
    both = before.copy()
    both[before] = kept
    return both


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a shard.

    Attributes
    ----------
    x : float32 (m, d), C-order
    weight : float64 (m,) or None
    rows : slice
        Their indices in the shard.
    """

    x: NDArray[np.float32]
    weight: NDArray[np.float64] | None
    rows: slice

    def weights(self) -> NDArray[np.float64]:
        """Return the weights; ones if the rows have none."""
        return np.ones(len(self.x)) if self.weight is None else self.weight


@dataclass
class Shard:
    """Consecutive rows of the data, in the memory of one worker.

    Algorithms read rows through `map_blocks`, or as they are if they are one block
    (`is_one_block`). So the rows of a shard may also be in a file (`sharding.spilled_shard`), or
    streamed from Parquet (`io.parquet.streamed_shard`).

    Attributes
    ----------
    x : float32 (n, d), C-order
        Feature vectors; a missing value is NaN until it is filled. A NumPy array, or an array on
        the device of a backend.
    weight : float64 (n,) or None
        Sample weights; None if every row weighs 1.
    first_row : int
        Number of rows of the data before this shard, without dropped rows.
    kept : bool (n_read,) or None
        Which of the rows read are in `x`; None if all are.
    labels : int32 (n,) or None
        Segment of each row, once assigned.
    distance : float32 (n,) or None
        Distance of each row to its center, in scaled units, once assigned.
    labels_by_model : list of int32 (n,)
        Labels of every model of a sweep; the last are `labels`.
    core : bool (n,) or None
        Which rows are core rows (DBSCAN), once known.
    confidence : float32 (n,) or None
        0 between two segments, up to 1 (`model_selection.confidence`), once computed.
    previous : dict of str to int32 (n,)
        By column of the output: the segment of each row by the older model that a refresh
        continues, as that model numbers it; -1 is noise. Empty without one.
    previous_far : bool (n,) or None
        Which rows lie outside of all segments of the older model: beyond the distance that about
        1 in 1,000 rows of their segment exceeded at its fit. None where that is not known.
    rows_per_block : int or None
        Rows per block if a device processes rows of the host's memory (`Backend.block_rows`);
        None if threads of the host do.
    source : object
        Where the rows were read from; algorithms do not use it.
    cache : dict
        Values that may be lost at any time without changing a result: a function that misses one
        computes it again, or the algorithm restarts.
    """

    x: NDArray[np.float32]
    weight: NDArray[np.float64] | None = None
    first_row: int = 0
    kept: NDArray[np.bool_] | None = None
    labels: NDArray[np.int32] | None = None
    distance: NDArray[np.float32] | None = None
    labels_by_model: list[NDArray[np.int32]] = field(default_factory=list)
    core: NDArray[np.bool_] | None = None
    confidence: NDArray[np.float32] | None = None
    previous: dict[str, NDArray[np.int32]] = field(default_factory=dict)
    previous_far: NDArray[np.bool_] | None = None
    rows_per_block: int | None = None
    source: Any = None
    cache: dict[str, Any] = field(default_factory=dict)

    @property
    def n_rows(self) -> int:
        """Number of rows, int."""
        return int(self.x.shape[0])

    @property
    def n_features(self) -> int:
        """Number of features, int."""
        return int(self.x.shape[1])

    @property
    def is_one_block(self) -> bool:
        """Whether the rows are one block, in the memory of the host and for its threads."""
        is_in_memory = isinstance(self.x, np.ndarray) and len(self.x) == self.n_rows
        return is_in_memory and self.rows_per_block is None and self.n_rows <= BLOCK_ROWS

    @property
    def weighted(self) -> bool:
        """Whether the rows have weights."""
        return self.weight is not None

    def map_blocks(
        self, context: TaskContext, function: Callable[[Block], R], products: int = 0
    ) -> Iterator[R]:
        """Call `function` on blocks that cover the shard; yield results in row order.

        If there are no rows, it is called once, on an empty block. `products` is about how many
        products of values `function` computes for each row; with many, the blocks are smaller.
        """

        def call(rows: slice) -> R:
            weight = None if self.weight is None else self.weight[rows]
            return function(Block(self.x[rows], weight, rows))

        step = self.block_rows(self.x, context.threads, products)
        starts = range(0, max(self.n_rows, 1), step)
        return context.map(call, [slice(i, min(i + step, self.n_rows)) for i in starts])

    def block_rows(self, x: Any, threads: int, products: int = 0) -> int:
        """Return the number of rows of a block of a matrix that so many threads share.

        Rows in the memory of a device are one block, as the device divides the work itself. Many
        rows are divided into larger blocks, since each costs the interpreter 60 microseconds. Rows
        that cost many products are divided into smaller ones, as many for each thread.
        """
        if not isinstance(x, np.ndarray):
            return max(len(x), 1)
        if self.rows_per_block is not None:
            return self.rows_per_block
        if products * BLOCK_ROWS > _MAX_BLOCK_PRODUCTS and threads > 1:
            most_rows = max(_MAX_BLOCK_PRODUCTS // products, _LEAST_ROWS)
            per_thread = max(-(-len(x) // (threads * most_rows)), 1)
            return max(-(-len(x) // (threads * per_thread)), _LEAST_ROWS)
        shared: int = len(x) // (threads * _BLOCKS_PER_THREAD)
        n_rows: int = min(shared, _MAX_BLOCK_VALUES // max(x.shape[1], _MIN_WIDTH))
        return max(n_rows // BLOCK_ROWS, 1) * BLOCK_ROWS

    def transform_rows(self, context: TaskContext, change: Callable[[Any], Any]) -> None:
        """Replace all rows, block by block: in place, or by rows with other columns."""
        changed: Any = None
        for block, x in self.map_blocks(context, lambda block: (block, change(block.x))):
            if x is block.x:
                continue
            if len(x) == self.n_rows:
                changed = x
                continue
            if changed is None:
                changed = np.empty((self.n_rows, x.shape[1]), np.float32)
            changed[block.rows] = x
        self.x = self.x if changed is None else changed

    def filter_rows(self, context: TaskContext, kept: NDArray[np.bool_]) -> None:
        """Drop the rows that are not kept, bool (n_rows,), in place; before any other pass."""
        if kept.all():
            return
        count = 0
        for start in range(0, self.n_rows, BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            block = self.x[rows][kept[rows]]
            self.x[count : count + len(block)] = block
            count += len(block)
        self.x = self.x[:count]
        if self.weight is not None:
            self.weight = self.weight[kept]
        self.kept = compose_masks(self.kept, kept)

    def drop_missing(self, context: TaskContext) -> None:
        """Drop the rows with a missing feature; before any other pass."""
        complete = self.map_blocks(context, lambda block: ~np.isnan(block.x).any(axis=1))
        self.filter_rows(context, np.concatenate(list(complete)))

    def convert_rows(self, convert: Callable[[NDArray[Any]], Any]) -> None:
        """Replace rows and weights by ``convert`` of them."""
        self.x = convert(self.x)
        if self.weight is not None:
            self.weight = convert(self.weight)

    def source_row(self, row: int) -> int:
        """Return the index of row `row` among the rows read; it differs if rows were dropped."""
        return int(self.source_rows(np.array([row]))[0])

    def source_rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the indices of some rows among the rows read, as `source_row` does."""
        return rows if self.kept is None else np.flatnonzero(self.kept)[rows]
