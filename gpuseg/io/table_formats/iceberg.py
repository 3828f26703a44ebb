"""Iceberg tables, by the library `pyiceberg`: the current snapshot, without deleted rows.

A table is read by its newest metadata file, without a catalog.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from gpuseg import arrow_compute as pc
from gpuseg.errors import DataError, GpusegError, ResourceError
from gpuseg.io.library_errors import exhausted, first_line
from gpuseg.io.storage import Storage, store_errors
from gpuseg.io.table_formats.detect import ICEBERG, ICEBERG_METADATA, iceberg_metadata
from gpuseg.io.table_formats.metadata_files import (
    refuse_special_files,
    refuse_special_files_below,
)
from gpuseg.io.table_formats.snapshot import (
    InputFile,
    LiveFile,
    current_files,
    empty,
    missing_extra,
    readable_in_place,
    unreadable,
)
from gpuseg.io.table_formats.stores import iceberg_options

_VERSION = re.compile(r"v?(\d+)(-[^/]*)?(\.gz)?\.metadata\.json")


def iceberg_files(storage: Storage, parameter: str) -> tuple[Storage, list[InputFile]]:
    """Return the files of the current snapshot of an Iceberg table, and where these are.

    Raises
    ------
    DataError
        For a table that cannot be read, has no rows, or whose newest metadata file is not known.
    ResourceError
        If the library is not installed.
    """
    try:
        from pyiceberg.io.pyarrow import schema_to_pyarrow
        from pyiceberg.manifest import FileFormat
        from pyiceberg.table import StaticTable
    except ImportError:
        raise missing_extra(storage, ICEBERG, "iceberg", parameter) from None
    location = _newest_metadata(storage, parameter)
    url = location if storage.is_local else storage.fs.unstrip_protocol(location)
    options = iceberg_options(storage)
    if storage.is_local:
        refuse_special_files_below(str(Path(location).parent))
    with _library_errors(storage, parameter):
        table = StaticTable.from_metadata(str(url), options)
        refuse_special_files(_manifests(table))
        tasks = sorted(table.scan().plan_files(), key=lambda task: task.file.file_path)
        refuse_special_files(
            file.file_path for task in tasks for file in (task.file, *task.delete_files)
        )
        with_ids = schema_to_pyarrow(table.schema())
    if not tasks:
        raise empty(storage, ICEBERG, parameter)
    schema = pa.schema([field.remove_metadata() for field in with_ids])
    files = [
        InputFile(
            str(storage.fs._strip_protocol(task.file.file_path)), task.file.file_size_in_bytes, {}
        )
        for task in tasks
    ]
    paths = [
        None if task.delete_files or task.file.file_format != FileFormat.PARQUET else file.path
        for file, task in zip(files, tasks, strict=True)
    ]
    live = [
        LiveFile(file)
        if in_place
        else LiveFile(file, partial(_read, storage, table, task, schema, parameter))
        for file, task, in_place in zip(
            files, tasks, readable_in_place(storage, paths, with_ids), strict=True
        )
    ]
    return current_files(storage, live, schema)


def _manifests(table: Any) -> Iterator[str]:
    """Yield the list of manifests of the current snapshot, and after it the manifests."""
    if snapshot := table.current_snapshot():
        yield snapshot.manifest_list
        yield from (manifest.manifest_path for manifest in snapshot.manifests(table.io))


@contextmanager
def _library_errors(storage: Storage, parameter: str) -> Iterator[None]:
    """Turn the errors of the library, and of the codecs that it calls, into our own errors."""
    from pyiceberg.exceptions import NotInstalledError

    try:
        yield
    except GpusegError:
        raise
    except store_errors():
        raise
    except (ImportError, NotInstalledError) as error:
        raise ResourceError(
            "table.codec_missing",
            f"the {ICEBERG} table needs a library that is not installed ({first_line(error)})",
            value=storage.url,
            hint="install the library that the message names",
            parameter=parameter,
        ) from None
    except Exception as error:  # noqa: BLE001 - a codec or a store may raise whatever it likes
        machine = exhausted(error, storage.url)
        raise machine or unreadable(storage, ICEBERG, error, parameter) from None


def _newest_metadata(storage: Storage, parameter: str) -> str:
    """Return the path of the metadata file with the highest version.

    Raises
    ------
    DataError
        If there are several, of which one may be of a commit that failed, or one has no version.
    """
    if storage.root.endswith(ICEBERG_METADATA):
        return storage.root
    paths = iceberg_metadata(storage.fs, storage.root)
    versions = [_VERSION.fullmatch(path.rpartition("/")[2]) for path in paths]
    numbers = [int(version[1]) if version else None for version in versions]
    newest = [
        path
        for path, number in zip(paths, numbers, strict=True)
        if number is None or number == max(filter(None, numbers), default=0)
    ]
    if len(newest) > 1 or None in numbers:
        raise DataError(
            "table.ambiguous_version",
            "the names of the metadata files do not tell the newest one: "
            + " or ".join(path.rpartition("/")[2] for path in newest[:2]),
            value=storage.url,
            hint="give the path of the metadata file that the catalog names",
            parameter=parameter,
        )
    return newest[0]


def _read(
    storage: Storage, table: Any, task: Any, schema: pa.Schema, parameter: str
) -> Iterator[pa.RecordBatch]:
    """Read the rows of one file that are not deleted, with the columns of the table."""
    from pyiceberg.expressions import AlwaysTrue
    from pyiceberg.io.pyarrow import ArrowScan

    scan = ArrowScan(table.metadata, table.io, table.schema(), AlwaysTrue())
    with _library_errors(storage, parameter):
        for batch in scan.to_record_batches([task]):
            arrays = [pc.cast(batch.column(field.name), field.type) for field in schema]
            yield pa.record_batch(arrays, schema=schema)
