"""Customer ids: hashed to count duplicates, read again for a few rows, never collected.

The caller gets only the first and the last id of each part, to see that the parts do not overlap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import from_numpy, plain, to_numpy
from gpuseg.io.null_values import is_null_value
from gpuseg.io.parquet.shard_plan import PartPlan, RowGroup, ShardPlan, read_batches
from gpuseg.io.privacy.pseudonyms import pseudonyms
from gpuseg.numerics.hashing import splitmix64
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Shard

_BATCH_ROWS = 65_536

_NULL = np.uint64(0x6E756C6C)
"""The hash of a null: all nulls are one id."""

_HASHES = "hashed ids"
"""Key of the cache for the hashes that were kept while the ids were written, by part."""


@dataclass(frozen=True)
class IdRange:
    """The first and the last one of ids that rise from row to row."""

    first: int
    last: int


class WrittenIds:
    """What is learnt of the ids of a part while they are written, so that none is read again.

    Parameters
    ----------
    keep_hashes : bool
        Whether there is memory for the hashes of all ids.
    """

    def __init__(self, keep_hashes: bool) -> None:
        self._keep_hashes = keep_hashes
        self._hashes: list[NDArray[np.uint64]] = []
        self._waiting: list[tuple[pa.Array, NDArray[np.bool_]]] = []
        self._range: IdRange | None = None
        self._are_rising = True

    def add(self, ids: pa.Array, kept: NDArray[np.bool_]) -> None:
        """Take the next ids; only `kept` ones are written."""
        self._extend_range(ids)
        if self._keep_hashes:
            self._waiting.append((ids, kept))
            if not self._are_rising:
                self._hashes += [hash_ids(ids)[kept] for ids, kept in self._waiting]
                self._waiting.clear()

    def _extend_range(self, ids: pa.Array) -> None:
        if not (self._are_rising and len(ids)):
            return
        self._are_rising = pa.types.is_integer(ids.type) and not ids.null_count
        if self._are_rising:
            values = to_numpy(ids)
            first, last = int(values[0]), int(values[-1])
            self._are_rising = bool((values[1:] > values[:-1]).all())
            if self._range is not None:
                self._are_rising &= first > self._range.last
                first = self._range.first
            self._range = IdRange(first, last)

    def range(self) -> IdRange | None:
        """Return the range of the ids if they are integers that rise, otherwise None."""
        return self._range if self._are_rising else None

    def keep_in(self, cache: dict[str, Any], part: PartPlan) -> None:
        """Keep the hashes of ids that do not rise in the cache of the shard, for `split_ids`."""
        if self._hashes:
            kept = cache.setdefault(_HASHES, {})
            kept[part.number] = np.concatenate(self._hashes)


class PickedIds:
    """The ids of some rows, picked while all are written.

    Parameters
    ----------
    rows : int64 (n,)
        Rising rows of the shard.
    """

    def __init__(self, rows: NDArray[np.int64]) -> None:
        self._rows = rows
        self._picked: list[pa.Array] = []

    def add(self, ids: pa.Array, first_row: int) -> None:
        """Take the next ids, as they are written, from row `first_row` of the shard on."""
        first, stop = np.searchsorted(self._rows, [first_row, first_row + len(ids)])
        if first < stop:
            in_batch = from_numpy(self._rows[first:stop] - first_row)
            self._picked.append(ids.take(in_batch))

    def array(self) -> pa.Array | None:
        """Return the ids that were picked; None if there are none."""
        return pa.concat_arrays(self._picked) if self._picked else None


def are_distinct(ranges: Sequence[IdRange | None]) -> bool:
    """Return whether all ids differ, as far as that follows from the ranges of all parts."""
    known = sorted((r for r in ranges if r is not None), key=lambda r: r.first)
    return len(known) == len(ranges) and all(a.last < b.first for a, b in pairwise(known))


def split_ids(
    shard: Shard,
    context: TaskContext,
    n_pieces: int,
    turn: int = 0,
    turns: int = 1,
    leave_out_missing: bool = False,
) -> list[NDArray[np.uint64]]:
    """Hash the ids of a shard and split the hashes into ranges; each range has few sorted runs.

    With several turns, each turn keeps only one share of all possible hashes, to save memory. Rows
    without an id can be left out; looking for them takes time, and reads the ids again.
    """
    plan: ShardPlan = shard.source
    kept: dict[int, NDArray[np.uint64]] = shard.cache.pop(_HASHES, {})
    null_values = ["", *plan.null_values] if leave_out_missing else []
    low, high = turn * 2**64 // turns, (turn + 1) * 2**64 // turns - 1
    bounds = np.array(
        [low + j * (high + 1 - low) // n_pieces for j in range(1, n_pieces)], np.uint64
    )

    def hashed(task: tuple[PartPlan, int]) -> list[NDArray[np.uint64]]:
        part, start = task
        hashes = None if leave_out_missing else kept.pop(part.number, None)
        if hashes is None:
            hashes = _hashed(shard, plan, part, start, null_values)
        if leave_out_missing:
            hashes = hashes[hashes != _NULL]
        if turns > 1:
            hashes = hashes[(hashes >= np.uint64(low)) & (hashes <= np.uint64(high))]
        hashes.sort()
        return np.split(hashes, np.searchsorted(hashes, bounds))

    runs = list(context.map(hashed, list(zip(plan.parts, plan.starts(), strict=True))))
    return [np.concatenate(pieces) for pieces in zip(*runs, strict=True)]


def _hashed(
    shard: Shard, plan: ShardPlan, part: PartPlan, start: int, null_values: Sequence[str] = ()
) -> NDArray[np.uint64]:
    """Hash the ids of a part, without those of dropped rows."""
    batches = [
        hash_ids(_without(null_values, batch.column(0)) if null_values else batch.column(0))
        for group in part.row_groups
        for batch in read_batches(plan, part, group, [str(plan.id)], _BATCH_ROWS)
    ]
    hashes = np.concatenate(batches)
    return hashes if shard.kept is None else hashes[shard.kept[start : start + part.rows]]


def _without(null_values: Sequence[str], column: pa.Array) -> pa.Array:
    """Replace text that stands for no id, and NaN, by null."""
    column = plain(column)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_floating(column.type):
        missing = pc.fill_null(pc.is_nan(column), False)
    elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        missing = from_numpy(is_null_value(column, null_values))
    else:
        return column
    return pc.if_else(missing, pa.scalar(None, column.type), column)


def split_ids_and_rows(
    shard: Shard, context: TaskContext, n_pieces: int
) -> list[NDArray[np.uint64]]:
    """Split the hashes of the ids into ranges, with the row numbers in the whole data.

    Rows without an id are left out: they may belong to different customers.

    Returns
    -------
    list of uint64 (2, m)
    """
    plan: ShardPlan = shard.source
    bounds = np.array([j * 2**64 // n_pieces for j in range(1, n_pieces)], np.uint64)

    def hashed(task: tuple[PartPlan, int]) -> NDArray[np.uint64]:
        return _hashed(shard, plan, *task, null_values=["", *plan.null_values])

    tasks = list(zip(plan.parts, plan.starts(), strict=True))
    hashes = np.concatenate(list(context.map(hashed, tasks)))
    rows = np.arange(shard.first_row, shard.first_row + len(hashes), dtype=np.uint64)
    order = np.argsort(hashes, kind="stable")
    order = order[hashes[order] != _NULL]
    pairs = np.stack([hashes[order], rows[order]])
    return np.split(pairs, np.searchsorted(pairs[0], bounds), axis=1)


def duplicate_rows(pieces: Sequence[NDArray[np.uint64]]) -> NDArray[np.int64]:
    """Return the rows whose hash a row with a lower number has too."""
    hashes, rows = np.concatenate(pieces, axis=1)
    order = np.lexsort((rows, hashes))
    hashes, rows = hashes[order], rows[order]
    duplicates: NDArray[np.int64] = rows[1:][hashes[1:] == hashes[:-1]].astype(np.int64)
    return duplicates


def count_duplicates(pieces: Sequence[NDArray[np.uint64]]) -> int:
    """Count the hashes that equal an earlier one."""
    hashes = np.concatenate(pieces)
    hashes.sort(kind="stable")  # merge sort uses the sorted runs
    return int(np.count_nonzero(hashes[1:] == hashes[:-1]))


def hash_ids(column: pa.Array) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each id; integers of one type never collide."""
    column = plain(column)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    null = to_numpy(column.is_null())
    if pa.types.is_integer(column.type):
        values = to_numpy(pc.fill_null(column, 0) if column.null_count else column)
        hashes = splitmix64(values.astype(np.int64, copy=False).view(np.uint64))
        return np.where(null, _NULL, hashes)
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        text = column
        if not pa.types.is_fixed_size_binary(column.type):
            text = pc.cast(column, pa.large_string())
        column = pc.cast(text, pa.large_binary())
    hashes = _hash_bytes(pc.fill_null(pc.cast(column, pa.large_binary()), b""))
    return np.where(null, _NULL, hashes)


def _hash_bytes(column: pa.LargeBinaryArray) -> NDArray[np.uint64]:
    """Chain `splitmix64` over the bytes, eight at a time, for all rows at once."""
    _, offsets_buffer, data = column.buffers()
    count = len(column) + 1
    offsets = np.frombuffer(offsets_buffer, np.int64)[column.offset : column.offset + count]
    lengths = np.diff(offsets)
    longest = int(lengths.max(initial=0))
    padded = np.zeros((data.size if data else 0) + 8, np.uint8)
    padded[:-8] = np.frombuffer(data, np.uint8) if data else 0
    words = np.lib.stride_tricks.sliding_window_view(padded, 8)
    hashes = splitmix64(lengths.astype(np.uint64))
    for start in range(0, longest, 8):
        rows = np.flatnonzero(lengths > start)
        chunk: Any = words[offsets[rows] + start].copy().view(np.uint64)[:, 0]
        unused = (8 - np.minimum(lengths[rows] - start, 8)).astype(np.uint64) * np.uint64(8)
        hashes[rows] = splitmix64(hashes[rows] ^ (chunk << unused))
    return hashes


def ids_at(shard: Shard, context: TaskContext, rows: NDArray[np.int64]) -> pa.ChunkedArray | None:
    """Return the ids of some rows of a shard as they are written; None without an id column.

    `rows` are sorted.
    """
    plan: ShardPlan = shard.source
    if plan.id is None:
        return None
    source_rows, id = shard.source_rows(rows), plan.id
    wanted = [
        (
            group,
            source_rows[(source_rows >= group.start) & (source_rows < group.start + group.rows)],
        )
        for group in plan.groups()
    ]

    def read(task: tuple[RowGroup, NDArray[np.int64]]) -> pa.Array:
        group, group_rows = task
        taken, start = [], group.start
        for batch in read_batches(plan, group.part, group.number, [id], _BATCH_ROWS):
            first, stop = np.searchsorted(group_rows, [start, start + batch.num_rows])
            if first < stop:
                taken.append(batch.column(0).take(from_numpy(group_rows[first:stop] - start)))
            start += batch.num_rows
        ids = pa.concat_arrays(taken)
        return ids if plan.id_key is None else pseudonyms(ids, plan.id_key)

    chunks = list(context.map(read, [task for task in wanted if task[1].size]))
    return pa.chunked_array(chunks) if chunks else None
