"""Which backend runs, and why: the choice is recorded, never silent."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module

from gpuseg.backends.base import Backend
from gpuseg.errors import JobError, ResourceError

BACKENDS = ("auto", "numpy", "numba", "cuda")

_CLASSES = {
    "numpy": ("gpuseg.backends.numpy_", "NumpyBackend"),
    "numba": ("gpuseg.backends.numba_.backend", "NumbaBackend"),
}


@dataclass(frozen=True)
class Choice:
    """A backend's name, and why it is that one."""

    name: str
    why: str


def choose(requested: str) -> Choice:
    """Resolve a `backend` parameter.

    Raises
    ------
    JobError
        When no backend has that name.
    ResourceError
        When the backend cannot run here; another one is never taken in its place.
    """
    if requested not in BACKENDS:
        raise JobError(f"backend = {requested!r}: must be one of {', '.join(BACKENDS)}")
    if requested == "cuda":
        raise ResourceError(
            "backend = 'cuda': this version of gpuseg has no CUDA kernels; "
            "use backend = 'auto' or 'numba'"
        )
    if requested == "auto":
        return Choice("numba", "auto: compiled CPU kernels; this version has no CUDA backend")
    return Choice(requested, "asked for")


@cache
def get(name: str) -> Backend:
    """Return the backend of that name; it is imported on first use."""
    module, cls = _CLASSES[name]
    backend: Backend = getattr(import_module(module), cls)()
    return backend
