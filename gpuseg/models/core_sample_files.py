"""Files with the core rows of a DBSCAN model: written by workers, read for scoring."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.algorithms.dbscan.collect_labels import labels_of
from gpuseg.algorithms.dbscan.partition import rows_of
from gpuseg.errors import DataError
from gpuseg.io.library_errors import reading
from gpuseg.io.output.base import SIDECAR_SUFFIX, Staging, cannot_write
from gpuseg.io.storage import unreachable, wrap_store_errors
from gpuseg.models.folder import ModelFolder, check_memory
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Shard

_LABEL = "segment"
_CODE = "model.damaged_core_rows"
_HINT = "run the job again, or copy the whole _model folder"


def write_core_rows(shard: Shard, context: TaskContext, staging: Staging, number: int) -> str:
    """Write the core rows of a shard, in scaled units, with their segments; return the name."""
    x, _ = rows_of(shard)
    labels, core = labels_of(shard)
    name = f"core-{number:05d}{SIDECAR_SUFFIX}"
    columns = [labels[core], *(x[core, f] for f in range(x.shape[1]))]
    table = pa.table(columns, schema=_schema(x.shape[1]))
    try:
        staging.storage.fs.makedirs(staging.path("_model"), exist_ok=True)
        with staging.storage.fs.open(staging.path(f"_model/{name}"), "wb") as sink:
            pq.write_table(table, sink, compression="snappy", write_page_checksum=True)
    except (OSError, pa.ArrowException) as error:
        raise cannot_write(staging.path(name), error) from None
    return name


def read_core_rows(
    folder: ModelFolder, names: Sequence[str], n_features: int, n_clusters: int
) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Return the core rows, float32 (m, d), and their segments, int32 (m,), of all files.

    Raises
    ------
    DataError
        For missing and damaged files.
    ResourceError
        When the file system cannot be reached, or a file may not be read.
    """
    table = pa.concat_tables(_read_table(folder, name, n_features, n_clusters) for name in names)
    label, *features = (column.to_numpy() for column in table.columns)
    return np.ascontiguousarray(np.stack(features, axis=1), np.float32), label


def count_core_rows(folder: ModelFolder, names: Sequence[str]) -> int:
    """Return the number of the core rows of all files, as their footers tell it.

    Raises
    ------
    DataError
        For missing and damaged files.
    ResourceError
        When the file system cannot be reached, or a file may not be read.
    """
    n_rows = 0
    for name in names:
        with _reading(name), _open(folder, name) as content:
            n_rows += pq.ParquetFile(content).metadata.num_rows
    return n_rows


def _reading(name: str) -> AbstractContextManager[None]:
    """Turn errors of reading a file into `DataError`."""
    return reading(name, _CODE, ": core rows of the model are missing or damaged", _HINT)


def _read_table(folder: ModelFolder, name: str, n_features: int, n_clusters: int) -> pa.Table:
    """Return the table of a file, whose values are checked.

    Raises
    ------
    DataError, ResourceError
    """
    with _reading(name), _open(folder, name) as content:
        file = pq.ParquetFile(content, page_checksum_verification=True)
        if not file.schema_arrow.equals(_schema(n_features)):
            raise _damaged(name, f"it has the columns {', '.join(file.schema_arrow.names)}")
        check_memory(name, file.metadata.num_rows * (n_features + 1) * 4)
        table = file.read()
    if len(table) != file.metadata.num_rows:
        raise _damaged(name, f"it has {len(table)} of {file.metadata.num_rows} rows")
    label, *features = table.columns
    if any(column.null_count for column in table.columns):
        raise _damaged(name, "it has missing values")
    if len(table) and not 0 <= pc.min(label).as_py() <= pc.max(label).as_py() < n_clusters:
        raise _damaged(name, f"it has segments beyond the {n_clusters} of the model")
    if not all(np.isfinite(chunk.to_numpy()).all() for f in features for chunk in f.chunks):
        raise _damaged(name, "it has values that are not finite")
    return table


def _damaged(name: str, problem: str) -> DataError:
    return DataError(_CODE, f"{name}: core rows of the model are damaged ({problem})", hint=_HINT)


@contextmanager
def _open(folder: ModelFolder, name: str) -> Iterator[BinaryIO]:
    """Open a file; of the errors of opening, only a missing file is an OSError."""
    url = folder.storage.url
    with ExitStack() as stack:
        with wrap_store_errors("path", url):
            try:
                file = stack.enter_context(folder.open(name))
            except (FileNotFoundError, NotADirectoryError):
                raise
            except OSError as error:
                raise unreachable("path", url, error) from None
        yield file


def _schema(n_features: int) -> pa.Schema:
    rows = [(f"x{f}", pa.float32()) for f in range(n_features)]
    return pa.schema([(_LABEL, pa.int32()), *rows])
