"""A shard whose rows stay in Parquet and are decoded in every pass, block by block.

It serves shards that fit neither in the memory nor on the scratch disk of their worker. Row groups
are decoded in parallel. In each group, the next block is decoded and transformed while the
algorithm uses the current one. Algorithms see the same rows in the same order as in a resident
shard.
"""

from collections.abc import Callable, Iterator
from itertools import accumulate, chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpuseg.io.parquet.shard_plan import Batch, RowGroup, ShardPlan, fill
from gpuseg.runtime.executor import BLOCK_ROWS, TaskContext, prefetch
from gpuseg.sharding.shard import Block, Shard, compose_masks

R = TypeVar("R")

Change = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def open_stream(plan: ShardPlan, context: TaskContext) -> "StreamedShard":
    """Open a shard for streaming; find rows with missing values if these are dropped.

    Raises
    ------
    DataError
        As `io.parquet.shard_plan.load_shard`, now or in a later pass.
    """
    shard = StreamedShard(plan)
    if plan.drop_missing:
        shard.drop_missing(context)
    return shard


class StreamedShard(Shard):
    """Rows that are read in each pass; see `sharding.shard.Shard`.

    Parameters
    ----------
    plan : ShardPlan

    Attributes
    ----------
    reason : str
        Why the rows are not on the scratch disk.
    """

    reason = ""

    def __init__(self, plan: ShardPlan) -> None:
        super().__init__(np.empty((0, plan.width), np.float32), source=plan)
        self._plan = plan
        self._groups = plan.groups()
        self._starts = [group.start for group in self._groups]
        self._rows = plan.rows
        self._changes: list[Change] = []

    @property
    def n_rows(self) -> int:
        return self._rows

    @property
    def weighted(self) -> bool:
        return self._plan.weight is not None

    def map_blocks(
        self, context: TaskContext, function: Callable[[Block], R], products: int = 0
    ) -> Iterator[R]:
        """Call `function` on blocks that cover the shard; results in the order of the rows.

        Threads share row groups, whatever a row costs.
        """

        def on(number: int) -> list[R]:
            return [function(block) for block in prefetch(self._blocks(number))]

        yield from chain.from_iterable(context.map(on, range(len(self._groups))))

    def convert_rows(self, convert: Callable[[NDArray[Any]], Any]) -> None:
        """Do nothing: every block is new in every pass."""

    def transform_rows(self, context: TaskContext, change: Change) -> None:
        """Transform the rows of every later pass."""
        self._changes.append(change)
        self.x = change(self.x)

    def filter_rows(self, context: TaskContext, kept: NDArray[np.bool_]) -> None:
        """Drop the rows where `kept`, bool (n_rows,), is false."""
        mask = compose_masks(self.kept, kept)
        counts = [int(mask[g.start : g.start + g.rows].sum()) for g in self._groups]
        self._starts = list(accumulate(counts, initial=0))[:-1]
        self._rows, self.kept = sum(counts), mask

    def _blocks(self, number: int) -> Iterator[Block]:
        """Decode and transform one row group."""
        group, start = self._groups[number], self._starts[number]
        for x, weight, kept in self._decoded(group):
            if kept is not None:
                x, weight = x[kept], None if weight is None else weight[kept]
            for change in self._changes:
                x = change(x)
            yield Block(x, weight, slice(start, start + len(x)))
            start += len(x)

    def _decoded(
        self, group: RowGroup
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64] | None, NDArray[np.bool_] | None]]:
        """Yield features, weights and the mask of kept rows, up to `BLOCK_ROWS` rows at a time."""
        for start, batches in _grouped(self._plan.batches(group, BLOCK_ROWS)):
            rows = sum(batch.columns.num_rows for batch in batches)
            x = np.empty((rows, self._plan.width), np.float32)
            weight = np.empty(rows) if self.weighted else None
            for batch in batches:
                first = batch.start - start
                part = slice(first, first + batch.columns.num_rows)
                fill(self._plan, batch, x[part], None if weight is None else weight[part])
            kept = None if self.kept is None else self.kept[start : start + rows]
            yield x, weight, kept


def _grouped(batches: Iterator[Batch]) -> Iterator[tuple[int, list[Batch]]]:
    """Yield groups of consecutive batches with at most `BLOCK_ROWS` rows together."""
    waiting: list[Batch] = []
    for batch in batches:
        stop = batch.start + batch.columns.num_rows
        if waiting and stop - waiting[0].start > BLOCK_ROWS:
            yield waiting[0].start, waiting
            waiting = []
        waiting.append(batch)
    yield waiting[0].start, waiting
