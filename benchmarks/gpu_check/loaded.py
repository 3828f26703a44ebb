"""Kernels as loaded by CuPy: their resources, and their resident blocks."""

from typing import Any

from gpu_check.targets import LaunchRecord, Target
from gpuseg.backends.cuda.kernel_cache import cubin_path
from gpuseg.backends.cuda.launcher import Kernel


def form(kernel: Kernel) -> str:
    """Return a kernel's name and shape."""
    return " ".join([kernel.name, *(f"{name}={value}" for name, value in kernel.shape.items())])


def function(target: Target, kernel: Kernel) -> Any:
    """Return a kernel as a function of CuPy.

    CuPy loads a file once: this is the function that the launcher uses, and attributes that are set
    here apply there.
    """
    path = cubin_path(kernel, f"sm_{target.xp.cuda.Device().compute_capability}")
    return target.xp.RawModule(path=str(path)).get_function(kernel.name)


def resident_blocks(target: Target, launch: LaunchRecord) -> tuple[float, int]:
    """Return the blocks of a launch per multiprocessor, and how many of them are resident."""
    loaded = function(target, launch.kernel)
    loaded.max_dynamic_shared_size_bytes = target.launcher.limits.shared_bytes
    resident = target.xp.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(
        loaded.kernel.ptr, launch.kernel.threads, launch.shared_bytes
    )
    return launch.blocks / target.launcher.limits.multiprocessors, resident
