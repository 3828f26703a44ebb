"""The current rows of a table as Parquet files.

Files that have just the rows and the columns of the table are read where they are. If one file has
deleted rows, or columns of an older schema, all files go to a scratch folder: such a file is
written again, and the others are linked or copied.
"""

import errno
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg.errors import DataError, GpusegError, ResourceError, install_extra
from gpuseg.io.library_errors import LIBRARY_ERRORS, exhausted, first_line, reading
from gpuseg.io.storage import Storage
from gpuseg.runtime.temporary_folder import create_temporary_folder

_FIELD_ID = b"PARQUET:field_id"
_GROUP_ROWS = 2**17
_FOOTERS_AT_ONCE = 16

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
"""Errors of writing that no reading has."""

_READ = (
    "table.file_unreadable",
    ", a current file of the table, cannot be read",
    "check the table with the program that writes it",
)


class InputFile(NamedTuple):
    """A file of the input.

    Attributes
    ----------
    path : str
    size : int
        Bytes.
    constants : mapping of str to pyarrow.Scalar, or None
        Columns that are in no file, and their values. None: those in the names of its folders.
    """

    path: str
    size: int
    constants: Mapping[str, pa.Scalar] | None = None


@dataclass(frozen=True)
class LiveFile:
    """A file with current rows of a table.

    Attributes
    ----------
    file : InputFile
    rows : callable or None
        Returns its rows as those of the table, in batches; None if the file has just these.
    """

    file: InputFile
    rows: Callable[[], Iterator[pa.RecordBatch]] | None = None


def current_files(
    storage: Storage, files: Sequence[LiveFile], schema: pa.Schema
) -> tuple[Storage, list[InputFile]]:
    """Return the current rows of a table as files, and where these are.

    Parameters
    ----------
    files : sequence of LiveFile
    schema : pyarrow.Schema
        Of the rows of the files.

    Raises
    ------
    DataError
        For a file that cannot be read.
    ResourceError
        For a scratch folder that has no room.
    """
    if all(live.rows is None for live in files):
        return storage, [live.file for live in files]
    scratch = Scratch()
    width = len(str(len(files)))
    copies = []
    for number, live in enumerate(files):
        target = scratch.path / f"{number:0{width}}-{Path(live.file.path).name}"
        if live.rows is None:
            _link(storage, live.file.path, target)
        else:
            _write(storage, live, schema, target.with_suffix(".parquet"))
            target = target.with_suffix(".parquet")
        copies.append(InputFile(str(target), target.stat().st_size, live.file.constants))
    here = Storage.from_url(str(scratch.path), {}, "path")
    return Storage(storage.url, here.fs, str(scratch.path), scratch), copies


class Scratch:
    """A folder for copies, which is removed with this object.

    Attributes
    ----------
    path : Path
    """

    def __init__(self) -> None:
        path, remove = create_temporary_folder()
        self.path = Path(path)
        self._remove = weakref.finalize(self, remove)


def _link(storage: Storage, path: str, target: Path) -> None:
    if storage.is_local:
        target.symlink_to(Path(path).absolute())
        return
    name = storage.relative(path)
    with reading(name, *_READ):
        try:
            storage.fs.get_file(path, str(target))
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise _cannot_write(name, error) from None
            raise


def _write(storage: Storage, live: LiveFile, schema: pa.Schema, target: Path) -> None:
    if live.rows is None:
        return
    name = storage.relative(live.file.path)
    try:
        with pq.ParquetWriter(target, schema, write_page_checksum=True) as writer:
            for batch in _rows(live.rows, name):
                writer.write_batch(batch, row_group_size=_GROUP_ROWS)
    except LIBRARY_ERRORS as error:
        if isinstance(error, GpusegError):
            raise
        raise exhausted(error, name) or _cannot_write(name, error) from None


def _rows(rows: Callable[[], Iterator[pa.RecordBatch]], name: str) -> Iterator[pa.RecordBatch]:
    """Yield rows; the errors of reading them differ from those of writing them."""
    with reading(name, *_READ):
        yield from rows()


def _cannot_write(name: str, error: BaseException) -> ResourceError:
    return ResourceError(
        "table.no_scratch",
        f"the current rows of {name} cannot be written to the folder for temporary files",
        hint="set TMPDIR to a folder with room for the table",
        reason=first_line(error),
    )


def readable_in_place(
    storage: Storage, paths: Sequence[str | None], schema: pa.Schema
) -> list[bool]:
    """Return for each file whether it has the columns of the table, by its footer.

    Types of the same values are enough if all files have the same ones.

    Parameters
    ----------
    paths : sequence of str or None
        None for a file that has to be written again anyway.
    schema : pyarrow.Schema

    Raises
    ------
    DataError
        For a file that is missing or not Parquet.
    """

    def stored_schema(path: str | None) -> pa.Schema | None:
        if path is None:
            return None
        with storage.open_parquet(path) as file:
            stored = file.schema_arrow
        return stored if _has_columns(stored, schema) else None

    with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
        schemas = list(pool.map(stored_schema, paths))
    kinds = {None if stored is None else _types(stored) for stored in schemas}
    if len(kinds) == 1 and None not in kinds:
        return [True] * len(schemas)
    return [stored is not None and _types(stored) == _types(schema) for stored in schemas]


def _types(schema: pa.Schema) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((field.name, str(field.type)) for field in schema))


def _has_columns(stored: pa.Schema, schema: pa.Schema) -> bool:
    """Whether a file has the columns of a table, with types of the same values."""
    if sorted(stored.names) != sorted(schema.names):
        return False
    return all(_is_same_field(stored.field(field.name), field) for field in schema)


def _is_same_field(stored: pa.Field, field: pa.Field) -> bool:
    """Whether two columns of a name are the same one; a table may have numbers for its columns."""
    number = (field.metadata or {}).get(_FIELD_ID)
    if number is not None and (stored.metadata or {}).get(_FIELD_ID) != number:
        return False
    return _is_same(stored.type, field.type)


def _is_same(stored: pa.DataType, kind: pa.DataType) -> bool:
    """Return whether columns of two types hold values of one kind.

    Units of time and widths of offsets may differ.
    """
    t = pa.types
    groups: Sequence[Sequence[Callable[[pa.DataType], Any]]] = (
        (t.is_string, t.is_large_string, t.is_string_view),
        (t.is_binary, t.is_large_binary, t.is_binary_view),
        (t.is_timestamp,),
        (t.is_nested,),  # nested columns are never used
    )
    return bool(
        stored == kind
        or any(
            any(is_kind(stored) for is_kind in group) and any(is_kind(kind) for is_kind in group)
            for group in groups
        )
    )


_EXPORT = (
    "let the program that writes the table write its current rows as Parquet files to another "
    "folder, and read these"
)


def unreadable(storage: Storage, name: str, error: BaseException, parameter: str) -> DataError:
    """Return the error of a table whose metadata cannot be read."""
    return DataError(
        "table.unreadable",
        f"the {name} table cannot be read",
        value=storage.url,
        hint=f"check the table, or {_EXPORT}",
        parameter=parameter,
        reason=f"{type(error).__name__}: {first_line(error)}",
    )


def unsupported(storage: Storage, name: str, feature: str, parameter: str) -> DataError:
    """Return the error of a table with a feature that cannot be read here."""
    return DataError(
        "table.unsupported",
        f"the {name} table has the feature {feature}, which gpuseg cannot read",
        value=storage.url,
        hint=_EXPORT,
        parameter=parameter,
    )


def missing_extra(storage: Storage, name: str, extra: str, parameter: str) -> ResourceError:
    """Return the error of a table whose library is not installed."""
    return ResourceError(
        "table.library_missing",
        f"is a {name} table, whose folder also has files of older versions",
        value=storage.url,
        hint=f"install the library that knows the current ones: {install_extra(extra)}",
        parameter=parameter,
    )


def empty(storage: Storage, name: str, parameter: str) -> DataError:
    """Return the error of a table without rows."""
    return DataError(
        "table.no_rows", f"the {name} table has no rows", value=storage.url, parameter=parameter
    )
