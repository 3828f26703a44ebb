"""Standard output and standard error that never fail: what is only shown cannot end a run.

A full disk, a reader that has gone, a descriptor that is closed or only readable: what is written
there is dropped, and the first error is kept for the end of the command. A character that the
encoding of the stream does not have is written as an escape sequence, such as ``\\u03c3``.
"""

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class _Descriptor(io.RawIOBase):
    """A file descriptor to write to. After its first error it drops what is written."""

    def __init__(self, number: int) -> None:
        self.name = self._number = number
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: Any) -> int:
        rest = memoryview(data)
        while rest and self.error is None:
            try:
                rest = rest[os.write(self._number, rest) :]
            except BlockingIOError:  # the terminal or pipe was made non-blocking by its other users
                select.select([], [self._number], [], 1.0)
            except OSError as error:
                self.error = error
        return len(data)


class _UnfailingText(io.TextIOWrapper):
    """Text that is written to a descriptor, with escape sequences for what it cannot encode.

    There is no buffer of bytes in between: it would keep, and write a second time, what was being
    written as an interrupt came.
    """

    def __init__(
        self, descriptor: _Descriptor, stream: TextIO | None, line_buffering: bool
    ) -> None:
        super().__init__(
            descriptor,
            encoding="utf-8" if stream is None else stream.encoding,
            errors="backslashreplace",
            line_buffering=line_buffering,
        )
        self.descriptor = descriptor


@contextmanager
def unfailing_streams() -> Iterator[None]:
    """Replace `sys.stdout` and `sys.stderr` by streams that never fail, and restore them."""
    _open_closed_descriptors()
    before = sys.stdout, sys.stderr
    output, errors = _descriptor_of(before[0], 1), _descriptor_of(before[1], 2)
    if output is not None:
        sys.stdout = _UnfailingText(output, before[0], line_buffering=output.isatty())
    if errors is not None:
        sys.stderr = _UnfailingText(errors, before[1], line_buffering=True)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def take_output_error() -> OSError | None:
    """Return why standard output could not be written, the first time that this is asked.

    A reader that has closed its end, such as `head`, has all that it wanted: that is no error.
    """
    sys.stdout.flush()
    if not isinstance(sys.stdout, _UnfailingText):
        return None
    descriptor = sys.stdout.descriptor
    error, descriptor.error = descriptor.error, None
    return None if isinstance(error, BrokenPipeError) else error


def write_output(data: bytes) -> bool:
    """Write to standard output; return whether more can be written there.

    The bytes follow the text that was printed. As with `print`, an error is kept for
    `take_output_error`.
    """
    sys.stdout.flush()
    if isinstance(sys.stdout, _UnfailingText):
        sys.stdout.descriptor.write(data)
        return sys.stdout.descriptor.error is None
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    return True


def _open_closed_descriptors() -> None:
    """Open the null device for each standard descriptor that is closed.

    Otherwise the next file that is opened gets its number, and what a library in C writes to
    standard error goes into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _descriptor_of(stream: TextIO | None, number: int) -> _Descriptor | None:
    """Return the descriptor behind a stream, `number` where there is no stream."""
    if stream is None:
        return _Descriptor(number)
    try:
        stream.flush()
        return _Descriptor(stream.fileno())
    except (OSError, ValueError):
        return None


def is_unicode(stream: TextIO) -> bool:
    """Return whether a stream can write every character."""
    return stream.encoding.lower().replace("-", "").startswith("utf")
