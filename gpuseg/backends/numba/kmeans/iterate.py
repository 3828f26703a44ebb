"""A whole run of k-means on one block of rows: Lloyd passes until the centers converge."""

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.kernel import kernel
from gpuseg.backends.numba.kmeans.accumulate import GridSums
from gpuseg.backends.numba.kmeans.centroid_scores import GROUP
from gpuseg.backends.numba.kmeans.lloyd import BoundArrays, lloyd
from gpuseg.backends.types import PackedCenters, StopRule

_ROUND_UP = 1 + 2.0**-20


@kernel
def pack(values: NDArray[np.float64], shift: NDArray[np.float32]) -> PackedCenters:
    """Return `PackedCenters.pack`, up to the rounding of norms."""
    k, d = values.shape
    n_groups = (k + GROUP - 1) // GROUP
    negated = np.zeros(n_groups * d * GROUP, np.float32)
    half_norms = np.full(n_groups * GROUP, np.float32(np.inf))
    largest = 0.0
    for j in range(k):
        at, squares = j // GROUP * d * GROUP + j % GROUP, 0.0
        for f in range(d):
            difference = np.float64(shift[f]) - values[j, f]
            negated[at + f * GROUP] = difference
            squares += difference * difference
        half_norms[j] = 0.5 * squares
        largest = max(largest, squares)
    return PackedCenters(
        values, shift, negated, half_norms, np.float32(np.sqrt(largest) * _ROUND_UP)
    )


@kernel
def _iterate_run(
    x: NDArray[np.float32],
    weight: NDArray[np.float64],
    values: NDArray[np.float64],
    centers: NDArray[np.float64],
    shift: NDArray[np.float32],
    grids: GridSums,
    stop: StopRule,
    cluster_weight: NDArray[np.float64],
) -> tuple[int, bool, int]:
    """Move the centers `values` (k, d); return `n_iter`, `converged` and `n_rows_scored`.

    `centers` is a read-only view of them, so that passes compile `lloyd` only once.
    """
    (k, d), levels = values.shape, grids.weight.size
    n_rows = x.size // d
    label, slack = np.zeros(n_rows, np.int32), np.zeros(n_rows, np.float32)
    steps, drift, total_drift = np.empty(k), np.zeros(k, np.float32), np.zeros(k)
    sums = GridSums(np.zeros(levels * k * d), np.zeros(levels * k))
    n_scored = 0
    for n_iter in range(stop.max_iter):
        bounds = BoundArrays(label, slack, drift, n_iter == 0)
        n_scored += lloyd(x, weight, pack(centers, shift), grids, bounds, sums)
        for j in range(k):
            steps[j] = sums.weight[j]
            for level in range(1, levels):
                steps[j] += sums.weight[level * k + j]
            if steps[j] == 0.0:
                return n_iter, False, n_scored
        cluster_weight[:] = steps
        change = 0.0
        for j in range(k):
            squares = 0.0
            for f in range(d):
                total = sums.features[j * d + f]
                for level in range(1, levels):
                    total += sums.features[(level * k + j) * d + f]
                value = np.float64(shift[f]) + total / cluster_weight[j]
                square = (value - values[j, f]) ** 2
                change += square
                squares += square
                values[j, f] = value
            steps[j] = np.sqrt(squares) * (1 + 1e-12 + d * 2.0**-53)
        if change <= stop.max_change:
            return n_iter + 1, True, n_scored
        _add_drift(steps, total_drift, drift)
    return stop.max_iter, False, n_scored


@kernel
def iterate(
    x: NDArray[np.float32],
    weight: NDArray[np.float64],
    values: NDArray[np.float64],
    centers: NDArray[np.float64],
    shift: NDArray[np.float32],
    grids: GridSums,
    stop: StopRule,
    cluster_weight: NDArray[np.float64],
    results: NDArray[np.int64],
) -> None:
    """Iterate runs of as many centers.

    Parameters
    ----------
    x : float32 (n·d,)
    weight : float64 (n,)
        Empty means ones.
    values : float64 (runs, k, d)
        The centers, which move.
    centers : float64 (runs, k, d)
        A read-only view of `values`.
    cluster_weight : float64 (runs, k)
    results : int64 (runs, 3)
        `n_iter`, `converged` and `n_rows_scored` of `IteratedRun`.
    """
    for run in range(len(values)):
        n_iter, converged, n_scored = _iterate_run(
            x, weight, values[run], centers[run], shift, grids, stop, cluster_weight[run]
        )
        results[run, 0], results[run, 1], results[run, 2] = n_iter, converged, n_scored


@kernel
def _add_drift(
    steps: NDArray[np.float64], total: NDArray[np.float64], drift: NDArray[np.float32]
) -> None:
    """Add to each center its own step, and the largest of the others; see `BoundState.move_to`."""
    largest = steps.argmax()
    second = 0.0
    for j in range(steps.size):
        if j != largest:
            second = max(second, steps[j])
    for j in range(steps.size):
        total[j] += steps[j] + (second if j == largest else steps[largest])
        drift[j] = total[j] * (1 + 2.0**-22)
