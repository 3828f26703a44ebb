"""Read the rows of a shard that do not fit in memory: onto the scratch disk, or in every pass."""

from gpuseg.io.parquet.shard_plan import ShardPlan, read_rows
from gpuseg.io.parquet.streamed_shard import StreamedShard, open_stream
from gpuseg.runtime.executor import TaskContext
from gpuseg.runtime.scratch import ScratchArray, ScratchUnavailable
from gpuseg.sharding.shard import Shard
from gpuseg.sharding.spilled_shard import SpilledShard


def spill_shard(plan: ShardPlan, context: TaskContext) -> Shard:
    """Read a shard onto the scratch disk; stream it from Parquet if that has no room.

    Raises
    ------
    DataError
        As `io.parquet.shard_plan.read_rows`.
    """
    try:
        x, weight = _scratch_arrays(plan, context.scratch_folder)
    except ScratchUnavailable as error:
        reason = str(error)
    else:
        return _read_into(x, weight, plan, context)
    shard = open_stream(plan, context)
    shard.reason = reason
    return shard


def _scratch_arrays(
    plan: ShardPlan, folder: str | None
) -> tuple[ScratchArray, ScratchArray | None]:
    """Return files for the rows and their weights."""
    x = ScratchArray((plan.rows, plan.width), "float32", folder)
    return x, None if plan.weight is None else ScratchArray((plan.rows,), "float64", folder)


def _read_into(
    x: ScratchArray, weight: ScratchArray | None, plan: ShardPlan, context: TaskContext
) -> SpilledShard:
    """Read the rows into the files."""

    def release(rows: slice) -> None:
        x.release(x.values[rows])
        if weight is not None:
            weight.release(weight.values[rows])

    read_rows(plan, context, x.values, None if weight is None else weight.values, release)
    spilled = SpilledShard(x, weight, plan)
    if plan.drop_missing:
        spilled.drop_missing(context)
    return spilled


def why_streamed(shard: Shard, context: TaskContext) -> str | None:
    """Return why the rows are decoded in every pass; None if they are not."""
    return shard.reason if isinstance(shard, StreamedShard) else None
