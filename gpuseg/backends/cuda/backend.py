"""The CUDA backend, composed of its parts."""

from gpuseg.backends.backend import Backend
from gpuseg.backends.cuda.bins import CudaBins
from gpuseg.backends.cuda.centroids import CudaCentroids
from gpuseg.backends.cuda.columns import CudaColumns
from gpuseg.backends.cuda.device import CudaDevice
from gpuseg.backends.cuda.launcher import Launcher
from gpuseg.backends.cuda.lloyd import PassKind
from gpuseg.backends.cuda.runs import CudaRuns


class CudaBackend(Backend):
    """CUDA kernels on one GPU.

    Rows are on the device or in host memory; the latter are copied for each call. Bounds of rows
    are always on the device. Every call is complete on the device when it returns.

    Parameters
    ----------
    launcher : Launcher
    passes : {"auto", "full", "late"}
        How Lloyd passes read the rows, see `lloyd.LloydPasses`.
    """

    def __init__(self, launcher: Launcher, passes: PassKind = "auto") -> None:
        self.launcher = launcher
        device, centroids = CudaDevice(launcher), CudaCentroids(launcher, passes)
        super().__init__(
            "cuda",
            device,
            CudaColumns(launcher),
            centroids,
            CudaRuns(device, centroids),
            CudaBins(launcher),
        )
