"""The passes of k-means that run where a shard lives: cut into blocks, fold the answers.

Each is called as ``function(shard, env, ...)``, see `runtime.executor`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.backends.base import Centers, Partial, SumGrid
from gpuseg.engine.shard import Shard
from gpuseg.runtime.executor import BLOCK_ROWS, Env


def number(shard: Shard, env: Env, first_row: int) -> None:
    """Tell the shard how many rows of the data lie before it."""
    shard.first_row = first_row


@dataclass(frozen=True)
class Positions:
    """Positions on the axis of cumulated weight that fall into one shard.

    Attributes
    ----------
    at : float64 (m,)
        From the start of the data.
    before : float
        Weight of all shards before this one.
    """

    at: NDArray[np.float64]
    before: float


def total_weight(shard: Shard, env: Env, magic: float) -> float:
    """Return Σ w over the shard, each weight on the grid."""
    if shard.weight is None:
        return float(shard.n_rows)
    return float(on_grid(shard.weight, magic).sum())


def n_rows(shard: Shard, env: Env) -> int:
    """Return the number of rows."""
    return shard.n_rows


def source_row(shard: Shard, env: Env, row: int | None) -> int | None:
    """Return which of the rows read is row `row` of the shard; None of a shard not asked."""
    return None if row is None else shard.source_row(row)


def n_features(shard: Shard, env: Env) -> int:
    """Return the number of features."""
    return int(shard.x.shape[1])


def largest_weight(shard: Shard, env: Env) -> float | None:
    """Return max w, or None where every row weighs 1."""
    if shard.weight is None:
        return None
    return float(shard.weight.max(initial=0.0))


def weighted_squares(shard: Shard, env: Env, shift: NDArray[np.float32]) -> float:
    """Return Σ w·|x - shift|² over the shard; plain summation, for the progress line only."""

    def block(rows: slice) -> float:
        z = shard.x[rows].astype(np.float64) - shift
        return float(shard_weight(shard, rows) @ (z * z).sum(axis=1))

    return sum(env.map_blocks(block, shard.n_rows))


def lloyd(shard: Shard, env: Env, backend: str, centers: Centers, grid: SumGrid) -> Partial:
    """Assign every row to its nearest centre and sum the rows of each."""
    b = registry.get(backend)
    total = Partial.zeros(len(grid.weight), *centers.values.shape)
    for partial in env.map_blocks(
        lambda rows: b.lloyd(
            shard.x[rows],
            None if shard.weight is None else shard.weight[rows],
            centers,
            grid,
        ),
        shard.n_rows,
    ):
        total.add(partial)
    return total


@dataclass
class Assigned:
    """Outcome of an assignment; everything in it is merged by exact addition.

    Attributes
    ----------
    parts : float64 (2,)
        Σ w·d², on a grid and on a finer one for what the first rounds off.
    sizes : int64 (k,)
        Rows of each segment.
    """

    parts: NDArray[np.float64]
    sizes: NDArray[np.int64]

    @property
    def inertia(self) -> float:
        """Σ w·d², float."""
        return float(self.parts[0] + self.parts[1])

    def merge(self, other: "Assigned") -> "Assigned":
        """Return the outcome for both sets of rows together."""
        return Assigned(self.parts + other.parts, self.sizes + other.sizes)


def assign(
    shard: Shard,
    env: Env,
    backend: str,
    centers: Centers,
    grid: tuple[float, float],
    keep: bool,
) -> Assigned:
    """Assign every row, and with `keep` store labels and distances in the shard.

    The distance is √d², rounded to float32; inertia is the sum of w·d² in float64.
    """
    b = registry.get(backend)
    k = centers.values.shape[0]
    labels = np.empty(shard.n_rows, np.int32) if keep else None
    distance = np.empty(shard.n_rows, np.float32) if keep else None

    def block(rows: slice) -> Assigned:
        found, squares = b.nearest(shard.x[rows], centers)
        if labels is not None and distance is not None:
            with np.errstate(over="ignore"):  # beyond float32: infinitely far
                labels[rows], distance[rows] = found, np.sqrt(squares)
        terms = squares if shard.weight is None else shard.weight[rows] * squares
        coarse = on_grid(terms, grid[0])
        fine = on_grid(terms - coarse, grid[1])
        sizes = np.bincount(found, minlength=k).astype(np.int64)
        return Assigned(np.array([coarse.sum(), fine.sum()]), sizes)

    total = reduce(Assigned.merge, env.map_blocks(block, shard.n_rows))
    if keep:
        shard.labels, shard.distance = labels, distance
    return total


@dataclass
class Rows:
    """Some rows, with what is needed to order and to weigh them; all arrays (m, …).

    Attributes
    ----------
    index : int64
        Place in the data.
    x : float32 (m, d)
    weight, score : float64
    label : int32
    """

    index: NDArray[np.int64]
    x: NDArray[np.float32]
    weight: NDArray[np.float64]
    score: NDArray[np.float64]
    label: NDArray[np.int32]

    def take(self, order: NDArray[np.int64]) -> "Rows":
        """Return the rows at these places."""
        return Rows(
            self.index[order], self.x[order], self.weight[order],
            self.score[order], self.label[order],
        )  # fmt: skip

    def highest(self, count: int) -> "Rows":
        """Return the rows with the highest scores, highest first, ties by place in the data."""
        return self.take(np.lexsort((self.index, -self.score))[:count])

    @classmethod
    def concatenate(cls, parts: "Sequence[Rows]") -> "Rows":
        """Return all the rows, in the order given."""
        return cls(
            np.concatenate([p.index for p in parts]),
            np.concatenate([p.x for p in parts]),
            np.concatenate([p.weight for p in parts]),
            np.concatenate([p.score for p in parts]),
            np.concatenate([p.label for p in parts]),
        )


def farthest(shard: Shard, env: Env, backend: str, centers: Centers, count: int) -> Rows:
    """Return the `count` rows of positive weight farthest from their centres; score is d²."""
    b = registry.get(backend)

    def block(rows: slice) -> Rows:
        labels, squares = b.nearest(shard.x[rows], centers)
        weight = shard_weight(shard, rows)
        index = np.arange(rows.start, rows.stop) + shard.first_row
        found = Rows(index, shard.x[rows], weight, squares, labels)
        return found.take(np.flatnonzero(weight > 0)).highest(count)

    def merged(a: Rows, b: Rows) -> Rows:
        return Rows.concatenate([a, b]).highest(count)

    return reduce(merged, env.map_blocks(block, shard.n_rows))


def rows_at(shard: Shard, env: Env, magic: float, share: Positions) -> NDArray[np.float32]:
    """Return the rows that lie at some positions on the axis of cumulated weight.

    Row i covers the interval from the weight of all rows before it to that plus its own, so
    a row of weight 5 is met exactly as often as 5 rows of weight 1.
    """
    if shard.weight is None:
        index = np.floor(share.at - share.before).astype(np.int64)
    else:
        ends = share.before + np.cumsum(on_grid(shard.weight, magic))
        index = np.searchsorted(ends, share.at, side="right")
    return shard.x[np.minimum(index, shard.n_rows - 1)]


def distinct(shard: Shard, env: Env, limit: int) -> NDArray[np.float32]:
    """Return the first `limit` distinct rows of positive weight, in their order."""
    found = shard.x[:0]
    for start in range(0, shard.n_rows, BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        block = shard.x[rows][shard_weight(shard, rows) > 0]
        found = first_distinct(np.concatenate([found, block]), limit)
        if len(found) == limit:
            break
    return found


def first_distinct(x: NDArray[np.float32], limit: int) -> NDArray[np.float32]:
    """Return the first `limit` distinct rows of x, in their order; -0.0 equals 0.0."""
    _, first = np.unique(x + np.float32(0), axis=0, return_index=True)
    kept: NDArray[np.float32] = x[np.sort(first)[:limit]]
    return kept


def on_grid(values: NDArray[np.float64], magic: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to the grid of `engine.exact.grid_magic`, float64."""
    rounded: NDArray[np.float64] = (values + magic) - magic
    return rounded


def shard_weight(shard: Shard, rows: slice = slice(None)) -> NDArray[np.float64]:
    """Return the weights of some rows, float64."""
    if shard.weight is None:
        return np.ones(len(range(*rows.indices(shard.n_rows))))
    return shard.weight[rows]


def all_rows(shard: Shard, env: Env) -> tuple[NDArray[np.float32], NDArray[np.float64] | None]:
    """Return the rows and weights of a shard; only for data small enough to seed from."""
    return shard.x, shard.weight
