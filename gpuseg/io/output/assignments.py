"""Write the labels of a shard as parts of the output; ids are read again and keep their type."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gpuseg.arrow import from_numpy
from gpuseg.io.output.base import Staging, cannot_write
from gpuseg.io.parquet.ids import IdRange, PickedIds, WrittenIds
from gpuseg.io.parquet.shard_plan import PartPlan, ShardPlan, read_batches
from gpuseg.io.privacy.pseudonyms import pseudonyms
from gpuseg.output_columns import DISTANCE, SEGMENT
from gpuseg.runtime.executor import CacheLost, TaskContext
from gpuseg.runtime.kept_items import Keep
from gpuseg.sharding.shard import Shard

_BATCH_ROWS = 131_072


@dataclass(frozen=True)
class Part:
    """A written part.

    Attributes
    ----------
    name : str
    rows, bytes : int
    ids : IdRange or None
        Range of its ids, if they rise from row to row.
    picked_ids : array or None
        Ids of the rows that were asked for, as they are written; None if there are none.
    """

    name: str
    rows: int
    bytes: int
    ids: IdRange | None = None
    picked_ids: pa.Array | None = None


def write_parts(
    shard: Shard,
    context: TaskContext,
    staging: Staging,
    extra_columns: Sequence[str],
    keep_hashes: bool,
    rows_with_id: NDArray[np.int64],
) -> list[Part]:
    """Write the parts of a labeled shard, with rows in the order of the input.

    `extra_columns` names the columns of the labels in `Shard.labels_by_model`, if there are
    several, and of `Shard.confidence`, if it is set. `keep_hashes` is for ids that are compared
    afterwards. `rows_with_id` are rising rows of the shard of which the ids are returned.

    Raises
    ------
    ResourceError
        If a part cannot be written, for example because the disk is full.
    """
    plan: ShardPlan = shard.source
    kept = np.ones(plan.rows, bool) if shard.kept is None else shard.kept

    def write(task: tuple[PartPlan, int]) -> Part:
        part_plan, start = task
        first = int(np.count_nonzero(kept[:start]))
        mask = kept[start : start + part_plan.rows]
        written, picked = WrittenIds(keep_hashes), PickedIds(rows_with_id)
        batches = _batches(shard, plan, part_plan, mask, first, written, picked)
        ids = [] if plan.id is None else [plan.id]
        names = [*ids, SEGMENT, DISTANCE, *extra_columns, *plan.carried]
        part = write_part(staging, part_plan, plan, names, batches, context)
        written.keep_in(shard.cache, part_plan)
        return replace(part, ids=written.range(), picked_ids=picked.array())

    tasks = list(zip(plan.parts, plan.starts(), strict=True))
    keep = Keep[Part](partial(is_whole, staging), is_flushed=True)
    return list(context.map(write, tasks, keep=keep))


def is_whole(staging: Staging, part: Part) -> bool:
    """Return whether the file of a part is there, with all of its bytes."""
    return staging.size(part.name) == part.bytes


def _batches(
    shard: Shard,
    plan: ShardPlan,
    part_plan: PartPlan,
    kept: NDArray[np.bool_],
    first: int,
    written: WrittenIds,
    picked: PickedIds,
) -> Iterator[list[Any]]:
    """Yield the columns of consecutive rows, in the order of the output.

    These are ids (if any), segments, distances, extra columns, and columns of the input.
    """
    if shard.labels is None or shard.distance is None:
        raise CacheLost  # DBSCAN's labels are in the cache, those of k-means in the lineage
    levels = shard.labels_by_model if len(shard.labels_by_model) > 1 else []
    confidence = [] if shard.confidence is None else [shard.confidence]
    done = 0
    for ids, carried in _ids(plan, part_plan):
        mask = kept[done : done + len(ids)]
        done += len(ids)
        count = int(mask.sum())
        rows = slice(first, first + count)
        first += count
        columns = [shard.labels, shard.distance, *levels, *confidence]
        results = [from_numpy(column[rows]) for column in columns]
        if plan.id is not None:
            shown = ids if plan.id_key is None else pseudonyms(ids, plan.id_key)
            if count < len(ids):
                shown, *carried = (c.filter(from_numpy(mask)) for c in (shown, *carried))
            results += carried
            written.add(ids, mask)
            picked.add(shown, rows.start)
            results.insert(0, shown)
        yield results


def _ids(plan: ShardPlan, part_plan: PartPlan) -> Iterator[tuple[Any, list[pa.Array]]]:
    """Yield the ids of a part in batches, and its columns that the output has too.

    Without an id column there are ranges of rows.
    """
    if plan.id is None:
        for start in range(0, part_plan.rows, _BATCH_ROWS):
            yield range(min(_BATCH_ROWS, part_plan.rows - start)), []
    else:
        for group in part_plan.row_groups:
            columns = [plan.id, *plan.carried]
            for batch in read_batches(plan, part_plan, group, columns, _BATCH_ROWS):
                ids, *carried = batch.columns
                yield ids, carried


def write_part(
    staging: Staging,
    part_plan: PartPlan,
    plan: ShardPlan,
    names: list[str],
    batches: Iterator[list[Any]],
    context: TaskContext,
) -> Part:
    """Write a part from the columns of consecutive rows, at least one batch.

    Raises
    ------
    ResourceError
        If it cannot be written, for example because the disk is full.
    """
    name = staging.part_name(part_plan.number, plan.n_parts)
    return write_batches(staging, name, names, [SEGMENT, *plan.carried], batches, context)


def write_batches(
    staging: Staging,
    name: str,
    names: list[str],
    encoded: list[str],
    batches: Iterator[list[Any]],
    context: TaskContext,
) -> Part:
    """Write a file from the columns of consecutive rows, at least one batch.

    `encoded` names the columns of few values, which are written with dictionaries.

    Raises
    ------
    ResourceError
        If it cannot be written, for example because the disk is full.
    """
    path, rows = staging.path(name), 0
    try:
        with staging.storage.fs.open(path, "wb") as sink:
            first = pa.record_batch(next(batches), names=names)
            with _open_writer(sink, first.schema, encoded) as writer:
                for batch in chain([first], (pa.record_batch(b, names=names) for b in batches)):
                    if len(batch):
                        writer.write_batch(batch, row_group_size=len(batch))
                    rows += len(batch)
                    context.report(len(batch))
            if staging.storage.is_local:
                sink.flush()
                os.fsync(sink.fileno())
    except (OSError, pa.ArrowException) as error:
        raise cannot_write(path, error) from None
    return Part(name, rows, int(staging.storage.fs.size(path)))


def _open_writer(sink: Any, schema: pa.Schema, encoded: list[str]) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        sink, schema, compression="snappy", use_dictionary=encoded, write_page_checksum=True
    )
