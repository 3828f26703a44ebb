"""Squared distances in float64, by the formula and the order of the specification."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.inline import uncounted
from gpuseg.backends.numba.kernel import kernel
from gpuseg.backends.types import NO_SEGMENT

_ROWS = 64
"""Rows computed together: their distances stay in registers and in the L1 cache."""


@uncounted
def squared_distance(
    x: NDArray[np.float32], first: int, centers: NDArray[np.float64], k: int
) -> float:
    """Return |x - c_k|², features in order, of the row that begins at x[first]."""
    total = 0.0
    for f in range(centers.shape[1]):
        difference = np.float64(x[first + f]) - centers[k, f]
        total += difference * difference
    return total


@uncounted
def exact_nearest(x: NDArray[np.float32], first: int, centers: NDArray[np.float64]) -> int:
    """Return the nearest center of one row, ties to the lowest index."""
    label, least = 0, squared_distance(x, first, centers, 0)
    for k in range(1, centers.shape[0]):
        distance = squared_distance(x, first, centers, k)
        if distance < least:
            label, least = k, distance
    return label


@uncounted
def label_distances(
    x: NDArray[np.float32],
    offsets: NDArray[np.int64],
    n_rows: int,
    centers: NDArray[np.float64],
    labels: NDArray[np.int32],
    distances: NDArray[np.float64],
) -> None:
    """Write the squared distances of rows to the centers of their labels, (n_rows,).

    Four rows at a time, since each addition of one row waits for the one before.
    """
    last = n_rows - 1
    for i in range(0, n_rows, 4):
        r0, r1, r2, r3 = i, min(i + 1, last), min(i + 2, last), min(i + 3, last)
        x0, x1, x2, x3 = offsets[r0], offsets[r1], offsets[r2], offsets[r3]
        k0, k1, k2, k3 = labels[r0], labels[r1], labels[r2], labels[r3]
        t0 = t1 = t2 = t3 = 0.0
        for f in range(centers.shape[1]):
            d0 = np.float64(x[x0 + f]) - centers[k0, f]
            d1 = np.float64(x[x1 + f]) - centers[k1, f]
            d2 = np.float64(x[x2 + f]) - centers[k2, f]
            d3 = np.float64(x[x3 + f]) - centers[k3, f]
            t0 += d0 * d0
            t1 += d1 * d1
            t2 += d2 * d2
            t3 += d3 * d3
        distances[r0], distances[r1], distances[r2], distances[r3] = t0, t1, t2, t3


@kernel
def squared_distances(
    x: NDArray[np.float32], centers: NDArray[np.float64], distances: NDArray[np.float64]
) -> None:
    """Write the squared distance of every row to every center into distances (n, k)."""
    columns, squares = np.empty((x.shape[1], _ROWS)), np.empty((centers.shape[0], _ROWS))
    for start in range(0, x.shape[0], _ROWS):
        rows = min(_ROWS, x.shape[0] - start)
        _squares_of_rows(x, start, rows, centers, columns, squares)
        for k in range(centers.shape[0]):
            for i in range(rows):
                distances[start + i, k] = squares[k, i]


@kernel
def runner_up(
    x: NDArray[np.float32],
    centers: NDArray[np.float64],
    segment: NDArray[np.int32],
    label: NDArray[np.int32],
    near: NDArray[np.float64],
    far: NDArray[np.float64],
) -> None:
    """Write the next segment, and the squared distances to it and to the nearest one, all (n,)."""
    columns, squares = np.empty((x.shape[1], _ROWS)), np.empty((centers.shape[0], _ROWS))
    nearest, following = np.empty(_ROWS, np.int32), np.empty(_ROWS, np.int32)
    least, second = np.empty(_ROWS), np.empty(_ROWS)
    for start in range(0, x.shape[0], _ROWS):
        rows = min(_ROWS, x.shape[0] - start)
        _squares_of_rows(x, start, rows, centers, columns, squares)
        for i in range(_ROWS):
            nearest[i], least[i] = segment[0], squares[0, i]
            following[i], second[i] = NO_SEGMENT, np.inf
        for k in range(1, centers.shape[0]):
            for i in range(_ROWS):
                is_less = squares[k, i] < least[i]
                least[i] = squares[k, i] if is_less else least[i]
                nearest[i] = segment[k] if is_less else nearest[i]
        for k in range(centers.shape[0]):
            for i in range(_ROWS):
                is_less = (segment[k] != nearest[i]) & (squares[k, i] < second[i])
                second[i] = squares[k, i] if is_less else second[i]
                following[i] = segment[k] if is_less else following[i]
        for i in range(rows):
            label[start + i], near[start + i], far[start + i] = following[i], least[i], second[i]


@uncounted
def _squares_of_rows(
    x: NDArray[np.float32],
    start: int,
    rows: int,
    centers: NDArray[np.float64],
    columns: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> None:
    """Write the squared distances of some rows to every center into squares (k, _ROWS).

    Several rows together, so that the features of each are taken in order and the additions
    still fill the processor. `columns` (d, _ROWS) is overwritten.
    """
    for i in range(rows):
        for f in range(x.shape[1]):
            columns[f, i] = x[start + i, f]
    for k in range(centers.shape[0]):
        for i in range(_ROWS):
            squares[k, i] = 0.0
        for f in range(x.shape[1]):
            center = centers[k, f]
            for i in range(_ROWS):
                difference = columns[f, i] - center
                squares[k, i] += difference * difference


@partial(kernel, error_model="numpy")
def normalize(x: NDArray[np.float32]) -> None:
    """Scale each row to length one, in place; a row of zeros becomes NaN."""
    for row in range(x.shape[0]):
        squares = 0.0
        for f in range(x.shape[1]):
            squares += np.float64(x[row, f]) * np.float64(x[row, f])
        norm = np.sqrt(squares)
        for f in range(x.shape[1]):
            x[row, f] = np.float64(x[row, f]) / norm
