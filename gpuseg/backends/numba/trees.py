"""Splits of a decision tree."""

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.kernel import kernel

_ROUNDED_DOWN = 1 - 1e-12
"""A score times this is below it by more than the rounding of a comparison."""


class NumbaTrees:
    """See `backends.protocols.TreeKernels`."""

    def best_splits(
        self,
        columns: NDArray[np.float32],
        order: NDArray[np.int32],
        classes: NDArray[np.int32],
        counts: NDArray[np.int64],
        min_rows: int,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        scores, n_below = np.zeros(len(order)), np.zeros(len(order), np.int64)
        _best_splits(columns, order, classes, counts, min_rows, scores, n_below)
        return scores, n_below


@kernel
def _best_splits(
    columns: NDArray[np.float32],
    order: NDArray[np.int32],
    classes: NDArray[np.int32],
    counts: NDArray[np.int64],
    min_rows: int,
    scores: NDArray[np.float64],
    n_below: NDArray[np.int64],
) -> None:
    """Move the rows below one after the other.

    A row of class c increases Σ l_c² by 2 l_c + 1, and decreases Σ r_c² by 2 r_c - 1.
    """
    n, n_classes = order.shape[1], counts.size
    rows_below = np.empty(n_classes, np.int64)
    for f in range(order.shape[0]):
        below = above = 0
        bound = 0.0
        for c in range(n_classes):
            rows_below[c] = 0
            above += counts[c] * counts[c]
        for i in range(n - min_rows):
            row = order[f, i]
            c = classes[row]
            below += 2 * rows_below[c] + 1
            above -= 2 * (counts[c] - rows_below[c]) - 1
            rows_below[c] += 1
            size = i + 1
            if size < min_rows or columns[f, row] == columns[f, order[f, size]]:
                continue
            # Multiplied by size · (n - size), to divide only where the score may be the best one.
            if below * (n - size) + above * size < bound * size * (n - size):
                continue
            score = below / size + above / (n - size)
            if score > scores[f]:
                scores[f], n_below[f] = score, size
                bound = score * _ROUNDED_DOWN
