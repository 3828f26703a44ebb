"""What all plans of k-means passes share."""

import math

THREADS = 128
"""Of a block."""

GROUP = 8
"""Centres scored together: CENTERS in ``kernels/kmeans/vector_load.cuh``."""

LABEL_BYTES = (1, 4)
"""Of the label of a row, see ``kernels/kmeans/row_bounds.cuh``."""

MAX_SHORT = 256
"""Centres of a run whose labels take one byte."""


def sums_bytes(n_centers: int, n_features: int) -> int:
    """Return what a block's own sums take: two words for each cell of two grids."""
    return 2 * 4 * 2 * n_centers * (n_features + 1)


def alignment(address: int) -> int:
    """Return 16, 8 or 4: bytes of which an address of float32 values is a multiple."""
    return math.gcd(address, 16)
