"""The specification of DBSCAN's kernels: all distances, in float64."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.neighbors import NO_CLUSTER, assigning_rows, report_rows
from gpuseg.backends.protocols import ParallelMap
from gpuseg.numerics.distance_metrics import MAXIMUM
from gpuseg.numerics.eps_bounds import EpsBounds

_N_DISTANCES = 2**20
"""Distances in memory at a time."""


@dataclass(frozen=True)
class _Index:
    points: NDArray[Any]
    eps_bounds: EpsBounds

    def __len__(self) -> int:
        return len(self.points)


class NumpyNeighbors:
    """See `backends.protocols.NeighborKernels`."""

    name = "numpy"

    def build_index(
        self, points: NDArray[Any], eps_bounds: EpsBounds, parallel_map: ParallelMap
    ) -> _Index:
        return _Index(points, eps_bounds)

    def uses_grid(self, index: _Index, parallel_map: ParallelMap) -> bool:
        return False

    def count_neighbors(
        self,
        query: _Index,
        target: _Index,
        weight: NDArray[np.int64] | None,
        max_count: int,
        counts: NDArray[Any],
        parallel_map: ParallelMap,
    ) -> int:
        for rows, rdist in _blocks(query, target):
            within = rdist <= query.eps_bounds.rdist_limit
            counts[rows] += within.sum(axis=1) if weight is None else within @ weight
        report_rows(query, target, len(query), parallel_map)
        return len(query) * len(target)

    def connect_core(
        self, index: _Index, core: NDArray[np.bool_], parallel_map: ParallelMap
    ) -> tuple[NDArray[np.int32], int]:
        """Every core row takes the lowest number among those within eps, until none changes."""
        n = len(index)
        lowest = np.where(core, np.arange(n), n)
        n_distances, before = 0, np.full(n, -1)
        while (before != lowest).any():
            before = lowest.copy()
            for rows, rdist in _blocks(index, index):
                near = np.where(rdist <= index.eps_bounds.rdist_limit, before, n).min(axis=1)
                lowest[rows] = np.where(core[rows], near, n)
            n_distances += n * n
        report_rows(index, index, n, parallel_map)
        return np.where(core, lowest, -1).astype(np.int32), n_distances

    def connect_groups(
        self,
        query: _Index,
        query_group: NDArray[np.int64],
        target: _Index,
        target_group: NDArray[np.int64],
        n_groups: int,
        parallel_map: ParallelMap,
    ) -> tuple[NDArray[np.int64], int]:
        lowest, before = np.arange(n_groups), np.full(n_groups, -1)
        while (lowest != before).any():
            before = lowest.copy()
            for rows, rdist in _blocks(query, target):
                i, j = np.nonzero(rdist <= query.eps_bounds.rdist_limit)
                a, b = query_group[rows][i], target_group[j]
                a, b = a[(a >= 0) & (b >= 0)], b[(a >= 0) & (b >= 0)]
                joined = np.minimum(lowest[a], lowest[b])
                np.minimum.at(lowest, a, joined)
                np.minimum.at(lowest, b, joined)
        return lowest, len(query) * len(target)

    def assign_border(
        self,
        query: _Index,
        border: NDArray[np.bool_],
        target: _Index,
        cluster: NDArray[np.uint32],
        lowest: NDArray[np.uint32],
        parallel_map: ParallelMap,
    ) -> int:
        cluster = np.where(assigning_rows(query, border, target, cluster), cluster, NO_CLUSTER)
        for rows, rdist in _blocks(query, target):
            near = np.where(rdist <= query.eps_bounds.rdist_limit, cluster, NO_CLUSTER)
            assigned = np.minimum(lowest[rows], near.min(axis=1, initial=NO_CLUSTER))
            lowest[rows] = np.where(border[rows], assigned, lowest[rows])
        report_rows(query, target, len(query), parallel_map)
        return len(query) * len(target)

    def find_nearest(
        self,
        query: _Index,
        requested: NDArray[np.bool_],
        target: _Index,
        core: NDArray[np.bool_],
        rdist: NDArray[np.float64],
        row: NDArray[np.int64],
        parallel_map: ParallelMap,
    ) -> int:
        core_rows = np.flatnonzero(core)
        for rows, block in _blocks(query, target):
            for i in np.flatnonzero(requested[rows]) + rows.start:
                all_rdist = np.concatenate([rdist[i], block[i - rows.start, core_rows]])
                all_rows = np.concatenate([row[i], core_rows])
                order = np.lexsort((all_rows, all_rdist))[: rdist.shape[1]]
                rdist[i], row[i] = all_rdist[order], all_rows[order]
        report_rows(query, target, len(query), parallel_map)
        return len(query) * len(core_rows)


def _blocks(query: _Index, target: _Index) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield the reduced distances of some query rows at a time to all target rows."""
    step = max(1, _N_DISTANCES // max(len(target), 1))
    for start in range(0, len(query), step):
        rows = slice(start, start + step)
        total = np.zeros((len(query.points[rows]), len(target)))
        for f in range(query.points.shape[1]):
            a, b = query.points[rows, f].astype(np.float64), target.points[:, f].astype(np.float64)
            t = a[:, None] - b
            if query.eps_bounds.p == MAXIMUM:
                np.maximum(total, np.abs(t), out=total)
            else:
                total += t * t if query.eps_bounds.p == 2 else np.abs(t)
        yield rows, total
