"""Rows on the scratch disk of a worker: arrays in a temporary file that is mapped into memory.

The operating system reads a page of the file when it is used, and keeps it in its page cache while
there is memory for it. Pages that are released count no more as memory of the process.
"""

import mmap
import os
import shutil
from tempfile import TemporaryFile, gettempdir
from typing import IO, Any

import numpy as np
import psutil
from numpy.typing import DTypeLike, NDArray

_IN_MEMORY = {"tmpfs", "ramfs"}
"""File systems whose files take memory."""

_USABLE = 0.5
"""Share of the free space of a disk that one file may take."""


_LARGE_FILES = "/var/tmp"
"""The folder for large temporary files (Filesystem Hierarchy Standard)."""


def scratch_folder() -> str:
    """Return the folder for large temporary files.

    It is that of the system for all temporary files, which `TMPDIR` sets. Where that variable is
    not set and the folder is in memory, as on many systems, it is /var/tmp.
    """
    folder = gettempdir()
    is_chosen = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    if not is_chosen and _is_in_memory(folder) and os.access(_LARGE_FILES, os.W_OK):
        return _LARGE_FILES
    return folder


class ScratchUnavailable(Exception):
    """The scratch disk cannot take a file; the text says why."""


class ScratchArray:
    """An array (n, ...) in a temporary file.

    The file has no name, so that it disappears with its process, even if that is killed.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    folder : str, optional
        Folder of the file; by default `scratch_folder`.

    Attributes
    ----------
    values : array
        The values; zeros at first.

    Raises
    ------
    ScratchUnavailable
        If the folder cannot be written, is in memory, or has no room.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, folder: str | None) -> None:
        n_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        self._map = _mapped_file(folder or scratch_folder(), max(n_bytes, 1))
        self.values = self._view(shape, dtype)
        self._address = _address(self.values)

    def reshape(self, shape: tuple[int, ...]) -> None:
        """Let `values` be an array of this shape, from the start of the file."""
        self.values = self._view(shape, self.values.dtype)

    def release(self, part: NDArray[Any]) -> None:
        """Let the pages of a part leave the memory of the process; the file keeps them.

        Parameters
        ----------
        part : array
            Consecutive values of the file.
        """
        start = _address(part) - self._address
        first = start // mmap.PAGESIZE * mmap.PAGESIZE
        if part.nbytes:
            self._map.madvise(mmap.MADV_DONTNEED, first, start + part.nbytes - first)

    def _view(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(self._map, dtype, count).reshape(shape)


def _address(values: NDArray[Any]) -> int:
    address: int = values.__array_interface__["data"][0]
    return address


def _mapped_file(folder: str, n_bytes: int) -> mmap.mmap:
    """Map a new file of `n_bytes` into memory.

    All its space is allocated first: a disk that is full later would end the process.
    """
    try:
        free = shutil.disk_usage(folder).free
        if _is_in_memory(folder):
            raise ScratchUnavailable(f"the folder {folder} for temporary files is in memory")
        if n_bytes > _USABLE * free:
            raise ScratchUnavailable(
                f"the folder {folder} for temporary files has {free / 2**20:,.0f} MiB free, and "
                f"{n_bytes / 2**20:,.0f} MiB would take more than half of it"
            )
        with TemporaryFile(dir=folder, prefix="gpuseg-") as file:
            _allocate(file, n_bytes)
            return mmap.mmap(file.fileno(), n_bytes)
    except OSError as error:
        raise ScratchUnavailable(
            f"the folder {folder} for temporary files cannot take {n_bytes / 2**20:,.0f} MiB "
            f"({error.strerror})"
        ) from None


def _allocate(file: IO[bytes], n_bytes: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, n_bytes)
        return
    piece = bytes(2**20)
    for start in range(0, n_bytes, len(piece)):  # macOS
        file.write(piece[: n_bytes - start])
    file.flush()


def _is_in_memory(folder: str) -> bool:
    """Whether the files of a folder take memory."""
    path = os.path.realpath(folder)
    mounts = [
        mount
        for mount in psutil.disk_partitions(all=True)
        if os.path.commonpath([path, mount.mountpoint]) == mount.mountpoint
    ]
    # The last of several mounts on one folder hides the others.
    mounts.sort(key=lambda mount: len(mount.mountpoint))
    return bool(mounts) and mounts[-1].fstype in _IN_MEMORY
