"""Errors of the libraries that read the user's bytes, as gpuseg's own errors.

Each place where a library (Arrow, fsspec, a decompressor) gets bytes of the user is inside
`reading`. Only calls of libraries may be inside, so that no mistake of gpuseg looks like a damaged
file.
"""

import errno
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from gpuseg.errors import DataError, GpusegError, ResourceError
from gpuseg.redaction import redacted, without_values

LIBRARY_ERRORS: tuple[type[Exception], ...] = (
    pa.ArrowException, OSError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError,
    MemoryError, EOFError, BufferError, AttributeError, AssertionError, zlib.error,
)  # fmt: skip
"""What libraries raise for bytes that they cannot read: Arrow raises its own errors, Python's
built-in ones for some of its C++ exceptions, and what its callbacks raise."""

_LONGEST = 10_000
"""Characters of a message that are looked at."""

_NO_THREAD = ("can't start new thread", "Resource temporarily unavailable")


@contextmanager
def reading(name: str, code: str, problem: str, hint: str) -> Iterator[None]:
    """Turn the errors of libraries inside into errors that name the file.

    Parameters
    ----------
    name : str
        The file, for messages.
    code, problem, hint : str
        The `DataError` of bytes that cannot be read; `problem` follows the name.

    Raises
    ------
    DataError
        If the bytes are at fault.
    ResourceError
        If memory, threads or file handles have run out.
    """
    try:
        yield
    except GpusegError:
        raise
    except LIBRARY_ERRORS as error:
        raise exhausted(error, name) or DataError(
            code, f"{name}{problem}", hint=hint, reason=first_line(error)
        ) from None


def exhausted(error: BaseException, name: str) -> ResourceError | None:
    """Return the error if this machine has run out of something, whatever the bytes are."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return ResourceError(
            "memory.exhausted",
            f"{name}: out of memory ({first_line(error)})",
            hint="use a machine with more memory; if the file is small, it is damaged",
        )
    if number in (errno.EMFILE, errno.ENFILE):
        return ResourceError(
            "file_handles.exhausted",
            f"{name}: too many files are open ({first_line(error)})",
            hint="raise the limit of open files (ulimit -n)",
        )
    if number == errno.EAGAIN or any(text in str(error) for text in _NO_THREAD):
        return ResourceError(
            "threads.exhausted",
            f"{name}: this process can start no more threads ({first_line(error)})",
            hint="raise the limit of processes and threads (ulimit -u, pids.max of the container)",
        )
    return None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without its final full stop.

    Lines and values of the data are left out, where the message is a known one, and logins too.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return without_values(redacted(lines[0])[:_LONGEST]).rstrip(".")
