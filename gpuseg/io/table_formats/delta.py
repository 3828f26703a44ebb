"""Delta tables, by the library `deltalake`: the current version, without deleted rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import from_numpy
from gpuseg.errors import GpusegError
from gpuseg.io.library_errors import LIBRARY_ERRORS
from gpuseg.io.parquet.read_batches import wrap_decoding
from gpuseg.io.storage import Storage
from gpuseg.io.table_formats.detect import DELTA
from gpuseg.io.table_formats.metadata_files import refuse_special_files_below
from gpuseg.io.table_formats.snapshot import (
    InputFile,
    LiveFile,
    current_files,
    empty,
    missing_extra,
    readable_in_place,
    unreadable,
    unsupported,
)
from gpuseg.io.table_formats.stores import delta_options

_DELETION_VECTORS = "deletionVectors"
_KNOWN_FEATURES = {
    *(_DELETION_VECTORS, "columnMapping", "timestampNtz", "typeWidening", "typeWidening-preview"),
    *("v2Checkpoint", "vacuumProtocolCheck"),
}
"""What a reader must know of a table, by the protocol of Delta, and is done here or in the
library."""

_PHYSICAL_NAME = "delta.columnMapping.physicalName"
_BATCH_ROWS = 2**17


@dataclass(frozen=True)
class _Columns:
    """The columns of a table that are in its files.

    Attributes
    ----------
    schema : pyarrow.Schema
        As the table has them.
    stored_names : tuple of str
        The names that the files have for them.
    """

    schema: pa.Schema
    stored_names: tuple[str, ...]


def delta_files(storage: Storage, parameter: str) -> tuple[Storage, list[InputFile]]:
    """Return the files of the current version of a Delta table, and where these are.

    Raises
    ------
    DataError
        For a table that cannot be read, has no rows, or has a feature that is not known here.
    ResourceError
        If the library is not installed.
    """
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError
    except ImportError:
        raise missing_extra(storage, DELTA, "delta", parameter) from None
    failures: tuple[type[Exception], ...] = (*LIBRARY_ERRORS, DeltaError)
    options = delta_options(storage)
    if storage.is_local:
        refuse_special_files_below(f"{storage.root}/_delta_log")
    try:
        table = DeltaTable(*options)
        features = set(table.protocol().reader_features or ())
        actions = pa.table(table.get_add_actions(flatten=True))
        partitions = table.metadata().partition_columns
        columns = _columns(table, partitions)
        if storage.is_local and _DELETION_VECTORS in features:
            refuse_special_files_below(storage.root, ".bin")  # the vectors
        kept = _kept_rows(table, storage) if _DELETION_VECTORS in features else {}
    except GpusegError:
        raise
    except failures as error:
        raise unreadable(storage, DELTA, error, parameter) from None
    if unknown := sorted(features - _KNOWN_FEATURES):
        raise unsupported(storage, DELTA, unknown[0], parameter)
    if not actions.num_rows:
        raise empty(storage, DELTA, parameter)
    files = sorted(
        (
            InputFile(
                _path(storage, action["path"].as_py()),
                action["size_bytes"].as_py(),
                {name: action[f"partition.{name}"] for name in partitions},
            )
            for action in _rows(actions)
        ),
        key=lambda file: file.path.split("/"),
    )
    if lost := kept.keys() - {file.path for file in files}:
        feature = f"deletion vectors of {min(lost)}"
        raise unsupported(storage, DELTA, feature, parameter)
    paths = [None if file.path in kept else file.path for file in files]
    live = [
        LiveFile(file)
        if in_place
        else LiveFile(file, partial(_read, storage, file.path, columns, kept.get(file.path)))
        for file, in_place in zip(
            files, readable_in_place(storage, paths, columns.schema), strict=True
        )
    ]
    return current_files(storage, live, columns.schema)


def _columns(table: Any, partitions: list[str]) -> _Columns:
    schema = pa.schema(table.schema().to_arrow())
    stored = {
        field.name: str(field.metadata.get(_PHYSICAL_NAME, field.name))
        for field in table.schema().fields
    }
    inside = pa.schema([
        field.remove_metadata() for field in schema if field.name not in partitions
    ])  # fmt: skip
    return _Columns(inside, tuple(stored[name] for name in inside.names))


def _rows(table: pa.Table) -> Iterator[Mapping[str, pa.Scalar]]:
    for row in range(table.num_rows):
        yield {name: table[name][row] for name in table.column_names}


def _path(storage: Storage, path: str) -> str:
    """Return the path of a file; a table may also name files elsewhere, by URLs."""
    path = unquote(path)
    if "://" in path or path.startswith("/"):
        return str(storage.fs._strip_protocol(path))
    return f"{storage.root}/{path}"


def _kept_rows(table: Any, storage: Storage) -> dict[str, NDArray[np.bool_]]:
    """Return which rows are kept, for each file that has deleted rows."""
    vectors = pa.table(table.deletion_vectors())
    return {
        _path(storage, path.as_py()): np.asarray(kept.as_py(), bool)
        for path, kept in zip(vectors["filepath"], vectors["selection_vector"], strict=True)
    }


def _read(
    storage: Storage, path: str, columns: _Columns, kept: NDArray[np.bool_] | None
) -> Iterator[pa.RecordBatch]:
    """Read a file as the table has its rows; a column that it lacks is null."""
    start, version = 0, storage.version(path)
    with storage.open_parquet(path, version) as file:
        names = [name for name in columns.stored_names if name in file.schema_arrow.names]
        batches = file.iter_batches(_BATCH_ROWS, columns=names, use_threads=False)
        while True:
            with wrap_decoding(storage, path, version):
                batch = next(batches, None)
            if batch is None:
                break
            arrays = [
                pc.cast(batch.column(name), field.type)
                if name in names
                else pa.nulls(batch.num_rows, field.type)
                for field, name in zip(columns.schema, columns.stored_names, strict=True)
            ]
            rows = pa.record_batch(arrays, schema=columns.schema)
            if kept is not None:
                mask = np.ones(batch.num_rows, bool)  # a vector may end before the file does
                known = kept[start : start + batch.num_rows]
                mask[: len(known)] = known
                rows = rows.filter(from_numpy(mask))
            yield rows
            start += batch.num_rows
