"""Hide the small cells of a table of counts, and more cells, so that no sum discloses them.

The rows of the table are segments, its columns groups; the last row is all customers. Everybody
knows the sizes of the segments. Counts below the threshold are hidden. For each of them further
cells are hidden: the corners of a rectangle, across which customers could be moved without a change
in any published number. Corners are added until the small count could be twice the threshold, or
all of its segment or group. (Optimal choices: Fischetti and Salazar, "Solving the cell suppression
problem on tabular data with linear constraints", Management Science 47, 2001; here the corners are
chosen greedily, one small count at a time.)

An attacker who knows how the corners are chosen may rule out some of the tables that fit the
published numbers; the factor of two is the margin against that. Columns that follow from each
other, such as country and continent, disclose each other: no single table can prevent that.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SLACK = 1e-6
_MARGIN = 2


def hidden_cells(counts: NDArray[np.int64], threshold: int) -> NDArray[np.bool_]:
    """Return which counts must be hidden.

    Parameters
    ----------
    counts : int64 (segments + 1, groups)
        The last row is the sum of the others. Attackers know that each of its counts is at least
        the threshold, or all customers.
    threshold : int

    Returns
    -------
    bool (segments + 1, groups)
    """
    hidden = counts < threshold
    small = np.argwhere(hidden).tolist()
    _hide_tiny_segments(counts, hidden, threshold)
    for row, column in small:
        cell = _Cell(counts, hidden, threshold, row, column)
        while not cell.is_safe() and cell.hide_corners():
            pass
    return hidden


def _hide_tiny_segments(
    counts: NDArray[np.int64], hidden: NDArray[np.bool_], threshold: int
) -> None:
    """Hide all counts of segments smaller than the threshold, and of the smallest other segment.

    Any of their customers could then be in any group: the two segments may be exchanged.
    """
    sizes = counts[:-1].sum(axis=1)
    tiny = np.flatnonzero(sizes < threshold)
    if not len(tiny) or len(tiny) == len(sizes):
        return
    is_enough = (counts[:-1] >= sizes[tiny].sum()).all(axis=1)
    order = np.lexsort((sizes, ~is_enough))
    partner = next(i for i in order.tolist() if i not in tiny)
    hidden[[*tiny.tolist(), partner]] = True


def upper_bound(
    counts: NDArray[np.int64], hidden: NDArray[np.bool_], row: int, column: int, threshold: int
) -> float:
    """Return the largest value of a hidden count that fits all published numbers.

    The attacker knows the published counts, the sizes of the segments, that the last row is the sum
    of the others and at least the threshold, and that no count is negative.
    """
    from scipy.optimize import linprog  # takes 0.3 s to import; few runs need it

    cells, last = np.argwhere(hidden), len(counts) - 1
    n = np.arange(len(cells))
    by_row, by_column = np.zeros((len(counts), len(cells))), np.zeros((counts.shape[1], len(cells)))
    by_row[cells[:, 0], n] = 1.0
    by_column[cells[:, 1], n] = np.where(cells[:, 0] == last, -1.0, 1.0)
    shown = np.where(hidden, 0, counts)
    row_sums = np.where(hidden, counts, 0).sum(axis=1)
    column_sums = shown[last] - shown[:last].sum(axis=0)
    solution: Any = linprog(
        -((cells == [row, column]).all(axis=1).astype(float)),
        A_eq=np.vstack([by_row, by_column]),
        b_eq=np.concatenate([row_sums, column_sums]).astype(float),
        bounds=[(min(threshold, int(counts[i, j])) if i == last else 0, None) for i, j in cells],
    )
    return float(-solution.fun)


class _Cell:
    """A small count; finds the other cells that must be hidden, and changes `hidden` in place."""

    def __init__(
        self,
        counts: NDArray[np.int64],
        hidden: NDArray[np.bool_],
        threshold: int,
        row: int,
        column: int,
    ) -> None:
        self.counts, self.hidden, self.threshold = counts, hidden, threshold
        self.row, self.column = row, column
        count = int(counts[row, column])
        limit = min(int(counts[row].sum()), int(counts[-1, column]))
        self.required = min(_MARGIN * threshold, limit) - count
        self.room = self._room()

    def _room(self) -> NDArray[np.int64]:
        """Return how many customers could be moved to this cell by way of each corner (i, j).

        They leave the two cells in line with the corner, one in the row and one in the column of
        this cell, and the same number comes to this cell and to the corner. The last row has the
        sums of the others: what a segment gains there, the last row gains.
        """
        counts, row, column = self.counts, self.row, self.column
        last = len(counts) - 1
        spare = np.maximum(counts[last] - self.threshold, 0)
        if row == last:
            room: NDArray[np.int64] = np.minimum(counts, spare)
            room[last] = 0
        else:
            room = np.minimum(counts[row], counts[:, column, None])
            room[last] = np.minimum(counts[row], spare)
        room[row], room[:, column] = 0, 0
        return room

    def _hidden_rectangles(self) -> NDArray[np.bool_]:
        """Return the corners whose rectangle with this cell is hidden already."""
        hidden: NDArray[np.bool_] = (
            self.hidden & self.hidden[self.row] & self.hidden[:, self.column, None]
        )
        return hidden

    def is_safe(self) -> bool:
        """Whether the count could be as large as required; usually one rectangle proves it."""
        if np.where(self._hidden_rectangles(), self.room, 0).max(initial=0) >= self.required:
            return True
        n_row, n_column = self.hidden[self.row].sum(), self.hidden[:, self.column].sum()
        if n_row == 1 or n_column == 1:  # then the sum of the row or column gives the count
            return False
        bound = upper_bound(self.counts, self.hidden, self.row, self.column, self.threshold)
        return bound - int(self.counts[self.row, self.column]) >= self.required - _SLACK

    def hide_corners(self) -> bool:
        """Hide the rectangle that has the required room and hides the fewest customers.

        If none has the required room, hide the one with the most room. Return whether there was
        anything left to hide.
        """
        cost = np.where(self.hidden, 0, self.counts)
        total = (cost + cost[self.row] + cost[:, self.column, None]).astype(np.float64)
        shortage = np.maximum(self.required - self.room, 0)
        total += shortage * (float(self.counts.sum()) + 1)
        total[self._hidden_rectangles()] = np.inf
        total[self.row], total[:, self.column] = np.inf, np.inf
        i, j = np.unravel_index(int(total.argmin()), total.shape)
        if not np.isfinite(total[i, j]):
            return False
        self.hidden[self.row, j] = self.hidden[i, self.column] = self.hidden[i, j] = True
        return True
