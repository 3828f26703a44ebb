"""Find GPUs, and open a launcher for the current one."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from gpuseg.backends.cuda import nvrtc
from gpuseg.errors import ResourceError, install_extra

if TYPE_CHECKING:
    from gpuseg.backends.cuda.launcher import Launcher


@dataclass(frozen=True)
class Unavailable:
    """Why the CUDA backend cannot run here, and the next step."""

    reason: str
    hint: str


_INSTALL = install_extra("cuda13")


def unavailable() -> Unavailable | None:
    """Look for CuPy, a device and NVRTC; return the first that is missing, None if none is."""
    if (error := _cupy_error()) is not None:
        return Unavailable(f"CuPy cannot be imported ({error})", _INSTALL)
    import cupy

    try:
        if cupy.cuda.runtime.getDeviceCount() == 0:
            return Unavailable("CUDA finds no device", "check CUDA_VISIBLE_DEVICES")
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return Unavailable(f"CUDA finds no device ({error})", "install a GPU and its driver")
    try:
        nvrtc.library()
    except ResourceError as error:
        return Unavailable(str(error), f"{_INSTALL}, or set CUDA_PATH to a CUDA toolkit")
    return None


@cache
def _cupy_error() -> str | None:
    """Return why CuPy cannot be imported; None if it can. A search takes a fifth of a small fit."""
    try:
        import cupy  # noqa: F401
    except ImportError as error:
        return str(error)
    return None


def devices() -> list[str]:
    """Return a description of each device that CUDA finds."""
    if unavailable():
        return []
    from cupy.cuda import runtime

    properties = [runtime.getDeviceProperties(i) for i in range(runtime.getDeviceCount())]
    return [
        f"{device['name'].decode()}, {device['totalGlobalMem'] / 2**30:.0f} GiB, "
        f"compute capability {device['major']}.{device['minor']}"
        for device in properties
    ]


_first_call = threading.Lock()


def launcher() -> Launcher:
    """Return the launcher of this process, for the device that is current at the first call.

    Threads that ask for it at the same time get the same one: each launcher loads its kernels.
    """
    with _first_call:
        return _launcher()


@cache
def _launcher() -> Launcher:
    from gpuseg.backends.cuda.cupy_launcher import CupyLauncher

    return CupyLauncher()
