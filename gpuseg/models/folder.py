"""The folder of a saved model: its files are read as those of a stranger, and stay inside it."""

import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

import psutil
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from gpuseg.errors import DataError, GpusegError, ResourceError
from gpuseg.io.library_errors import first_line
from gpuseg.io.regular_files import open_regular_file
from gpuseg.io.storage import Storage, unreachable
from gpuseg.strict_json import parse_json

DESCRIPTION, TENSORS = "model.json", "model.safetensors"

FILE_NAME = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$"
"""Names of the files of a model: they name no other folder."""

_MAX_DESCRIPTION_BYTES = 2**27
_MAX_HEADER_BYTES = 2**20


@dataclass(frozen=True)
class ModelFolder:
    """The folder of a saved model; a value that can be pickled.

    A pickle has the options of the file system, so possibly credentials of an object store.

    Attributes
    ----------
    storage : Storage
    path : str
        Path of the folder within the storage's file system.
    """

    storage: Storage
    path: str

    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        """Return the content of a file.

        Parameters
        ----------
        max_bytes : int, optional
            Largest size that a file of this kind has; by default the memory that is available.

        Raises
        ------
        OSError
        DataError
            For a name that leads out of the folder, for FIFOs and devices, and for a file that is
            larger than `max_bytes`.
        ResourceError
            For a file that is larger than the memory that is available.
        """
        with self.open(name, max_bytes) as file:
            size = file.seek(0, os.SEEK_END)
            _check_size(name, size, max_bytes)
            file.seek(0)
            return file.read(size)

    def description(self) -> dict[str, Any]:
        """Return what model.json holds.

        Raises
        ------
        OSError
        DataError
            For what is not an object of JSON.
        """
        text = self.read(DESCRIPTION, _MAX_DESCRIPTION_BYTES)
        try:
            content = parse_json(text)
        except ValueError as error:
            raise _damaged(DESCRIPTION, first_line(error)) from None
        if not isinstance(content, dict):
            raise _damaged(DESCRIPTION, "it is not an object of JSON")
        return content

    def tensors(self, name: str = TENSORS) -> dict[str, NDArray[Any]]:
        """Return the arrays of a file, by default model.safetensors, by their names.

        Raises
        ------
        OSError
        DataError
            For what does not follow the format.
        """
        with self.open(name) as file:
            size = _check_layout(name, file)
            check_memory(name, size)
            file.seek(0)
            content = file.read(size)
        try:
            arrays: dict[str, NDArray[Any]] = load(content)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise _damaged(name, first_line(error)) from None
        return arrays

    @contextmanager
    def open(self, name: str, max_bytes: int | None = None) -> Iterator[BinaryIO]:
        """Open a file for reading; that of a remote file system is read whole.

        Parameters
        ----------
        max_bytes : int, optional
            Largest size of a file that is read whole; by default the memory that is available.

        Raises
        ------
        OSError
        DataError
            For a name that leads out of the folder, for FIFOs and devices, and for a remote file
            that is larger than `max_bytes`.
        ResourceError
            For a remote file that is larger than the memory that is available.
        """
        if not re.fullmatch(FILE_NAME, name):
            raise _damaged(DESCRIPTION, f"{name!r} is not the name of a file of a model")
        path = f"{self.path}/{name}"
        if self.storage.is_local:
            with open_regular_file(path, self.storage.root) as file:
                yield file
        else:
            yield BytesIO(self._fetched(path, name, max_bytes))

    def _fetched(self, path: str, name: str, max_bytes: int | None) -> bytes:
        fs = self.storage.fs
        try:
            with suppress(FileNotFoundError):  # HTTP says this of any fault: see what reading says
                size = fs.info(path).get("size")
                if size is not None:  # some servers do not tell it
                    _check_size(name, size, max_bytes)
            return bytes(fs.cat_file(path))
        except GpusegError:
            raise
        except (ValueError, TypeError, LookupError, RuntimeError) as error:
            # Of the file system, so not of the content.
            raise unreachable("path", self.storage.url, error) from None


def check_memory(name: str, n_bytes: int) -> None:
    """Refuse to read so many bytes of a file where there is no memory for them.

    Raises
    ------
    ResourceError
    """
    if n_bytes > psutil.virtual_memory().available:
        raise ResourceError(
            "model.no_memory",
            f"{name} has {n_bytes:,} bytes, more than the memory that is available",
            hint="load the model on a machine with more memory",
        )


def _check_size(name: str, n_bytes: int, max_bytes: int | None) -> None:
    """Refuse to read a file that is too large, for its kind or for the memory.

    Raises
    ------
    DataError, ResourceError
    """
    if max_bytes is not None and n_bytes > max_bytes:
        raise _damaged(name, f"it has {n_bytes:,} bytes, and may have {max_bytes:,}")
    check_memory(name, n_bytes)


def _check_layout(name: str, file: BinaryIO) -> int:
    """Return the size of a file, if its header tells of so many bytes; they are not read.

    Raises
    ------
    DataError
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(8)
    header_bytes = struct.unpack("<Q", start)[0] if len(start) == 8 else size
    if header_bytes > min(size - 8, _MAX_HEADER_BYTES):
        raise _damaged(name, "its header is cut or too long")
    try:
        header = parse_json(file.read(header_bytes))
        end = max((_end(entry) for key, entry in header.items() if key != "__metadata__"))
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        raise _damaged(name, "its header does not follow the format") from None
    expected = 8 + header_bytes + end
    if expected != size:
        raise _damaged(name, f"it has {size:,} bytes, but its header tells of {expected:,}")
    return size


def _end(entry: Any) -> int:
    end = entry["data_offsets"][1]
    if not isinstance(end, int):
        raise TypeError
    return end


def _damaged(name: str, problem: str) -> DataError:
    return DataError("model.damaged", f"{name} is damaged: {problem}", hint="run the job again")
