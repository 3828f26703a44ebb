"""Disjoint sets that several threads unite at the same time, without locks.

parent[i] is i for the root of a set, and smaller than i otherwise. So there are no cycles, and
the root is the lowest element. A root is attached to a smaller one by compare-and-swap, and paths
are halved on the way up (Jaiganesh and Burtscher, "A high-performance connected components
implementation for GPUs", HPDC 2018). The sets do not depend on the order of the calls.

Both functions are `inlined`: kernels call them in their innermost loops.
"""

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.inline import inlined
from gpuseg.backends.numba.simd.bitset import compare_and_swap


@inlined
def find(parent: NDArray[np.int64], i: int) -> int:
    """Return the root of i."""
    above = parent[i]
    while above != i:
        next_above = parent[above]
        if next_above != above:
            parent[i] = next_above  # another thread may have set a smaller one: also an ancestor
        i, above = above, next_above
    return i


@inlined
def unite(parent: NDArray[np.int64], i: int, j: int) -> None:
    """Unite the sets of i and j."""
    i, j = find(parent, i), find(parent, j)
    while i != j:
        low, high = min(i, j), max(i, j)
        before = compare_and_swap(parent, high, high, low)
        if before == high:
            return
        i, j = find(parent, before), find(parent, low)
