"""Parquet in: which files and columns are found, and the numbers they become.

Every layout that other tools write is read to the same float32 matrix, rows in the files' order,
by Arrow and by cuDF.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import (
    FEATURES,
    Array,
    customers,
    cut,
    in_turn,
    loaded,
    matrix,
    opened,
    write_files,
)

from gpuseg.io.parquet.dataset import Dataset

pytestmark = pytest.mark.usefixtures("reader")


def rows(data: Dataset, n_shards: int = 1) -> Array:
    return np.concatenate([shard.x for shard in loaded(data, n_shards)])


@pytest.fixture
def table() -> pa.Table:
    return customers(1000)


@pytest.fixture
def memory() -> Iterator[Any]:
    fs = fsspec.filesystem("memory")
    yield fs
    if fs.exists("/gpuseg-data"):
        fs.rm("/gpuseg-data", recursive=True)


# Layouts.


def as_one_file(folder: Path, table: pa.Table) -> Path:
    return write_files(folder, [table]) / "in-000.parquet"


def as_hidden_name(folder: Path, table: pa.Table) -> Path:
    return as_one_file(folder, table).rename(folder / "_asked_for_by_name.parquet")


def as_folder(folder: Path, table: pa.Table) -> Path:
    return write_files(folder, cut(table, 10, 500), row_group_size=64)


def as_nested(folder: Path, table: pa.Table) -> Path:
    for name, piece in zip(("a/b/c", "a", "b", "b.d"), cut(table, 1, 300, 200), strict=True):
        write_files(folder / name, [piece])
    return folder


def as_spark(folder: Path, table: pa.Table) -> Path:
    folder.mkdir()
    for i, piece in enumerate(cut(table, 400, 400)):
        name = f"part-{i:05d}-3f1c2f5e-9a4b-4d0e-8a58-c000.snappy.parquet"
        pq.write_table(piece, folder / name, compression="snappy")
        (folder / f".{name}.crc").write_bytes(b"crc\0\0\0")
    (folder / "_SUCCESS").touch()
    (folder / "._SUCCESS.crc").write_bytes(b"crc\0")
    write_files(folder / "_temporary" / "0", [table])
    write_files(folder / ".spark-staging", [table])
    return folder


def as_empty_among_others(folder: Path, table: pa.Table) -> Path:
    return write_files(folder, [table.slice(0, 0), *cut(table, 0, 999), table.slice(0, 0)])


def as_many_row_groups(folder: Path, table: pa.Table) -> Path:
    return write_files(folder, [table], row_group_size=9)


def as_hive(folder: Path, table: pa.Table) -> Path:
    names = ("country=DE/year=2024", "country=FR/year=2023", "country=FR/year=2024")
    for name, piece in zip(names, cut(table, 300, 300), strict=True):
        write_files(folder / name, [piece])
    return folder


LAYOUTS = [
    *(as_one_file, as_hidden_name, as_folder, as_nested, as_spark, as_empty_among_others),
    *(as_many_row_groups, as_hive),
]


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "n_shards"), in_turn(LAYOUTS, [1, 3], step=2))
def test_layout_is_read_whole_and_in_order(
    tmp_path: Path, table: pa.Table, layout: Any, n_shards: int
) -> None:
    data = opened(layout(tmp_path / "in", table), *FEATURES, id="customer")
    assert data.rows == 1000
    assert data.features == FEATURES
    assert np.array_equal(rows(data, n_shards), matrix(table))


@pytest.mark.slow
def test_threads_do_not_change_what_is_read(tmp_path: Path, table: pa.Table) -> None:
    data = opened(as_many_row_groups(tmp_path / "in", table), *FEATURES)
    assert np.array_equal(loaded(data, 1, threads=4)[0].x, matrix(table))


def test_features_keep_the_order_asked_for(tmp_path: Path, table: pa.Table) -> None:
    data = opened(as_one_file(tmp_path, table), "spend", "recency")
    assert np.array_equal(rows(data), matrix(table, ("spend", "recency")))


def test_memory_url(memory: Any, table: pa.Table) -> None:
    for i, piece in enumerate(cut(table, 300)):
        with memory.open(f"/gpuseg-data/in/p{i}.parquet", "wb") as file:
            pq.write_table(piece, file)
    data = opened("memory://gpuseg-data/in", *FEATURES)
    assert [file.rows for file in data.files] == [300, 700]
    assert np.array_equal(rows(data, 2), matrix(table))
    assert opened("memory://gpuseg-data/in/p1.parquet", *FEATURES).rows == 700


# Columns.


def test_default_features_are_the_numeric_columns(tmp_path: Path) -> None:
    kinds = {
        "id": pa.int64(), "i": pa.int16(), "u": pa.uint32(), "f": pa.float32(), "h": pa.float16(),
        "dec": pa.decimal128(9, 2), "w": pa.float64(), "text": pa.string(), "flag": pa.bool_(),
        "day": pa.date32(), "when": pa.timestamp("us"), "tags": pa.list_(pa.int64()),
        "nested": pa.struct({"x": pa.int64()}),
    }  # fmt: skip
    table = pa.table({name: pa.nulls(2, kind) for name, kind in kinds.items()})
    data = opened(as_one_file(tmp_path, table), id="id", weight="w")
    assert data.features == ("i", "u", "f", "h", "dec")


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32()),
        *(pa.uint64(), pa.float16(), pa.float32(), pa.float64()),
    ],
    ids=str,
)
def test_numbers_become_float32_and_nulls_nan(tmp_path: Path, kind: pa.DataType) -> None:
    values = [1, None, 100, 0] if "u" in str(kind) else [1, None, 100, -7]
    table = pa.table({"a": pa.array(values, pa.int64()).cast(kind), "b": [1.0, 2.0, 3.0, 4.0]})
    x = rows(opened(as_one_file(tmp_path, table), "a", "b"))
    assert x.dtype == np.float32
    expected = np.array([np.nan if v is None else v for v in values], np.float32)
    assert np.array_equal(x[:, 0], expected, equal_nan=True)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([True, None, False]), [1, np.nan, 0]),
        (pa.array([Decimal("1.25"), None], pa.decimal128(12, 4)), [1.25, np.nan]),
        (pa.array([None, Decimal(10) ** 30], pa.decimal256(60, 0)), [np.nan, 1e30]),
        (pa.array([2**63, 2**64 - 1, None], pa.uint64()), [2.0**63, 2.0**64, np.nan]),
        (pa.array([2**24 + 1, 2**24 + 3, -(2**63)]), [2.0**24, 2.0**24 + 4, -(2.0**63)]),
        (pa.array([0.1, float("nan"), float("inf")]), [np.float32(0.1), np.nan, np.inf]),
        (pa.array([1e-300, -1e-40, 3e38]), [0, np.float32(-1e-40), np.float32(3e38)]),
    ],
    ids=["bool", "decimal128", "decimal256", "uint64", "int64", "special", "extreme"],
)
def test_values_are_rounded_once(tmp_path: Path, array: pa.Array, expected: list[float]) -> None:
    x = rows(opened(as_one_file(tmp_path, pa.table({"a": array})), "a"))[:, 0]
    assert np.array_equal(x, np.array(expected, np.float32), equal_nan=True)


def test_large_integer_does_not_depend_on_its_neighbors(tmp_path: Path) -> None:
    large = 2**60 + 2**36 + 1
    files = [pa.table({"a": pa.array(values)}) for values in ([large, None], [large, large])]
    x = rows(opened(write_files(tmp_path / "in", files), "a"))[:, 0]
    assert x[[0, 2, 3]].tolist() == [float(np.float32(np.float64(large)))] * 3


def test_dots_and_spaces_in_names(tmp_path: Path, table: pa.Table) -> None:
    named = table.rename_columns(["customer", "recency.days", "número de pedidos", "recency"])
    names = ("recency", "número de pedidos", "recency.days")
    data = opened(as_one_file(tmp_path, named), *names, id="customer")
    assert np.array_equal(rows(data), matrix(named, names))


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array([1.0, 2.0])] * 2, names=["a", "a"])
    with raises("file.duplicate_column"):
        opened(as_one_file(tmp_path, twice), "a")


# Hive partitions.


def test_partition_columns_as_features(tmp_path: Path) -> None:
    table = customers(30)
    for name, piece in zip(("year=2023/q=0.5", "year=2024/q=1"), cut(table, 10), strict=True):
        write_files(tmp_path / "in" / name, [piece])
    x = rows(opened(tmp_path / "in", "year", "spend", "q"))
    assert x[:, 0].tolist() == [2023.0] * 10 + [2024.0] * 20
    assert x[:, 2].tolist() == [0.5] * 10 + [1.0] * 20
    assert np.array_equal(x[:, 1], matrix(table)[:, 2])


def test_null_partition_is_a_missing_value(tmp_path: Path) -> None:
    for name in ("year=2023", "year=__HIVE_DEFAULT_PARTITION__"):
        write_files(tmp_path / "in" / name, [customers(5)])
    x = rows(opened(tmp_path / "in", "year", "spend"))
    assert np.array_equal(np.isnan(x[:, 0]), [False] * 5 + [True] * 5)


def test_partition_values_are_unquoted(tmp_path: Path) -> None:
    write_files(tmp_path / "in" / "city=S%C3%A3o%20Paulo%3D", [customers(5)])
    (file,) = opened(tmp_path / "in", "spend").files
    assert {name: value.as_py() for name, value in file.constants.items()} == {"city": "São Paulo="}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["7", "12"], [7, 12]),
        (["007", "12"], ["007", "12"]),
        (["123456789012345678901234", "5"], ["123456789012345678901234", "5"]),
        (["0", "-3"], [0, -3]),
        (["+3", "1"], ["+3", "1"]),
        (["0.5", "1"], ["0.5", "1"]),
        (["٧", "1"], ["٧", "1"]),
        (["007", "__HIVE_DEFAULT_PARTITION__"], ["007", None]),
        (["7", "__HIVE_DEFAULT_PARTITION__"], [7, None]),
    ],
    ids=str,
)
@pytest.mark.parametrize("role", ["id", "categories", "audited"])
def test_partition_values_that_are_compared_keep_their_text(
    tmp_path: Path, values: list[str], expected: list[Any], role: str
) -> None:
    for value in values:
        write_files(tmp_path / "in" / f"region={value}", [customers(5)])
    options: dict[str, Any] = {role: "region" if role == "id" else ["region"]}
    data = opened(tmp_path / "in", "spend", **options)
    values_read = {file.path.split("/")[-2]: file.constants["region"] for file in data.files}
    for value, wanted in zip(values, expected, strict=True):
        assert values_read[f"region={value}"].as_py() == wanted


def test_partition_values_with_zeros_are_numbers_where_they_are_features(tmp_path: Path) -> None:
    for value in ("007", "012"):
        write_files(tmp_path / "in" / f"region={value}", [customers(2)])
    assert rows(opened(tmp_path / "in", "region"))[:, 0].tolist() == [7.0, 7.0, 12.0, 12.0]


def test_only_features_left_are_partitions(tmp_path: Path) -> None:
    for year in (2023, 2024):
        write_files(tmp_path / "in" / f"year={year}", [customers(5)])
    assert rows(opened(tmp_path / "in", "year"))[:, 0].tolist() == [2023.0] * 5 + [2024.0] * 5


@pytest.mark.parametrize(
    "names",
    [
        ("year=UK", "year=x"),
        pytest.param(
            ("year=2023", "year=UK"),
        ),
    ],
)
def test_text_partition_is_no_feature(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        write_files(tmp_path / "in" / name, [customers(5)])
    with raises("features.partition_not_numeric"):
        rows(opened(tmp_path / "in", "year", "spend"))


def test_partition_column_as_weight(tmp_path: Path) -> None:
    for weight in (1, 3):
        write_files(tmp_path / "in" / f"weight={weight}", [customers(2)])
    shard = loaded(opened(tmp_path / "in", "spend", weight="weight"))[0]
    assert shard.weight is not None
    assert shard.weight.tolist() == [1.0, 1.0, 3.0, 3.0]


# Fingerprint.


def test_fingerprint_changes_with_the_files(tmp_path: Path, table: pa.Table) -> None:
    folder = as_folder(tmp_path / "in", table)
    first = opened(folder, *FEATURES).fingerprint()
    assert opened(f"{folder}/", "spend", id="customer").fingerprint() == first
    copied = as_folder(tmp_path / "elsewhere", table)
    assert opened(copied, *FEATURES).fingerprint() == first
    (folder / "_SUCCESS").touch()
    assert opened(folder, *FEATURES).fingerprint() == first
    (folder / "in-000.parquet").rename(folder / "in-00.parquet")
    assert opened(folder, *FEATURES).fingerprint() != first
    pq.write_table(table, copied / "in-003.parquet")
    assert opened(copied, *FEATURES).fingerprint() != first
