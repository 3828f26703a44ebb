"""Keep compiled functions on disk: numba's cache, with files that are checked and may be missing.

numba refuses to decorate a function where it can write to none of its folders, ends a run whose
disk is full, and loads what it finds. Here the function is compiled in each process instead, and a
file that is damaged is made again.
"""

import os
import pickle
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from numba import njit
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    UserWideCacheLocator,
)

Function = TypeVar("Function", bound=Callable[..., Any])

_CHECKSUM_BYTES = 4

_has_warned = False
"""Whether this process has been warned that nothing is kept."""


def compile_cached(function: Function, **options: Any) -> Function:
    """Return `numba.njit(**options)` of a function, kept on disk where that is possible."""
    return with_cache(function, DiskCache, **options)


def with_cache(function: Function, cache: "type[DiskCache]", **options: Any) -> Function:
    """Return the function compiled by numba, with a cache of this kind."""
    compiled: Any = njit(**options)(function)
    try:
        compiled._cache = cache(function)
    except (RuntimeError, OSError):  # no folder that can be written
        _warn_once("no folder for them can be written")
    result: Function = compiled
    return result


def _warn_once(reason: str) -> None:
    global _has_warned
    if not _has_warned:
        _has_warned = True
        warnings.warn(
            f"compiled kernels are not kept, so that each run compiles them again: {reason}; set "
            "NUMBA_CACHE_DIR to a folder that can be written",
            RuntimeWarning,
            stacklevel=3,
        )


class _Folders(CompileResultCacheImpl):
    """Where numba keeps functions, but never below a folder that is called "~"."""

    def __init__(self, function: Callable[..., Any]) -> None:
        if not Path(os.path.expanduser("~")).is_absolute():  # noqa: PTH111 - Path.home() raises
            self._locator_classes = [
                locator for locator in self._locator_classes if locator is not UserWideCacheLocator
            ]
        super().__init__(function)


class DiskCache(FunctionCache):
    """numba's cache of a function, whose faults end no run."""

    _impl_class = _Folders

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file.__class__ = CheckedFile

    def save_overload(self, signature: Any, data: Any) -> None:
        """Keep a compiled function, if the disk has room."""
        try:
            super().save_overload(signature, data)
        except OSError as error:
            _warn_once(f"{self.cache_path} cannot be written ({error.strerror or error})")


class CheckedFile(IndexDataCacheFile):
    """The files of a function: each begins with a checksum of what it is for and of what follows.

    Two processes may give one name to the code of two signatures. The checksum tells them apart.
    """

    def save(self, key: Any, data: Any) -> None:
        """Write the function first, so that no index names a file that is not there."""
        overloads = self._load_index()
        name = overloads.setdefault(key, self._data_name(len(overloads) + 1))
        self._write(name, repr(key), self._dump(data))
        self._save_index(overloads)

    def load(self, key: Any) -> Any:
        """Return a function, or None where there is none, or its file is damaged."""
        name = self._load_index().get(key)
        content = None if name is None else self._checked(name, repr(key))
        return None if content is None else self.rebuilt(content)

    def rebuilt(self, content: bytes) -> Any:
        """Return the description of a compiled function."""
        return pickle.loads(content)

    def _load_index(self) -> dict[Any, str]:
        content = self._checked(self._index_name, "")
        if content is None:
            return {}
        version, stamp, overloads = pickle.loads(content)
        fresh: dict[Any, str] = overloads
        return fresh if (version, stamp) == (self._version, self._source_stamp) else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        index = (self._version, self._source_stamp, overloads)
        self._write(self._index_name, "", self._dump(index))

    def _write(self, name: str, purpose: str, content: bytes) -> None:
        with self._open_for_write(self._data_path(name)) as file:
            file.write(_checksum(name, purpose, content) + content)

    def _checked(self, name: str, purpose: str) -> bytes | None:
        """Return the content of a file, or None if it cannot be read or is damaged."""
        try:
            whole = Path(self._data_path(name)).read_bytes()
        except OSError:
            return None
        checksum, content = whole[:_CHECKSUM_BYTES], whole[_CHECKSUM_BYTES:]
        return content if checksum == _checksum(name, purpose, content) else None


def _checksum(name: str, purpose: str, content: bytes) -> bytes:
    start = zlib.crc32(f"{name} {purpose}".encode())
    return zlib.crc32(content, start).to_bytes(_CHECKSUM_BYTES, "big")
