"""The input, as its Parquet footers describe it: schema, row groups, row counts. No data yet."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from gpuseg.data.shards import PART_ROWS, Piece, ShardPlan
from gpuseg.data.storage import Storage, reaching
from gpuseg.errors import DataError
from gpuseg.validation import nearest_known

_FOOTERS_AT_ONCE = 16


@dataclass(frozen=True)
class DataFile:
    """One Parquet file.

    Attributes
    ----------
    path : str
    size : int
        Bytes.
    group_rows : tuple of int
        Rows of each row group.
    schema : pyarrow.Schema
        As stored, Hive partition columns not included.
    constants : dict
        Hive partition columns of this file and their values.
    """

    path: str
    size: int
    group_rows: tuple[int, ...]
    schema: pa.Schema
    constants: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of the file."""
        return sum(self.group_rows)


@dataclass(frozen=True)
class Dataset:
    """A folder of Parquet files, in the order of their names.

    Attributes
    ----------
    storage : Storage
    files : tuple of DataFile
        Those with rows.
    features : tuple of str
    id, weight : str or None
    """

    storage: Storage
    files: tuple[DataFile, ...]
    features: tuple[str, ...]
    id: str | None
    weight: str | None

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    @property
    def row_groups(self) -> int:
        """Row groups of all files."""
        return sum(len(file.group_rows) for file in self.files)

    def fingerprint(self) -> str:
        """Return a hash of the names, sizes, row groups and schemas of the files."""
        digest = hashlib.sha256()
        for file in self.files:
            entry = (self.storage.relative(file.path), file.size, file.group_rows)
            digest.update(repr((entry, file.schema.to_string())).encode())
        return f"sha256:{digest.hexdigest()}"

    def plan_shards(self, n_shards: int, drop_missing: bool) -> list[ShardPlan]:
        """Cut the rows into at most `n_shards` runs of row groups with about equal rows.

        A part file of the output holds rows of one file and one shard, `PART_ROWS` at the most,
        or one row group; parts are numbered in the order of the rows.
        """
        total, done, part = self.rows, 0, 0
        pieces: list[list[Piece]] = [[] for _ in range(n_shards)]
        for file in self.files:
            current: tuple[int, Piece] | None = None
            for group, rows in enumerate(file.group_rows):
                if not rows:
                    continue
                shard = min((done + rows // 2) * n_shards // total, n_shards - 1)
                done += rows
                if current and current[0] == shard and current[1].rows + rows <= PART_ROWS:
                    piece = current[1].with_group(group, rows)
                    pieces[shard][-1] = piece
                else:
                    piece = Piece(file.path, (group,), rows, part, file.constants)
                    pieces[shard].append(piece)
                    part += 1
                current = (shard, piece)
        return [
            ShardPlan(self.storage, tuple(own), self.features, self.weight, self.id, drop_missing)
            for own in pieces
            if own
        ]


def open_dataset(
    storage: Storage,
    features: Sequence[str] | None = None,
    id: str | None = None,
    weight: str | None = None,
) -> Dataset:
    """Read the footers below `storage` and settle which columns are used.

    Parameters
    ----------
    storage : Storage
        A Parquet file, or a folder of them, Hive-partitioned or not. Names that begin with
        '_' or '.' are passed over, as Spark does.
    features : names, optional
        Every numeric column of the files but id and weight by default.

    Raises
    ------
    DataError
        When there is no data, a file is not Parquet, the files' schemas differ in a column
        that is used, or a column is absent or not numeric.
    """
    with reaching("input.path", storage.url), ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
        files = list(pool.map(lambda item: _read_footer(storage, *item), _list(storage)))
    names = _settle_features(files[0], features, id, weight)
    used = [*names, *(name for name in (id, weight) if name is not None)]
    for first, other in pairwise([files[0], *files]):
        _check_same(storage, first, other, used if features is not None else None)
    _check_columns(storage, files, names, id, weight)
    with_rows = tuple(file for file in files if file.rows)
    if not with_rows:
        raise DataError(f"input.path = {storage.url!r}: the {len(files)} files have no rows")
    return Dataset(storage, with_rows, names, id, weight)


def _list(storage: Storage) -> list[tuple[str, int]]:
    """Return path and size of each data file, by name."""
    try:
        found = storage.fs.find(storage.root, detail=True)
        exists = bool(found) or storage.fs.exists(storage.root)
    except OSError as error:
        raise DataError(f"input.path = {storage.url!r}: cannot be listed ({error})") from None
    if not exists:
        raise DataError(
            f"input.path = {storage.url!r}: no such file or folder; give a Parquet file, "
            "a folder of them, or a URL"
        )
    visible = [
        (path, int(info["size"] or 0))
        for path, info in sorted(found.items(), key=lambda item: item[0].split("/"))
        if not any(part[:1] in "_." for part in storage.relative(path).split("/"))
        or path == storage.root
    ]
    if not visible:
        raise DataError(
            f"input.path = {storage.url!r}: the folder has no data file (names that begin with "
            "'_' or '.' are passed over); put Parquet files into it"
        )
    return visible


def _read_footer(storage: Storage, path: str, size: int) -> DataFile:
    with storage.open_parquet(path) as file:
        metadata, schema = file.metadata, file.schema_arrow.remove_metadata()
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise DataError(
            f"{storage.relative(path)}: two columns are called '{twice[0]}'; names of columns must "
            "be unique: rename one of them"
        )
    rows = tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
    relative = storage.relative(path).split("/")[:-1]
    constants = dict(part.split("=", 1) for part in relative if "=" in part)
    values = {name: _partition_value(unquote(value)) for name, value in constants.items()}
    return DataFile(path, size, rows, schema, values)


def _partition_value(text: str) -> Any:
    if text == "__HIVE_DEFAULT_PARTITION__":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _settle_features(
    file: DataFile, features: Sequence[str] | None, id: str | None, weight: str | None
) -> tuple[str, ...]:
    if features is not None:
        return tuple(features)
    names = tuple(
        column.name
        for column in file.schema
        if is_numeric(column.type) and column.name not in (id, weight)
    )
    if not names:
        raise DataError(
            "no numeric column besides id and weight; name the columns in input.features"
        )
    return names


def _check_same(
    storage: Storage, first: DataFile, other: DataFile, used: Sequence[str] | None
) -> None:
    """Refuse files that differ in a used column; `used` None means in any column."""
    names = (
        used if used is not None else list(dict.fromkeys(first.schema.names + other.schema.names))
    )
    for name in names:
        types = [_type_of(file, name) for file in (first, other)]
        if types[0] != types[1]:
            a, b = (storage.relative(file.path) for file in (first, other))
            raise DataError(
                f"files with different schemas: column '{name}' is {types[0]} in {a}, but "
                f"{types[1]} in {b}; write them with one schema, or name in input.features "
                "columns that agree"
            )


def _type_of(file: DataFile, name: str) -> str:
    if name in file.constants:
        return "a partition column"
    return str(file.schema.field(name).type) if name in file.schema.names else "absent"


def _check_columns(
    storage: Storage,
    files: Sequence[DataFile],
    features: Sequence[str],
    id: str | None,
    weight: str | None,
) -> None:
    """Refuse columns that are absent or of a type that does not serve."""
    file = files[0]
    where, known = storage.relative(file.path), [*file.schema.names, *file.constants]
    numbers = [*(("feature", f) for f in features), *([("input.weight", weight)] if weight else [])]
    for key, name in [
        ("input.id", id),
        ("input.weight", weight),
        *(("input.features", f) for f in features),
    ]:
        if name is not None and name not in known:
            raise DataError(f"{key}: no column '{name}' in {where}; {nearest_known(name, known)}")
    if (
        id is not None
        and id in file.schema.names
        and pa.types.is_nested(file.schema.field(id).type)
    ):
        raise DataError(
            f"input.id = '{id}': column of type {file.schema.field(id).type} in {where}; an id "
            "must be a number, a string, bytes or a date"
        )
    for key, name in numbers:
        if name in file.constants:
            _check_partition_values(storage, files, key, name)
            continue
        kind = file.schema.field(name).type
        if not (is_numeric(kind) or pa.types.is_boolean(kind)):
            raise DataError(
                f"{key} '{name}': column of type {kind} in {where} is not numeric; leave it out "
                "or convert it to a number"
            )


def _check_partition_values(
    storage: Storage, files: Sequence[DataFile], key: str, name: str
) -> None:
    for file in files:
        value = file.constants[name]
        if isinstance(value, str):
            raise DataError(
                f"{key} '{name}': the partition value {value!r} of {storage.relative(file.path)} "
                "is not a number; leave it out"
            )


def is_numeric(kind: pa.DataType) -> bool:
    """Whether a column of this type can be a feature by default."""
    t = pa.types
    return bool(t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind))
