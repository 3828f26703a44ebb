"""The input, as its Parquet footers describe it: schema, row groups, row counts. No data yet."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import unquote

import pyarrow as pa

from gpuseg.errors import DataError
from gpuseg.io.parquet.data_file import DataFile
from gpuseg.io.parquet.schema import check_columns, check_same, settle_features, typed
from gpuseg.io.parquet.shard_plan import PART_ROWS, PartPlan, ShardPlan
from gpuseg.io.privacy.pii import are_card_numbers, personal
from gpuseg.io.privacy.pseudonyms import Key
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.preprocessing.encoding.encoder import Encoder

_FOOTERS_AT_ONCE = 16
_CARDS_LOOKED_AT = 10_000


@dataclass(frozen=True)
class Dataset:
    """A folder of Parquet files, in the order of their names.

    Attributes
    ----------
    storage : Storage
    files : tuple of DataFile
        Those with rows.
    features : tuple of str
        The columns that features are made of.
    id, weight : str or None
    id_key : Key or None
        Of the hashes that are written in place of ids.
    """

    storage: Storage
    files: tuple[DataFile, ...]
    features: tuple[str, ...]
    id: str | None
    weight: str | None
    id_key: Key | None = None

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    @property
    def row_groups(self) -> int:
        """Row groups of all files."""
        return sum(len(file.group_rows) for file in self.files)

    @property
    def largest_group_bytes(self) -> int:
        """Bytes that decoding the largest row group takes: its pages, as stored."""
        return max(file.largest_group_bytes for file in self.files)

    def fingerprint(self) -> str:
        """Return a hash of the names, sizes, row groups and schemas of the files."""
        digest = hashlib.sha256()
        for file in self.files:
            entry = (self.storage.relative(file.path), file.size, file.group_rows)
            digest.update(repr((entry, file.schema.to_string())).encode())
        return f"sha256:{digest.hexdigest()}"

    def plan_shards(
        self, n_shards: int, drop_missing: bool, encoders: Sequence[Encoder] | None = None
    ) -> list[ShardPlan]:
        """Cut the rows into at most `n_shards` runs of row groups with about equal rows.

        A part file of the output holds rows of one file and one shard, `PART_ROWS` at the most,
        or one row group; parts are numbered in the order of the rows. `encoders` make features of
        the columns; without them all are numbers.
        """
        if encoders is None:
            encoders = [Encoder(name) for name in self.features]
        total, done, part = self.rows, 0, 0
        pieces: list[list[PartPlan]] = [[] for _ in range(n_shards)]
        for file in self.files:
            current: tuple[int, PartPlan] | None = None
            for group, rows in enumerate(file.group_rows):
                if not rows:
                    continue
                shard = min((done + rows // 2) * n_shards // total, n_shards - 1)
                done += rows
                if current and current[0] == shard and current[1].rows + rows <= PART_ROWS:
                    piece = current[1].with_group(group, rows)
                    pieces[shard][-1] = piece
                else:
                    piece = PartPlan(file.path, (group,), rows, part, file.constants)
                    pieces[shard].append(piece)
                    part += 1
                current = (shard, piece)
        return [
            ShardPlan(
                self.storage, tuple(own), tuple(encoders), self.weight, self.id, drop_missing, part,
                self.id_key,
            )
            for own in filter(None, pieces)
        ]  # fmt: skip


def open_dataset(
    storage: Storage,
    features: Sequence[str] | None = None,
    id: str | None = None,
    weight: str | None = None,
    id_key: Key | None = None,
    categories: Sequence[str] = (),
    audited: Sequence[str] = (),
) -> Dataset:
    """Read the footers below `storage` and settle which columns are used.

    Parameters
    ----------
    storage : Storage
        A Parquet file, or a folder of them, Hive-partitioned or not. Names that begin with
        '_' or '.' are passed over, as Spark does.
    features : names, optional
        Every numeric column of the files but id and weight by default.
    categories : names
        Columns of categories, which are features, too.
    audited : names
        Columns that are no features.

    Raises
    ------
    DataError
        When there is no data, a file is not Parquet, the files' schemas differ in a column
        that is used, or a column is absent or not numeric.
    """
    with wrap_store_errors("input.path", storage.url), ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
        listed = list_files(storage, "input.path")
        files = typed(list(pool.map(lambda item: read_footer(storage, *item), listed)))
    names = settle_features(files[0], features, (id, weight, *audited), categories)
    used = [*names, *(name for name in (id, weight, *audited) if name is not None)]
    for first, other in pairwise([files[0], *files]):
        check_same(storage, first, other, used if features is not None else None)
    check_columns(storage, files, names, id, weight, categories, audited)
    _refuse_personal(storage, files[0], names)
    with_rows = tuple(file for file in files if file.rows)
    if not with_rows:
        raise DataError(f"input.path = {storage.url!r}: the {len(files)} files have no rows")
    return Dataset(storage, with_rows, names, id, weight, id_key)


def _refuse_personal(storage: Storage, file: DataFile, features: Sequence[str]) -> None:
    """Refuse features that look like personal data, by their names or their digits."""
    looks = {name: personal(name) for name in features}
    whole = [
        name
        for name in features
        if name in file.schema.names and pa.types.is_int64(file.schema.field(name).type)
    ]
    if whole and file.rows:
        with storage.open_parquet(file.path) as opened:
            first = next(opened.iter_batches(_CARDS_LOOKED_AT, columns=whole))
        for name in whole:
            if looks[name] is None and are_card_numbers(first.column(name)):
                looks[name] = "a card or account number"
    for name, what in looks.items():
        if what:
            raise DataError(
                f"feature '{name}' looks like {what}: personal data say nothing of behaviour and "
                "must not decide a segment; leave it out of input.features, or rename the column"
            )


def list_files(storage: Storage, key: str) -> list[tuple[str, int]]:
    """Return path and size of each data file, by name; `key` is the job key, for messages.

    Raises
    ------
    DataError
        Where there is none.
    """
    try:
        found = storage.fs.find(storage.root, detail=True)
        exists = bool(found) or storage.fs.exists(storage.root)
    except OSError as error:
        raise DataError(f"{key} = {storage.url!r}: cannot be listed ({error})") from None
    if not exists:
        raise DataError(
            f"{key} = {storage.url!r}: no such file or folder ({storage.root}); give a "
            "Parquet file, a folder of them, or a URL"
        )
    visible = [
        (path, int(info["size"] or 0))
        for path, info in sorted(found.items(), key=lambda item: item[0].split("/"))
        if not any(part[:1] in "_." for part in storage.relative(path).split("/"))
        or path == storage.root
    ]
    if not visible:
        raise DataError(
            f"{key} = {storage.url!r}: the folder has no data file (names that begin with "
            "'_' or '.' are passed over); put Parquet files into it"
        )
    return visible


def read_footer(storage: Storage, path: str, size: int) -> DataFile:
    """Read what a Parquet file says of itself.

    Raises
    ------
    DataError
        For a file that is not Parquet, or has two columns of one name.
    """
    with storage.open_parquet(path) as file:
        metadata, schema = file.metadata, file.schema_arrow.remove_metadata()
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise DataError(
            f"{storage.relative(path)}: two columns are called '{twice[0]}'; names of columns must "
            "be unique: rename one of them"
        )
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    rows = tuple(group.num_rows for group in groups)
    largest = max((group.total_byte_size for group in groups), default=0)
    relative = storage.relative(path).split("/")[:-1]
    constants = dict(part.split("=", 1) for part in relative if "=" in part)
    return DataFile(
        path, size, rows, schema, {k: unquote(v) for k, v in constants.items()}, largest
    )
