"""Files with the core rows of a DBSCAN model: written by workers, read for scoring."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.collect_labels import labels_of
from gpuseg.algorithms.dbscan.partition import rows_of
from gpuseg.errors import DataError
from gpuseg.io.output.base import SIDECAR_SUFFIX, Staging, cannot_write
from gpuseg.io.storage import first_line, unreachable, wrap_store_errors
from gpuseg.models.base import ModelFolder
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Shard

_LABEL = "segment"


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
    folder: ModelFolder, names: Sequence[str], n_features: int
) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Return the core rows, float32 (m, d), and their segments, int32 (m,), of all files.

    Raises
    ------
    DataError
        For missing and damaged files.
    ResourceError
        When the file system cannot be reached, or a file may not be read.
    """
    schema, tables = _schema(n_features), []
    for name in names:
        try:
            content = BytesIO(_read(folder, name))
            table = pq.read_table(content, page_checksum_verification=True)
            if not table.schema.equals(schema):
                raise pa.ArrowInvalid(f"columns {table.schema.names}, not {schema.names}")
            tables.append(table)
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                "model.damaged_core_rows",
                f"{name}: core rows of the model are missing or damaged ({first_line(error)})",
                hint="run the job again, or copy the whole _model folder",
            ) from None
    label, *features = (column.to_numpy() for column in pa.concat_tables(tables).columns)
    return np.ascontiguousarray(np.stack(features, axis=1), np.float32), label


def _read(folder: ModelFolder, name: str) -> bytes:
    """Return the content of a file; only a missing one is an OSError."""
    url = folder.storage.url
    with wrap_store_errors("path", url):
        try:
            return folder.read(name)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            raise unreachable("path", url, error) from None


def _schema(n_features: int) -> pa.Schema:
    rows = [(f"x{f}", pa.float32()) for f in range(n_features)]
    return pa.schema([(_LABEL, pa.int32()), *rows])
