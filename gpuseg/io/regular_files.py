"""Open local files that anybody may have written: only regular ones, and only inside a folder."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from gpuseg.errors import DataError

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
"""A FIFO that takes the place of a file after the check does not block the open."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


@contextmanager
def open_regular_file(path: str, folder: str) -> Iterator[BinaryIO]:
    """Open a file of a folder for reading.

    Raises
    ------
    OSError
    DataError
        For a link that leads out of the folder, and for what is not a regular file.
    """
    name = Path(path).name
    try:
        real, root = os.path.realpath(path, strict=True), os.path.realpath(folder)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise _not_regular(name, "a link to itself") from None
    if os.path.commonpath([real, root]) != root:
        raise DataError(
            "file.outside_folder",
            f"{name} is a link that leads out of its folder",
            hint="copy the file itself to where the link is",
        )
    refuse_special_file(name, Path(real).stat().st_mode)
    with os.fdopen(os.open(real, _FLAGS), "rb") as file:
        refuse_special_file(name, os.fstat(file.fileno()).st_mode)
        yield file


def refuse_special_file(name: str, mode: int) -> None:
    """Refuse FIFOs, devices, sockets and folders: reading them can wait or last for ever.

    Raises
    ------
    DataError
    """
    kind = stat.S_IFMT(mode)
    if kind != stat.S_IFREG:
        raise _not_regular(name, _KINDS.get(kind, "a special file"))


def _not_regular(name: str, what: str) -> DataError:
    return DataError(
        "file.not_regular",
        f"{name} is {what}",
        rule="must be a regular file",
        hint="write the data to a file, and name that",
    )
