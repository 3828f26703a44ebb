"""Passes over the rows of a shard: map the blocks, then fold their results.

Each is called as ``function(shard, context, ...)``, see `runtime.executor`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.backends.types import Centers
from gpuseg.numerics.sum_grid import AssignmentSums
from gpuseg.runtime.executor import BLOCK_ROWS, CacheLost, TaskContext
from gpuseg.sharding.shard import Block, Shard

_SELECTION = 4
"""Products that take as long as finding the least of the scores, for each center."""


def products_per_row(k: int, n_features: int) -> int:
    """Return about how many products it takes to find the nearest of k centers."""
    return k * (n_features + _SELECTION)


def set_first_row(shard: Shard, context: TaskContext, first_row: int) -> None:
    """Set the number of rows of the data before this shard."""
    shard.first_row = first_row


def to_device(shard: Shard, context: TaskContext, backend: str) -> None:
    """Move all rows to the device of the backend if they fit.

    Rows that stay on the host get blocks of the size that suits the device.
    """
    b = registry.get(backend)
    if b.fits(shard.n_rows, shard.n_features):
        shard.convert_rows(b.to_device)
    shard.rows_per_block = b.block_rows(shard.n_features)


def n_rows(shard: Shard, context: TaskContext) -> int:
    """Return the number of rows."""
    return shard.n_rows


def all_finite(shard: Shard, context: TaskContext) -> bool:
    """Return whether all values of the shard, in host memory, are finite."""
    return all(shard.map_blocks(context, lambda block: bool(np.isfinite(block.x).all())))


def source_row(shard: Shard, context: TaskContext, row: int | None) -> int | None:
    """Return the index of row `row` among the rows read; None if `row` is None."""
    return None if row is None else shard.source_row(row)


def labels_at(
    shard: Shard, context: TaskContext, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return labels and distances of some rows of the shard.

    Raises
    ------
    CacheLost
        If the shard was rebuilt since they were computed.
    """
    if shard.labels is None or shard.distance is None:
        raise CacheLost
    return shard.labels[rows], shard.distance[rows]


def n_features(shard: Shard, context: TaskContext) -> int:
    """Return the number of features."""
    return shard.n_features


def max_weight(shard: Shard, context: TaskContext, backend: str) -> float | None:
    """Return the largest weight, or None if the rows have no weights."""
    if not shard.weighted:
        return None
    b = registry.get(backend)
    return max(
        shard.map_blocks(context, lambda block: float(b.to_host(block.weights()).max(initial=0.0)))
    )


def weighted_squares(
    shard: Shard, context: TaskContext, backend: str, center: Centers, magic: float
) -> float:
    """Return Σ w·|x - c|² over the shard for a single center, each term rounded to the grid."""
    b = registry.get(backend)
    packed = b.pack(center)

    def sum_block(block: Block) -> float:
        return b.assign(block.x, block.weight, packed, (magic,))[2].inertia

    return sum(shard.map_blocks(context, sum_block))


def assign(
    shard: Shard,
    context: TaskContext,
    backend: str,
    models: Sequence[tuple[Centers, tuple[float, ...]]],
    keep: Sequence[int],
) -> list[AssignmentSums]:
    """Assign every row by each model; return the sums of each model.

    The distance is √d², rounded to float32; inertia is the sum of w·d² in float64.

    Parameters
    ----------
    models : sequence of (Centers, tuple of float)
        Centers, and the rounding constants of the inertia.
    keep : sequence of int
        Indices of the models that store their labels in the shard; the last of them also stores
        its distances.
    """
    b = registry.get(backend)
    if not keep and shard.is_one_block:
        return b.sum_assignments(shard.x, shard.weight, models, context.map)
    packed = [b.pack(centers) for centers, _ in models]
    n = shard.n_rows if keep else 0
    labels = {i: np.empty(n, np.int32) for i in keep}
    distance = np.empty(n, np.float32)

    def assign_block(block: Block) -> list[AssignmentSums]:
        sums_by_model = []
        for i, (_, grids) in enumerate(models):
            label, squares, sums = b.assign(block.x, block.weight, packed[i], grids)
            if i in labels:
                labels[i][block.rows] = b.to_host(label)
            if keep and i == keep[-1]:
                with np.errstate(over="ignore"):  # beyond float32 the distance is infinite
                    distance[block.rows] = b.to_host(np.sqrt(squares))
            sums_by_model.append(sums)
        return sums_by_model

    def merge(a: list[AssignmentSums], b: list[AssignmentSums]) -> list[AssignmentSums]:
        return [one.merge(other) for one, other in zip(a, b, strict=True)]

    products = products_per_row(max(centers.k for centers, _ in models), shard.n_features)
    total = reduce(merge, shard.map_blocks(context, assign_block, products))
    if keep:
        shard.labels_by_model = list(labels.values())
        shard.labels, shard.distance = labels[keep[-1]], distance
    return total


@dataclass
class Rows:
    """Some rows with their weights, scores and labels; all arrays are (m, …).

    Attributes
    ----------
    index : int64
        Index in the data.
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
        """Return the rows at these positions."""
        return Rows(
            self.index[order],
            self.x[order],
            self.weight[order],
            self.score[order],
            self.label[order],
        )

    def highest(self, count: int) -> "Rows":
        """Return the rows with the highest scores, in descending order; ties by index."""
        return self.take(np.lexsort((self.index, -self.score))[:count])

    @classmethod
    def concatenate(cls, parts: "Sequence[Rows]") -> "Rows":
        """Return all rows, in the order of the parts."""
        return cls(
            np.concatenate([p.index for p in parts]),
            np.concatenate([p.x for p in parts]),
            np.concatenate([p.weight for p in parts]),
            np.concatenate([p.score for p in parts]),
            np.concatenate([p.label for p in parts]),
        )


def farthest(
    shard: Shard, context: TaskContext, backend: str, centers: Centers, count: int
) -> Rows:
    """Return the `count` rows of positive weight farthest from their centers; the score is d²."""
    b = registry.get(backend)
    packed = b.pack(centers)

    def farthest_of_block(block: Block) -> Rows:
        labels, squares = (b.to_host(values) for values in b.nearest(block.x, packed))
        weight = b.to_host(block.weights())
        score = np.where(weight > 0, squares, -np.inf)
        rows = np.lexsort((np.arange(len(score)), -score))[:count]
        rows = rows[weight[rows] > 0]
        index = rows + (block.rows.start + shard.first_row)
        return Rows(index, b.to_host(block.x, rows), weight[rows], squares[rows], labels[rows])

    def merge(a: Rows, b: Rows) -> Rows:
        return Rows.concatenate([a, b]).highest(count)

    products = products_per_row(centers.k, shard.n_features)
    return reduce(merge, shard.map_blocks(context, farthest_of_block, products))


def distinct(shard: Shard, context: TaskContext, backend: str, limit: int) -> NDArray[np.float32]:
    """Return the first `limit` distinct rows of positive weight, in row order."""
    b = registry.get(backend)
    rows = np.empty((0, shard.n_features), np.float32)
    one_thread = TaskContext()
    for block in shard.map_blocks(one_thread, lambda block: block):
        for start in range(0, len(block.x), BLOCK_ROWS):
            chunk = slice(start, start + BLOCK_ROWS)
            x = b.to_host(block.x, chunk)
            if block.weight is not None:
                x = x[b.to_host(block.weight, chunk) > 0]
            rows = first_distinct(np.concatenate([rows, x]), limit)
            if len(rows) == limit:
                return rows
    return rows


def first_distinct(x: NDArray[np.float32], limit: int) -> NDArray[np.float32]:
    """Return the first `limit` distinct rows of x, in row order; -0.0 equals 0.0."""
    _, first = np.unique(x + np.float32(0), axis=0, return_index=True)
    kept: NDArray[np.float32] = x[np.sort(first)[:limit]]
    return kept
