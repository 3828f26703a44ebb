"""Unify the types of columns in which the files of an input differ.

The type of a column is that of all files with rows, whatever their order. Footers tell the types.
Only where these are of several kinds, some footers are read again for their statistics: a column
without any value has no type, and a value that is lost is refused before the run.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
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
    differing: dict[str, dict[pa.DataType, list[int]]] = {}
    for name in uses.keys:
        by_kind: dict[pa.DataType, list[int]] = {}
        for schema, numbers in zip(schemas, groups, strict=True):
            by_kind.setdefault(schema.field(name).type, []).extend(numbers)
        kinds[name] = next(iter(by_kind))
        if len(by_kind) > 1:
            differing[name] = by_kind
    footers = _Footers(storage, files, differing)
    for name, by_kind in differing.items():
        column = _Column(storage, files, name, by_kind, uses, footers)
        kinds[name], converted = column.unified(uses.keys[name])
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
class _Values:
    """What the footer of a file says of the values of a column.

    Attributes
    ----------
    are_null : bool
        Whether every value is known to be null.
    bounds : tuple
        The smallest and the largest value of each row group that has them.
    """

    are_null: bool
    bounds: tuple[Any, ...]


class _Footers:
    """What the footers say of the values of columns; each is read at most once, for all columns."""

    def __init__(
        self, storage: Storage, files: Sequence[TypedFile], columns: Collection[str]
    ) -> None:
        self._storage, self._files, self._columns = storage, files, columns
        self._known: dict[int, dict[str, _Values]] = {}

    def values(self, column: str, numbers: Sequence[int]) -> Iterator[_Values]:
        """Yield the values of a column in files; a few footers are read at a time."""
        for start in range(0, len(numbers), _FOOTERS_AT_ONCE):
            batch = numbers[start : start + _FOOTERS_AT_ONCE]
            unknown = [number for number in batch if number not in self._known]
            if unknown:
                with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
                    self._known.update(zip(unknown, pool.map(self._read, unknown), strict=True))
            yield from (self._known[number][column] for number in batch)

    def _read(self, number: int) -> dict[str, _Values]:
        file = self._files[number]
        chunks: dict[str, list[pq.ColumnChunkMetaData]] = {name: [] for name in self._columns}
        if file.is_parquet:
            with self._storage.open_parquet(file.path, file.version) as opened:
                metadata = opened.metadata
            for group in map(metadata.row_group, range(metadata.num_row_groups)):
                for chunk in map(group.column, range(group.num_columns)):
                    if chunk.path_in_schema in chunks:
                        chunks[chunk.path_in_schema].append(chunk)
        return {name: self._values_of(file, name, chunks[name]) for name in chunks}

    @staticmethod
    def _values_of(file: TypedFile, name: str, chunks: Sequence[pq.ColumnChunkMetaData]) -> _Values:
        """Return the values of a column; bounds are those of integers alone."""
        known = [(chunk.statistics, chunk.num_values) for chunk in chunks if chunk.is_stats_set]
        are_null = len(known) == len(chunks) > 0 and all(
            statistics.has_null_count and statistics.null_count == n_values
            for statistics, n_values in known
        )
        is_integer = pa.types.is_integer(file.schema.field(name).type)
        bounds = (
            value
            for statistics, _ in known
            if is_integer and statistics.has_min_max
            for value in (statistics.max, statistics.min)
        )
        return _Values(are_null, tuple(bounds))


@dataclass(frozen=True)
class _Column:
    """A column with several types; `by_kind` has the numbers of the files of each."""

    storage: Storage
    files: Sequence[TypedFile]
    name: str
    by_kind: Mapping[pa.DataType, Sequence[int]]
    uses: ColumnUses
    footers: _Footers

    def unified(self, is_key: bool) -> tuple[pa.DataType, dict[int, Conversion]]:
        kind, with_values = unified_type(self.by_kind, is_key), self.by_kind
        if kind is None or may_lose(self.by_kind, kind):
            with_values = self._with_values()
            kind = unified_type(with_values, is_key) if with_values else kind or pa.null()
        if kind is None:
            raise self._differ(with_values, is_key)
        conversions = {
            number: Conversion(kind, self._other(stored), self.name != self.uses.hidden)
            for stored, numbers in self.by_kind.items()
            for number in numbers
            if stored != kind
        }
        for stored in with_values:
            if may_lose([stored], kind):
                self._refuse_lost(stored, conversions)
        return kind, conversions

    def _with_values(self) -> dict[pa.DataType, Sequence[int]]:
        """Return the types of files that have a value, with the first such file of each."""
        with_values: dict[pa.DataType, Sequence[int]] = {}
        for kind, numbers in self.by_kind.items():
            known = zip(numbers, self.footers.values(self.name, numbers), strict=True)
            first = next((number for number, values in known if not values.are_null), None)
            if first is not None:
                with_values[kind] = [first]
        return with_values

    def _refuse_lost(self, stored: pa.DataType, conversions: Mapping[int, Conversion]) -> None:
        """Refuse a file of integers whose statistics have one that the type does not hold."""
        if not pa.types.is_integer(stored):
            return
        numbers = self.by_kind[stored]
        for number, values in zip(numbers, self.footers.values(self.name, numbers), strict=True):
            conversion = conversions[number]
            limit = MAX_EXACT if pa.types.is_floating(conversion.kind) else 2**63 - 1
            for value in values.bounds:
                if abs(value) > limit:
                    where = self.storage.relative(self.files[number].path)
                    raise conversion.lost(self.name, str(stored), where, value)

    def _other(self, kind: pa.DataType) -> str:
        """Return another type and a file that has it, in words; one with values if there is one."""
        others = [other for other in self.by_kind if other != kind]
        other = next((other for other in others if not pa.types.is_null(other)), others[0])
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
