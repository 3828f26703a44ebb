"""The specification of the centroid kernels."""

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numpy.distances import squared_distances
from gpuseg.backends.types import MAX_GAP, NO_SEGMENT, Centers, PackedRun, RowBounds
from gpuseg.numerics.sum_grid import AssignmentSums, LloydSums, SumGrid, on_grid

_BLOCK_ROWS = 8192
"""Rows with distances in memory at a time."""

_MAX_VALUES = 2**22
"""Squared distances in memory at a time."""


class NumpyCentroids:
    """See `backends.protocols.CentroidKernels`."""

    slack_rounding = 2.0**-23

    def pack(self, centers: Centers) -> Centers:
        return centers

    def bounds_budget(self, requested: int, used: int) -> int:
        return requested

    def bounds_bytes_per_row(self, k: int) -> int:
        return 8

    def new_bounds(self, n_rows: int, k: int) -> RowBounds:
        return RowBounds.empty(n_rows, k)

    def reset_slack(self, bounds: RowBounds) -> None:
        bounds.slack[:] = 0

    def lloyd(
        self, x: Any, weight: Any, runs: Sequence[PackedRun], grid: SumGrid
    ) -> list[LloydSums]:
        changes = []
        for run in runs:
            start_time = time.perf_counter()
            changes.append(_lloyd(x, weight, run, grid))
            changes[-1].seconds = time.perf_counter() - start_time
        return changes

    def nearest(
        self, x: NDArray[np.float32], centers: Centers
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        labels = np.empty(x.shape[0], np.int32)
        squares = np.empty(x.shape[0])
        for start in range(0, x.shape[0], _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            block = squared_distances(x[rows], centers.values)
            labels[rows] = block.argmin(axis=1)
            squares[rows] = block.min(axis=1)
        return labels, squares

    def assign(
        self, x: Any, weight: Any, centers: Centers, grids: Sequence[float]
    ) -> tuple[Any, Any, AssignmentSums]:
        labels, squares = self.nearest(x, centers)
        return labels, squares, assignment_sums(labels, squares, weight, centers.k, grids)

    def distance_sums(
        self, x: Any, starts: NDArray[np.int64], points: NDArray[np.float32], magic: float
    ) -> NDArray[np.float64]:
        sums = np.zeros((len(starts) - 1, len(points)))
        for cell, (start, end) in enumerate(pairwise(starts.tolist())):
            for first in range(start, end, _BLOCK_ROWS):
                rows = x[first : min(first + _BLOCK_ROWS, end)]
                square = np.zeros((len(rows), len(points)), np.float32)
                for f in range(x.shape[1]):
                    difference = rows[:, f, None] - points[:, f]
                    square += difference * difference
                sums[cell] += on_grid(np.sqrt(square).astype(np.float64), magic).sum(axis=0)
        return sums

    def squared_distances(
        self, x: NDArray[np.float32], centers: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        return squared_distances(x, centers)

    def runner_up(
        self, x: NDArray[np.float32], centers: NDArray[np.float64], segment: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
        return runner_up_in_blocks(
            lambda rows: squared_distances(x[rows], centers), len(x), segment
        )


def runner_up_in_blocks(
    squares_of: Callable[[slice], NDArray[np.float64]], n_rows: int, segment: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
    """Return `CentroidKernels.runner_up` from the squared distances of some rows at a time."""
    label = np.empty(n_rows, np.int32)
    near, far = np.empty(n_rows), np.empty(n_rows)
    step = max(1, _MAX_VALUES // len(segment))
    for start in range(0, n_rows, step):
        rows = slice(start, start + step)
        squares = squares_of(rows)
        nearest = squares.argmin(axis=1)
        others = np.where(segment == segment[nearest][:, None], np.inf, squares)
        following = others.argmin(axis=1)
        near[rows], far[rows] = squares.min(axis=1), others.min(axis=1)
        label[rows] = np.where(np.isfinite(far[rows]), segment[following], NO_SEGMENT)
    return label, near, far


def assignment_sums(
    labels: NDArray[np.int32],
    squares: NDArray[np.float64],
    weight: NDArray[np.float64] | None,
    k: int,
    grids: Sequence[float],
) -> AssignmentSums:
    """Return Σ w·d² on the grids, and how many rows each center has."""
    terms = squares if weight is None else weight * squares
    parts = []
    for magic in grids:
        part = on_grid(terms, magic)
        parts.append(part.sum())
        terms = terms - part
    sizes = np.bincount(labels, minlength=k).astype(np.int64)
    return AssignmentSums(np.array(parts), sizes)


def _lloyd(
    x: NDArray[np.float32], weight: NDArray[np.float64] | None, run: PackedRun, grid: SumGrid
) -> LloydSums:
    centers: Centers = run.centers
    bounds, k = run.bounds, centers.k
    keeps_label = (bounds.slack > bounds.drift[bounds.label]) & (not bounds.fresh)
    rows = np.flatnonzero(~keeps_label)
    w = np.ones(len(rows)) if weight is None else weight[rows]
    old, new = bounds.label[rows], np.empty(len(rows), np.int32)
    gap = np.full(len(rows), np.float64(MAX_GAP))
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        squares = squared_distances(x[rows[block]], centers.values)
        new[block] = squares.argmin(axis=1)
        if k > 1:
            near, far = np.sqrt(np.partition(squares, 1, axis=1)[:, :2]).T
            gap[block] = np.minimum(far - near - 1e-9 * far, MAX_GAP)
    drift = bounds.drift[new].astype(np.float64)
    slack = gap + drift - 2.0**-21 * (np.abs(gap) + drift)
    bounds.label[rows], bounds.slack[rows] = new, slack
    change = LloydSums.zeros(len(grid.weight), k, x.shape[1])
    change.n_rows_scored = len(rows)
    moved = bounds.fresh | (old != new)
    terms = w[:, None] * (x[rows].astype(np.float64) - centers.shift.astype(np.float64))
    for labels, sign in ((new, 1), (old, -1 + bounds.fresh)):
        for level, part in enumerate(grid.split(terms[moved], grid.sums)):
            np.add.at(change.sums[level], labels[moved], sign * part)
        for level, part in enumerate(grid.split(w[moved], grid.weight)):
            np.add.at(change.weight[level], labels[moved], sign * part)
    return change
