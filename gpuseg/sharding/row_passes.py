"""The passes of k-means that run where a shard lives: cut into blocks, fold the answers.

Each is called as ``function(shard, env, ...)``, see `runtime.executor`.
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


def number(shard: Shard, env: TaskContext, first_row: int) -> None:
    """Tell the shard how many rows of the data lie before it."""
    shard.first_row = first_row


def move(shard: Shard, env: TaskContext, backend: str) -> None:
    """Move the rows to the device of the backend, all of them or none.

    Rows that stay are handed over in blocks of the size that the device wants, from now on.
    """
    b = registry.get(backend)
    if b.fits(shard.n_rows, shard.n_features):
        shard.convert_rows(b.to_device)
    shard.rows_per_block = b.block_rows(shard.n_features)


def n_rows(shard: Shard, env: TaskContext) -> int:
    """Return the number of rows."""
    return shard.n_rows


def source_row(shard: Shard, env: TaskContext, row: int | None) -> int | None:
    """Return which of the rows read is row `row` of the shard; None of a shard not asked."""
    return None if row is None else shard.source_row(row)


def labels_at(
    shard: Shard, env: TaskContext, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return labels and distances of some rows of the shard.

    Raises
    ------
    CacheLost
        Where the shard was built again since, and nobody knows them.
    """
    if shard.labels is None or shard.distance is None:
        raise CacheLost
    return shard.labels[rows], shard.distance[rows]


def n_features(shard: Shard, env: TaskContext) -> int:
    """Return the number of features."""
    return shard.n_features


def largest_weight(shard: Shard, env: TaskContext, backend: str) -> float | None:
    """Return max w, or None where every row weighs 1."""
    if not shard.weighted:
        return None
    b = registry.get(backend)
    return max(
        shard.map_blocks(env, lambda block: float(b.to_host(block.weights()).max(initial=0.0)))
    )


def weighted_squares(
    shard: Shard, env: TaskContext, backend: str, center: Centers, magic: float
) -> float:
    """Return Σ w·|x - c|² over the shard for a single centre, each term rounded to the grid."""
    b = registry.get(backend)
    packed = b.pack(center)

    def on(block: Block) -> float:
        return b.assign(block.x, block.weight, packed, (magic,))[2].inertia

    return sum(shard.map_blocks(env, on))


def assign(
    shard: Shard,
    env: TaskContext,
    backend: str,
    models: Sequence[tuple[Centers, tuple[float, ...]]],
    keep: Sequence[int],
) -> list[AssignmentSums]:
    """Assign every row by each model; store labels of models `keep`, and distances of the last.

    A model is its centres and the grids of its inertia. The distance is √d², rounded to
    float32; inertia is the sum of w·d² in float64.
    """
    b = registry.get(backend)
    packed = [b.pack(centers) for centers, _ in models]
    n = shard.n_rows if keep else 0
    labels = {i: np.empty(n, np.int32) for i in keep}
    distance = np.empty(n, np.float32)

    def on(block: Block) -> list[AssignmentSums]:
        outcome = []
        for i, (_, grids) in enumerate(models):
            found, squares, assigned = b.assign(block.x, block.weight, packed[i], grids)
            if i in labels:
                labels[i][block.rows] = b.to_host(found)
            if keep and i == keep[-1]:
                with np.errstate(over="ignore"):  # beyond float32: infinitely far
                    distance[block.rows] = b.to_host(np.sqrt(squares))
            outcome.append(assigned)
        return outcome

    def merged(a: list[AssignmentSums], b: list[AssignmentSums]) -> list[AssignmentSums]:
        return [one.merge(other) for one, other in zip(a, b, strict=True)]

    total = reduce(merged, shard.map_blocks(env, on))
    if keep:
        shard.sweep = list(labels.values())
        shard.labels, shard.distance = labels[keep[-1]], distance
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


def farthest(shard: Shard, env: TaskContext, backend: str, centers: Centers, count: int) -> Rows:
    """Return the `count` rows of positive weight farthest from their centres; score is d²."""
    b = registry.get(backend)
    packed = b.pack(centers)

    def on(block: Block) -> Rows:
        labels, squares = (b.to_host(own) for own in b.nearest(block.x, packed))
        weight = b.to_host(block.weights())
        score = np.where(weight > 0, squares, -np.inf)
        own = np.lexsort((np.arange(len(score)), -score))[:count]
        own = own[weight[own] > 0]
        index = own + (block.rows.start + shard.first_row)
        return Rows(index, b.to_host(block.x, own), weight[own], squares[own], labels[own])

    def merged(a: Rows, b: Rows) -> Rows:
        return Rows.concatenate([a, b]).highest(count)

    return reduce(merged, shard.map_blocks(env, on))


def distinct(shard: Shard, env: TaskContext, backend: str, limit: int) -> NDArray[np.float32]:
    """Return the first `limit` distinct rows of positive weight, in their order."""
    b = registry.get(backend)
    found = np.empty((0, shard.n_features), np.float32)
    one_at_a_time = TaskContext()
    for block in shard.map_blocks(one_at_a_time, lambda block: block):
        for start in range(0, len(block.x), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            own = b.to_host(block.x, rows)
            if block.weight is not None:
                own = own[b.to_host(block.weight, rows) > 0]
            found = first_distinct(np.concatenate([found, own]), limit)
            if len(found) == limit:
                return found
    return found


def first_distinct(x: NDArray[np.float32], limit: int) -> NDArray[np.float32]:
    """Return the first `limit` distinct rows of x, in their order; -0.0 equals 0.0."""
    _, first = np.unique(x + np.float32(0), axis=0, return_index=True)
    kept: NDArray[np.float32] = x[np.sort(first)[:limit]]
    return kept
