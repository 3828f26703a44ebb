"""File systems: a local path or any fsspec URL as a file system and a path in it."""

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
from gpuseg.redaction import redacted, without_values

_PARQUET_OPTIONS: Mapping[str, Any] = {
    "page_checksum_verification": True,
    "coerce_int96_timestamp_unit": "us",
}

_DATA_FILES = (".parquet", ".pq", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")
"""Ends of the names of files that have data; a folder may have such a name too."""


@dataclass(frozen=True)
class Storage:
    """A path in a file system.

    Attributes
    ----------
    url : str
        The path or URL as the user wrote it.
    fs : fsspec file system
    root : str
        The path within `fs`.
    """

    url: str
    fs: Any = field(repr=False)
    root: str

    @classmethod
    def from_url(cls, url: str, options: Mapping[str, Any], parameter: str) -> "Storage":
        """Resolve a path or URL; `parameter` is the parameter that holds it, for messages."""
        try:
            fs, root = fsspec.core.url_to_fs(url, **options)
        except (ValueError, ImportError, TypeError) as error:
            raise ConfigError(
                "path.unknown_file_system",
                str(error),
                value=url,
                hint="use a path or a URL of an installed file system (s3:// needs gpuseg[s3]), "
                "with its own storage_options",
                parameter=parameter,
            ) from None
        except Exception as error:  # noqa: BLE001 - a file system may raise whatever it likes
            raise unreachable(parameter, url, error) from None
        fs.invalidate_cache()  # a folder may have changed since it was listed
        return cls(url, fs, root.rstrip("/") or "/")

    def __repr__(self) -> str:
        """Return the URL without secrets; logs of workers show it."""
        return f"Storage({self.shown_url!r})"

    @property
    def shown_url(self) -> str:
        """The path or URL without a login or a token, for whatever is shown or written."""
        return redacted(self.url)

    @property
    def is_local(self) -> bool:
        """Whether this is the file system of this machine."""
        return isinstance(self.fs, fsspec.implementations.local.LocalFileSystem)

    def relative(self, path: str) -> str:
        """Return a path below the root relative to it."""
        name = path[len(self.root) :].lstrip("/") or Path(path).name
        return name.partition("?")[0] if "://" in path else name  # a query may have a token

    def find(self, parameter: str) -> dict[str, dict[str, Any]] | None:
        """Return what the file system knows of each file below the root; None if there is no root.

        A root that is a file is the only one: a web server could not list it.

        Raises
        ------
        DataError
            With `parameter`, which holds the path.
        """
        try:
            entries = self._single_file() or self.fs.find(self.root, detail=True)
            return entries if entries or self.fs.exists(self.root) else None
        except MemoryError:
            raise
        except _store_errors():
            raise
        except Exception as error:  # noqa: BLE001 - a file system may raise whatever it likes
            problem = str(error) if isinstance(error, OSError) else first_line(error)
            raise DataError(
                "path.unlistable", f"cannot be listed ({problem})", value=self.url,
                parameter=parameter, hint="check the path, and the storage_options",
            ) from None  # fmt: skip

    def _single_file(self) -> dict[str, dict[str, Any]]:
        """Return the root with its size if it is a file of another machine, by its name too."""
        path = self.root.partition("?")[0].lower()
        if self.is_local or not path.endswith(_DATA_FILES):
            return {}
        try:
            info = self.fs.info(self.root)
        except FileNotFoundError:
            return {}
        return {self.root: info} if info["type"] == "file" else {}

    def open_parquet(self, path: str) -> pq.ParquetFile:
        """Open a Parquet file and read its footer; reads will verify page checksums.

        Times of the deprecated type INT96, which Spark, Impala and Hive write, are read to the
        microsecond: 64 bits of nanoseconds, Arrow's default, end in the year 2262.

        Raises
        ------
        DataError
            If the file is missing or not a complete Parquet file.
        """
        try:
            if self.is_local:
                return pq.ParquetFile(path, **_PARQUET_OPTIONS)
            return pq.ParquetFile(self.fs.open(path, "rb"), pre_buffer=True, **_PARQUET_OPTIONS)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise DataError(
                    "file.unreadable",
                    f"{self.relative(path)} cannot be read ({first_line(error)})",
                    hint="check that the file exists and that you may read it",
                ) from None
            raise DataError(
                "file.not_parquet",
                f"{self.relative(path)} is not a complete Parquet file ({first_line(error)})",
                hint="write it again, or move it out of the folder (names that begin with '_' or "
                "'.' are ignored)",
            ) from None


@contextmanager
def wrap_store_errors(parameter: str, url: str) -> Iterator[None]:
    """Turn errors of a store's library into `ResourceError`; an OSError passes.

    Such libraries (botocore, aiohttp) have their own errors for missing credentials and for
    servers that do not answer.
    """
    try:
        yield
    except _store_errors() as error:
        raise unreachable(parameter, url, error) from None


def _store_errors() -> tuple[type[Exception], ...]:
    """Return the error classes of the loaded libraries of stores."""
    known = (("botocore.exceptions", "BotoCoreError"), ("aiohttp", "ClientError"))
    return tuple(getattr(sys.modules[m], name) for m, name in known if m in sys.modules)


def unreachable(parameter: str, url: str, error: BaseException) -> ResourceError:
    """Return the error of a path or URL that exists or not, but cannot be read."""
    return ResourceError(
        "path.unreachable",
        f"cannot be reached ({type(error).__name__}: {first_line(error)})",
        value=url,
        hint="check address, credentials and network",
        parameter=parameter,
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without its final full stop.

    Lines and values of the data are left out: they may be personal.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return without_values(lines[0]).rstrip(".")
