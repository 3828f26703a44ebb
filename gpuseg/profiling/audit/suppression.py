"""Small cells of a table of counts, hidden so that the sums do not tell them.

A table says how many customers of each segment (rows) are of which group (columns); its last row
is everyone. The sizes of the segments are known to all. Counts below the threshold are hidden, and
others beside them: the corners of a rectangle, across which customers could be moved without a
change in anything that is shown, until the small count could be twice the threshold, or as many as
its segment or its group has. (Of fewest cells: Fischetti and Salazar, "Solving the cell suppression
problem on tabular data with linear constraints", Management Science 47, 2001; ours are chosen one
by one.)

Who also knows how the corners are chosen may rule out some of the tables that fit what is shown;
the factor of two is the margin against that. Columns that follow from each other, such as country
and continent, tell of each other: that no table by itself can prevent.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

_SLACK = 1e-6
_MARGIN = 2


def hidden_cells(counts: NDArray[np.int64], threshold: int) -> NDArray[np.bool_]:
    """Return which counts are not to be shown.

    Parameters
    ----------
    counts : int64 (segments + 1, groups)
        The last row is the sum of the others; it is known to be at least the threshold everywhere,
        or all that there are.
    threshold : int

    Returns
    -------
    bool (segments + 1, groups)
    """
    hidden = counts < threshold
    small = np.argwhere(hidden).tolist()
    _hide_tiny(counts, hidden, threshold)
    for row, column in small:
        cell = _Cell(counts, hidden, threshold, row, column)
        while not cell.is_safe() and cell.hide_corners():
            pass
    return hidden


def _hide_tiny(counts: NDArray[np.int64], hidden: NDArray[np.bool_], threshold: int) -> None:
    """Hide segments smaller than the threshold whole, and the smallest other one with them.

    Any of their customers could then be in any group: the two may be exchanged.
    """
    sizes = counts[:-1].sum(axis=1)
    tiny = np.flatnonzero(sizes < threshold)
    if not len(tiny) or len(tiny) == len(sizes):
        return
    enough = (counts[:-1] >= sizes[tiny].sum()).all(axis=1)
    order = np.lexsort((sizes, ~enough))
    partner = next(i for i in order.tolist() if i not in tiny)
    hidden[[*tiny.tolist(), partner]] = True


def largest(
    counts: NDArray[np.int64], hidden: NDArray[np.bool_], row: int, column: int, threshold: int
) -> float:
    """Return the largest value that a hidden count could have, for who sees the rest.

    Who attacks knows the counts that are shown, the sizes of the segments, that the last row is the
    sum of the others and at least the threshold, and that no count is negative.
    """
    cells, last = np.argwhere(hidden), len(counts) - 1
    n = np.arange(len(cells))
    by_row, by_column = np.zeros((len(counts), len(cells))), np.zeros((counts.shape[1], len(cells)))
    by_row[cells[:, 0], n] = 1.0
    by_column[cells[:, 1], n] = np.where(cells[:, 0] == last, -1.0, 1.0)
    shown = np.where(hidden, 0, counts)
    found: Any = linprog(
        -((cells == [row, column]).all(axis=1).astype(float)),
        A_eq=np.vstack([by_row, by_column]),
        b_eq=np.concatenate([
            np.where(hidden, counts, 0).sum(axis=1), shown[last] - shown[:last].sum(axis=0)
        ]).astype(float),
        bounds=[(min(threshold, int(counts[i, j])) if i == last else 0, None) for i, j in cells],
    )  # fmt: skip
    return float(-found.fun)


class _Cell:
    """A small count, and what must be hidden beside it; `hidden` is changed in place."""

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
        own, most = int(counts[row, column]), min(int(counts[row].sum()), int(counts[-1, column]))
        self.wanted = min(_MARGIN * threshold, most) - own
        self.room = self._room()

    def _room(self) -> NDArray[np.int64]:
        """Return how many customers could be moved to the cell, by the corner (i, j) across.

        They leave the cells beside the corner in the row and in the column of the cell, and come
        to the corner. Everyone's counts are the sums of the others: what a segment gains there,
        everyone gains.
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

    def _hidden_with(self) -> NDArray[np.bool_]:
        """Return the corners whose rectangle with the cell is hidden already."""
        found: NDArray[np.bool_] = (
            self.hidden & self.hidden[self.row] & self.hidden[:, self.column, None]
        )
        return found

    def is_safe(self) -> bool:
        """Whether the count could be as large as wanted; mostly one rectangle shows that."""
        if np.where(self._hidden_with(), self.room, 0).max(initial=0) >= self.wanted:
            return True
        alone = self.hidden[self.row].sum() == 1 or self.hidden[:, self.column].sum() == 1
        if alone:
            return False
        most = largest(self.counts, self.hidden, self.row, self.column, self.threshold)
        return most - int(self.counts[self.row, self.column]) >= self.wanted - _SLACK

    def hide_corners(self) -> bool:
        """Hide a rectangle with room for what is wanted, the one that hides the fewest customers.

        Where there is none, the one with the most room. Returns whether anything was left to hide.
        """
        cost = np.where(self.hidden, 0, self.counts)
        total = (cost + cost[self.row] + cost[:, self.column, None]).astype(np.float64)
        missing = np.maximum(self.wanted - self.room, 0)
        total += missing * (float(self.counts.sum()) + 1)
        total[self._hidden_with()] = np.inf
        total[self.row], total[:, self.column] = np.inf, np.inf
        i, j = np.unravel_index(int(total.argmin()), total.shape)
        if not np.isfinite(total[i, j]):
            return False
        self.hidden[self.row, j] = self.hidden[i, self.column] = self.hidden[i, j] = True
        return True
