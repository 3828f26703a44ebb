"""Which backend runs, and why: the choice is recorded, never silent."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module

from gpuseg.backends.base import Backend
from gpuseg.backends.cuda import device
from gpuseg.backends.customers import Describe
from gpuseg.backends.neighbors import Neighbors
from gpuseg.errors import ConfigError, ResourceError

BACKENDS = ("auto", "numpy", "numba", "cuda")

_CLASSES = {
    "numpy": ("gpuseg.backends.numpy.backend", "NumpyBackend"),
    "numba": ("gpuseg.backends.numba.backend", "NumbaBackend"),
}

_NEIGHBORS = {
    "numpy": ("gpuseg.backends.numpy.neighbors", "NumpyNeighbors"),
    "numba": ("gpuseg.backends.numba.neighbors", "NumbaNeighbors"),
}


@dataclass(frozen=True)
class BackendChoice:
    """A backend's name, and why it is that one."""

    name: str
    why: str


def choose_backend(requested: str, no_gpu_reason: str = "") -> BackendChoice:
    """Resolve a `backend` parameter.

    Parameters
    ----------
    requested : str
    no_gpu_reason : str
        Why "auto" must not use a GPU; empty if it may.

    Raises
    ------
    ConfigError
        When no backend has that name.
    ResourceError
        When the backend cannot run here; another one is never taken in its place.
    """
    if requested not in BACKENDS:
        raise ConfigError(f"backend = {requested!r}: must be one of {', '.join(BACKENDS)}")
    if requested == "cuda" and (lacking := device.unavailable()):
        raise ResourceError(
            f"backend = 'cuda': {lacking.what}; {lacking.step}, or use backend = 'auto', which "
            "takes the CPU where there is no GPU"
        )
    if requested != "auto":
        return BackendChoice(requested, "asked for")
    if no_gpu_reason:
        return BackendChoice(
            "numba", f"auto: compiled CPU kernels; {no_gpu_reason}; set backend = 'cuda' if they do"
        )
    if lacking := device.unavailable():
        return BackendChoice("numba", f"auto: compiled CPU kernels; {lacking.what}")
    return BackendChoice("cuda", "auto: CUDA kernels; a GPU was found")


@cache
def get(name: str) -> Backend:
    """Return the backend of that name; it is imported on first use."""
    if name == "cuda":
        from gpuseg.backends.cuda.backend import CudaBackend

        return CudaBackend(device.launcher())
    module, cls = _CLASSES[name]
    backend: Backend = getattr(import_module(module), cls)()
    return backend


@cache
def get_customers(name: str) -> Describe:
    """Return what describes customers; with the GPU backend that is done on the CPU, too."""
    module = f"gpuseg.backends.{'numpy' if name == 'numpy' else 'numba'}.customers"
    describe: Describe = import_module(module).describe_customers
    return describe


@cache
def get_neighbors(name: str) -> Neighbors:
    """Return the primitives of DBSCAN of the backend of that name."""
    if name == "cuda":
        from gpuseg.backends.cuda.neighbors import CudaNeighbors

        return CudaNeighbors(device.launcher())
    module, cls = _NEIGHBORS[name]
    neighbors: Neighbors = getattr(import_module(module), cls)()
    return neighbors
