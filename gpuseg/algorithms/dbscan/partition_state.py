"""A region: rows near each other that one shard answers for, and what is known of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.protocols import NeighborKernels, ParallelMap
from gpuseg.runtime.executor import CacheLost, TaskContext
from gpuseg.sharding.shard import Shard

RowBatch = tuple[NDArray[Any], ...] | None
"""Rows on their way from one shard to another: arrays with an entry a row."""

_REGION = "region"
_BLOCK = 2**14


@dataclass
class PartitionState:
    """Rows, and what is known of them; arrays have an entry for each row.

    Attributes
    ----------
    where : int64 (n,) or int
        Place in the data, rising; an int is that of the first row, and the others follow it.
    points : float32 or float64 (n, d)
    weight : int64 (n,) or None
    layout : object
        The rows laid out by the backend.
    found : int32 or int64 (n,)
        Weight found within eps, until it is enough. Gone once that is settled.
    core : bool (n,)
    lowest : int32 (n,)
        The lowest core row of this region that the row is linked with inside the region, by its
        place in the region; it stands for the group. -1 for rows that are not core. Gone once the
        clusters are known.
    cluster : uint32 (n,)
        `backends.neighbors.NO_CLUSTER` for noise.
    groups : int64 (n_groups,)
        The rows that stand for a group, rising.
    measured : bool
        Whether `size` is known.
    size : float64 (n,)
        Of the difference to the nearest core row; 0 for core rows, infinite where there is none.
    in_grid : bool
        Whether the rows look at each other in a grid; visitors do, and distances are found, in
        tiles.
    counted : bool
        Whether `found` has the weight of the region's own rows.
    number : int
        Of the region, and of its shard.
    looked, most_rows : int
        Pairs of rows whose distance was computed; rows held at once, visitors included.
    """

    where: NDArray[np.int64] | int
    points: NDArray[Any]
    weight: NDArray[np.int64] | None
    layout: Any
    found: NDArray[Any]
    core: NDArray[np.bool_] = field(init=False)
    lowest: NDArray[np.int32] = field(init=False)
    groups: NDArray[np.int64] = field(init=False)
    cluster: NDArray[np.uint32] = field(init=False)
    size: NDArray[np.float64] = field(init=False)
    measured: bool = False
    in_grid: bool = False
    counted: bool = False
    number: int = 0
    looked: int = 0
    most_rows: int = 0

    def __post_init__(self) -> None:
        self.most_rows = self.n_rows

    @property
    def n_rows(self) -> int:
        """Number of rows, int."""
        return len(self.points)

    @property
    def index(self) -> NDArray[np.int64]:
        """Place in the data of every row, int64 (n,)."""
        if isinstance(self.where, np.ndarray):
            return self.where
        return np.arange(self.where, self.where + self.n_rows)

    def index_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the place in the data of some rows."""
        return self.where[rows] if isinstance(self.where, np.ndarray) else self.where + rows

    @property
    def label(self) -> NDArray[np.int32]:
        """The cluster of every row, -1 for noise, int32 (n,)."""
        return self.cluster.view(np.int32)

    def blocks(self) -> Iterator[slice]:
        """Yield the rows, some at a time that stay in the caches."""
        for start in range(0, max(self.n_rows, 1), _BLOCK):
            yield slice(start, min(start + _BLOCK, self.n_rows))

    def count(self, b: NeighborKernels, least: int, each: ParallelMap) -> None:
        """Count the weight of the region's own rows within eps, once."""
        if not self.counted:
            self.looked += b.count_neighbors(
                self.layout, self.layout, self.weight, least, self.found, each
            )
            self.counted = True

    def receive(self, visitors: int) -> None:
        """Note how many rows of other regions are here."""
        self.most_rows = max(self.most_rows, self.n_rows + visitors)


def keep(shard: Shard, region: PartitionState) -> None:
    """Keep the region with the shard."""
    shard.cache[_REGION] = region


def region_of(shard: Shard) -> PartitionState:
    """Return what the shard knows.

    Raises
    ------
    CacheLost
        When the shard was built again since.
    """
    try:
        region: PartitionState = shard.cache[_REGION]
    except KeyError:
        raise CacheLost from None
    return region


def forget(shard: Shard) -> PartitionState:
    """Return what the shard knows, for the last time: its memory is needed elsewhere."""
    region = region_of(shard)
    del shard.cache[_REGION]
    return region


def rows_of(shard: Shard) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
    """Return all rows of a shard, (n, d), and their weights; copied only where they lie apart."""
    if len(shard.x) == shard.n_rows:
        return shard.x, shard.weight
    blocks = list(shard.map_blocks(TaskContext(), lambda block: (block.x, block.weight)))
    weights = [weight for _, weight in blocks if weight is not None]
    return np.concatenate([x for x, _ in blocks]), np.concatenate(weights) if weights else None


def labels_of(shard: Shard) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return the labels of a clustered shard, and which rows are core.

    Raises
    ------
    CacheLost
        When the shard was built again since.
    """
    if shard.labels is None or shard.core is None:
        raise CacheLost
    return shard.labels, shard.core


def together(pieces: Sequence[RowBatch]) -> tuple[NDArray[Any], ...] | None:
    """Return the pieces as one, in their order; None where nobody came."""
    came = [piece for piece in pieces if piece is not None]
    if not sum(len(piece[0]) for piece in came):
        return None
    return tuple(np.concatenate(arrays) for arrays in zip(*came, strict=True))
