"""A shard: the rows that one worker owns, and what it remembers about them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpuseg.runtime.executor import BLOCK_ROWS, TaskContext

R = TypeVar("R")


def compose_masks(before: NDArray[np.bool_] | None, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which rows read are still there, when of those there before some are kept."""
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
        Their place in the shard.
    """

    x: NDArray[np.float32]
    weight: NDArray[np.float64] | None
    rows: slice

    def weights(self) -> NDArray[np.float64]:
        """Return the weights, ones where every row weighs 1."""
        return np.ones(len(self.x)) if self.weight is None else self.weight


@dataclass
class Shard:
    """A run of consecutive rows of the data, resident in the memory of one worker.

    The engine reads rows through `map_blocks` alone, so that a shard may also be one whose
    rows are not in memory (`io.parquet.streamed_shard`).

    Attributes
    ----------
    x : float32 (n, d), C-order
        Feature vectors; a missing value is NaN until `prepare` has filled it. A NumPy array, or
        one on the device of a backend.
    weight : float64 (n,) or None
        Sample weights; None where every row weighs 1.
    first_row : int
        Number of rows of the data before this shard, dropped rows not counted.
    kept : bool (n_read,) or None
        Which of the rows read are in `x`; None where all are.
    labels : int32 (n,) or None
        Segment of each row, once assigned.
    distance : float32 (n,) or None
        Distance of each row to its centre, in scaled units, once assigned.
    sweep : list of int32 (n,)
        The labels of every model that was to be kept; the last are `labels`.
    core : bool (n,) or None
        Which rows are core, once found out (DBSCAN).
    confidence : float32 (n,) or None
        From 0, between two segments, to 1, where it was asked for (`model_selection.confidence`).
    rows_per_block : int or None
        Rows of the host's memory in a block, where a device takes them (`Backend.block_rows`);
        None where threads of the host do.
    source : object
        Where the rows were read from; the engine does not look at it.
    cache : dict
        What may be forgotten at any time without changing an answer; who misses it there makes
        it again, or begins anew.
    """

    x: NDArray[np.float32]
    weight: NDArray[np.float64] | None = None
    first_row: int = 0
    kept: NDArray[np.bool_] | None = None
    labels: NDArray[np.int32] | None = None
    distance: NDArray[np.float32] | None = None
    sweep: list[NDArray[np.int32]] = field(default_factory=list)
    core: NDArray[np.bool_] | None = None
    confidence: NDArray[np.float32] | None = None
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
    def weighted(self) -> bool:
        """Whether the rows have weights."""
        return self.weight is not None

    def map_blocks(self, env: TaskContext, function: Callable[[Block], R]) -> Iterator[R]:
        """Call `function` on blocks that cover the shard; results in the order of the rows.

        Without rows it is called once, on an empty block.
        """

        def on(rows: slice) -> R:
            weight = None if self.weight is None else self.weight[rows]
            return function(Block(self.x[rows], weight, rows))

        step = self.block_rows(self.x)
        starts = range(0, max(self.n_rows, 1), step)
        return env.map(on, [slice(i, min(i + step, self.n_rows)) for i in starts])

    def block_rows(self, x: Any) -> int:
        """Return how many rows of a matrix of the shard to hand out at a time.

        A device shares out the work in a way of its own, and gets all rows that lie there.
        """
        if not isinstance(x, np.ndarray):
            return max(len(x), 1)
        return self.rows_per_block or BLOCK_ROWS

    def transform_rows(self, env: TaskContext, change: Callable[[Any], Any]) -> None:
        """Change all rows, block by block: in place, or into rows of another width."""
        changed: Any = None
        for block, x in self.map_blocks(env, lambda block: (block, change(block.x))):
            if x is block.x:
                continue
            if len(x) == self.n_rows:
                changed = x
                continue
            if changed is None:
                changed = np.empty((self.n_rows, x.shape[1]), np.float32)
            changed[block.rows] = x
        self.x = self.x if changed is None else changed

    def filter_rows(self, env: TaskContext, kept: NDArray[np.bool_]) -> None:
        """Leave out the rows that are not kept, bool (n_rows,), in place; before any other pass."""
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

    def drop_missing(self, env: TaskContext) -> None:
        """Leave out the rows with a missing feature; before any other pass."""
        complete = self.map_blocks(env, lambda block: ~np.isnan(block.x).any(axis=1))
        self.filter_rows(env, np.concatenate(list(complete)))

    def convert_rows(self, convert: Callable[[NDArray[Any]], Any]) -> None:
        """Put rows and weights where `convert` takes them."""
        self.x = convert(self.x)
        if self.weight is not None:
            self.weight = convert(self.weight)

    def source_row(self, row: int) -> int:
        """Return which row read is row `row` of the shard; they differ where rows were dropped."""
        return int(self.source_rows(np.array([row]))[0])

    def source_rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which rows read are some rows of the shard, as `source_row` does."""
        return rows if self.kept is None else np.flatnonzero(self.kept)[rows]
