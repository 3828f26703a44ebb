"""The specification of seeding within cells: greedy k-means++ whose steps read few rows.

The first seeds divide the rows into cells: a row is in the cell of its nearest seed. A further seed
can only come nearer to a row than the seeds before if the row's cell reaches that far: the plane
halfway between the two cells' seeds must be nearer to the new seed than the row's nearest seed is.
Of the cells that it may come near to, the `CELLS_READ` with the nearest planes are read. In one or
two dimensions these are nearly always all. In more dimensions the distances of the other cells'
rows stay upper bounds. Candidates are compared by the cells that a seed changes: to compare them by
fewer cells gave a higher inertia.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numpy.centroids import NumpyCentroids
from gpuseg.backends.numpy.distances import squared_distances
from gpuseg.backends.types import CELLS_READ, Centers

_SPEC = NumpyCentroids()


class SeedCandidate(NamedTuple):
    """A row that may be the next seed.

    Attributes
    ----------
    row : int
        Its position in the order of the cells.
    cells : list of int
        The cells whose rows are compared with it, by the distance of their planes; first its own.
    gain : float
        By how much it would lessen Σ w·d².
    """

    row: int
    cells: list[int]
    gain: float


@dataclass
class SeedCells:
    """Rows in the order of their cells, and their distances to the seeds.

    Attributes
    ----------
    order : int64 (n,)
        The rows in this order.
    x : float32 (n, d)
    weight : float64 (n,)
    nearest : float64 (n,)
        Squared distance to the nearest seed, or an upper bound.
    rows : list of slice
        The rows of each cell.
    points : float64 (cells, d)
        The first seed of each cell.
    between : float64 (cells, cells)
        The squared distances of the points.
    mass : float64 (cells,)
        Σ w·d² of each cell.
    reach : float64 (cells,)
        The largest d² of each cell.
    """

    order: NDArray[np.int64]
    x: NDArray[np.float32]
    weight: NDArray[np.float64]
    nearest: NDArray[np.float64]
    rows: list[slice]
    points: NDArray[np.float64]
    between: NDArray[np.float64]
    mass: NDArray[np.float64]
    reach: NDArray[np.float64]

    @classmethod
    def divide(
        cls, x: NDArray[np.float32], weight: NDArray[np.float64], first: NDArray[np.int64]
    ) -> Self:
        """Divide the rows into the cells of the first seeds; ties to the seed chosen first."""
        points = x[first].astype(np.float64)
        cell, nearest = _SPEC.nearest(x, Centers(points, x[first[0]]))
        order = np.argsort(cell, kind="stable")
        ends = np.searchsorted(cell[order], np.arange(len(first) + 1))
        rows = [slice(a, b) for a, b in pairwise(ends.tolist())]
        between = squared_distances(x[first], points)
        cells = cls(
            order, x[order], weight[order], nearest[order], rows, points, between,
            np.zeros(len(first)), np.zeros(len(first)),
        )  # fmt: skip
        for number in range(len(first)):
            cells._measure(number)
        return cells

    def row_at(self, draw: float) -> tuple[int, int]:
        """Return the row at a draw in [0, 1) on the axis of cumulated w·d², and its cell."""
        ends = np.cumsum(self.mass)
        position = draw * ends[-1]
        cell = _first_behind(ends, position, self.mass)
        if cell > 0:
            position -= ends[cell - 1]
        mass = self._mass_of_rows(cell)
        return self.rows[cell].start + _first_behind(np.cumsum(mass), position, mass), cell

    def judge(self, row: int, cell: int) -> SeedCandidate:
        """Return the candidate at a row."""
        cells = self._reached(row, cell)
        terms = [np.zeros(1)]
        for number in cells:
            rows = self.rows[number]
            nearest, squares = self.nearest[rows], self._squares(row, rows)
            terms.append(self.weight[rows] * (nearest - np.minimum(nearest, squares)))
        return SeedCandidate(row, cells, float(np.cumsum(np.concatenate(terms))[-1]))

    def add(self, candidate: SeedCandidate) -> None:
        """Make the candidate a seed."""
        for number in candidate.cells:
            rows = self.rows[number]
            squares = self._squares(candidate.row, rows)
            self.nearest[rows] = np.minimum(self.nearest[rows], squares)
            self._measure(number)

    def _reached(self, row: int, cell: int) -> list[int]:
        """Return the cells that are read for a row: its own, and then by the nearest planes."""
        squares = squared_distances(self.x[row : row + 1], self.points)[0]
        farther = np.maximum(squares - squares[cell], 0.0)
        # Points whose squared distance underflows to zero have no plane between them.
        apart = np.where(self.between[cell] > 0, 4 * self.between[cell], 1.0)
        planes = np.where(self.between[cell] > 0, farther * farther / apart, 0.0)
        planes[cell] = -1.0
        within = np.flatnonzero(planes < self.reach)
        reached: list[int] = within[np.argsort(planes[within], kind="stable")].tolist()
        return reached[:CELLS_READ]

    def _squares(self, row: int, rows: slice) -> NDArray[np.float64]:
        return squared_distances(self.x[rows], self.x[row : row + 1].astype(np.float64))[:, 0]

    def _mass_of_rows(self, cell: int) -> NDArray[np.float64]:
        return self.weight[self.rows[cell]] * self.nearest[self.rows[cell]]

    def _measure(self, cell: int) -> None:
        """Measure mass and reach of a cell; it has at least the row of its point."""
        self.mass[cell] = np.cumsum(self._mass_of_rows(cell))[-1]
        self.reach[cell] = self.nearest[self.rows[cell]].max()


def choose_in_cells(
    x: NDArray[np.float32],
    weight: NDArray[np.float64],
    first: NDArray[np.int64],
    draws: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Choose rows after the first ones, by draws (steps, candidates)."""
    cells, seeds = SeedCells.divide(x, weight, first), []
    for step in draws.tolist():
        if not cells.mass.any():
            break
        candidates = [cells.judge(*cells.row_at(draw)) for draw in step]
        best = max(candidates, key=lambda candidate: candidate.gain)
        cells.add(best)
        seeds.append(cells.order[best.row])
    return np.array(seeds, np.int64)


def _first_behind(ends: NDArray[np.float64], position: float, mass: NDArray[np.float64]) -> int:
    """Return the first entry that ends behind the position, at most the last one with mass."""
    index = int(np.searchsorted(ends, position, side="right"))
    return min(index, int(np.flatnonzero(mass)[-1]))
