"""The kernels as CuPy has loaded them: what the compiler made of them, how many run at once."""

from typing import Any

from gpu_check.place import Launched, Place
from gpuseg.backends.cuda import kernel_cache as sources
from gpuseg.backends.cuda.launcher import Kernel


def form(kernel: Kernel) -> str:
    """Return a kernel's name and shape."""
    return " ".join([kernel.name, *(f"{name}={value}" for name, value in kernel.shape.items())])


def function(at: Place, kernel: Kernel) -> Any:
    """Return a kernel as a function of CuPy's.

    CuPy loads a file once: this is the function that the launcher launches, and what is set here
    is set there.
    """
    path = sources.cubin(kernel, f"sm_{at.xp.cuda.Device().compute_capability}")
    return at.xp.RawModule(path=str(path)).get_function(kernel.name)


def blocks_at_once(at: Place, launch: Launched) -> tuple[float, int]:
    """Return the blocks of a launch for each multiprocessor, and how many of them it can hold."""
    loaded = function(at, launch.kernel)
    loaded.max_dynamic_shared_size_bytes = at.launcher.limits.shared_bytes
    held = at.xp.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(
        loaded.kernel.ptr, launch.kernel.threads, launch.shared_bytes
    )
    return launch.blocks / at.launcher.limits.multiprocessors, held
