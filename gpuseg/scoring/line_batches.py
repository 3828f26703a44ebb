"""Lines of a stream as they come: what is there is taken, and nothing more is waited for."""

import fcntl
import os
import select
import stat
from collections.abc import Iterator
from contextlib import suppress

MAX_LINE = 2**26
"""Most bytes of a line: 64 MiB. Of a longer one, more than this is kept, but not all."""

_BATCH = 2**22
"""Bytes after which lines are no longer collected: 4 MiB."""

_READ = 2**20
"""Bytes of one read, and of a pipe, so that its writer need not wait while a batch is scored."""

_BOM = b"\xef\xbb\xbf"
"""The mark with which some programs begin a text in UTF-8."""


def read_line_batches(descriptor: int) -> Iterator[list[bytes]]:
    """Yield lines without their ends; the last one needs none.

    A batch has the lines that can be read without waiting, at least one and at most those of about
    4 MiB.

    Raises
    ------
    OSError
        If the stream cannot be read.
    """
    _enlarge_pipe(descriptor)
    line = _UnfinishedLine()
    prefix = _BOM
    for data in _available(descriptor):
        head, end, tail = data.rpartition(b"\n")
        if end:
            lines = line.finish(head).split(b"\n")
            lines[0], prefix = lines[0].removeprefix(prefix), b""
            yield lines
        line.add(tail)
    if line.length:
        yield [line.finish(b"").removeprefix(prefix)]


class _UnfinishedLine:
    """The pieces of a line of which the end has not come yet; those beyond `MAX_LINE` are lost."""

    def __init__(self) -> None:
        self.length, self._pieces = 0, list[bytes]()

    def add(self, data: bytes) -> None:
        data = data[: MAX_LINE + 1 - self.length]
        if data:
            self.length += len(data)
            self._pieces.append(data)

    def finish(self, data: bytes) -> bytes:
        """Return the pieces and `data`, and begin a new line."""
        whole = b"".join([*self._pieces, data])
        self.length, self._pieces = 0, []
        return whole


def _available(descriptor: int) -> Iterator[bytes]:
    """Yield what can be read without waiting, or comes next."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    at_end = False
    while not at_end:
        pieces: list[bytes] = []
        while sum(map(len, pieces)) < _BATCH and (not pieces or poll.poll(0)):
            try:
                data = os.read(descriptor, _READ)
            except BlockingIOError:  # the stream was made non-blocking by its other users
                poll.poll()
                continue
            if not data:
                at_end = True
                break
            pieces.append(data)
        if pieces:
            yield b"".join(pieces)


def _enlarge_pipe(descriptor: int) -> None:
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        with suppress(OSError):  # a limit of the machine
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _READ)
