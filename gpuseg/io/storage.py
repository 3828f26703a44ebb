"""File systems: a local path or any fsspec URL as a file system and a path in it."""

import inspect
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq

from gpuseg.errors import ConfigError, DataError, ResourceError
from gpuseg.io.file_formats import HEAD_BYTES, FileFormat, other_format
from gpuseg.io.file_version import (
    FileVersion,
    changed,
    footer_hash,
    local_version,
    object_version,
)
from gpuseg.io.library_errors import LIBRARY_ERRORS, exhausted, first_line, reading
from gpuseg.redaction import redacted

_FILES_AT_ONCE = 16

_PARQUET_OPTIONS: Mapping[str, Any] = {
    "page_checksum_verification": True,
    "coerce_int96_timestamp_unit": "us",
}

_DATA_FILES = (
    *(".parquet", ".pq", ".xlsx", ".xlsm"),
    *(f"{name}{end}" for name in (".csv", ".tsv", ".txt") for end in ("", ".gz", ".bz2", ".zst")),
)
"""Ends of the names of files that have data; a folder may have such a name too."""

_NOT_PARQUET = "file.not_parquet"
"""The code of the error of a file that is not, or no longer, a Parquet file."""

_CHECK_FILE = "check that the file exists and that you may read it"


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
    scratch : object, optional
        A temporary folder that is kept as long as this object; it stays with its process.
    patterns : tuple of str
        Names below the root, some of them patterns, if this is a glob (`io.glob_patterns`).
    selected : tuple of Storage
        Paths and globs below the root, if these are the input, and not all of the root.
    """

    url: str
    fs: Any = field(repr=False)
    root: str
    scratch: Any = field(default=None, repr=False, compare=False)
    patterns: tuple[str, ...] = ()
    selected: tuple["Storage", ...] = field(default=(), repr=False)
    _compared: set[tuple[str, FileVersion]] = field(
        default_factory=set, init=False, repr=False, compare=False
    )
    """Objects that this process has compared with their versions: each needs a request."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "scratch": None, "_compared": set()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @classmethod
    def from_url(cls, url: str, options: Mapping[str, Any], parameter: str) -> "Storage":
        """Resolve a path or URL; `parameter` is the parameter that holds it, for messages."""
        _check_characters(url, parameter)
        try:
            fs, root = _resolved(url, options)
        except (ValueError, ImportError, TypeError) as error:
            raise ConfigError(
                "path.unknown_file_system",
                str(error),
                value=url,
                hint="use a path or a URL of an installed file system (s3:// needs the extra s3), "
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
        """Return a path below the root relative to it, and of another path the name."""
        below = path[len(self.root) :].lstrip("/") if path.startswith(self.root) else ""
        name = below or Path(path).name
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
            # A store lists a prefix as a whole, or fails; others leave out what they cannot list.
            walks = type(self.fs).find.__module__ == "fsspec.spec"
            leaves_out = walks and not self.fs.async_impl
            if leaves_out and not self.fs.exists(self.root):
                return None
            strict = {"on_error": "raise"} if leaves_out and not self.fs.isfile(self.root) else {}
            entries = self._single_file() or self.fs.find(self.root, detail=True, **strict)
            return entries if entries or self.fs.exists(self.root) else None
        except store_errors():
            raise
        except Exception as error:  # noqa: BLE001 - a file system may raise whatever it likes
            problem = str(error) if isinstance(error, OSError) else first_line(error)
            raise exhausted(error, self.url) or DataError(
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

    def version(self, path: str) -> FileVersion:
        """Return the version of a file, without the hash of its footer.

        Raises
        ------
        DataError
            If it cannot be found, or is not a regular file.
        """
        name = self.relative(path)
        with reading(name, "file.unreadable", " cannot be read", _CHECK_FILE):
            if self.is_local:
                return local_version(path, name)
            return object_version(self.fs.info(path))

    def refuse_change(self, path: str, version: FileVersion) -> None:
        """Refuse a file that is no longer of a version; the footer is not compared.

        Raises
        ------
        DataError
        """
        name = self.relative(path)
        try:
            now = self.version(path)
        except DataError as error:
            raise changed(name, error.problem) from None
        if now.differs(version):
            how = f"{version.size:,} bytes, now {now.size:,}"
            raise changed(name, how if now.size != version.size else "the same size, another state")

    def refuse_local_change(self, path: str, version: FileVersion) -> None:
        """Refuse a changed file of this machine; objects are compared again at publishing.

        Raises
        ------
        DataError
        """
        if self.is_local:
            self.refuse_change(path, version)

    def open_parquet(self, path: str, version: FileVersion | None = None) -> pq.ParquetFile:
        """Open a Parquet file and read its footer; reads will verify page checksums.

        Times of the deprecated type INT96, which Spark, Impala and Hive write, are read to the
        microsecond: 64 bits of nanoseconds, Arrow's default, end in the year 2262.

        Parameters
        ----------
        version : FileVersion, optional
            The version that the file must have. An object is compared with it when it is first
            opened.

        Raises
        ------
        DataError
            If the file is missing, not a complete Parquet file, or of another version.
        """
        if version is None:
            self.version(path)
        elif is_due := self.is_local or (path, version) not in self._compared:
            self.refuse_change(path, version)
        with ExitStack() as on_error:
            with self._naming_other_format(path), self.wrap_reading(path, version):
                if self.is_local:
                    file = pq.ParquetFile(path, **_PARQUET_OPTIONS)
                else:
                    opened = on_error.enter_context(self.fs.open(path, "rb"))
                    file = pq.ParquetFile(opened, pre_buffer=True, **_PARQUET_OPTIONS)
            on_error.callback(file.close)
            if version is not None and is_due:
                self.refuse_local_change(path, version)  # the file that was seen is the one opened
                if version.footer and version.machine != os.uname().nodename:
                    self.refuse_other_footer(path, version)
                self._compared.add((path, version))
            on_error.pop_all()
        return file

    @contextmanager
    def wrap_reading(
        self,
        path: str,
        version: FileVersion | None,
        code: str = _NOT_PARQUET,
        problem: str = " is not a complete Parquet file",
        hint: str = "write it again, or move it out of the folder (names that begin with '_' or "
        "'.' are ignored)",
    ) -> Iterator[None]:
        """Turn errors of reading a file into `DataError`: one of its change, if it has changed."""
        name = self.relative(path)
        try:
            with reading(name, code, problem, hint):
                yield
        except DataError:
            if version is not None:
                self.refuse_change(path, version)
            raise

    @contextmanager
    def _naming_other_format(self, path: str) -> Iterator[None]:
        """Let the error of a file that is no Parquet file say what it is, where that is known."""
        try:
            yield
        except DataError as error:
            if error.code == _NOT_PARQUET and (other := other_format(self._head(path))):
                error.problem, error.reason = f"{self.relative(path)} is {other.title}", ""
                error.rule = "must be Parquet, or belong to a table of Delta Lake or Iceberg"
                others = "" if path == self.root else "; or move it out of the folder"
                error.hint = f"{self.next_step(path, other)}{others}"
            raise

    def next_step(self, path: str, format: FileFormat) -> str:
        """Return how the rows of a file of another format can be read, for a hint."""
        return format.next_step(self.relative(path), self.shown_url if path == self.root else None)

    def _head(self, path: str) -> bytes:
        """Return the first bytes of a file, or none if they cannot be read."""
        try:
            with self.fs.open(path, "rb") as file:
                return bytes(file.read(HEAD_BYTES))
        except LIBRARY_ERRORS:
            return b""

    def footer_hash(self, path: str) -> str:
        """Return the hash of the footer of a Parquet file.

        Raises
        ------
        DataError
        """
        with self.wrap_reading(path, None), self.fs.open(path, "rb") as file:
            return footer_hash(file)

    def refuse_changes(self, versions: Sequence[tuple[str, FileVersion]]) -> None:
        """Refuse files that are no longer of their versions, footers included.

        Raises
        ------
        DataError
        """

        def refuse(item: tuple[str, FileVersion]) -> None:
            self.refuse_change(*item)
            if item[1].footer:
                self.refuse_other_footer(*item)

        self.fs.invalidate_cache()
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            for _ in pool.map(refuse, versions):
                pass

    def refuse_other_footer(self, path: str, version: FileVersion) -> None:
        """Refuse a Parquet file whose footer is not that of a version.

        Raises
        ------
        DataError
        """
        try:
            footer = self.footer_hash(path)
        except DataError as error:
            raise changed(self.relative(path), error.problem) from None
        if footer != version.footer:
            raise changed(self.relative(path), "another footer")


def _resolved(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the file system of a URL, and the path within it.

    fsspec takes "::" for the sign between two file systems, one inside the other, and forgets what
    follows it where the first one holds no other. There it is part of a name.
    """
    if "::" not in url or _is_chain(url):
        fs, root = fsspec.core.url_to_fs(url, **options)
        return fs, str(root)
    kind = fsspec.get_filesystem_class(fsspec.core.split_protocol(url)[0] or "file")
    return kind(**{**kind._get_kwargs_from_urls(url), **options}), str(kind._strip_protocol(url))


def _is_chain(url: str) -> bool:
    """Return whether a URL names a file system within another.

    Raises
    ------
    ValueError
        If one within it can hold no other.
    """
    *outer, _ = url.split("::")
    holds_another = [_holds_another(link) for link in outer]
    if holds_another[0] and not all(holds_another):
        link = outer[holds_another.index(False)]
        raise ValueError(f"{link!r} holds no other file system, so '::' must not follow it")
    return holds_another[0]


def _holds_another(link: str) -> bool:
    """Return whether a part of a URL is a file system inside another, such as an archive."""
    is_protocol = link in fsspec.available_protocols()
    protocol = link if is_protocol else fsspec.core.split_protocol(link)[0]
    if protocol is None:
        return False
    kind = fsspec.get_filesystem_class(protocol)
    return "fo" in inspect.signature(kind.__init__).parameters or any(
        base.__name__ == "ChainedFileSystem" for base in kind.__mro__
    )


def _check_characters(url: str, parameter: str) -> None:
    """Refuse a path or URL with characters that no path can have.

    Raises
    ------
    ConfigError
    """
    try:
        is_path = b"\0" not in os.fsencode(url)
    except UnicodeEncodeError:
        is_path = False
    if not is_path:
        raise ConfigError(
            "path.not_a_path", value=url, parameter=parameter,
            rule="must have no NUL and no half of a character",
        )  # fmt: skip


@contextmanager
def wrap_store_errors(parameter: str, url: str) -> Iterator[None]:
    """Turn errors of a store's library into `ResourceError`; an OSError passes.

    Such libraries (botocore, aiohttp) have their own errors for missing credentials and for
    servers that do not answer.
    """
    try:
        yield
    except store_errors() as error:
        raise unreachable(parameter, url, error) from None


def store_errors() -> tuple[type[Exception], ...]:
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
