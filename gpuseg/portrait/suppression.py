"""Small cells of a table of counts, hidden so that nobody can compute them from the others.

A table says how many customers of each segment (rows) are of which group (columns); its last row
is everyone. The sizes of the segments are known to all. A count below the threshold is hidden, and
so are others beside it, until whoever knows what is left cannot tell that a hidden count is small:
the largest value that it could have, by linear programming over all sums, is at least the
threshold (Fischetti and Salazar, "Solving the cell suppression problem on tabular data with linear
constraints", Management Science 47, 2001, who search for the fewest; ours are chosen one by one).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

_SLACK = 1e-6


def hidden_cells(counts: NDArray[np.int64], threshold: int) -> NDArray[np.bool_]:
    """Return which counts are not to be shown.

    Parameters
    ----------
    counts : int64 (segments + 1, groups)
        The last row is the sum of the others.
    threshold : int

    Returns
    -------
    bool (segments + 1, groups)
    """
    small = counts < threshold
    hidden = small.copy()
    waiting = np.argwhere(small).tolist()
    while waiting:
        row, column = waiting[-1]
        if attack(counts, hidden, row, column)[1] >= threshold - _SLACK:
            waiting.pop()
        elif not _hide_others(counts, hidden, row, column, threshold):
            waiting.pop()  # a segment smaller than the threshold: its size tells as much
    return hidden


def attack(
    counts: NDArray[np.int64], hidden: NDArray[np.bool_], row: int, column: int
) -> tuple[float, float]:
    """Return the least and the largest value that a hidden count could have, for who sees the rest.

    Who attacks knows the counts that are shown, the sizes of the segments, that the last row is the
    sum of the others, and that no count is negative.
    """
    cells = np.argwhere(hidden)
    at = {(int(i), int(j)): n for n, (i, j) in enumerate(cells)}
    rows, sums = [], []
    last = len(counts) - 1
    for i in range(len(counts)):
        rows.append([1.0 if own == i else 0.0 for own, _ in cells])
        sums.append(counts[i, hidden[i]].sum())
    for j in range(counts.shape[1]):
        sign = [0.0 if own != j else (-1.0 if i == last else 1.0) for i, own in cells]
        known = np.where(hidden[:, j], 0, counts[:, j])
        rows.append(sign)
        sums.append(known[last] - known[:last].sum())
    aim = np.zeros(len(cells))
    aim[at[row, column]] = 1.0
    ends = []
    for direction in (1.0, -1.0):
        found: Any = linprog(direction * aim, A_eq=np.array(rows), b_eq=np.array(sums, float))
        ends.append(float(direction * found.fun))
    return ends[0], ends[1]


def _hide_others(
    counts: NDArray[np.int64], hidden: NDArray[np.bool_], row: int, column: int, threshold: int
) -> bool:
    """Hide the corners of a rectangle with a hidden count, so that it may be as large as that.

    What is added to the count is taken from the others in its row and its column, and added to the
    corner across. Of the rectangles that leave enough room, the one that hides the fewest
    customers. Where there is none, the smallest count that is shown. Returns whether there was one.
    """
    cost = np.where(hidden, 0, counts)
    last = len(counts) - 1
    if row == last:  # the sum of the others: what it gains, some segment gains
        room = np.where(np.arange(len(counts))[:, None] < last, counts, 0)
    else:
        beside = np.where(np.arange(len(counts)) < last, counts[:, column], 2**62)
        room = np.minimum(counts[row], beside[:, None])
    total = (cost + cost[row] + cost[:, column, None]).astype(np.float64)
    total[room + counts[row, column] < threshold] = np.inf
    total[row], total[:, column] = np.inf, np.inf
    total[total == 0] = np.inf  # all hidden already, and not enough
    i, j = np.unravel_index(int(total.argmin()), total.shape)
    if np.isfinite(total[i, j]):
        hidden[row, j] = hidden[i, column] = hidden[i, j] = True
        return True
    if hidden.all():
        return False
    hidden.flat[np.where(hidden, np.iinfo(np.int64).max, counts).argmin()] = True
    return True
