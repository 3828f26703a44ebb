"""The version of a file: what tells that it has changed since a run opened it."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuseg.errors import DataError
from gpuseg.io.regular_files import refuse_special_file
from gpuseg.runtime.varies_by_run import VariesByRun

_TAGS = ("ETag", "etag", "e_tag", "generation", "md5Hash", "content_md5", "checksum")
"""What stores call the identity of the content of an object."""

_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")


@dataclass(frozen=True)
class FileVersion(VariesByRun):
    """One state of a file.

    Attributes
    ----------
    size : int
        Bytes.
    marks : tuple
        Of a local file its times of change and its number; of an object the identity of its
        content, or else its time of change. Empty if the store tells nothing.
    machine : str
        Where a local file was seen: another machine may number a shared file differently.
    footer : str
        Hash of the Parquet footer; empty if there is none, or the marks say enough.
    """

    size: int
    marks: tuple[Any, ...]
    machine: str = ""
    footer: str = ""

    def differs(self, other: "FileVersion") -> bool:
        """Return whether two versions are not the same, without their footers."""
        comparable = self.machine == other.machine
        return self.size != other.size or (comparable and self.marks != other.marks)


def local_version(path: str, name: str) -> FileVersion:
    """Return the version of a file on this machine; `name` names it in messages.

    Programs can set the time of the last change of the content (mtime), for example when they copy
    a file. The system sets the time of the last change of the file's state (ctime).

    Raises
    ------
    OSError
    DataError
        For what is not a regular file: opening a pipe may wait forever, and reading a device too.
    """
    info = Path(path).stat()
    refuse_special_file(name, info.st_mode)
    marks = (info.st_mtime_ns, info.st_ctime_ns, info.st_ino)
    return FileVersion(info.st_size, marks, os.uname().nodename)


def object_version(info: Mapping[str, Any]) -> FileVersion:
    """Return the version of an object, from what its store tells of it."""
    tags = tuple(str(info[key]) for key in _TAGS if info.get(key) is not None)
    times = tuple(str(info[key]) for key in _TIMES if info.get(key) is not None)
    return FileVersion(int(info.get("size") or 0), tags or times)


def footer_hash(file: Any) -> str:
    """Return the hash of the footer of an open Parquet file (bytes, seekable)."""
    file.seek(-8, os.SEEK_END)
    length = int.from_bytes(file.read(8)[:4], "little")
    file.seek(-8 - length, os.SEEK_END)
    return hashlib.sha256(file.read(length)).hexdigest()


def changed(name: str, how: str) -> DataError:
    """Return the error of a file that has changed since the run opened it."""
    return DataError(
        "input.changed",
        f"{name} has changed since the run opened it ({how})",
        rule="the files of the input must stay as they are during a run",
        hint="run again when nothing writes to them; an older output is as it was",
    )
