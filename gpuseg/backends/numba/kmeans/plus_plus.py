"""Greedy k-means++ on rows that are stored feature by feature."""

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.inline import uncounted
from gpuseg.backends.numba.kernel import kernel
from gpuseg.backends.numba.simd.float32 import (
    LANES,
    add,
    broadcast,
    load_broadcast,
    multiply,
    store,
    subtract,
    widen,
)

_DOUBLES = LANES // 2

STEP = 2 * _DOUBLES
"""Rows whose distances are in registers together."""

TOGETHER = 5
"""Points that rows are compared with together: ten registers of sums."""


@uncounted
def _write_squares(
    columns: NDArray[np.float32], points: NDArray[np.float64], squares: NDArray[np.float64]
) -> None:
    """Write the squared distances of the rows to `TOGETHER` points, by the specification's formula.

    All arrays are flat: columns (d, n), feature by feature; points (d, TOGETHER); squares
    (TOGETHER, n).
    """
    d = points.size // TOGETHER
    n = columns.size // d
    for i in range(0, n, STEP):
        a0 = a1 = b0 = b1 = c0 = c1 = d0 = d1 = e0 = e1 = broadcast(0.0)
        for f in range(d):
            x0, x1 = widen(columns, f * n + i), widen(columns, f * n + i + _DOUBLES)
            point = load_broadcast(points, f * TOGETHER)
            u, v = subtract(x0, point), subtract(x1, point)
            a0, a1 = add(a0, multiply(u, u)), add(a1, multiply(v, v))
            point = load_broadcast(points, f * TOGETHER + 1)
            u, v = subtract(x0, point), subtract(x1, point)
            b0, b1 = add(b0, multiply(u, u)), add(b1, multiply(v, v))
            point = load_broadcast(points, f * TOGETHER + 2)
            u, v = subtract(x0, point), subtract(x1, point)
            c0, c1 = add(c0, multiply(u, u)), add(c1, multiply(v, v))
            point = load_broadcast(points, f * TOGETHER + 3)
            u, v = subtract(x0, point), subtract(x1, point)
            d0, d1 = add(d0, multiply(u, u)), add(d1, multiply(v, v))
            point = load_broadcast(points, f * TOGETHER + 4)
            u, v = subtract(x0, point), subtract(x1, point)
            e0, e1 = add(e0, multiply(u, u)), add(e1, multiply(v, v))
        store(squares, i, a0)
        store(squares, i + _DOUBLES, a1)
        store(squares, n + i, b0)
        store(squares, n + i + _DOUBLES, b1)
        store(squares, 2 * n + i, c0)
        store(squares, 2 * n + i + _DOUBLES, c1)
        store(squares, 3 * n + i, d0)
        store(squares, 3 * n + i + _DOUBLES, d1)
        store(squares, 4 * n + i, e0)
        store(squares, 4 * n + i + _DOUBLES, e1)


@uncounted
def _sum_closer(
    weight: NDArray[np.float64],
    nearest: NDArray[np.float64],
    squares: NDArray[np.float64],
    totals: NDArray[np.float64],
) -> None:
    """Write Σ w·min(nearest, squares) for each point, added in the order of the rows."""
    n = squares.size // TOGETHER
    a = b = c = d = e = 0.0
    for i in range(weight.size):
        w, bound = weight[i], nearest[i]
        a += w * min(bound, squares[i])
        b += w * min(bound, squares[n + i])
        c += w * min(bound, squares[2 * n + i])
        d += w * min(bound, squares[3 * n + i])
        e += w * min(bound, squares[4 * n + i])
    totals[0], totals[1], totals[2], totals[3], totals[4] = a, b, c, d, e


@uncounted
def _row_at(ends: NDArray[np.float64], position: float, last: int) -> int:
    """Return the first row that ends behind the position, at most `last`."""
    low, high = 0, ends.size
    while low < high:
        middle = (low + high) // 2
        if ends[middle] <= position:
            low = middle + 1
        else:
            high = middle
    return min(low, last)


@uncounted
def _cumulate(
    weight: NDArray[np.float64], nearest: NDArray[np.float64], ends: NDArray[np.float64]
) -> int:
    """Write the cumulated products of weight and distance; return the last row that has any."""
    total, last = 0.0, -1
    for i in range(weight.size):
        mass = weight[i] * nearest[i]
        total += mass
        ends[i] = total
        if mass != 0.0:
            last = i
    return last


@kernel
def plus_plus(
    columns: NDArray[np.float32],
    weight: NDArray[np.float64],
    draws: NDArray[np.float64],
    seeds: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Choose seeds (runs, k) and their numbers (runs,) by draws (runs, k, candidates).

    Columns are (d, n), with zeros behind the rows; n is a multiple of `STEP`.
    """
    (n_features, n_padded), n_rows = columns.shape, weight.size
    n_runs, n_steps, n_candidates = draws.shape
    flat, points = columns.reshape(-1), np.zeros((n_features, TOGETHER))
    candidates = np.empty(TOGETHER, np.int64)
    ends, nearest, closest = np.empty(n_rows), np.empty(n_rows), np.empty(n_rows)
    squares, totals = np.empty(TOGETHER * n_padded), np.empty(TOGETHER)
    for run in range(n_runs):
        nearest[:] = 1.0  # the first row is drawn by weight
        counts[run] = 0
        for step in range(n_steps):
            last = _cumulate(weight, nearest, ends)
            if last < 0:
                break
            n_tried, seed, least = n_candidates, 0, np.inf
            if step == 0:
                nearest[:] = np.inf
                n_tried = 1
            for first in range(0, n_tried, TOGETHER):
                group = min(TOGETHER, n_tried - first)
                for j in range(group):
                    position = draws[run, step, first + j] * ends[n_rows - 1]
                    candidates[j] = _row_at(ends, position, last)
                    points[:, j] = columns[:, candidates[j]]
                _write_squares(flat, points.reshape(-1), squares)
                _sum_closer(weight, nearest, squares, totals)
                best = totals[:group].argmin()
                if totals[best] < least:
                    seed, least = candidates[best], totals[best]
                    for i in range(n_rows):
                        closest[i] = min(nearest[i], squares[best * n_padded + i])
            nearest[:] = closest
            seeds[run, step], counts[run] = seed, step + 1
