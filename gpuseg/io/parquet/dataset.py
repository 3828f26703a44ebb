"""The input as described by its Parquet footers: schema, row groups, row counts; no data."""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg.errors import DataError
from gpuseg.formatting import count_with, span
from gpuseg.io.input_files import ListedInput, input_files
from gpuseg.io.null_values import NULL_VALUES
from gpuseg.io.parquet.checksums import count_values
from gpuseg.io.parquet.data_file import DataFile
from gpuseg.io.parquet.index_columns import index_columns
from gpuseg.io.parquet.read_batches import checked, minima_and_maxima, wrap_decoding
from gpuseg.io.parquet.schema import (
    check_columns,
    check_types,
    features_of_types,
    select_features,
    unify_columns,
    with_partition_types,
)
from gpuseg.io.parquet.shard_plan import PART_ROWS, PartPlan, ShardPlan
from gpuseg.io.parquet.vector_shapes import find_shapes
from gpuseg.io.privacy.pii import MIN_CARD_NUMBER, PERSONAL_DATA_PAGE, personal, personal_values
from gpuseg.io.privacy.pseudonyms import Key
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.preprocessing.encoding.arrow_columns import is_number
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.preprocessing.encoding.fit_encoders import uncoded
from gpuseg.preprocessing.encoding.vectors import Shape, is_vector

FOOTERS_AT_ONCE = 16
_CARD_SAMPLE_ROWS = 10_000
_MIN_CARD_BITS = 64

_MAX_GROUP_ROWS = 2**40
"""More rows than a row group can have."""


@dataclass(frozen=True)
class Dataset:
    """A folder of Parquet files in the order of their names.

    Attributes
    ----------
    storage : Storage
    files : tuple of DataFile
        The files that have rows.
    features : tuple of str
        The columns from which features are made.
    id, weight : str or None
    id_key : Key or None
        The key of the hashes that replace ids in the output.
    left_out : tuple of str
        Numeric columns that would be features by default, but are the index of a frame.
    vectors_left_out : tuple of str
        Columns of vectors that are no features, because none are named and there are numbers.
    shapes : mapping of str to tuple of int
        The features that are vectors, and the shape of these.
    null_values : tuple of str
        Text that stands for no id.
    types : mapping
        Types of the used columns that are stored: those of all files.
    carried : tuple of str
        Columns that the output has too, as they are.
    """

    storage: Storage
    files: tuple[DataFile, ...]
    features: tuple[str, ...]
    id: str | None
    weight: str | None
    id_key: Key | None = None
    left_out: tuple[str, ...] = ()
    null_values: tuple[str, ...] = NULL_VALUES
    vectors_left_out: tuple[str, ...] = ()
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    types: Mapping[str, pa.DataType] = field(default_factory=dict)
    carried: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    @property
    def width(self) -> int:
        """Columns of numbers, with an element of a vector as a column."""
        return sum(math.prod(self.shapes.get(name, ())) for name in self.features)

    @property
    def row_groups(self) -> int:
        """Row groups of all files."""
        return sum(len(file.group_rows) for file in self.files)

    @property
    def largest_group_bytes(self) -> int:
        """Bytes for decoding the largest row group: its pages, as stored."""
        return max(file.largest_group_bytes for file in self.files)

    def fingerprint(self) -> str:
        """Return a hash of the names, sizes, row groups and schemas of the files."""
        digest = hashlib.sha256()
        for file in self.files:
            entry = (self.storage.relative(file.path), file.size, file.group_rows)
            digest.update(repr((entry, file.schema.to_string())).encode())
        return f"sha256:{digest.hexdigest()}"

    def plan_shards(
        self,
        n_shards: int,
        drop_missing: bool,
        encoders: Sequence[Encoder] | None = None,
        part_rows: int = PART_ROWS,
    ) -> list[ShardPlan]:
        """Cut the rows into at most `n_shards` ranges of row groups with about equal rows.

        A part of the output has rows of one file and one shard: at most `part_rows` rows, or one
        row group. Parts are numbered in the order of the rows. `encoders` turn columns into
        features; by default all columns are numbers or vectors.
        """
        if encoders is None:
            encoders = [uncoded(name, self.shapes) for name in self.features]
        total, done, n_parts = self.rows, 0, 0
        parts: list[list[PartPlan]] = [[] for _ in range(n_shards)]
        for file in self.files:
            current: tuple[int, PartPlan] | None = None
            for group, rows in enumerate(file.group_rows):
                if not rows:
                    continue
                shard = min((done + rows // 2) * n_shards // total, n_shards - 1)
                done += rows
                if current and current[0] == shard and current[1].rows + rows <= part_rows:
                    plan = current[1].with_group(group, rows)
                    parts[shard][-1] = plan
                else:
                    plan = PartPlan(
                        file.path, (group,), (rows,), n_parts, file.constants, file.version,
                        file.conversions,
                    )  # fmt: skip
                    parts[shard].append(plan)
                    n_parts += 1
                current = (shard, plan)
        return [
            ShardPlan(
                self.storage, tuple(plans), tuple(encoders), self.weight, self.id, drop_missing,
                n_parts, self.id_key, self.null_values, self.carried,
            )
            for plans in filter(None, parts)
        ]  # fmt: skip


def open_dataset(
    storage: Storage,
    features: Sequence[str] | None = None,
    id: str | None = None,
    weight: str | None = None,
    id_key: Key | None = None,
    categories: Sequence[str] = (),
    audited: Sequence[str] = (),
    null_values: Sequence[str] = NULL_VALUES,
    allow_personal: Sequence[str] = (),
    allowed_kinds: Sequence[str] = (),
    listed: ListedInput | None = None,
) -> Dataset:
    """Read the footers below `storage` and select the columns.

    Parameters
    ----------
    storage : Storage
        A Parquet file or a folder of them, also Hive-partitioned. Names that begin with '_' or '.'
        are ignored, as in Spark.
    features : names, optional
        By default all numeric columns except id, weight and index columns of pandas; columns of
        vectors if there are none.
    categories : names
        Columns of categories, which are features too.
    allow_personal : names
        Features that are not compared with personal data.
    allowed_kinds : sequence of str
        Kinds of personal data that are allowed.
    listed : pair of Storage and files, optional
        What `input_files` returns for `storage`, if it has been called.
    audited : names
        Columns that are not features.
    null_values : sequence of str
        Text that stands for no id.

    Raises
    ------
    DataError
        If there is no data, a file is not Parquet, the files differ in the type of a used column,
        or a column is missing or not numeric, or has vectors of no known length.
    """
    with wrap_store_errors("input_path", storage.url), ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        storage, files_listed = listed or input_files(storage, "input_path")
        footers = list(pool.map(lambda item: read_footer(storage, *item), files_listed))
    index = frozenset().union(*(file.index_columns for file in footers))
    others = [name for name in (id, weight, *audited) if name is not None]
    with_rows = tuple(file for file in footers if file.rows)
    files = with_rows or tuple(footers)  # where no row is, no type matters
    keys = {name for name in (id, *categories, *audited) if name is not None}
    with_partition_types(files, keys)
    selected = select_features(files, features, others, categories, index)
    used = list(dict.fromkeys([*selected.names, *others]))
    check_columns(storage, files, selected.names, id, weight, categories, audited, id_key=id_key)
    types = unify_columns(storage, files, used, keys, None if id_key is None else id)
    names = selected.names
    if features is None:
        names = features_of_types(names, types, categories)
    check_types(storage, files, types, names, id, weight, categories, audited)
    checked = [name for name in names if name not in allow_personal]
    _refuse_personal(storage, files, checked, allowed_kinds)
    if not with_rows:
        raise no_rows(len(files), storage.url, "input_path")
    shapes = find_shapes(
        storage, with_rows, types, [name for name in names if name not in categories]
    )
    return Dataset(
        storage, with_rows, names, id, weight, id_key, selected.index, tuple(null_values),
        selected.vectors, shapes, types,
    )  # fmt: skip


def no_rows(n_files: int, url: str, parameter: str) -> DataError:
    """Return the error of files without rows."""
    return DataError(
        "input.no_rows",
        f"{count_with(n_files, 'file', 'has', 'have')} no rows",
        value=url,
        parameter=parameter,
    )


def _refuse_personal(
    storage: Storage,
    files: Sequence[DataFile],
    features: Sequence[str],
    allowed_kinds: Sequence[str],
) -> None:
    """Refuse features that look like personal data, by name or by their first values."""
    refused = {name: kind for name in features if (kind := personal(name))}
    waiting = [name for name in features if name not in refused and name in files[0].types]
    for file in files if files[0].rows else ():
        columns = [name for name in waiting if not pa.types.is_null(file.types[name])]
        waiting = [name for name in waiting if name not in columns]
        if columns := _possible_columns(storage, file, columns):
            first = _first_rows(storage, file, columns)
            for name in columns:
                if first and (kind := personal_values(first.column(name))):
                    refused[name] = kind
        if not waiting:
            break
    for name, kind in refused.items():
        if kind not in allowed_kinds:
            raise DataError(
                "feature.personal_data",
                f"feature '{name}' looks like {kind}",
                hint="leave it out of `features`, or name it in `allow_personal` if it may be used "
                f"({PERSONAL_DATA_PAGE})",
                parameter="features",
            )


def _possible_columns(storage: Storage, file: DataFile, columns: Sequence[str]) -> list[str]:
    """Return the columns whose values may be personal data: text, and large numbers."""
    types = file.types
    columns = [name for name in columns if _is_possible(types[name], None)]
    if not columns:
        return []
    with (
        storage.open_parquet(file.path, file.version) as opened,
        wrap_decoding(storage, file.path, file.version),
    ):
        numbers = [name for name in columns if is_number(types[name])]
        bounds = minima_and_maxima(opened, 0, numbers)
    minima = {name: minimum for name, (minimum, _) in bounds.items()}
    return [name for name in columns if _is_possible(types[name], minima.get(name))]


def _is_possible(kind: pa.DataType, minimum: Any) -> bool:
    """Whether values of a type may be personal data; a minimum of None is not known."""
    t = pa.types
    if t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind):
        if kind.bit_width < _MIN_CARD_BITS:
            return False
        return minimum is None or not minimum < MIN_CARD_NUMBER
    return not (t.is_boolean(kind) or t.is_temporal(kind) or t.is_null(kind) or is_vector(kind))


def first_values(dataset: Dataset, name: str) -> pa.Array | None:
    """Return the first values of a stored column, of the first file that has some, or None."""
    for file in dataset.files:
        if name not in file.types:
            return None
        if pa.types.is_null(file.types[name]):
            continue
        if first := _first_rows(dataset.storage, file, [name]):
            return first.column(name)
    return None


def _first_rows(storage: Storage, file: DataFile, columns: Sequence[str]) -> pa.RecordBatch | None:
    """Return the first rows of some columns; None if a file has none, whatever its footer says."""
    with (
        storage.open_parquet(file.path, file.version) as opened,
        wrap_decoding(storage, file.path, file.version),
    ):
        first = next(opened.iter_batches(_CARD_SAMPLE_ROWS, columns=list(columns)), None)
        return None if first is None else checked(first, columns)


def read_footer(
    storage: Storage, path: str, size: int, constants: Mapping[str, pa.Scalar] | None = None
) -> DataFile:
    """Read the footer of a Parquet file.

    Parameters
    ----------
    constants : see `io.table_formats.snapshot.InputFile`

    Raises
    ------
    DataError
        For a file that is not Parquet, has two columns with the same name, or contradicts itself.
    """
    version = storage.version(path)
    with storage.open_parquet(path, version) as file, storage.wrap_reading(path, version):
        metadata, schema = file.metadata, file.schema_arrow
        schema.to_string()  # names that are not UTF-8
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        contradiction = _contradiction(metadata, groups)
        if storage.is_local and contradiction is None:
            contradiction = _rows_left_out(path, groups)
    if contradiction:
        raise DataError(
            "file.footer_contradicts_itself",
            f"{storage.relative(path)}: {contradiction}",
            hint="the file is damaged: write it again",
        )
    if storage.is_local or not version.marks:
        with nullcontext() if storage.is_local else suppress(DataError):  # a server may not seek
            version = replace(version, footer=storage.footer_hash(path))
        storage.refuse_change(path, version)
    duplicates = sorted(name for name, n in Counter(schema.names).items() if n > 1)
    if duplicates:
        raise DataError(
            "file.duplicate_column",
            f"{storage.relative(path)}: two columns are called '{duplicates[0]}'",
            rule="column names must be unique",
            hint="rename one of them",
        )
    rows = tuple(group.num_rows for group in groups)
    largest = max((group.total_byte_size for group in groups), default=0)
    values: dict[str, Any] = dict(constants or {})
    if constants is None:
        folders = storage.relative(path).split("/")[:-1]
        pairs = dict(part.split("=", 1) for part in folders if "=" in part)
        values = {unquote(name): unquote(value) for name, value in pairs.items()}
    return DataFile(
        path,
        size,
        rows,
        schema.remove_metadata(),
        version,
        values,
        largest,
        index_columns(schema),
    )


def _rows_left_out(path: str, groups: Sequence[pq.RowGroupMetaData]) -> str | None:
    """Return which row group has more rows in its pages than its footer says, or None.

    The first column of each is looked at.
    """
    chunks = [group.column(0) for group in groups if group.num_columns]
    for number, (chunk, values) in enumerate(zip(chunks, count_values(path, chunks), strict=True)):
        if values is not None and values > chunk.num_values:
            return (
                f"row group {number} has {chunk.num_values:,} values in a column by its footer, "
                f"but {values:,} in its pages"
            )
    return None


def _contradiction(metadata: pq.FileMetaData, groups: Sequence[pq.RowGroupMetaData]) -> str | None:
    """Return what a footer says of its rows that cannot be true, or None."""
    counts = [group.num_rows for group in groups]
    if any(rows < 0 or rows > _MAX_GROUP_ROWS for rows in counts):
        return f"row groups of {span(f'{min(counts):,}', f'{max(counts):,}')} rows"
    if sum(counts) != metadata.num_rows:
        return f"{metadata.num_rows:,} rows, but {sum(counts):,} in its row groups"
    flat = metadata.num_columns and metadata.schema.column(0).max_repetition_level == 0
    for number, group in enumerate(groups):
        if flat and group.num_columns and group.column(0).num_values != group.num_rows:
            return (
                f"row group {number} has {group.num_rows:,} rows, but "
                f"{group.column(0).num_values:,} values in a column"
            )
    return None
