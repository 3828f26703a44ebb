"""A device that runs the kernels' machine code: `gpuseg.backends.cuda.launcher.Launcher`."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.cuda.launcher import Kernel, Limits, Table
from machine_code.disassembly import Compiled, compiled
from machine_code.execution import Execution
from machine_code.memory import SECTOR, Space, Traffic
from machine_code.place import SHARED_START, Block
from machine_code.registers import WARP, Registers

ONE_MULTIPROCESSOR = Limits("machine code", 1, 226 * 1024, 228 * 1024, 90)
"""An H100 with a single multiprocessor, so that a block has several tiles of a few rows."""

_PARAMETERS = 0x210
"""Where arguments begin in the constant bank of compute capability 9.0."""

_ALIGNMENT = 512
_LOCAL_BYTES = 4096


@dataclass
class Profile:
    """What the launches of one form of a kernel have done.

    Attributes
    ----------
    code : Compiled
    launches, blocks : int
    issued : int64
        How often a warp has issued each instruction.
    wavefronts, sectors : int64
        For each instruction, see `memory.Traffic`.
    bytes_read, bytes_written : int
        Of device memory, each 32 bytes once a launch, however often they are touched.
    shared_bytes : int
        Of a block, what the kernel declares included.
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

    def less(self, other: "Profile") -> "Profile":
        """Return what was done beyond what another profile of the same code has."""
        return Profile(
            self.code, self.launches - other.launches, self.blocks - other.blocks,
            self.issued - other.issued, self.wavefronts - other.wavefronts,
            self.sectors - other.sectors, self.bytes_read - other.bytes_read,
            self.bytes_written - other.bytes_written, self.shared_bytes,
        )  # fmt: skip


class MachineCodeLauncher:
    """Launches kernels by interpreting their machine code; what it counts is in `profiles`.

    Arrays of the device are NumPy's, in one piece of memory that is never given back.

    Parameters
    ----------
    limits : Limits
        What the device says of itself.
    folder : Path
        Where the files of the kernels are; None: the project's.
    memory_bytes : int
        Memory of the device; only what is touched is taken.

    Attributes
    ----------
    profiles : dict of Kernel to Profile
        Of each form launched, by what makes it a form.
    """

    def __init__(
        self,
        limits: Limits = ONE_MULTIPROCESSOR,
        folder: Path | None = None,
        memory_bytes: int = 2**30,
    ) -> None:
        self.limits = limits
        self.folder = folder
        self.profiles: dict[tuple[Any, ...], Profile] = {}
        self.xp: Any = SimpleNamespace(zeros=self._zeros, empty=self._zeros)
        self._memory = np.zeros(memory_bytes + _ALIGNMENT, np.uint8)
        self._base: int = self._memory.ctypes.data
        self._used = -self._base % _ALIGNMENT

    def stream(self) -> AbstractContextManager[None]:
        """Return a context that does nothing: all is done when a call returns."""
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
            block.shared.view(np.uint8)[:] = 0xFF  # what nobody wrote is no number
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
        """Return the array in the memory of the device; as it is if it is there."""
        array = np.asarray(array, order="C")
        if self._base <= array.ctypes.data < self._base + len(self._memory):
            return array
        there = self._zeros(array.shape, array.dtype)
        there[...] = array
        return there

    def adopt(self, array: Any) -> Any:
        """Return the array in C order in the memory of the device."""
        return self.to_device(array)

    def to_host(self, array: Any) -> Any:
        """Return the array as it is."""
        return array

    def address(self, array: Any) -> int:
        """Return where the array begins."""
        place: int = array.ctypes.data
        return place

    def staging(self, n_bytes: int) -> NDArray[np.uint8]:
        """Return memory."""
        return np.zeros(n_bytes, np.uint8)

    def upload(self, source: NDArray[Any], target: Any) -> None:
        """Copy."""
        target[...] = source

    def download(self, source: Any, target: NDArray[Any]) -> None:
        """Copy."""
        target[...] = source

    def profile(self, name: str) -> Profile:
        """Return the profile of the only form of a kernel that was launched.

        Raises
        ------
        ValueError
            When there is none, or more than one.
        """
        profiles = [p for p in self.profiles.values() if p.code.kernel.name == name]
        if len(profiles) != 1:
            raise ValueError(f"{len(profiles)} forms of {name} were launched, one is needed")
        return profiles[0]

    def _profile(self, kernel: Kernel) -> Profile:
        key = (kernel.name, *sorted(kernel.macros.items()))
        if key not in self.profiles:
            code = compiled(kernel, self.folder)
            none = np.zeros(len(code.listing.instructions), np.int64)
            self.profiles[key] = Profile(code, 0, 0, none, none.copy(), none.copy(), 0, 0, 0)
        return self.profiles[key]

    def _execution(
        self, code: Compiled, blocks: int, arguments: Sequence[Any], shared_bytes: int
    ) -> tuple[Execution, Block]:
        """Lay out the memory of a launch."""
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
        block = Block(
            Registers(threads, constants),
            Space(self._memory[:used], self._base, "device"),
            Space(shared, 0, "shared"),
            Space(local, 0, "local"),
            _LOCAL_BYTES,
            traffic,
        )
        return Execution(code.listing, block), block

    def _constants(self, threads: int, blocks: int, arguments: Sequence[Any]) -> bytes:
        """Return the constant bank: the shape of the launch, and the arguments."""
        bank = bytearray(_PARAMETERS)
        bank[0:24] = np.array([threads, 1, 1, blocks, 1, 1], np.uint32).tobytes()
        bank[0x28:0x2C] = np.uint32(_LOCAL_BYTES).tobytes()
        for argument in arguments:
            content = self._argument(argument)
            bank += bytes(-len(bank) % len(content)) + content
        return bytes(bank) + bytes(8)

    def _argument(self, argument: Any) -> bytes:
        if isinstance(argument, np.generic):
            return argument.tobytes()
        if argument is None:
            return bytes(8)
        address = self.address(argument.pointers if isinstance(argument, Table) else argument)
        if not self._base <= address < self._base + self._used:
            raise ValueError("an argument is not in the memory of the device")
        return address.to_bytes(8, "little")

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
