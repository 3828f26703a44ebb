"""Unify the types of columns in which the files of an input differ.

The type of a column is that of all files with rows, whatever their order. Footers tell the types.
Only where these are of several kinds, the statistics of the footers are read again: a column
without any value has no type, and a value that is lost is refused before the run.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg.arrow import first_invalid
from gpuseg.errors import DataError
from gpuseg.io.file_version import FileVersion
from gpuseg.io.parquet.unified_types import MAX_EXACT, as_type, may_lose, unified_type
from gpuseg.io.storage import Storage

_LOST = "input.value_lost"

_FOOTERS_AT_ONCE = 16

_KEY_HINT = (
    "write all files with one type: gpuseg cannot know whether 7, '7' and '007' are the same"
)
_HINT = "write all files with one type"


class TypedFile(Protocol):
    """A file whose types are known; only a Parquet file has a footer with statistics."""

    @property
    def path(self) -> str: ...
    @property
    def version(self) -> FileVersion: ...
    @property
    def schema(self) -> pa.Schema: ...
    @property
    def is_parquet(self) -> bool: ...


@dataclass(frozen=True)
class Conversion:
    """How a column of one file becomes that of all files.

    Attributes
    ----------
    kind : DataType
        The type of all files.
    other : str
        Another type and a file that has it, for messages.
    shows_values : bool
        Whether messages may have values of the column.
    """

    kind: pa.DataType
    other: str
    shows_values: bool = True

    def apply(self, column: pa.Array, name: str, where: str) -> pa.Array:
        """Return the converted column; `where` names the rows, for messages.

        Raises
        ------
        DataError
            For a value that the type of all files does not hold.
        """
        try:
            return as_type(column, self.kind)
        except pa.ArrowInvalid:
            value = column[first_invalid(partial(as_type, kind=self.kind), column)].as_py()
        raise self.lost(name, str(column.type), where, value)

    def lost(self, name: str, kind: str, where: str, value: Any) -> DataError:
        """Return the error of a value of another type that would be lost."""
        which = f"the value {value!r}" if self.shows_values else "a value"
        return DataError(
            _LOST,
            f"column '{name}' is {kind} in {where}, but {self.other}, and {self.kind}, the type "
            f"that all values would get, does not hold {which}",
            hint=f"{_HINT} that holds all values",
        )


def converted(
    batch: pa.RecordBatch, conversions: Mapping[str, Conversion], where: str
) -> pa.RecordBatch:
    """Return a batch of a file with the types of all files; `where` names the file.

    Raises
    ------
    DataError
        For a value that the type of all files does not hold.
    """
    for i, name in enumerate(batch.schema.names):
        if name in conversions:
            batch = batch.set_column(i, name, conversions[name].apply(batch.column(i), name, where))
    return batch


@dataclass(frozen=True)
class ColumnUses:
    """What the columns of files are used for.

    Attributes
    ----------
    keys : mapping of str to bool
        For each used column, whether its values are compared with each other.
    code : str
        Code of the error for types that cannot be unified.
    parameters : mapping of str to str, or str
        The parameter that names each column, or all of them, for messages.
    hidden : str or None
        Column whose values no message may have.
    """

    keys: Mapping[str, bool]
    code: str
    parameters: Mapping[str, str] | str
    hidden: str | None = None


def unify(
    storage: Storage, files: Sequence[TypedFile], uses: ColumnUses
) -> tuple[dict[str, pa.DataType], list[dict[str, Conversion]]]:
    """Return the type of each used column, and the conversions that each file needs.

    Parameters
    ----------
    files : sequence of TypedFile
        Those with rows. Each has all used columns.

    Raises
    ------
    DataError
        For types that cannot be unified, and a value, known by statistics, that would be lost.
    """
    groups = _by_schema(files)
    schemas = [files[numbers[0]].schema for numbers in groups]
    kinds, changes = dict[str, pa.DataType](), [dict[str, Conversion]() for _ in files]
    for name, is_key in uses.keys.items():
        by_kind: dict[pa.DataType, list[int]] = {}
        for schema, numbers in zip(schemas, groups, strict=True):
            by_kind.setdefault(schema.field(name).type, []).extend(numbers)
        kinds[name] = next(iter(by_kind))
        if len(by_kind) > 1:
            column = _Column(storage, files, name, by_kind, uses)
            kinds[name], converted = column.unified(is_key)
            for number, conversion in converted.items():
                changes[number][name] = conversion
    return kinds, changes


def _by_schema(files: Sequence[TypedFile]) -> list[list[int]]:
    """Group the numbers of the files by equal schemas; there are few different ones."""
    groups: list[list[int]] = []
    for number, file in enumerate(files):
        for group in groups:
            if file.schema.equals(files[group[0]].schema):
                group.append(number)
                break
        else:
            groups.append([number])
    return groups


@dataclass(frozen=True)
class _Column:
    """A column with several types; `by_kind` has the numbers of the files of each."""

    storage: Storage
    files: Sequence[TypedFile]
    name: str
    by_kind: Mapping[pa.DataType, Sequence[int]]
    uses: ColumnUses

    def unified(self, is_key: bool) -> tuple[pa.DataType, dict[int, Conversion]]:
        kind, by_kind = unified_type(self.by_kind, is_key), self.by_kind
        if kind is None or may_lose(by_kind, kind):
            by_kind = self._with_values()
            kind = unified_type(by_kind or self.by_kind, is_key)
        if kind is None:
            raise self._differ(by_kind, is_key)
        conversions = {
            number: Conversion(kind, self._other(stored), self.name != self.uses.hidden)
            for stored, numbers in self.by_kind.items()
            for number in numbers
            if stored != kind
        }
        for stored, numbers in by_kind.items():
            if may_lose([stored], kind):
                for number in numbers:
                    self._refuse_lost(number, stored, conversions[number])
        return kind, conversions

    def _with_values(self) -> dict[pa.DataType, list[int]]:
        """Return the types without those files in which every value is null."""
        with_values: dict[pa.DataType, list[int]] = {}
        for kind, numbers in self.by_kind.items():
            if kept := [number for number in numbers if not self._is_all_null(number)]:
                with_values[kind] = kept
        return with_values

    def _is_all_null(self, number: int) -> bool:
        chunks = self._chunks[number]
        return bool(chunks) and all(
            chunk.is_stats_set
            and chunk.statistics.has_null_count
            and chunk.statistics.null_count == chunk.num_values
            for chunk in chunks
        )

    def _refuse_lost(self, number: int, stored: pa.DataType, conversion: Conversion) -> None:
        """Refuse a file of integers whose statistics have one that the type does not hold."""
        if not pa.types.is_integer(stored):
            return
        limit = MAX_EXACT if pa.types.is_floating(conversion.kind) else 2**63 - 1
        for chunk in self._chunks[number]:
            if chunk.is_stats_set and chunk.statistics.has_min_max:
                for value in (chunk.statistics.max, chunk.statistics.min):
                    if abs(value) > limit:
                        where = self.storage.relative(self.files[number].path)
                        raise conversion.lost(self.name, str(stored), where, value)

    @cached_property
    def _chunks(self) -> list[list[pq.ColumnChunkMetaData]]:
        """What the footer of each file says of the column in its row groups."""
        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
            return list(pool.map(self._chunks_of, self.files))

    def _chunks_of(self, file: TypedFile) -> list[pq.ColumnChunkMetaData]:
        if not file.is_parquet:
            return []
        with self.storage.open_parquet(file.path, file.version) as opened:
            metadata = opened.metadata
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        chunks = (group.column(i) for group in groups for i in range(group.num_columns))
        return [chunk for chunk in chunks if chunk.path_in_schema == self.name]

    def _other(self, kind: pa.DataType) -> str:
        """Return another type and a file that has it, in words."""
        other = next(other for other in self.by_kind if other not in (kind, pa.null()))
        return self._in_words(other, self.by_kind)

    def _in_words(self, kind: pa.DataType, by_kind: Mapping[pa.DataType, Sequence[int]]) -> str:
        path = self.storage.relative(self.files[min(by_kind[kind])].path)
        return f"{kind} in {path}"

    def _differ(self, by_kind: Mapping[pa.DataType, Sequence[int]], is_key: bool) -> DataError:
        """Return the error of two types of the column that cannot be unified."""
        known = sorted(
            (kind for kind in by_kind if not pa.types.is_null(kind)),
            key=lambda kind: min(by_kind[kind]),
        )
        pairs, parameters = list(combinations(known, 2)), self.uses.parameters
        one, other = next((pair for pair in pairs if unified_type(pair, is_key) is None), pairs[0])
        return DataError(
            self.uses.code,
            f"column '{self.name}' is {self._in_words(one, by_kind)}, but "
            f"{self._in_words(other, by_kind)}",
            hint=_KEY_HINT if is_key else f"{_HINT}, or leave the column out",
            parameter=parameters if isinstance(parameters, str) else parameters.get(self.name),
        )
