"""A kernel, compiled for the CPU and loaded."""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emulator.arguments import ArgumentError, Memory, parse, prepare
from emulator.build import HERE, built_kernel
from emulator.report import EmulatorError, Report

SCHEDULES = {"up": 0, "down": 1, "random": 2, "fuzz": 3}
"""Orders of execution, and their numbers in fibers.cpp.

``up`` and ``down``: blocks, and the threads of a block, in ascending or descending order of their
indices. ``random``: in an order drawn for each launch and each round. ``fuzz``: like random, and in
check mode threads are also interrupted at memory accesses.
"""

INTRINSIC_HEADERS = ("async_copy.cuh", "mma.cuh")
"""Headers of the kernels that rename intrinsics; reports name the line that calls them."""

DRAWS = "GPUSEG_EMULATOR_DRAWS"
"""Environment variable with the seed of the random draws; by default, each run has another seed.

The emulator draws what a GPU leaves undefined: the rounding of products on tensor cores and of
approximate roots, and the time when an asynchronous copy reads its source.
"""

_draws = secrets.randbits(32)

_launching = threading.Lock()
"""A library runs one launch at a time."""


def draws() -> int:
    """Return the number that seeds the random draws, together with the seed of a launch."""
    return int(os.environ.get(DRAWS, _draws))


class EmulatedModule:
    """A kernel that runs on the CPU.

    Parameters
    ----------
    path : Path
        The kernel's file.
    kernel_name : str
        Name of the function, declared ``extern "C" __global__``.
    macros : mapping of str to int
        Macros that the compiler defines.
    check : bool
        Whether to watch every access to memory; this is about fifty times slower.
    folder : Path, optional
        Where the paths of ``#include`` start; by default in the folder of the file.

    Raises
    ------
    BuildError
        If the file does not compile.
    """

    def __init__(
        self,
        path: Path,
        kernel_name: str,
        macros: Mapping[str, int],
        check: bool,
        folder: Path | None = None,
    ) -> None:
        self.name = kernel_name
        self.check = check
        self.file = built_kernel(path, folder or path.parent, kernel_name, macros, check)
        self._library = ctypes.CDLL(str(self.file))
        self._library.emulator_signature.restype = ctypes.c_char_p
        self.parameters = parse(self._library.emulator_signature().decode())
        self._launch = self._library.emulator_launch
        self._launch.restype = ctypes.c_char_p
        self._launch.argtypes = (
            *(ctypes.c_uint, ctypes.c_uint, ctypes.c_size_t),
            *(ctypes.c_int, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p),
        )
        if check:
            self._library.emulator_add_array.argtypes = (
                *(ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t),
                *(ctypes.c_int, ctypes.c_int),
            )

    def launch(
        self,
        blocks: int,
        threads: int,
        arguments: Sequence[Any],
        shared_bytes: int = 0,
        schedule: str = "up",
        seed: int = 1,
        mutant: int = 0,
    ) -> None:
        """Run the kernel until it ends.

        Parameters
        ----------
        blocks, threads : int
            Number of blocks, and of threads per block.
        arguments : sequence
            C-contiguous arrays, None for a null pointer, `Table` for an array of pointers,
            `Struct`, `Uninitialized`, and NumPy scalars, of the types that the kernel declares.
        shared_bytes : int
            Dynamic shared memory of a block.
        schedule : str
            A key of `SCHEDULES`.
        seed : int
            Seed of the schedule, and together with `draws` of the other random draws.
        mutant : int
            The value of `emulator_mutant`, which the kernel may read.

        Raises
        ------
        EmulatorError
            If an argument has another type, if the threads block each other, or, in check mode,
            if anything is reported. The contents of the arrays are then undefined.
        """
        number = SCHEDULES[schedule]
        mode = "check" if self.check else "fast"
        draw_seed = draws()
        launch = f"{self.name} ({mode} mode, schedule {schedule}, seed {seed}, {DRAWS}={draw_seed})"
        try:
            prepared = prepare(self.parameters, arguments)
        except ArgumentError as error:
            raise EmulatorError(launch, [error.report()]) from None
        with _launching:
            if self.check:
                self._register(prepared.memory)
            text = self._launch(
                *(blocks, threads, shared_bytes, number, seed, draw_seed, mutant, prepared.cells)
            )
        if text:
            raise EmulatorError(launch, self._reports(text.decode()))

    def _register(self, memory: Iterable[Memory]) -> None:
        """Register the memory that the launch may access, for check mode."""
        self._library.emulator_forget_arrays()
        for part in memory:
            array = part.array
            self._library.emulator_add_array(
                *(part.name.encode(), array.ctypes.data, array.nbytes, array.itemsize),
                *(part.writable, part.written),
            )

    def _reports(self, text: str) -> list[Report]:
        """Return the reports in a text of the runtime; code addresses become lines."""
        addresses = sorted(set(re.findall(r"\{(0x[0-9a-f]+)\}", text)))
        lines = {address: self._line_of(address) for address in addresses}
        text = re.sub(r"\{(0x[0-9a-f]+)\}", lambda match: lines[match.group(1)], text)
        fields = (line.split("\t") for line in text.strip("\n").split("\n"))
        return [Report(kind, message, location) for kind, location, message in fields]

    def _line_of(self, address: str) -> str:
        """Return the innermost file and line of an address that is in a kernel's own code."""
        done = subprocess.run(
            ["addr2line", "-i", "-e", str(self.file), address],
            capture_output=True,
            text=True,
            check=True,
        )
        for location in done.stdout.split("\n"):
            file, _, line = location.partition(":")
            path = Path(file)
            if path.parent != HERE and path.name not in INTRINSIC_HEADERS and line:
                return f"{path.name}:{line.split()[0]}"
        return f"code {address}"
