"""Rows from the memory of the host to the device, through page-locked memory.

The device copies from page-locked memory only, at the speed of the bus and while kernels run. So
rows are first copied there, a piece at a time, into two buffers in turn: one is filled while the
other is on its way.
"""

from queue import LifoQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIECE_BYTES = 2**22
"""Of a buffer: large enough for the bus to be busy with, and little beside a block of rows."""

PAIRS = 8
"""Pairs of buffers of a process, and so threads that bring rows at a time: together they fill
their buffers faster than the bus empties them, and each also holds a block on the device."""


class _Buffer:
    """Page-locked memory, and whether the device has read it."""

    def __init__(self, xp: Any) -> None:
        self.memory = xp.cuda.alloc_pinned_memory(PIECE_BYTES)
        self.bytes = np.frombuffer(self.memory, np.uint8, PIECE_BYTES)
        self.read = xp.cuda.Event(disable_timing=True)


class PinnedPair:
    """Two buffers that take turns; made at the first use, and kept.

    Parameters
    ----------
    xp : module
        CuPy.
    """

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self._buffers: list[_Buffer] = []

    def copy(self, array: NDArray[Any], there: Any) -> None:
        """Copy a C-order array to one on the device, in the current stream.

        What is in `array` may change afterwards: it has been read, if not been copied.
        """
        if not self._buffers:
            self._buffers = [_Buffer(self._xp), _Buffer(self._xp)]
        source = array.reshape(-1).view(np.uint8)
        for start in range(0, len(source), PIECE_BYTES):
            piece = source[start : start + PIECE_BYTES]
            buffer = self._buffers[start // PIECE_BYTES % 2]
            buffer.read.synchronize()
            buffer.bytes[: len(piece)] = piece
            (there.data + start).copy_from_host_async(buffer.memory.ptr, len(piece))
            buffer.read.record()


class PinnedPairs:
    """The pairs of a process; who finds none free waits for one."""

    def __init__(self, xp: Any) -> None:
        self._free: LifoQueue[PinnedPair] = LifoQueue()
        for _ in range(PAIRS):
            self._free.put(PinnedPair(xp))

    def take(self) -> PinnedPair:
        """Return a pair for the caller alone, until it is given back."""
        return self._free.get()

    def give_back(self, pair: PinnedPair) -> None:
        """Let others have the pair."""
        self._free.put(pair)
