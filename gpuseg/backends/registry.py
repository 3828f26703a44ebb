"""Choose a backend, and import it on first use; the choice is recorded, never silent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from gpuseg.backends.cuda import gpus
from gpuseg.errors import ConfigError, ResourceError, set_key

if TYPE_CHECKING:
    from gpuseg.backends.backend import Backend
    from gpuseg.backends.cuda.launcher import Launcher
    from gpuseg.backends.protocols import CustomerKernels, NeighborKernels, TreeKernels

BACKENDS = ("auto", "numpy", "numba", "cuda")


@dataclass(frozen=True)
class BackendChoice:
    """A backend's name, and the reason for the choice."""

    name: str
    reason: str


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
        When the backend cannot run here; no other backend replaces it.
    """
    if requested not in BACKENDS:
        raise ConfigError(
            "backend.unknown",
            value=requested,
            rule=f"must be one of {', '.join(BACKENDS)}",
            parameter="backend",
        )
    if requested == "cuda" and (missing := gpus.unavailable()):
        raise ResourceError(
            "backend.unavailable",
            missing.reason,
            value=requested,
            hint=f"{missing.hint}, or {set_key('backend', 'auto')}, which takes the CPU without a "
            "GPU",
            parameter="backend",
        )
    if requested != "auto":
        return BackendChoice(requested, "requested")
    if no_gpu_reason:
        return BackendChoice(
            "numba", f"auto: compiled CPU kernels; {no_gpu_reason}; set backend = 'cuda' if they do"
        )
    if missing := gpus.unavailable():
        return BackendChoice("numba", f"auto: compiled CPU kernels; {missing.reason}")
    return BackendChoice("cuda", "auto: CUDA kernels; a GPU was found")


@cache
def get(name: str) -> Backend:
    """Return the backend of that name; it is imported on first use."""
    backend: Backend = _part(name, "backend", *_launcher(name))
    return backend


@cache
def get_neighbors(name: str) -> NeighborKernels:
    """Return the neighbor kernels of the backend of that name."""
    kernels: NeighborKernels = _part(name, "neighbors", *_launcher(name))
    return kernels


@cache
def get_customers(name: str) -> CustomerKernels:
    """Return the customer kernels of the backend of that name."""
    kernels: CustomerKernels = _part(name, "customers")
    return kernels


@cache
def get_trees(name: str) -> TreeKernels:
    """Return the tree kernels of the backend of that name."""
    kernels: TreeKernels = _part(name, "trees")
    return kernels


def _launcher(name: str) -> tuple[Launcher, ...]:
    return (gpus.launcher(),) if name == "cuda" else ()


def _part(name: str, part: str, *arguments: Any) -> Any:
    """Import a part of a backend and create it, such as `NumbaNeighbors` of `numba.neighbors`."""
    module = import_module(f"gpuseg.backends.{name}.{part}")
    if name != "numpy":  # CUDA has parts on the CPU
        from gpuseg.backends.numba.stale_kernels import remove_stale_kernels

        remove_stale_kernels()
    return getattr(module, name.title() + part.title())(*arguments)
