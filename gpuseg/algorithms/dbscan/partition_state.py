"""State of a partition: rows near each other that one shard clusters.

An algorithm goes through phases, and each phase has a subclass of `PartitionState` with exactly
the arrays that it needs. DBSCAN's phases are, by the steps of `algorithms.dbscan.fit`:

- `PartitionState` (steps 2 and 3): rows only;
- `CountState` (step 4): the weight of the neighbors of each row;
- `GroupState` (steps 5 and 6): core rows and their groups;
- `LabelState` (steps 7 to 9): clusters and distances.

A shard holds its current attempt in its cache, and the attempt holds one state, which the state of
the next phase replaces.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.messages import NearestReply
from gpuseg.runtime.executor import CacheLost
from gpuseg.sharding.shard import Shard

_KEY = "partition"
_BLOCK_ROWS = 2**14


@dataclass
class Partition:
    """Rows of a partition, indexed for neighbor searches; arrays have one entry per row.

    Attributes
    ----------
    rows : int64 (n,) or int
        Positions in the data, increasing; an int is the first of n consecutive ones.
    points : float32 or float64 (n, d)
    weight : int64 (n,) or None
        None where every row counts once.
    index : object
        The rows in the layout of the backend.
    number : int
        Number of the partition, and of its shard.
    in_grid : bool
        Whether searches within the partition use a cell grid. Halo rows and nearest core rows
        are searched in tiles. Known from the cost estimate on.
    n_distances : int
        Pairs of rows with a computed distance, so far.
    peak_rows : int
        Maximum number of rows held at once, halo rows included.
    """

    rows: NDArray[np.int64] | int
    points: NDArray[Any]
    weight: NDArray[np.int64] | None
    index: Any
    number: int = 0
    in_grid: bool = False
    n_distances: int = 0
    peak_rows: int = field(init=False)

    def __post_init__(self) -> None:
        self.peak_rows = self.n_rows

    @property
    def n_rows(self) -> int:
        """Number of rows, int."""
        return len(self.points)

    @property
    def row_numbers(self) -> NDArray[np.int64]:
        """Position of every row in the data, int64 (n,)."""
        if isinstance(self.rows, np.ndarray):
            return self.rows
        return np.arange(self.rows, self.rows + self.n_rows)

    def row_numbers_at(self, positions: NDArray[Any]) -> NDArray[np.int64]:
        """Return the positions in the data of rows at some positions in the partition."""
        if isinstance(self.rows, np.ndarray):
            row_numbers: NDArray[np.int64] = self.rows[positions]
            return row_numbers
        return self.rows + positions.astype(np.int64)

    def blocks(self) -> Iterator[slice]:
        """Yield blocks of rows that stay in the CPU caches."""
        for start in range(0, max(self.n_rows, 1), _BLOCK_ROWS):
            yield slice(start, min(start + _BLOCK_ROWS, self.n_rows))

    def record_halo(self, n_rows: int) -> None:
        """Record that the shard holds so many halo rows beside its own."""
        self.peak_rows = max(self.peak_rows, self.n_rows + n_rows)


@dataclass
class PartitionState:
    """Steps 2 and 3: the rows of a partition."""

    partition: Partition


@dataclass
class CountState(PartitionState):
    """Step 4: neighbors are counted.

    Attributes
    ----------
    weight_within : int32 or int64 (n,)
        Weight of the rows within eps found so far; exact only below `min_weight`.
    """

    weight_within: NDArray[Any]


@dataclass
class GroupState(PartitionState):
    """Steps 5 and 6: core rows are connected.

    Attributes
    ----------
    core : bool (n,)
    root : int32 (n,)
        The lowest row of the group of each core row, as a position in the partition; -1 for rows
        that are not core. A group is connected inside this partition.
    roots : int64 (n_groups,)
        Positions of the roots, increasing.
    """

    core: NDArray[np.bool_]
    root: NDArray[np.int32]
    roots: NDArray[np.int64]

    def spread(self, values: NDArray[np.int64], missing: int, out: NDArray[Any]) -> None:
        """Write values of groups, (n_groups,), to the rows of each; `missing` to other rows.

        Work is done in blocks: allocating an array of all rows costs more than filling it, and of
        `at_root` only the memory pages with roots are touched. `out` may share the memory of
        `root`.
        """
        at_root = np.empty(self.partition.n_rows, out.dtype)
        at_root[self.roots] = values
        for rows in self.partition.blocks():
            root = self.root[rows]
            out[rows] = np.where(root < 0, missing, at_root[root])


@dataclass
class LabelState(PartitionState):
    """Steps 7 to 9: rows get their clusters and, where requested, distances.

    Attributes
    ----------
    core : bool (n,)
    cluster : uint32 (n,)
        `backends.neighbors.NO_CLUSTER` for noise.
    rdist : float64 (n,) or None
        Reduced distance to the nearest core row found so far: 0 for core rows, infinite where
        there is none. None until step 8.
    reply : NearestReply or None
        Answer to another partition, between finding and sending it in step 8.
    """

    core: NDArray[np.bool_]
    cluster: NDArray[np.uint32]
    rdist: NDArray[np.float64] | None = None
    reply: NearestReply | None = None

    @property
    def label(self) -> NDArray[np.int32]:
        """The cluster of every row, -1 for noise, int32 (n,)."""
        return self.cluster.view(np.int32)


S = TypeVar("S", bound=PartitionState)


class Attempt:
    """One attempt to cluster a shard, and its state.

    A task of a cancelled attempt may still be running when the next attempt begins on the same
    shard. It keeps its own attempt, so it cannot change the state of the next one. So a task that
    replaces the state gets the attempt from the shard only once, before its work.
    """

    def __init__(self) -> None:
        self._state: PartitionState | None = None
        self.restore: Callable[[], PartitionState] | None = None
        """Reads the state when it is first asked for; None where the state is here."""

    @property
    def has_state(self) -> bool:
        """Whether the state is here, and need not be read."""
        return self._state is not None

    def store(self, state: PartitionState) -> None:
        """Keep a state, in place of the one before."""
        self._state = state

    def load(self, phase: type[S]) -> S:
        """Return the state, which must be in a phase; raise `CacheLost` otherwise."""
        if self.restore is not None:
            self._state, self.restore = self.restore(), None
        if not isinstance(self._state, phase):
            raise CacheLost
        return self._state

    def pop(self, phase: type[S]) -> S:
        """Return the state as `load` does, and forget it, so that its memory can be reused."""
        state = self.load(phase)
        self._state = None
        return state


def begin_attempt(shard: Shard) -> Attempt:
    """Begin an attempt in place of the one before, and free the state of that one."""
    attempt = shard.cache[_KEY] = Attempt()
    return attempt


def current_attempt(shard: Shard) -> Attempt:
    """Return the attempt that began last.

    Raises
    ------
    CacheLost
        Where the shard was rebuilt since.
    """
    attempt: Attempt | None = shard.cache.get(_KEY)
    if attempt is None:
        raise CacheLost
    return attempt


def has_state(shard: Shard) -> bool:
    """Whether the shard has the state of an attempt, and need not read it."""
    attempt: Attempt | None = shard.cache.get(_KEY)
    return attempt is not None and attempt.has_state


def load_state(shard: Shard, phase: type[S]) -> S:
    """Return the state of the shard's partition, which must be in a phase.

    Raises
    ------
    CacheLost
        Where the shard was rebuilt since.
    """
    return current_attempt(shard).load(phase)


def partition_of(shard: Shard) -> Partition:
    """Return the partition of the shard, in any phase; raise `CacheLost` as `load_state` does."""
    return load_state(shard, PartitionState).partition
