"""How well two clusterings of the same rows agree."""

import numpy as np
from numpy.typing import NDArray


def adjusted_rand_index(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Return 1 for the same clusters, and about 0 for independent ones.

    Hubert and Arabie, "Comparing partitions", Journal of Classification 2 (1985), from the ordered
    pairs of rows that are together in both clusterings, in one of them, or in none. The value is
    that of scikit-learn, whose import takes longer than the comparison of all models of a job.

    Parameters
    ----------
    first, second : int64 (n,), from 0
        Clusters of the rows.
    """

    def ordered_pairs(clusters: NDArray[np.int64]) -> int:
        counts = np.unique(clusters, return_counts=True)[1]
        return int((counts * counts).sum())

    # Not a table of all pairs of clusters, which may be many more than rows.
    in_both, n = ordered_pairs(first * (int(second.max()) + 1) + second), len(first)
    only_first = ordered_pairs(first) - in_both
    only_second = ordered_pairs(second) - in_both
    in_none = n * n - in_both - only_first - only_second
    in_both -= n  # a row with itself is no pair
    if only_first == only_second == 0:
        return 1.0
    difference = in_both * in_none - only_first * only_second
    by_first = (in_both + only_first) * (only_first + in_none)
    by_second = (in_both + only_second) * (only_second + in_none)
    return 2.0 * difference / (by_first + by_second)
