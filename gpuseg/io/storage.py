"""File systems: a local path or any fsspec URL, as one file system and a path in it."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg.errors import ConfigError, DataError, ResourceError


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
    def from_url(cls, url: str, options: Mapping[str, Any], key: str) -> "Storage":
        """Resolve a path or URL; `key` is the job key that it came from, for messages."""
        try:
            fs, root = fsspec.core.url_to_fs(url, **options)
        except (ValueError, ImportError, TypeError) as error:
            raise ConfigError(
                f"{key} = {url!r}: {error}; use a path, or a URL whose file system is installed "
                "(s3:// needs gpuseg[s3]), with the storage_options that it knows"
            ) from None
        except OSError as error:
            raise ResourceError(_unreachable(key, url, error)) from None
        fs.invalidate_cache()  # what was listed earlier may have changed since
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
            if isinstance(error, OSError) and error.errno is not None:
                raise DataError(
                    f"{self.relative(path)}: cannot be read ({first_line(error)}); see that it is "
                    "still there and that you may read it"
                ) from None
            raise DataError(
                f"{self.relative(path)}: not a whole Parquet file ({first_line(error)}); "
                "write it again, or move it out of the folder (names that begin with '_' or '.' "
                "are passed over)"
            ) from None


@contextmanager
def wrap_store_errors(key: str, url: str) -> Iterator[None]:
    """Turn what a store's own library raises into `ResourceError`; OSErrors pass.

    Such libraries (botocore, aiohttp) have errors of their own for missing credentials and
    servers that do not answer.
    """
    try:
        yield
    except _store_errors() as error:
        raise ResourceError(_unreachable(key, url, error)) from None


def _store_errors() -> tuple[type[Exception], ...]:
    """Return the error classes of those stores' libraries that are loaded."""
    known = (("botocore.exceptions", "BotoCoreError"), ("aiohttp", "ClientError"))
    return tuple(getattr(sys.modules[m], name) for m, name in known if m in sys.modules)


def _unreachable(key: str, url: str, error: BaseException) -> str:
    return (
        f"{key} = {url!r}: cannot be reached ({type(error).__name__}: {first_line(error)}); check "
        "address, credentials and network"
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without its final full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
