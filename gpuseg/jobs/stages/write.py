"""Write the assignments: each worker writes its own parts; then ids are compared."""

from functools import partial

from gpuseg.errors import ResourceError
from gpuseg.io.output.assignments import Part, write_parts
from gpuseg.io.parquet.ids import are_distinct, count_duplicates, split_ids
from gpuseg.jobs.context import RunContext
from gpuseg.jobs.plan import SegmentationPlan
from gpuseg.runtime.executor import Executor

_RANGES_PER_SHARD = 4
"""Ranges of the hashed ids per shard, so that threads share the merging."""


def write_assignments(ctx: RunContext, plan: SegmentationPlan) -> list[Part]:
    """Write the segments of all rows, and warn of ids that several rows have.

    Ids are not compared again if preprocessing has dropped or refused duplicates.

    Raises
    ------
    ResourceError
        When a part cannot be written, or is on a worker's own file system.
    """
    executor, staging, dataset = ctx.executor, ctx.output.staging, plan.dataset
    compares_ids = dataset.id is not None and ctx.spec.prepare.duplicates == "keep"
    keep_hashes = compares_ids and plan.memory.id_turns == 1
    with ctx.reporter.stage("write", dataset.rows):
        written = executor.map(write_parts, staging, ctx.spec.extra_columns, keep_hashes)
        parts = [part for of_shard in written for part in of_shard]
    for part in parts:
        if staging.size(part.name) != part.bytes:
            raise ResourceError(
                "output.not_shared",
                f"{staging.path(part.name)}: written by a worker, but not visible here",
                hint="use a file system that the workers and the caller share",
            )
    if compares_ids:
        with ctx.reporter.stage("check ids"):
            n_duplicates = 0
            if not are_distinct([part.ids for part in parts]):
                n_duplicates = _count_duplicates(executor, plan.memory.id_turns)
        if n_duplicates:
            ctx.reporter.warn(
                f"input.id = '{dataset.id}': {n_duplicates:,} rows have the id of another row; "
                "each row has its own line in the output"
            )
    return parts


def _count_duplicates(executor: Executor, turns: int) -> int:
    """Compare the ids in several turns, each with a part of the hashes, to save memory."""
    n_ranges = _RANGES_PER_SHARD * executor.n_shards
    return sum(
        count
        for turn in range(turns)
        for count in executor.shuffle_reduce(
            partial(split_ids, turn=turn, turns=turns), count_duplicates, n_ranges
        )
    )
