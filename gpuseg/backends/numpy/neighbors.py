"""The specification of DBSCAN's primitives: all distances, in float64; see `backends.neighbors`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.neighbors import NO_CLUSTER, ParallelMap, claimants, swept
from gpuseg.numerics.eps_bounds import EpsBounds

_VALUES = 2**20
"""Distances held at a time."""


@dataclass(frozen=True)
class _Layout:
    points: NDArray[Any]
    reach: EpsBounds

    def __len__(self) -> int:
        return len(self.points)


class NumpyNeighbors:
    """See `backends.neighbors.Neighbors`."""

    name = "numpy"

    def lay_out(self, points: NDArray[Any], reach: EpsBounds, each: ParallelMap) -> _Layout:
        return _Layout(points, reach)

    def in_grid(self, own: _Layout, each: ParallelMap) -> bool:
        return False

    def count_within(
        self,
        own: _Layout,
        other: _Layout,
        weight: NDArray[np.int64] | None,
        least: int,
        found: NDArray[Any],
        each: ParallelMap,
    ) -> int:
        for rows, sizes in _sizes(own, other):
            within = sizes <= own.reach.rdist_limit
            found[rows] += within.sum(axis=1) if weight is None else within @ weight
        swept(own, other, len(own), each)
        return len(own) * len(other)

    def link(
        self, own: _Layout, core: NDArray[np.bool_], each: ParallelMap
    ) -> tuple[NDArray[np.int32], int]:
        """Every core row takes the lowest number among those within eps, until none changes."""
        none = len(own)
        lowest = np.where(core, np.arange(none), none)
        looked, before = 0, np.full(none, -1)
        while (before != lowest).any():
            before = lowest.copy()
            for rows, sizes in _sizes(own, own):
                near = np.where(sizes <= own.reach.rdist_limit, before, none).min(axis=1)
                lowest[rows] = np.where(core[rows], near, none)
            looked += none * none
        swept(own, own, len(own), each)
        return np.where(core, lowest, -1).astype(np.int32), looked

    def link_across(
        self,
        own: _Layout,
        group: NDArray[np.int64],
        other: _Layout,
        other_group: NDArray[np.int64],
        n_groups: int,
        each: ParallelMap,
    ) -> tuple[NDArray[np.int64], int]:
        lowest, before = np.arange(n_groups), np.full(n_groups, -1)
        while (lowest != before).any():
            before = lowest.copy()
            for rows, sizes in _sizes(own, other):
                i, j = np.nonzero(sizes <= own.reach.rdist_limit)
                a, b = group[rows][i], other_group[j]
                a, b = a[(a >= 0) & (b >= 0)], b[(a >= 0) & (b >= 0)]
                least = np.minimum(lowest[a], lowest[b])
                np.minimum.at(lowest, a, least)
                np.minimum.at(lowest, b, least)
        return lowest, len(own) * len(other)

    def claim(
        self,
        own: _Layout,
        asked: NDArray[np.bool_],
        other: _Layout,
        cluster: NDArray[np.uint32],
        claimed: NDArray[np.uint32],
        each: ParallelMap,
    ) -> int:
        cluster = np.where(claimants(own, asked, other, cluster), cluster, NO_CLUSTER)
        for rows, sizes in _sizes(own, other):
            by = np.where(sizes <= own.reach.rdist_limit, cluster, NO_CLUSTER)
            least = np.minimum(claimed[rows], by.min(axis=1, initial=NO_CLUSTER))
            claimed[rows] = np.where(asked[rows], least, claimed[rows])
        swept(own, other, len(own), each)
        return len(own) * len(other)

    def find_nearest(
        self,
        own: _Layout,
        asked: NDArray[np.bool_],
        other: _Layout,
        core: NDArray[np.bool_],
        best: NDArray[np.float64],
        row: NDArray[np.int64],
        each: ParallelMap,
    ) -> int:
        there = np.flatnonzero(core)
        for rows, sizes in _sizes(own, other):
            for i in np.flatnonzero(asked[rows]) + rows.start:
                all_sizes = np.concatenate([best[i], sizes[i - rows.start, there]])
                all_rows = np.concatenate([row[i], there])
                order = np.lexsort((all_rows, all_sizes))[: best.shape[1]]
                best[i], row[i] = all_sizes[order], all_rows[order]
        swept(own, other, len(own), each)
        return len(own) * len(there)


def _sizes(own: _Layout, other: _Layout) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield the sizes of all differences, (m, n_other) for some own rows at a time."""
    step = max(1, _VALUES // max(len(other), 1))
    for start in range(0, len(own), step):
        rows = slice(start, start + step)
        total = np.zeros((len(own.points[rows]), len(other)))
        for f in range(own.points.shape[1]):
            a, b = own.points[rows, f].astype(np.float64), other.points[:, f].astype(np.float64)
            t = a[:, None] - b
            total += t * t if own.reach.p == 2 else np.abs(t)
        yield rows, total
