"""Greedy k-means++ within cells, on rows that are stored cell by cell, feature by feature.

See `backends.numpy.cell_seeding`, the specification.
"""

from typing import NamedTuple

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
from gpuseg.backends.types import CELLS_READ

_DOUBLES = LANES // 2

STEP = 4 * _DOUBLES
"""Rows whose distances are in registers together; cells are padded to a multiple of them."""


class CellRows(NamedTuple):
    """Rows in the order of their cells, each cell padded to a multiple of `STEP`.

    Attributes
    ----------
    columns : float32 (n·d,)
        Cell by cell, and then feature by feature.
    weight : float64 (n,)
        Zero for padding.
    nearest : float64 (n,)
        Squared distance to the nearest seed, or an upper bound; zero for padding.
    starts : int64 (cells + 1,)
    points : float32 (padded cells·d,)
        The first seed of each cell, feature by feature.
    between : float64 (cells, cells)
        Squared distances of the points.
    """

    columns: NDArray[np.float32]
    weight: NDArray[np.float64]
    nearest: NDArray[np.float64]
    starts: NDArray[np.int64]
    points: NDArray[np.float32]
    between: NDArray[np.float64]


@uncounted
def _write_squares(
    columns: NDArray[np.float32],
    start: int,
    n: int,
    point: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> None:
    """Write the squared distances of n rows to a point, by the specification's formula.

    Feature f of the rows is in columns at start + f·n.
    """
    for i in range(0, n, STEP):
        a = b = c = d = broadcast(0.0)
        at = start + i
        for f in range(point.size):
            value = load_broadcast(point, f)
            u = subtract(widen(columns, at), value)
            a = add(a, multiply(u, u))
            u = subtract(widen(columns, at + _DOUBLES), value)
            b = add(b, multiply(u, u))
            u = subtract(widen(columns, at + 2 * _DOUBLES), value)
            c = add(c, multiply(u, u))
            u = subtract(widen(columns, at + 3 * _DOUBLES), value)
            d = add(d, multiply(u, u))
            at += n
        store(squares, i, a)
        store(squares, i + _DOUBLES, b)
        store(squares, i + 2 * _DOUBLES, c)
        store(squares, i + 3 * _DOUBLES, d)


@uncounted
def _row_at(
    weight: NDArray[np.float64], values: NDArray[np.float64], start: int, end: int, position: float
) -> int:
    """Return the first row that ends behind the position, at most the last one with mass."""
    total, last = 0.0, start
    for i in range(start, end):
        mass = weight[i] * values[i]
        total += mass
        if mass != 0.0:
            last = i
        if total > position:
            return i
    return last


@uncounted
def _nearest_planes(
    squares: NDArray[np.float64],
    cell: int,
    between: NDArray[np.float64],
    reach: NDArray[np.float64],
    planes: NDArray[np.float64],
    cells: NDArray[np.int64],
) -> int:
    """Write the cells that a row of a cell may come near to, up to `cells.size`; return how many.

    `squares` are the row's squared distances to the points; `planes` is scratch memory.
    """
    for c in range(reach.size):
        farther = max(squares[c] - squares[cell], 0.0)
        apart = between[cell, c]
        plane = farther * farther / (4 * apart) if apart > 0.0 else 0.0
        plane = -1.0 if c == cell else plane
        planes[c] = plane if plane < reach[c] else np.inf
    for n_read in range(cells.size):
        best, least = -1, np.inf
        for c in range(planes.size):
            if planes[c] < least:
                best, least = c, planes[c]
        if best < 0:
            return n_read
        cells[n_read], planes[best] = best, np.inf
    return cells.size


@uncounted
def _gain(
    rows: CellRows,
    point: NDArray[np.float64],
    cells: NDArray[np.int64],
    n_cells: int,
    squares: NDArray[np.float64],
) -> float:
    """Return Σ w·(nearest - min(nearest, square)) of the rows of some cells."""
    gain = 0.0
    for j in range(n_cells):
        start, end = rows.starts[cells[j]], rows.starts[cells[j] + 1]
        _write_squares(rows.columns, start * point.size, end - start, point, squares)
        for i in range(start, end):
            square, nearest = squares[i - start], rows.nearest[i]
            if square < nearest:
                gain += rows.weight[i] * (nearest - square)
    return gain


@uncounted
def _measure(
    rows: CellRows, cell: int, mass: NDArray[np.float64], reach: NDArray[np.float64]
) -> None:
    total = largest = 0.0
    for i in range(rows.starts[cell], rows.starts[cell + 1]):
        total += rows.weight[i] * rows.nearest[i]
        largest = max(largest, rows.nearest[i])
    mass[cell], reach[cell] = total, largest


@uncounted
def _load_point(rows: CellRows, row: int, cell: int, point: NDArray[np.float64]) -> None:
    start, end = rows.starts[cell], rows.starts[cell + 1]
    for f in range(point.size):
        point[f] = rows.columns[start * point.size + f * (end - start) + row - start]


@kernel
def choose_in_cells(rows: CellRows, draws: NDArray[np.float64], seeds: NDArray[np.int64]) -> int:
    """Choose seeds (steps,) by draws (steps, candidates); return how many there are.

    A seed is the position of its row in the order of the cells.
    """
    n_cells = rows.starts.size - 1
    n_points = -(-n_cells // STEP) * STEP
    n_features = rows.points.size // n_points
    mass, reach, planes = np.empty(n_cells), np.empty(n_cells), np.empty(n_cells)
    to_points, squares = np.empty(n_points), np.empty((rows.starts[1:] - rows.starts[:-1]).max())
    point, ones = np.empty(n_features), np.ones(n_cells)
    best_point = np.empty(n_features)
    cells, best_cells = np.empty(CELLS_READ, np.int64), np.empty(CELLS_READ, np.int64)
    for cell in range(n_cells):
        _measure(rows, cell, mass, reach)
    for step in range(len(draws)):
        total = 0.0
        for cell in range(n_cells):
            total += mass[cell]
        if total == 0.0:
            return step
        most, n_best = -1.0, 0
        for j in range(draws.shape[1]):
            position = draws[step, j] * total
            cell, before = _row_at(ones, mass, 0, n_cells, position), 0.0
            for c in range(cell):
                before += mass[c]
            start, end = rows.starts[cell], rows.starts[cell + 1]
            row = _row_at(rows.weight, rows.nearest, start, end, position - before)
            _load_point(rows, row, cell, point)
            _write_squares(rows.points, 0, n_points, point, to_points)
            n_read = _nearest_planes(to_points, cell, rows.between, reach, planes, cells)
            gain = _gain(rows, point, cells, n_read, squares)
            if gain > most:
                most, seeds[step], n_best = gain, row, n_read
                best_point[:], best_cells[:] = point, cells
        for j in range(n_best):
            start, end = rows.starts[best_cells[j]], rows.starts[best_cells[j] + 1]
            _write_squares(rows.columns, start * n_features, end - start, best_point, squares)
            for i in range(start, end):
                rows.nearest[i] = min(rows.nearest[i], squares[i - start])
            _measure(rows, best_cells[j], mass, reach)
    return len(draws)
