"""The device of the tests, which launches kernels on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from emulator.build import HERE
from emulator.module import EmulatedModule
from emulator.report import EmulatorError, Report
from gpuseg.backends.cuda.kernel_cache import find_source
from gpuseg.backends.cuda.launcher import Kernel, Limits

KERNELS = HERE.parent.parent / "kernels"

SMALL = Limits(
    name="emulator",
    multiprocessors=4,
    shared_bytes=227 * 1024,
    shared_bytes_per_multiprocessor=228 * 1024,
    capability=90,
)
"""A small GPU with the shared memory of compute capability 9.0."""

ONE_BLOCK = replace(SMALL, multiprocessors=1, shared_bytes_per_multiprocessor=1024)
"""A GPU that runs one block of DBSCAN's kernels at a time, so that a warp has several tiles."""


class EmulatorLauncher:
    """Launches kernels on the CPU; implements `gpuseg.backends.cuda.launcher.Launcher`.

    Arrays of the device are NumPy arrays, and arrays of the host are not copied. A launch is
    complete when `launch` returns. Several threads may launch; they wait for each other.

    Parameters
    ----------
    check : bool
        Whether to watch every access to memory.
    schedule, seed : str, int
        The order of execution (`emulator.module.SCHEDULES`).
    folder : Path
        Folder of the kernels.
    limits : Limits
        Properties of the device. A launch with more shared memory is an error.
    mutant : int
        The value of `emulator_mutant`, which kernels may read.

    Attributes
    ----------
    free : int
        Result of `free_bytes`, for tests to set.
    """

    xp: Any = np

    def __init__(
        self,
        check: bool = False,
        schedule: str = "up",
        seed: int = 1,
        folder: Path = KERNELS,
        limits: Limits = SMALL,
        mutant: int = 0,
    ) -> None:
        self.check = check
        self.schedule = schedule
        self.seed = seed
        self.folder = folder
        self.limits = limits
        self.mutant = mutant
        self.free = 1 << 30
        self._modules: dict[tuple[str, tuple[tuple[str, int], ...]], EmulatedModule] = {}
        self._lock = threading.Lock()

    def stream(self) -> AbstractContextManager[None]:
        """Return a context that does nothing: work is complete when a call returns."""
        return nullcontext()

    def launch(
        self, kernel: Kernel, blocks: int, arguments: Sequence[Any], shared_bytes: int = 0
    ) -> None:
        """Launch `blocks` blocks and wait for them.

        Raises
        ------
        EmulatorError
            See `EmulatedModule.launch`.
        """
        if shared_bytes > self.limits.shared_bytes:
            message = f"{shared_bytes} bytes of shared memory, of {self.limits.shared_bytes}"
            raise EmulatorError(kernel.name, [Report("launch", message)])
        module = self._module(kernel)
        module.launch(
            blocks, kernel.threads, arguments, shared_bytes, self.schedule, self.seed, self.mutant
        )

    def free_bytes(self) -> int:
        """Return `free`."""
        return self.free

    def to_device(self, array: Any) -> Any:
        """Return the array. Another order than C is an error: a kernel would misread it."""
        assert array.flags.c_contiguous, "an array that is not C-contiguous is sent to the device"
        return array

    def adopt(self, array: Any) -> Any:
        """Return the array in C order."""
        return np.asarray(array, order="C")

    def to_host(self, array: Any) -> Any:
        """Return the array as it is."""
        return array

    def address(self, array: Any) -> int:
        """Return the address of the array."""
        address: int = array.ctypes.data
        return address

    def staging(self, n_bytes: int) -> np.ndarray[Any, Any]:
        """Return memory full of garbage."""
        return np.full(n_bytes, 0xFF, np.uint8)

    def upload(self, source: np.ndarray[Any, Any], target: Any) -> None:
        """Copy."""
        target[...] = source

    def download(self, source: Any, target: np.ndarray[Any, Any]) -> None:
        """Copy."""
        target[...] = source

    def watches(self, kernel: Kernel) -> bool:
        """Return whether to watch every memory access of this kernel."""
        return self.check

    def folder_of(self, kernel: Kernel) -> Path:
        """Return the folder of the kernels that has this one."""
        return self.folder

    def _module(self, kernel: Kernel) -> EmulatedModule:
        key = kernel.name, tuple(sorted(kernel.macros.items()))
        folder = self.folder_of(kernel)
        with self._lock:
            if key not in self._modules:
                self._modules[key] = EmulatedModule(
                    find_source(kernel.name, folder), kernel.name, kernel.macros,
                    self.watches(kernel), folder,
                )  # fmt: skip
            return self._modules[key]
