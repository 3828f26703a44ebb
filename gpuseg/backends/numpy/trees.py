"""Splits of a decision tree: the specification."""

import numpy as np
from numpy.typing import NDArray


class NumpyTrees:
    """See `backends.protocols.TreeKernels`."""

    def best_splits(
        self,
        columns: NDArray[np.float32],
        order: NDArray[np.int32],
        classes: NDArray[np.int32],
        counts: NDArray[np.int64],
        min_rows: int,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        d, n = order.shape
        scores, n_below = np.zeros(d), np.zeros(d, np.int64)
        sizes = np.arange(min_rows, n - min_rows + 1)
        for f, rows in enumerate(order if sizes.size else ()):
            is_class = classes[rows, None] == np.arange(len(counts))
            below = is_class.cumsum(axis=0)[sizes - 1]
            above = counts - below
            score = (below * below).sum(axis=1) / sizes + (above * above).sum(axis=1) / (n - sizes)
            values = columns[f, rows]
            score[values[sizes - 1] == values[sizes]] = 0
            best = int(score.argmax())
            if score[best] > 0:
                scores[f], n_below[f] = score[best], sizes[best]
        return scores, n_below
