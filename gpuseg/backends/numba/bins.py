"""Kernels for bins on the CPU: allocates results and calls the compiled kernels."""

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.arguments import read_only
from gpuseg.backends.numba.preprocessing import count_in_bins


class NumbaBins:
    """See `backends.protocols.BinKernels`."""

    def bin_rows(self, x: NDArray[np.float32], edges: NDArray[np.float32]) -> NDArray[np.uint16]:
        bins = np.empty(x.shape, np.uint16)
        table = read_only(count_in_bins.edge_table(edges))
        count_in_bins.bin_rows(read_only(x.reshape(-1)), table, bins.reshape(-1))
        return bins

    def count_bins(
        self, bins: NDArray[np.uint16], group: NDArray[np.int32], counts: NDArray[np.int64]
    ) -> None:
        count_in_bins.count_bins(read_only(bins), read_only(group), counts)
