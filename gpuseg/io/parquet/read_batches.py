"""Decode row groups of a Parquet file: what it promises, or an error that names the file."""

from collections.abc import Collection, Generator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg.arrow import without_views
from gpuseg.errors import DataError
from gpuseg.io.file_version import FileVersion
from gpuseg.io.storage import Storage


def read_row_groups(
    storage: Storage,
    path: str,
    version: FileVersion,
    groups: Sequence[int],
    n_rows: int,
    columns: Sequence[str],
    batch_rows: int,
) -> Generator[pa.RecordBatch, None, None]:
    """Yield the rows of some row groups, at most `batch_rows` at a time.

    Parameters
    ----------
    version : FileVersion
        The version that the file must have, before and after.
    n_rows : int
        Rows of these row groups, by the footer.

    Raises
    ------
    DataError
        If a page cannot be decoded or its checksum does not match, text is not UTF-8, the row
        groups have other rows than `n_rows`, or the file has changed.
    """
    where = (
        f"row group {groups[0]}" if len(groups) == 1 else f"row groups {groups[0]} to {groups[-1]}"
    )
    n_read = 0
    with storage.open_parquet(path, version) as file:
        with wrap_decoding(storage, path, version, where):
            batches = file.iter_batches(
                batch_rows, row_groups=list(groups), columns=list(columns), use_threads=False
            )
        while True:
            with wrap_decoding(storage, path, version, where):
                batch = next(batches, None)
                batch = None if batch is None else checked(batch, columns)
            n_read += 0 if batch is None else batch.num_rows
            if n_read > n_rows or (batch is None and n_read < n_rows):
                _refuse_count(storage, path, version, where, n_read, n_rows)
            if batch is None:
                break
            yield batch
            del batch  # the next rows take its memory
    storage.refuse_local_change(path, version)


def wrap_decoding(
    storage: Storage, path: str, version: FileVersion, where: str = "a row group"
) -> AbstractContextManager[None]:
    """Turn errors of decoding rows into `DataError`."""
    return storage.wrap_reading(
        path, version, "file.damaged", f": {where} cannot be decoded",
        "the file is damaged: write it again",
    )  # fmt: skip


def minima_and_maxima(
    file: pq.ParquetFile, group: int, columns: Collection[str]
) -> dict[str, tuple[Any, Any]]:
    """Return smallest and largest value of columns of numbers in a row group, where it has them.

    Raises
    ------
    pyarrow.ArrowException
    """
    metadata, wanted = file.metadata.row_group(group), set(columns)
    chunks = (metadata.column(i) for i in range(metadata.num_columns))
    statistics = {c.path_in_schema: c.statistics for c in chunks if c.path_in_schema in wanted}
    return {
        name: (values.min, values.max)
        for name, values in statistics.items()
        if values is not None and values.has_min_max
    }


def checked(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    """Return the columns without views; refuse text that is not UTF-8, and values out of bounds.

    Raises
    ------
    pyarrow.ArrowInvalid
    """
    arrays = []
    for name in columns:
        column = batch.column(name)
        if not pa.types.is_primitive(column.type):  # numbers have nothing to check
            column.validate(full=True)
        arrays.append(without_views(column))
    return pa.RecordBatch.from_arrays(arrays, names=list(columns)) if arrays else batch


def _refuse_count(
    storage: Storage,
    path: str,
    version: FileVersion,
    where: str,
    n_read: int,
    n_rows: int,
) -> None:
    """Refuse row groups with other rows than their footer says."""
    storage.refuse_change(path, version)
    more = "more" if n_read > n_rows else f"{n_read:,}"
    raise DataError(
        "file.other_rows",
        f"{storage.relative(path)}: {where}: {n_rows:,} rows by its footer, but "
        f"{more} in its pages",
        hint="the file is damaged: write it again",
    )
