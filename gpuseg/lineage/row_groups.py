"""Row groups of the parts of an output, as blocks of rows with ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg import arrow_compute as pc
from gpuseg.arrow import to_numpy
from gpuseg.errors import DataError
from gpuseg.lineage.id_blocks import IdBlock, IdBlocks, LabeledRows
from gpuseg.lineage.id_keys import IdKeys
from gpuseg.lineage.labeled_parts import LabeledParts, damaged
from gpuseg.record import NOISE


class LabeledGroup(NamedTuple):
    """What the footer of a part tells of a row group.

    `low` and `high` are the least and the greatest id, None if they are not known, as is `missing`,
    the number of rows without an id. `id_bytes` is the size of all ids.
    """

    file: int
    number: int
    rows: int
    low: Any
    high: Any
    missing: int | None
    id_bytes: int


@dataclass(frozen=True)
class LabeledGroups:
    """All row groups of an output, in the order of its rows.

    Attributes
    ----------
    parts : LabeledParts
    id_type : DataType
    groups : tuple of LabeledGroup
    """

    parts: LabeledParts
    id_type: pa.DataType
    groups: tuple[LabeledGroup, ...]

    @property
    def rows(self) -> int:
        """Rows of the output."""
        return sum(group.rows for group in self.groups)

    @property
    def bytes_per_id(self) -> int:
        """Mean size of an id, without compression."""
        return -(-sum(group.id_bytes for group in self.groups) // max(self.rows, 1))


def read_footers(parts: LabeledParts) -> LabeledGroups:
    """Read the footers of all parts.

    Raises
    ------
    DataError
        If a part is missing, damaged or has changed, or has other columns.
    """
    groups: list[LabeledGroup] = []
    id_type: pa.DataType | None = None
    for number, path in enumerate(parts.paths):
        with parts.open(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            name = parts.storage.relative(path)
            for column in (parts.id, parts.column):
                if schema.names.count(column) != 1:
                    raise damaged(parts.storage, f"{name} does not have one column {column!r}")
            if schema.field(parts.column).type != pa.int32():
                raise damaged(
                    parts.storage, f"{name} has other values than segments in {parts.column!r}"
                )
            id_type = id_type or schema.field(parts.id).type
            if schema.field(parts.id).type != id_type:
                raise damaged(
                    parts.storage, f"{name} has ids of another type than the parts before it"
                )
            groups += _groups(metadata, number, str(parts.id))
    return LabeledGroups(parts, id_type, tuple(groups))


def _groups(metadata: pq.FileMetaData, file: int, id: str) -> list[LabeledGroup]:
    groups = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = [group.column(j) for j in range(group.num_columns)]
        column = next((c for c in columns if c.path_in_schema == id), None)
        known = column.statistics if column is not None and column.is_stats_set else None
        low, high, missing = None, None, None
        if known is not None and known.has_min_max and known.has_null_count:
            low, high, missing = known.min, known.max, known.null_count
        size = column.total_uncompressed_size if column is not None else 0
        groups.append(LabeledGroup(file, number, group.num_rows, low, high, missing, size))
    return [group for group in groups if group.rows]


class RowGroups(IdBlocks):
    """Rows of parts, read where they are.

    Parameters
    ----------
    groups : LabeledGroups
    keys : IdKeys
    """

    def __init__(self, groups: LabeledGroups, keys: IdKeys) -> None:
        self._parts, self._keys = groups.parts, keys
        self.blocks = []
        for group in groups.groups:
            low, high = keys.from_statistics(group.low), keys.from_statistics(group.high)
            if low is None or high is None:
                self.blocks = []
                break
            self.blocks.append(IdBlock(low, high, group.rows, group.file, group.number))

    def read(self, blocks: Sequence[IdBlock]) -> list[LabeledRows]:
        rows = []
        for file, of_file in groupby(blocks, key=lambda block: block.file):
            for block, (read, _) in self.read_groups(file, list(of_file)):
                if not self._keys.are_within(read.keys, block.low, block.high):
                    problem = "has ids beyond the least and the greatest one of its footer"
                    raise self._damaged(self._parts.paths[file], problem)
                rows.append(read)
        return rows

    def read_groups(
        self, file: int, groups: Sequence[Any]
    ) -> list[tuple[Any, tuple[LabeledRows, int]]]:
        """Read row groups of one file; return each with its rows that have an id, and the number
        of those that have none.
        """
        path, columns = self._parts.paths[file], [self._parts.id, self._parts.column]
        with self._parts.open(path) as opened:
            tables = [
                opened.read_row_group(group.number, columns=columns, use_threads=False)
                for group in groups
            ]
        return [(g, self._rows(table, path)) for g, table in zip(groups, tables, strict=True)]

    def _rows(self, table: pa.Table, path: str) -> tuple[LabeledRows, int]:
        ids, segments = (_one_array(table[name]) for name in (self._parts.id, self._parts.column))
        if segments.null_count:
            raise self._damaged(path, "has rows without a segment")
        labels = to_numpy(segments)
        if len(labels) and labels.min() < NOISE:
            raise self._damaged(path, f"has a segment below {NOISE}")
        missing = pc.is_null(ids, nan_is_null=pa.types.is_floating(ids.type))
        n_missing = missing.true_count if ids.null_count or pa.types.is_floating(ids.type) else 0
        if n_missing:
            ids, labels = ids.filter(pc.invert(missing)), labels[~to_numpy(missing)]
        return LabeledRows(self._keys.from_arrow(ids), labels), n_missing

    def _damaged(self, path: str, problem: str) -> DataError:
        storage = self._parts.storage
        return damaged(storage, f"{storage.relative(path)} {problem}")


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    joined = column.combine_chunks()
    return pa.concat_arrays(joined.chunks) if isinstance(joined, pa.ChunkedArray) else joined
