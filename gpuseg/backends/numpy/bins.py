"""The specification of the kernels for bins."""

import numpy as np
from numpy.typing import NDArray


class NumpyBins:
    """See `backends.protocols.BinKernels`."""

    def bin_rows(self, x: NDArray[np.float32], edges: NDArray[np.float32]) -> NDArray[np.uint16]:
        bins = np.empty(x.shape, np.uint16)
        for f, column in enumerate(x.T):
            bins[:, f] = np.searchsorted(edges[f], column, side="left")
        bins[np.isnan(x)] = edges.shape[1] + 1
        return bins

    def count_bins(
        self, bins: NDArray[np.uint16], group: NDArray[np.int32], counts: NDArray[np.int64]
    ) -> None:
        n_groups, d, n_bins = counts.shape
        first = group.astype(np.int64) * n_bins
        for f in range(d):
            of_feature = np.bincount(first + bins[:, f], minlength=n_groups * n_bins)
            counts[:, f] += of_feature.reshape(n_groups, n_bins)
