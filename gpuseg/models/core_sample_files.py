"""The core rows of a DBSCAN model: written by the workers that have them, read for scoring."""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.collect_labels import labels_of
from gpuseg.algorithms.dbscan.partition import rows_of
from gpuseg.errors import DataError
from gpuseg.io.output.base import Staging, cannot_write
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Shard

_LABEL = "segment"


def write_core_rows(shard: Shard, env: TaskContext, staging: Staging, number: int) -> str:
    """Write the shard's core rows, as they are clustered, and their segments; return the file."""
    x, _ = rows_of(shard)
    labels, core = labels_of(shard)
    name = f"core-{number:05d}.parquet"
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
    read: Callable[[str], bytes], names: Sequence[str], n_features: int
) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Return the core rows, float32 (m, d), and their segments, int32 (m,), of all files.

    Raises
    ------
    DataError
        Where a file is missing or damaged.
    """
    schema, tables = _schema(n_features), []
    for name in names:
        try:
            found = pq.read_table(BytesIO(read(name)), page_checksum_verification=True)
            if not found.schema.equals(schema):
                raise pa.ArrowInvalid(f"columns {found.schema.names}, not {schema.names}")
            tables.append(found)
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"{name}: core rows of the model are missing or damaged ({error}); run the job "
                "again, or copy the whole _model folder"
            ) from None
    table = pa.concat_tables(tables)
    columns = [column.to_numpy() for column in table.columns]
    rows = np.ascontiguousarray(np.stack(columns[1:], axis=1), np.float32)
    return rows, columns[0]


def _schema(n_features: int) -> pa.Schema:
    rows = [(f"x{f}", pa.float32()) for f in range(n_features)]
    return pa.schema([(_LABEL, pa.int32()), *rows])
