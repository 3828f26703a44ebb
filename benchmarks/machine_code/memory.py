"""Memory of the threads of a block, and the cost of accesses.

Wavefronts are the turns that a request of a warp takes in the level-1 cache and shared memory,
which pass 128 bytes a clock. In shared memory there are 32 banks of four bytes: a turn gives each
bank one word. Requests of 8 bytes a thread are taken a half-warp at a time, of 16 bytes a quarter
at a time, and quarters that want the same words go together; but 16 bytes a thread take two turns
at least. An atomic addition takes a turn for each thread at the fullest bank. A global request
takes a turn for each line of 128 bytes that it touches, and one for every 128 bytes that it moves,
which may be too many where it touches many lines. These are rules of thumb that NVIDIA does not
state for compute capability 9.0: hold them against a profiler's wavefronts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from machine_code.registers import WARP, Array

LINE, SECTOR = 128, 32
BANKS, BANK_BYTES = 32, 4


class Fault(Exception):
    """An access out of bounds, or not aligned to its width."""


class MemorySpace:
    """Bytes at consecutive addresses.

    Parameters
    ----------
    content : uint8 array
        Its length a multiple of 16.
    base : int
        The address of the first.
    name : str
    """

    def __init__(self, content: NDArray[np.uint8], base: int, name: str) -> None:
        self.base, self.name = base, name
        self._as = {size: content.view(f"u{size}") for size in (1, 2, 4)}
        self._size = len(content)

    def offsets_of(self, addresses: Array, width: int, where: Array | None) -> Array:
        """Return the offsets of addresses, 0 for threads outside the mask.

        Raises
        ------
        Fault
            For an offset that is outside, or no multiple of the width.
        """
        offsets = addresses - self.base
        if where is not None:
            offsets = np.where(where, offsets, 0)
        wrong = (offsets < 0) | (offsets + width > self._size) | (offsets & (width - 1) != 0)
        if wrong.any():
            thread = int(np.flatnonzero(wrong)[0])
            raise Fault(
                f"thread {thread}: {width} bytes at {int(offsets[thread])} of {self._size} in "
                f"{self.name} memory are outside, or not aligned"
            )
        return offsets

    def load(self, offsets: Array, width: int) -> list[Array]:
        """Return the words at offsets; parts of words as small numbers."""
        if width < 4:
            return [self._as[width][offsets // width].astype(np.uint32)]
        words = self._as[4]
        return [words[(offsets >> 2) + i] for i in range(width // 4)]

    def store(self, offsets: Array, values: Sequence[Array], width: int) -> None:
        """Store words at offsets; of two threads at one offset the later one wins."""
        if width < 4:
            self._as[width][offsets // width] = values[0].astype(f"u{width}")
            return
        for i, value in enumerate(values):
            self._as[4][(offsets >> 2) + i] = value

    def view(self, dtype: Any) -> Array:
        """Return the memory as numbers of a type."""
        return self._as[1].view(dtype)


@dataclass
class Traffic:
    """The cost of memory accesses, one number for each instruction.

    Attributes
    ----------
    wavefronts : int64
        Turns, see the module.
    sectors : int64
        32-byte pieces of global memory that the requests of warps touch.
    read, written : bool (sectors of global memory,)
        Which of them have been touched at all.
    """

    wavefronts: NDArray[np.int64]
    sectors: NDArray[np.int64]
    read: NDArray[np.bool_]
    written: NDArray[np.bool_]
    _seen: dict[tuple[Any, ...], tuple[int, int]] = field(default_factory=dict)

    def shared(
        self, index: int, offsets: Array, width: int, where: Array | None, atomic: bool
    ) -> None:
        """Count a request to shared memory by the threads of a mask."""
        for pattern in _patterns(offsets, where, BANKS * BANK_BYTES):
            key = ("shared", width, atomic, *pattern)
            if key not in self._seen:
                self._seen[key] = shared_wavefronts(*_unpacked(pattern), width, atomic), 0
            self.wavefronts[index] += self._seen[key][0]

    def device(
        self, index: int, offsets: Array, width: int, where: Array | None, kind: str
    ) -> None:
        """Count a request to global memory: kind is "read", "write", or "both"."""
        for pattern in _patterns(offsets, where, LINE):
            key = ("device", width, *pattern)
            if key not in self._seen:
                self._seen[key] = device_wavefronts(*_unpacked(pattern), width)
            turns, sectors = self._seen[key]
            self.wavefronts[index] += turns
            self.sectors[index] += sectors
        touched = offsets // SECTOR if where is None else offsets[where] // SECTOR
        if kind != "write":
            self.read[touched] = True
        if kind != "read":
            self.written[touched] = True


def shared_wavefronts(offsets: Array, active: Array, width: int, atomic: bool) -> int:
    """Return the wavefronts of one warp's request to shared memory.

    Parameters
    ----------
    offsets : int64 (32,)
    active : bool (32,)
    """
    if not active.any():
        return 0
    if atomic:
        return int(np.bincount(offsets[active] // BANK_BYTES % BANKS).max())
    threads = min(WARP, BANKS * BANK_BYTES // width)
    phases: dict[frozenset[int], int] = {}
    for first in range(0, WARP, threads):
        part = offsets[first : first + threads][active[first : first + threads]]
        if not len(part):
            continue
        reached = part[:, None] // BANK_BYTES + np.arange(max(width // BANK_BYTES, 1))
        words = np.unique(reached)
        phases[frozenset(words.tolist())] = int(np.bincount(words % BANKS).max())
    return max(sum(phases.values()), width // 8)


def device_wavefronts(offsets: Array, active: Array, width: int) -> tuple[int, int]:
    """Return the wavefronts of one warp's request to global memory, and its sectors."""
    accessed = offsets[active]
    if not len(accessed):
        return 0, 0
    lines, sectors = len(np.unique(accessed // LINE)), len(np.unique(accessed // SECTOR))
    return max(lines, -(-len(accessed) * width // LINE)), sectors


def _patterns(offsets: Array, where: Array | None, period: int) -> list[tuple[bytes, bytes]]:
    """Return the key of each warp's wavefronts: its offsets modulo the period."""
    patterns = []
    all_active = np.ones(WARP, bool)
    for first in range(0, len(offsets), WARP):
        part = offsets[first : first + WARP]
        active = all_active if where is None else where[first : first + WARP]
        start = int(part.min()) if where is None else int(part[active].min(initial=2**62))
        shift = start // period * period
        relative = np.where(active, part - shift, 0).astype(np.int64)
        patterns.append((relative.tobytes(), active.tobytes()))
    return patterns


def _unpacked(pattern: tuple[bytes, bytes]) -> tuple[Array, Array]:
    return np.frombuffer(pattern[0], np.int64), np.frombuffer(pattern[1], bool)
