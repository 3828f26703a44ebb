"""A `gpuseg.backends.cuda.launcher.Launcher` that interprets the machine code of the kernels."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.cuda.launcher import Kernel, Limits, Struct, Table
from machine_code.block import SHARED_START, ThreadBlock
from machine_code.disassembly import Compiled, compiled
from machine_code.execution import Execution
from machine_code.memory import SECTOR, MemorySpace, Traffic
from machine_code.registers import WARP, Registers

ONE_MULTIPROCESSOR = Limits("machine code", 1, 226 * 1024, 228 * 1024, 90)
"""An H100 with one multiprocessor, so that a block has several tiles of few rows."""

_PARAMETERS = 0x210
"""Offset of the arguments in the constant bank of compute capability 9.0."""

_ALIGNMENT = 512
_LOCAL_BYTES = 4096


@dataclass
class LaunchProfile:
    """Counts of the launches of one form of a kernel.

    Attributes
    ----------
    code : Compiled
    launches, blocks : int
    issued : int64
        How often a warp has issued each instruction.
    wavefronts, sectors : int64
        For each instruction, see `memory.Traffic`.
    bytes_read, bytes_written : int
        Bytes of device memory, each 32 bytes once per launch, regardless of the number of accesses.
    shared_bytes : int
        Shared memory of a block, including the static part.
    """

    code: Compiled
    launches: int
    blocks: int
    issued: NDArray[np.int64]
    wavefronts: NDArray[np.int64]
    sectors: NDArray[np.int64]
    bytes_read: int
    bytes_written: int
    shared_bytes: int

    def less(self, other: "LaunchProfile") -> "LaunchProfile":
        """Return the difference from another profile of the same code."""
        return LaunchProfile(
            self.code, self.launches - other.launches, self.blocks - other.blocks,
            self.issued - other.issued, self.wavefronts - other.wavefronts,
            self.sectors - other.sectors, self.bytes_read - other.bytes_read,
            self.bytes_written - other.bytes_written, self.shared_bytes,
        )  # fmt: skip


class MachineCodeLauncher:
    """Launches kernels by interpreting their machine code; counts are in `profiles`.

    Arrays of the device are NumPy arrays, in one piece of memory that is never freed.

    Parameters
    ----------
    limits : Limits
        Properties of the device.
    folder : Path
        Folder of the kernels; None: the project's.
    memory_bytes : int
        Memory of the device; only pages that are accessed take memory.

    Attributes
    ----------
    profiles : dict of Kernel to LaunchProfile
        One for each launched form, by name and macros.
    """

    def __init__(
        self,
        limits: Limits = ONE_MULTIPROCESSOR,
        folder: Path | None = None,
        memory_bytes: int = 2**30,
    ) -> None:
        self.limits = limits
        self.folder = folder
        self.profiles: dict[tuple[Any, ...], LaunchProfile] = {}
        self.xp: Any = SimpleNamespace(zeros=self._zeros, empty=self._zeros)
        self._memory = np.zeros(memory_bytes + _ALIGNMENT, np.uint8)
        self._base: int = self._memory.ctypes.data
        self._used = -self._base % _ALIGNMENT

    def stream(self) -> AbstractContextManager[None]:
        """Return a context that does nothing: work is complete when a call returns."""
        return nullcontext()

    def launch(
        self, kernel: Kernel, blocks: int, arguments: Sequence[Any], shared_bytes: int = 0
    ) -> None:
        """Run all blocks."""
        profile = self._profile(kernel)
        code = profile.code
        if shared_bytes + code.shared_bytes > self.limits.shared_bytes + 1024:
            raise ValueError(f"{kernel.name}: {shared_bytes} bytes of shared memory are too many")
        execution, block = self._execution(code, blocks, arguments, shared_bytes)
        for index in range(blocks):
            block.shared.view(np.uint8)[:] = 0xFF  # uninitialized memory is NaN
            execution.run(index)
        profile.launches += 1
        profile.blocks += blocks
        profile.issued += execution.issued
        profile.wavefronts += block.traffic.wavefronts
        profile.sectors += block.traffic.sectors
        profile.bytes_read += SECTOR * int(block.traffic.read.sum())
        profile.bytes_written += SECTOR * int(block.traffic.written.sum())
        profile.shared_bytes = shared_bytes + code.shared_bytes

    def free_bytes(self) -> int:
        """Return how much memory is left."""
        return len(self._memory) - self._used

    def to_device(self, array: Any) -> Any:
        """Return the array in the memory of the device; unchanged if it is there already."""
        array = np.asarray(array, order="C")
        if self._base <= array.ctypes.data < self._base + len(self._memory):
            return array
        on_device = self._zeros(array.shape, array.dtype)
        on_device[...] = array
        return on_device

    def adopt(self, array: Any) -> Any:
        """Return the array in C order in the memory of the device."""
        return self.to_device(array)

    def to_host(self, array: Any) -> Any:
        """Return the array as it is."""
        return array

    def address(self, array: Any) -> int:
        """Return the address of the array."""
        address: int = array.ctypes.data
        return address

    def staging(self, n_bytes: int) -> NDArray[np.uint8]:
        """Return memory."""
        return np.zeros(n_bytes, np.uint8)

    def upload(self, source: NDArray[Any], target: Any) -> None:
        """Copy."""
        target[...] = source

    def download(self, source: Any, target: NDArray[Any]) -> None:
        """Copy."""
        target[...] = source

    def profile(self, name: str) -> LaunchProfile:
        """Return the profile of the only launched form of a kernel.

        Raises
        ------
        ValueError
            If there is none, or more than one.
        """
        profiles = [p for p in self.profiles.values() if p.code.kernel.name == name]
        if len(profiles) != 1:
            raise ValueError(f"{len(profiles)} forms of {name} were launched, one is needed")
        return profiles[0]

    def _profile(self, kernel: Kernel) -> LaunchProfile:
        key = (kernel.name, *sorted(kernel.macros.items()))
        if key not in self.profiles:
            code = compiled(kernel, self.folder)
            none = np.zeros(len(code.listing.instructions), np.int64)
            self.profiles[key] = LaunchProfile(code, 0, 0, none, none.copy(), none.copy(), 0, 0, 0)
        return self.profiles[key]

    def _execution(
        self, code: Compiled, blocks: int, arguments: Sequence[Any], shared_bytes: int
    ) -> tuple[Execution, ThreadBlock]:
        """Allocate the memory of a launch."""
        constants = self._constants(code.kernel.threads, blocks, arguments)
        threads = -(-code.kernel.threads // WARP) * WARP
        size = SHARED_START + code.shared_bytes + shared_bytes
        shared = np.zeros(-(-size // 16) * 16, np.uint8)
        local = np.zeros(threads * _LOCAL_BYTES, np.uint8)
        used = -(-self._used // SECTOR) * SECTOR
        traffic = Traffic(
            np.zeros(len(code.listing.instructions), np.int64),
            np.zeros(len(code.listing.instructions), np.int64),
            np.zeros(used // SECTOR, bool),
            np.zeros(used // SECTOR, bool),
        )
        block = ThreadBlock(
            Registers(threads, constants),
            MemorySpace(self._memory[:used], self._base, "device"),
            MemorySpace(shared, 0, "shared"),
            MemorySpace(local, 0, "local"),
            _LOCAL_BYTES,
            traffic,
        )
        return Execution(code.listing, block), block

    def _constants(self, threads: int, blocks: int, arguments: Sequence[Any]) -> bytes:
        """Return the constant bank: the dimensions of the launch, and the arguments."""
        bank = bytearray(_PARAMETERS)
        bank[0:24] = np.array([threads, 1, 1, blocks, 1, 1], np.uint32).tobytes()
        bank[0x28:0x2C] = np.uint32(_LOCAL_BYTES).tobytes()
        for argument in arguments:
            content, alignment = self._argument(argument)
            bank += bytes(-len(bank) % alignment) + content
        return bytes(bank) + bytes(8)

    def _argument(self, argument: Any) -> tuple[bytes, int]:
        """Return an argument as bytes, and their alignment."""
        if isinstance(argument, Struct):
            value = argument.to_array(self._device_address)
            return value.tobytes(), value.dtype.alignment
        if isinstance(argument, np.generic):
            return argument.tobytes(), argument.itemsize
        if isinstance(argument, Table):
            argument = argument.pointers
        address = 0 if argument is None else self._device_address(argument)
        return address.to_bytes(8, "little"), 8

    def _device_address(self, array: Any) -> int:
        address = self.address(array)
        if not self._base <= address < self._base + self._used:
            raise ValueError("an argument is not in the memory of the device")
        return address

    def _zeros(self, shape: Any, dtype: Any = float) -> NDArray[Any]:
        count, dtype = int(np.prod(shape)), np.dtype(dtype)
        size = -(-max(count * dtype.itemsize, 1) // _ALIGNMENT) * _ALIGNMENT
        if self._used + size > len(self._memory):
            raise MemoryError(f"{count} numbers of {dtype} do not fit on the device")
        start, self._used = self._used, self._used + size
        content = self._memory[start : start + count * dtype.itemsize]
        content[:] = 0
        array: NDArray[Any] = content.view(dtype).reshape(shape)
        return array
