"""Write the assignments: each worker writes its own parts; then ids are compared."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.errors import ResourceError
from gpuseg.formatting import count_with
from gpuseg.io.output.assignments import Part, write_parts
from gpuseg.io.parquet.ids import are_distinct, count_duplicates, split_ids
from gpuseg.jobs.context import RunContext
from gpuseg.jobs.plan import SegmentationPlan
from gpuseg.jobs.positions import rows_by_shard
from gpuseg.runtime.executor import Executor

_RANGES_PER_SHARD = 4
"""Ranges of the hashed ids per shard, so that threads share the merging."""


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes
    ----------
    parts : list of Part
    ids : ChunkedArray or None
        Ids at the positions that were asked for; None if the data has none.
    """

    parts: list[Part]
    ids: pa.ChunkedArray | None


def write_assignments(
    ctx: RunContext, plan: SegmentationPlan, positions: NDArray[np.int64]
) -> Written:
    """Write the segments of all rows, and warn of ids that several rows have.

    Ids are not compared again if preprocessing has dropped or refused duplicates.

    Parameters
    ----------
    positions : int64 (n,)
        Rising positions in the data, of which the ids are returned.

    Raises
    ------
    ResourceError
        When a part cannot be written, or is on a worker's own file system.
    """
    executor, staging, dataset = ctx.executor, ctx.output.staging, plan.dataset
    compares_ids = dataset.id is not None and ctx.spec.prepare.duplicates == "keep"
    keep_hashes = compares_ids and plan.memory.id_turns == 1
    with ctx.reporter.stage("write", dataset.rows):
        by_shard = executor.map(
            write_parts, staging, ctx.spec.extra_columns, keep_hashes,
            per_shard=rows_by_shard(executor, positions),
        )  # fmt: skip
        parts = [part for parts_of_shard in by_shard for part in parts_of_shard]
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
            if n_duplicates:  # only then rows without an id make a difference
                n_duplicates = _count_duplicates(executor, plan.memory.id_turns, True)
        if n_duplicates:
            ctx.reporter.warn(
                f"input.id = '{dataset.id}': "
                f"{count_with(n_duplicates, 'row', 'has', 'have')} the id of another row; each row "
                "has its own line in the output"
            )
    chunks = [part.picked_ids for part in parts if part.picked_ids is not None]
    return Written(parts, pa.chunked_array(chunks) if chunks else None)


def _count_duplicates(executor: Executor, turns: int, leave_out_missing: bool = False) -> int:
    """Compare the ids in several turns, each with a part of the hashes, to save memory."""
    n_ranges = _RANGES_PER_SHARD * executor.n_shards
    return sum(
        count
        for turn in range(turns)
        for count in executor.shuffle_reduce(
            partial(split_ids, turn=turn, turns=turns, leave_out_missing=leave_out_missing),
            count_duplicates,
            n_ranges,
        )
    )
