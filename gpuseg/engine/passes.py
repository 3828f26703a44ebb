"""The passes of k-means that run where a shard lives: cut into blocks, fold the answers.

Each is called as ``function(shard, env, ...)``, see `runtime.executor`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.backends.base import Centers
from gpuseg.engine.shard import Block, Shard
from gpuseg.runtime.executor import Env


def number(shard: Shard, env: Env, first_row: int) -> None:
    """Tell the shard how many rows of the data lie before it."""
    shard.first_row = first_row


def n_rows(shard: Shard, env: Env) -> int:
    """Return the number of rows."""
    return shard.n_rows


def source_row(shard: Shard, env: Env, row: int | None) -> int | None:
    """Return which of the rows read is row `row` of the shard; None of a shard not asked."""
    return None if row is None else shard.source_row(row)


def n_features(shard: Shard, env: Env) -> int:
    """Return the number of features."""
    return shard.n_features


def largest_weight(shard: Shard, env: Env) -> float | None:
    """Return max w, or None where every row weighs 1."""
    if not shard.weighted:
        return None
    return max(shard.map_blocks(env, lambda block: float(block.weights().max(initial=0.0))))


def weighted_squares(shard: Shard, env: Env, shift: NDArray[np.float32]) -> float:
    """Return Σ w·|x - shift|² over the shard; plain summation, for the progress line only."""

    def on(block: Block) -> float:
        z = block.x.astype(np.float64) - shift
        return float(block.weights() @ (z * z).sum(axis=1))

    return sum(shard.map_blocks(env, on))


@dataclass
class Assigned:
    """Outcome of an assignment; everything in it is merged by exact addition.

    Attributes
    ----------
    parts : float64 (levels,)
        Σ w·d², on a grid and on finer ones for what the coarser round off.
    sizes : int64 (k,)
        Rows of each segment.
    """

    parts: NDArray[np.float64]
    sizes: NDArray[np.int64]

    @property
    def inertia(self) -> float:
        """Σ w·d²."""
        return float(self.parts.sum())

    def merge(self, other: "Assigned") -> "Assigned":
        """Return the outcome for both sets of rows together."""
        return Assigned(self.parts + other.parts, self.sizes + other.sizes)


def assign(
    shard: Shard,
    env: Env,
    backend: str,
    models: Sequence[tuple[Centers, tuple[float, ...]]],
    keep: Sequence[int],
) -> list[Assigned]:
    """Assign every row by each model; store labels of models `keep`, and distances of the last.

    A model is its centres and the grids of its inertia. The distance is √d², rounded to
    float32; inertia is the sum of w·d² in float64.
    """
    b = registry.get(backend)
    packed = [b.pack(centers) for centers, _ in models]
    labels = {i: np.empty(shard.n_rows, np.int32) for i in keep}
    distance = np.empty(shard.n_rows if keep else 0, np.float32)

    def on(block: Block) -> list[Assigned]:
        outcome = []
        for i, (centers, grids) in enumerate(models):
            found, squares = b.nearest(block.x, packed[i])
            if i in labels:
                labels[i][block.rows] = found
            if keep and i == keep[-1]:
                with np.errstate(over="ignore"):  # beyond float32: infinitely far
                    distance[block.rows] = np.sqrt(squares)
            terms = squares if block.weight is None else block.weight * squares
            parts = []
            for magic in grids:
                part = on_grid(terms, magic)
                parts.append(part.sum())
                terms = terms - part
            sizes = np.bincount(found, minlength=len(centers.values)).astype(np.int64)
            outcome.append(Assigned(np.array(parts), sizes))
        return outcome

    def merged(a: list[Assigned], b: list[Assigned]) -> list[Assigned]:
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


def farthest(shard: Shard, env: Env, backend: str, centers: Centers, count: int) -> Rows:
    """Return the `count` rows of positive weight farthest from their centres; score is d²."""
    b = registry.get(backend)
    packed = b.pack(centers)

    def on(block: Block) -> Rows:
        labels, squares = b.nearest(block.x, packed)
        weight = block.weights()
        index = np.arange(block.rows.start, block.rows.stop) + shard.first_row
        found = Rows(index, block.x, weight, squares, labels)
        return found.take(np.flatnonzero(weight > 0)).highest(count)

    def merged(a: Rows, b: Rows) -> Rows:
        return Rows.concatenate([a, b]).highest(count)

    return reduce(merged, shard.map_blocks(env, on))


def distinct(shard: Shard, env: Env, limit: int) -> NDArray[np.float32]:
    """Return the first `limit` distinct rows of positive weight, in their order."""
    found = np.empty((0, shard.n_features), np.float32)
    one_at_a_time = Env()
    for own in shard.map_blocks(one_at_a_time, lambda block: block.x[block.weights() > 0]):
        found = first_distinct(np.concatenate([found, own]), limit)
        if len(found) == limit:
            break
    return found


def first_distinct(x: NDArray[np.float32], limit: int) -> NDArray[np.float32]:
    """Return the first `limit` distinct rows of x, in their order; -0.0 equals 0.0."""
    _, first = np.unique(x + np.float32(0), axis=0, return_index=True)
    kept: NDArray[np.float32] = x[np.sort(first)[:limit]]
    return kept


def on_grid(values: NDArray[np.float64], magic: float) -> NDArray[np.float64]:
    """Round to the grid of `engine.exact.grid_magic`, float64."""
    rounded: NDArray[np.float64] = (values + magic) - magic
    return rounded
