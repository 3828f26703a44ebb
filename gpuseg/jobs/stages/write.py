"""Write the assignments: each worker writes its own parts; then ids are compared."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.errors import ResourceError
from gpuseg.io.output.assignments import Part, is_whole, write_parts
from gpuseg.io.output.base import Staging
from gpuseg.jobs.context import RunContext
from gpuseg.jobs.duplicates import count_duplicate_ids, duplicates_warning
from gpuseg.jobs.plan import SegmentationPlan
from gpuseg.jobs.positions import rows_by_shard


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
    refuse_parts_not_shared(staging, parts)
    if compares_ids:
        with ctx.reporter.stage("check ids"):
            n_duplicates = count_duplicate_ids(executor, parts, plan.memory.id_turns)
        if n_duplicates:
            ctx.reporter.warn(duplicates_warning(str(dataset.id), n_duplicates))
    chunks = [part.picked_ids for part in parts if part.picked_ids is not None]
    return Written(parts, pa.chunked_array(chunks) if chunks else None)


def refuse_parts_not_shared(staging: Staging, parts: Sequence[Part]) -> None:
    """Refuse parts that workers have written to file systems of their own.

    Raises
    ------
    ResourceError
    """
    for part in parts:
        if not is_whole(staging, part):
            raise ResourceError(
                "output.not_shared",
                f"{staging.path(part.name)}: written by a worker, but not visible here",
                hint="use a file system that the workers and the caller share",
            )
