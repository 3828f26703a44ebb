"""Seeding, and whole runs of k-means, for the CUDA backend.

Rows in the memory of the GPU are iterated pass by pass (`CudaCentroids.lloyd`). Whole runs are for
rows that had no room there: these are iterated on the CPU. Seeding within cells is done on the CPU,
too: it has thousands of steps, and each reads few rows.
"""

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.cuda.centroids import CudaCentroids
from gpuseg.backends.cuda.device import CudaDevice
from gpuseg.backends.numba.runs import NumbaRuns
from gpuseg.backends.numpy.runs import choose_seeds
from gpuseg.backends.protocols import ParallelMap

_HOST = NumbaRuns()


class CudaRuns:
    """See `backends.protocols.RunKernels`.

    Parameters
    ----------
    device : CudaDevice
    centroids : CudaCentroids
    """

    choose_in_cells = staticmethod(_HOST.choose_in_cells)
    iterate = staticmethod(_HOST.iterate)
    sum_assignments = staticmethod(_HOST.sum_assignments)

    def __init__(self, device: CudaDevice, centroids: CudaCentroids) -> None:
        self._device, self._centroids = device, centroids

    def plus_plus(
        self,
        x: NDArray[np.float32],
        weight: NDArray[np.float64],
        draws: NDArray[np.float64],
        parallel_map: ParallelMap,
    ) -> list[NDArray[np.int64]]:
        def distances(rows: object, points: NDArray[np.float64]) -> NDArray[np.float64]:
            return self._device.to_host(self._centroids.squared_distances(rows, points))

        return choose_seeds(distances, self._device.to_device(x), x, weight, draws, parallel_map)
