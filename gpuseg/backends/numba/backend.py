"""The numba backend, composed of its parts."""

from gpuseg.backends.backend import Backend
from gpuseg.backends.numba.bins import NumbaBins
from gpuseg.backends.numba.centroids import NumbaCentroids
from gpuseg.backends.numba.columns import NumbaColumns
from gpuseg.backends.numba.device import NumbaDevice
from gpuseg.backends.numba.runs import NumbaRuns


class NumbaBackend(Backend):
    """Compiled CPU kernels."""

    def __init__(self) -> None:
        super().__init__(
            "numba", NumbaDevice(), NumbaColumns(), NumbaCentroids(), NumbaRuns(), NumbaBins()
        )
