"""Write the rows of a table that are nearest to a segment: merged, in their order, as parts."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from gpuseg import arrow_compute as pc
from gpuseg.arrow import aligned, from_numpy
from gpuseg.formatting import count
from gpuseg.io.output.assignments import Part, write_batches
from gpuseg.io.parquet.shard_plan import PART_ROWS
from gpuseg.jobs.context import OpenRun
from gpuseg.jobs.duplicates import duplicates_warning
from gpuseg.manifest import LookalikeSummary
from gpuseg.models.loading import SavedOutput
from gpuseg.output_columns import SEGMENT
from gpuseg.runtime.executor import TaskContext
from gpuseg.scoring.lookalikes import LIKE_DISTANCE, RANK, ROW, Lookalikes, sortable
from gpuseg.scoring.score_shard import ShardScores


def write_lookalikes(
    run: OpenRun,
    saved: SavedOutput,
    lookalikes: Lookalikes,
    id: str | None,
    results: Sequence[ShardScores],
) -> tuple[list[Part], LookalikeSummary]:
    """Write the nearest rows of all shards; warn if there are fewer than are asked for.

    Raises
    ------
    ResourceError
        If a part cannot be written.
    """
    nearest = lookalikes.nearest(id)
    for result in results:
        if result.nearest is not None:
            nearest.add(aligned(result.nearest))
    rows = nearest.table()
    assert rows is not None  # a table has at least one part, and each part gives some
    rows = _in_output_order(rows, id)
    _warn(run, lookalikes, rows, id)
    liked, n_parts = lookalikes.liked, max(-(-len(rows) // PART_ROWS), 1)
    parts = [
        _write(run, rows.slice(part * PART_ROWS, PART_ROWS), part, n_parts)
        for part in range(n_parts)
    ]
    is_named = liked.column == SEGMENT
    return parts, LookalikeSummary(
        segment=liked.number,
        column=liked.column,
        name=saved.segment_names.get(liked.number) if is_named else None,
        requested=lookalikes.n,
        rows=len(rows),
        excludes_members=lookalikes.excludes_members,
        farthest=_farthest(rows),
    )


def _in_output_order(rows: pa.Table, id: str | None) -> pa.Table:
    """Return the rows with their ranks; the number of a row only stands in for an id."""
    ranked = rows.append_column(RANK, from_numpy(np.arange(1, len(rows) + 1)))
    names = [name for name in ranked.column_names if name != ROW]
    return ranked.select(names if id is not None else [ROW, *names])


def _warn(run: OpenRun, lookalikes: Lookalikes, rows: pa.Table, id: str | None) -> None:
    if len(rows) < lookalikes.n:
        others = " outside the segment" if lookalikes.excludes_members else ""
        run.reporter.warn(
            f"like.top = {lookalikes.n:,}: the table has only {count(len(rows), 'row')}{others}; "
            "the output has all of them"
        )
    if id is not None:
        ids = sortable(rows[id].combine_chunks()).drop_null()
        if n_duplicates := len(ids) - len(pc.unique(ids)):
            run.reporter.warn(duplicates_warning(id, n_duplicates))


def _write(run: OpenRun, rows: pa.Table, number: int, n_parts: int) -> Part:
    staging = run.output.staging
    batches = iter([[column.combine_chunks() for column in rows.columns]])
    name = staging.part_name(number, n_parts)
    return write_batches(staging, name, rows.column_names, [SEGMENT], batches, TaskContext())


def _farthest(rows: pa.Table) -> float | None:
    if not len(rows):
        return None
    farthest: float = rows[LIKE_DISTANCE][-1].as_py()
    return farthest if np.isfinite(farthest) else None
