"""From a shard's labels to parts of the output; ids are read again and keep their type."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg.io.output.base import Staging, cannot_write
from gpuseg.io.parquet.shard_plan import PartPlan, ShardPlan, read_batches
from gpuseg.io.privacy.pseudonyms import pseudonyms
from gpuseg.runtime.executor import CacheLost, TaskContext
from gpuseg.sharding.shard import Shard

_BATCH_ROWS = 131_072

SEGMENT, DISTANCE = "segment", "distance"


@dataclass(frozen=True)
class Part:
    """A written part: its name, its rows, its bytes."""

    name: str
    rows: int
    bytes: int


def write_parts(
    shard: Shard, env: TaskContext, staging: Staging, further: Sequence[str] = ()
) -> list[Part]:
    """Write the parts of a shard whose labels are assigned, rows in the order of the input.

    `further` are the names of columns for the labels in `Shard.labels_by_model`, where there are
    several, and for `Shard.confidence`, where it is known.

    Raises
    ------
    ResourceError
        When a part cannot be written, the disk being full for instance.
    """
    plan: ShardPlan = shard.source
    kept = np.ones(plan.rows, bool) if shard.kept is None else shard.kept

    def write(task: tuple[PartPlan, int]) -> Part:
        piece, start = task
        first = int(np.count_nonzero(kept[:start]))
        own = kept[start : start + piece.rows]
        batches = _batches(shard, plan, piece, own, first)
        names = [*([] if plan.id is None else [plan.id]), SEGMENT, DISTANCE, *further]
        return _write_part(staging, piece, plan, names, batches, env)

    return list(env.map(write, list(zip(plan.pieces, plan.starts(), strict=True))))


def _batches(
    shard: Shard, plan: ShardPlan, piece: PartPlan, kept: Any, first: int
) -> Iterator[list[Any]]:
    """Yield the columns of consecutive rows: ids where there are any, segments, distance."""
    if shard.labels is None or shard.distance is None:
        raise CacheLost  # of DBSCAN; those of k-means are in the lineage
    levels = shard.labels_by_model if len(shard.labels_by_model) > 1 else []
    confidence = [] if shard.confidence is None else [shard.confidence]
    done = 0
    for ids in _ids(plan, piece):
        mask = kept[done : done + len(ids)]
        done += len(ids)
        count = int(mask.sum())
        rows = slice(first, first + count)
        first += count
        known = [shard.labels, shard.distance, *levels, *confidence]
        results = [pa.array(column[rows]) for column in known]
        own = [] if plan.id is None else [ids if count == len(ids) else ids.filter(pa.array(mask))]
        yield [*own, *results]


def _ids(plan: ShardPlan, piece: PartPlan) -> Iterator[Any]:
    """Yield the ids of a piece, batch by batch; without an id column, ranges of its rows."""
    if plan.id is None:
        for start in range(0, piece.rows, _BATCH_ROWS):
            yield range(min(_BATCH_ROWS, piece.rows - start))
    else:
        for group in piece.row_groups:
            for batch in read_batches(plan, piece, group, [plan.id], _BATCH_ROWS):
                ids = batch.column(0)
                yield ids if plan.id_key is None else pseudonyms(ids, plan.id_key)


def _write_part(
    staging: Staging,
    piece: PartPlan,
    plan: ShardPlan,
    names: list[str],
    batches: Iterator[list[Any]],
    env: TaskContext,
) -> Part:
    name = staging.part_name(piece.part, plan.n_parts)
    path = staging.path(name)
    rows = 0
    try:
        with staging.storage.fs.open(path, "wb") as sink:
            first = pa.record_batch(next(batches), names=names)
            with _open_writer(sink, first.schema) as writer:
                for batch in chain([first], (pa.record_batch(b, names=names) for b in batches)):
                    if len(batch):
                        writer.write_batch(batch, row_group_size=len(batch))
                    rows += len(batch)
                    env.report(len(batch))
            if staging.storage.is_local:
                sink.flush()
                os.fsync(sink.fileno())
    except (OSError, pa.ArrowException) as error:
        raise cannot_write(path, error) from None
    return Part(name, rows, int(staging.storage.fs.size(path)))


def _open_writer(sink: Any, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        sink, schema, compression="snappy", use_dictionary=[SEGMENT], write_page_checksum=True
    )
