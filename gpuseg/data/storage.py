"""File systems: a local path or any fsspec URL, as one file system and a path in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg.errors import DataError, JobError


@dataclass(frozen=True)
class Storage:
    """A place in a file system.

    Attributes
    ----------
    url : str
        As the user wrote it.
    fs : fsspec file system
    root : str
        The path within `fs`.
    """

    url: str
    fs: Any = field(repr=False)
    root: str

    @classmethod
    def at(cls, url: str, options: Mapping[str, Any], key: str) -> "Storage":
        """Resolve a path or URL; `key` is the job key that it came from, for messages."""
        try:
            fs, root = fsspec.core.url_to_fs(url, **options)
        except (ValueError, ImportError, TypeError) as error:
            raise JobError(
                f"{key} = {url!r}: {error}; use a path, or a URL whose file system is installed "
                "(s3:// needs gpuseg[s3])"
            ) from None
        return cls(url, fs, root.rstrip("/") or "/")

    @property
    def is_local(self) -> bool:
        """Whether this is a file system of this machine."""
        return isinstance(self.fs, fsspec.implementations.local.LocalFileSystem)

    def relative(self, path: str) -> str:
        """Return a path below the root as the user would name it."""
        return path[len(self.root) :].lstrip("/") or Path(path).name

    def open_parquet(self, path: str) -> pq.ParquetFile:
        """Open a Parquet file; its footer is read, and its page checksums will be verified.

        Raises
        ------
        DataError
            When the file is gone or not a whole Parquet file.
        """
        try:
            if self.is_local:
                return pq.ParquetFile(path, page_checksum_verification=True)
            return pq.ParquetFile(
                self.fs.open(path, "rb"), pre_buffer=True, page_checksum_verification=True
            )
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{self.relative(path)}: not a whole Parquet file ({first_line(error)}); "
                "write it again, or move it out of the folder (names that begin with '_' or '.' "
                "are passed over)"
            ) from None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without its final full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
