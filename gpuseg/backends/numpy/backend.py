"""The NumPy backend, composed of its parts."""

from gpuseg.backends.backend import Backend
from gpuseg.backends.numpy.bins import NumpyBins
from gpuseg.backends.numpy.centroids import NumpyCentroids
from gpuseg.backends.numpy.columns import NumpyColumns
from gpuseg.backends.numpy.device import NumpyDevice
from gpuseg.backends.numpy.runs import NumpyRuns


class NumpyBackend(Backend):
    """The specification of every primitive."""

    def __init__(self) -> None:
        super().__init__(
            "numpy", NumpyDevice(), NumpyColumns(), NumpyCentroids(), NumpyRuns(), NumpyBins()
        )
