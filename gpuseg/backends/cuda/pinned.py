"""Copy rows from host memory to the device, through page-locked memory.

Only from page-locked memory does the device copy at the speed of the bus and while kernels run. So
rows are first copied there, a piece at a time, into two buffers alternately: one is filled while
the other is transferred.
"""

from queue import LifoQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIECE_BYTES = 2**22
"""Bytes per buffer: enough to keep the bus busy, and small compared to a block of rows."""

N_PAIRS = 8
"""Pairs of buffers per process, and so threads that copy rows at a time: together they fill their
buffers faster than the bus empties them, and each also has a block on the device."""


class _Buffer:
    """Page-locked memory, and an event that tells when the device has read it."""

    def __init__(self, xp: Any) -> None:
        self.memory = xp.cuda.alloc_pinned_memory(PIECE_BYTES)
        self.bytes = np.frombuffer(self.memory, np.uint8, PIECE_BYTES)
        self.read = xp.cuda.Event(disable_timing=True)


class PinnedPair:
    """Two buffers that are used alternately; created at the first use, and kept.

    Parameters
    ----------
    xp : module
        CuPy.
    """

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self._buffers: list[_Buffer] = []

    def copy(self, array: NDArray[Any], target: Any) -> None:
        """Copy a C-order array to one on the device, in the current stream.

        `array` may change on return, even before the copy is complete.
        """
        if not self._buffers:
            self._buffers = [_Buffer(self._xp), _Buffer(self._xp)]
        source = array.reshape(-1).view(np.uint8)
        for start in range(0, len(source), PIECE_BYTES):
            piece = source[start : start + PIECE_BYTES]
            buffer = self._buffers[start // PIECE_BYTES % 2]
            buffer.read.synchronize()
            buffer.bytes[: len(piece)] = piece
            (target.data + start).copy_from_host_async(buffer.memory.ptr, len(piece))
            buffer.read.record()


class PinnedPairs:
    """The pairs of a process; a thread that finds none free waits for one."""

    def __init__(self, xp: Any) -> None:
        self._free: LifoQueue[PinnedPair] = LifoQueue()
        for _ in range(N_PAIRS):
            self._free.put(PinnedPair(xp))

    def take(self) -> PinnedPair:
        """Return a pair for exclusive use, until it is given back."""
        return self._free.get()

    def give_back(self, pair: PinnedPair) -> None:
        """Return the pair for use by other threads."""
        self._free.put(pair)
