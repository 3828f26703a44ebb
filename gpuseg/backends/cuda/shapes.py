"""Sizes that all plans of k-means passes share."""

import math

THREADS = 128
"""Threads per block."""

GROUP = 8
"""Centers scored together: CENTERS in ``kernels/kmeans/vector_load.cuh``."""

LABEL_BYTES = (1, 4)
"""Possible sizes of a row's label, see ``kernels/kmeans/row_bounds.cuh``."""

MAX_SHORT = 256
"""Maximum centers of a run with labels of one byte."""


def sums_bytes(n_centers: int, n_features: int) -> int:
    """Return the bytes of a block's sums: two words for each cell of two grids."""
    return 2 * 4 * 2 * n_centers * (n_features + 1)


def alignment(address: int) -> int:
    """Return the alignment of an address of float32 values: 16, 8 or 4 bytes."""
    return math.gcd(address, 16)
