"""The ids of a few rows, read again from where they came."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.io.parquet.ids import without_views
from gpuseg.io.parquet.shard_plan import ShardPlan, read_batches
from gpuseg.io.privacy.pseudonyms import pseudonyms
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Shard


def ids_at(shard: Shard, env: TaskContext, rows: NDArray[np.int64]) -> pa.ChunkedArray | None:
    """Return the ids of some rows of the shard, rising, as they are written; None without ids."""
    plan: ShardPlan = shard.source
    if plan.id is None:
        return None
    at = shard.source_rows(rows)
    found = []
    for group in plan.groups():
        own = at[(at >= group.start) & (at < group.start + group.rows)] - group.start
        if own.size:
            batches = read_batches(plan, group.piece, group.number, [plan.id], group.rows)
            ids = without_views(pa.concat_arrays([batch.column(0) for batch in batches]))
            ids = ids.take(pa.array(own))
            found.append(ids if plan.id_key is None else pseudonyms(ids, plan.id_key))
    return pa.chunked_array(found) if found else None
