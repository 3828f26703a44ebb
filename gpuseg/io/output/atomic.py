"""Exchange two directories in one step, so that a path always has a directory."""

import ctypes
import errno
import os
import sys

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RENAME_SWAP = 2


def exchange(first: str, second: str) -> None:
    """Exchange two existing paths atomically.

    Linux: renameat2(2) with RENAME_EXCHANGE; macOS: renamex_np(2) with RENAME_SWAP.

    Raises
    ------
    OSError
        ENOTSUP if the system or the file system cannot do this.
    """
    library = ctypes.CDLL(None, use_errno=True)
    a, b = os.fsencode(first), os.fsencode(second)
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        failed = library.renameat2(_AT_FDCWD, a, _AT_FDCWD, b, _RENAME_EXCHANGE)
    elif sys.platform == "darwin":
        failed = library.renamex_np(a, b, _RENAME_SWAP)
    else:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), first)
    if failed:
        number = ctypes.get_errno()
        if number in (errno.EINVAL, errno.ENOSYS):
            number = errno.ENOTSUP
        raise OSError(number, os.strerror(number), first)
