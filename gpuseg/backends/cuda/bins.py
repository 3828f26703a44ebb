"""Kernels for bins on a GPU; rows in host memory are handled there, by the numba backend."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.cuda.launch_plans import plan_simple
from gpuseg.backends.cuda.launcher import Launcher
from gpuseg.backends.cuda.stream import on_stream
from gpuseg.backends.numba.bins import NumbaBins


class CudaBins:
    """See `backends.protocols.BinKernels`.

    Parameters
    ----------
    launcher : Launcher
    """

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._host = NumbaBins()

    @on_stream
    def bin_rows(self, x: Any, edges: NDArray[np.float32]) -> Any:
        if isinstance(x, np.ndarray):
            return self._host.bin_rows(x, edges)
        launcher, (n, d) = self._launcher, x.shape
        bins = launcher.xp.empty((n, d), np.uint16)
        if n:
            kernel, blocks = plan_simple("bin_rows", n * d, launcher.limits)
            on_device = launcher.to_device(np.ascontiguousarray(edges))
            launcher.launch(kernel, blocks, [x, np.int64(n), np.int32(d), on_device, bins])
        return bins

    @on_stream
    def count_bins(self, bins: Any, group: NDArray[np.int32], counts: NDArray[np.int64]) -> None:
        if isinstance(bins, np.ndarray):
            self._host.count_bins(bins, group, counts)
            return
        launcher, (n, d) = self._launcher, bins.shape
        if not n:
            return
        on_device = launcher.xp.zeros(counts.shape, np.uint64)
        kernel, blocks = plan_simple("count_bins", n * d, launcher.limits)
        groups = launcher.to_device(group)
        launcher.launch(kernel, blocks, [bins, np.int64(n), np.int32(d), groups, on_device])
        counts += launcher.to_host(on_device).view(np.int64)
