"""Numbers that the worker processes of a server share, so that each of them can add them up.

A worker has a slot of a file in memory and writes nothing else; a process that is killed loses
nothing, and the one in its place goes on with the slot. A slot is a list of entries:

    number of bytes in use (8) | length of the name (8) | name, padded to 8 bytes | value (8) | …
"""

import mmap
import os
import struct
import tempfile
from collections import defaultdict
from collections.abc import Iterator

_SLOT_BYTES = 2**20

_WORD = 8


class SharedCounters:
    """The numbers of one worker, by name, and the sums over all workers.

    Parameters
    ----------
    handle : int
        File descriptor of `new_counters`.
    n_slots : int
        Number of workers.
    slot : int
        The slot of this worker.
    """

    def __init__(self, handle: int, n_slots: int, slot: int) -> None:
        self._memory = mmap.mmap(handle, n_slots * _SLOT_BYTES)
        self._n_slots, self._start = n_slots, slot * _SLOT_BYTES
        self._values = memoryview(self._memory).cast("d")
        self._place: dict[str, int] = dict(self._entries(slot))

    def add(self, name: str, amount: float = 1.0) -> None:
        """Add to a number; the first time it is made. Where the slot is full it is dropped."""
        place = self._place.get(name)
        if place is None:
            place = self._new(name)
            if place is None:
                return
        self._values[place] += amount

    def set(self, name: str, value: float) -> None:
        """Set a number."""
        self.add(name, 0.0)
        if name in self._place:
            self._values[self._place[name]] = value

    def reset(self, prefix: str) -> None:
        """Set the numbers whose names begin with a prefix to 0."""
        for name, place in self._place.items():
            if name.startswith(prefix):
                self._values[place] = 0.0

    def sums(self) -> dict[str, float]:
        """Return each number, added up over the workers."""
        result: defaultdict[str, float] = defaultdict(float)
        for slot in range(self._n_slots):
            for name, place in self._entries(slot):
                result[name] += self._values[place]
        return dict(result)

    def _entries(self, slot: int) -> Iterator[tuple[str, int]]:
        """Yield the name of each number of a slot, and its place in units of 8 bytes."""
        start = slot * _SLOT_BYTES
        at, end = start + _WORD, start + self._word(start)
        while at < end:
            length = self._word(at)
            name = self._memory[at + _WORD : at + _WORD + length].decode()
            at += _WORD + _padded(length)
            yield name, at // _WORD
            at += _WORD

    def _new(self, name: str) -> int | None:
        used = max(self._word(self._start), _WORD)
        content = name.encode()
        size = _WORD + _padded(len(content)) + _WORD
        if used + size > _SLOT_BYTES:
            return None
        at = self._start + used
        self._memory[at : at + size] = (
            struct.pack("<q", len(content)) + content.ljust(_padded(len(content)), b"\0")
            + bytes(_WORD)
        )  # fmt: skip
        # Last, so that other processes see whole entries only.
        self._memory[self._start : self._start + _WORD] = struct.pack("<q", used + size)
        self._place[name] = (at + size) // _WORD - 1
        return self._place[name]

    def _word(self, at: int) -> int:
        return int.from_bytes(self._memory[at : at + _WORD], "little")


def new_counters(n_slots: int) -> int:
    """Return the descriptor of a file for `SharedCounters`, which has no name."""
    with tempfile.TemporaryFile() as file:
        file.truncate(n_slots * _SLOT_BYTES)
        return os.dup(file.fileno())


def _padded(length: int) -> int:
    return -(-length // _WORD) * _WORD
