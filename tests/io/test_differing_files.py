"""Files that differ in their types: read as one table, or refused by name of file and column."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import (
    FEATURES,
    THOROUGH,
    bits,
    customers,
    cut,
    loaded,
    manifest_of,
    opened,
    read_parts,
    run,
    write_files,
)

from gpuseg.errors import DataError
from gpuseg.io.parquet.dataset import Dataset
from gpuseg.io.parquet.shard_plan import read_batches

BIG = 2**53 + 1


def columns(*values: pa.Array) -> list[pa.Table]:
    """One table for each array, whose column is a; b is a column that nobody uses."""
    return [pa.table({"a": value, "b": [1.5] * len(value)}) for value in values]


def first_feature(data: Dataset) -> list[float]:
    return [float(value) for shard in loaded(data) for value in shard.x[:, 0]]


def changed(table: pa.Table, **kinds: pa.DataType) -> pa.Table:
    for name, kind in kinds.items():
        i = table.schema.get_field_index(name)
        column = table[name].cast(pa.string()) if pa.types.is_decimal(kind) else table[name]
        column = pa.nulls(len(table)) if pa.types.is_null(kind) else column.cast(kind)
        table = table.set_column(i, name, column)
    return table


def _types(value: object) -> str:
    """Return the types of arrays, as the name of a case; the text of an array has its address."""
    if isinstance(value, tuple | list):
        return "-".join(map(_types, value))
    return str(value.type) if isinstance(value, pa.Array) else str(value)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    "arrays",
    [
        (pa.array([1, 2], pa.int8()), pa.array([3.5]), pa.nulls(2)),
        (pa.array([True, False]), pa.array([2], pa.uint64()), pa.array([0.25], pa.float32())),
        (pa.array([2**53]), pa.array([0.5]), pa.nulls(1, pa.float64())),
        (pa.array([BIG]), pa.nulls(3, pa.float64()), pa.nulls(2, pa.string())),
        (pa.array([1]), pa.array([2]).cast(pa.decimal128(21, 2)), pa.array([3], pa.uint8())),
    ],
    ids=_types,
)
def test_numbers_of_several_types_are_one_feature(
    tmp_path: Path, arrays: tuple[pa.Array, ...]
) -> None:
    values: dict[int, list[float]] = {}
    for turn, order in enumerate(permutations(range(len(arrays)))):
        folder = write_files(tmp_path / str(turn), columns(*(arrays[i] for i in order)))
        data = opened(folder, "a", "b")
        values_read = iter(first_feature(data))
        for i in order:
            part = [next(values_read) for _ in range(len(arrays[i]))]
            assert np.array_equal(values.setdefault(i, part), part, equal_nan=True)
    for i, array in enumerate(arrays):
        expected = [np.nan if value is None else np.float32(value) for value in array.to_pylist()]
        assert np.array_equal(values[i], np.array(expected, np.float64), equal_nan=True)


@pytest.mark.parametrize(
    "kinds",
    [
        (pa.list_(pa.float32()), pa.list_(pa.float64()), pa.null()),
        (pa.list_(pa.float32(), 2), pa.large_list(pa.int16())),
        (pa.list_(pa.int64()), pa.list_(pa.float32(), 2)),
    ],
    ids=str,
)
def test_vectors_of_several_types(tmp_path: Path, kinds: tuple[pa.DataType, ...]) -> None:
    for turn, order in enumerate(permutations(kinds)):
        files = columns(*(pa.array([None if pa.types.is_null(k) else [1, 3]], k) for k in order))
        (shard,) = loaded(opened(write_files(tmp_path / str(turn), files), "a"))
        assert shard.x.shape == (len(kinds), 2)
        there = [not pa.types.is_null(kind) for kind in order]
        assert shard.x[there].tolist() == [[1.0, 3.0]] * sum(there)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize(
    ("one", "other", "code"),
    [
        (pa.array([BIG]), pa.array([0.5]), "input.value_lost"),
        (pa.array([2**63], pa.uint64()), pa.array([-1]), "input.value_lost"),
        (pa.array([-(2**60)]), pa.array([0.5], pa.float32()), "input.value_lost"),
        (pa.array(["7"]), pa.array([7]), "input.schemas_differ"),
        (pa.array(["7"]), pa.array([7.5]), "input.schemas_differ"),
        (pa.array([7]), pa.array([0], pa.timestamp("us")), "input.schemas_differ"),
    ],
    ids=_types,
)
def test_what_cannot_be_one_feature_is_refused(
    tmp_path: Path, one: pa.Array, other: pa.Array, code: str, statistics: bool
) -> None:
    for turn, order in enumerate([(one, other), (other, one)]):
        folder = tmp_path / str(turn)
        folder.mkdir()
        for i, table in enumerate(columns(*order)):
            pq.write_table(table, folder / f"{i}.parquet", write_statistics=statistics)
        with raises(code, DataError) as caught:
            loaded(opened(folder, "a", "b"))
        for text in ("'a'", "0.parquet", "1.parquet", str(one.type), str(other.type)):
            assert text in str(caught.value)


def test_message_has_the_value_that_would_be_lost(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "in", columns(pa.array([1, BIG]), pa.array([0.5])))
    with raises("input.value_lost") as caught:
        opened(folder, "a", "b")
    assert str(BIG) in str(caught.value)


def test_types_of_files_without_rows_do_not_matter(tmp_path: Path) -> None:
    table = customers(40)
    kinds = pa.schema([("customer", pa.list_(pa.int8())), ("spend", pa.string())])
    empty = [pa.table({}), kinds.empty_table()]
    data = opened(write_files(tmp_path / "in", [empty[0], table, empty[1]]), id="customer")
    assert data.features == FEATURES
    assert data.rows == 40


def test_columns_that_nobody_uses_do_not_matter(tmp_path: Path) -> None:
    one, other = cut(customers(40), 20)
    files = [one.append_column("note", pa.array(["x"] * 20)), changed(other, orders=pa.string())]
    data = opened(write_files(tmp_path / "in", files), "recency", "spend", id="customer")
    assert data.rows == 40
    with raises("input.schemas_differ"):
        opened(tmp_path / "in", id="customer")


def test_text_of_any_kind_is_no_feature_by_default(tmp_path: Path) -> None:
    kinds = (pa.string(), pa.large_string(), pa.null(), pa.dictionary(pa.int8(), pa.string()))
    files = [
        table.append_column("note", pa.array(["x"] * len(table)))
        for table in cut(customers(40), 10, 10, 10)
    ]
    files = [changed(table, note=kind) for table, kind in zip(files, kinds, strict=True)]
    files += [customers(5), changed(files[0].slice(0, 0), note=pa.int64())]
    assert opened(write_files(tmp_path / "in", files), id="customer").features == FEATURES


def test_all_null_numbers_beside_text_are_text(tmp_path: Path) -> None:
    one, other = cut(customers(40), 20)
    files = [
        one.append_column("note", pa.nulls(20, pa.float64())),
        other.append_column("note", pa.array(["x"] * 20)),
    ]
    data = opened(write_files(tmp_path / "in", files), id="customer")
    assert data.features == FEATURES


def test_missing_column_is_refused_by_name(tmp_path: Path) -> None:
    one, other = cut(customers(40), 20)
    folder = write_files(tmp_path / "in", [one, other.drop_columns(["spend"])])
    for features in ((), FEATURES):
        with raises("input.schemas_differ") as caught:
            opened(folder, *features, id="customer")
        assert "'spend'" in str(caught.value)
        assert "in-001.parquet" in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "kind"),
    [
        ([pa.array(["x"], pa.large_string()), pa.nulls(2)], pa.string()),
        ([pa.nulls(2), pa.array(["x"]).dictionary_encode()], pa.string()),
        ([pa.array([0], pa.timestamp("us", "+00:00")), pa.nulls(1)], pa.timestamp("us", "UTC")),
        ([pa.nulls(2, pa.int64()), pa.nulls(1, pa.string())], pa.null()),
        ([pa.nulls(2), pa.nulls(1, pa.string()), pa.nulls(1, pa.bool_())], pa.null()),
        ([pa.nulls(2, pa.bool_()), pa.nulls(1), pa.array(["x"])], pa.string()),
    ],
    ids=_types,
)
def test_id_without_values_in_some_files(
    tmp_path: Path, arrays: list[pa.Array], kind: pa.DataType
) -> None:
    data = opened(write_files(tmp_path / "in", columns(*arrays)), "b", id="a")
    assert data.types["a"] == kind
    batches = [
        batch["a"]
        for plan in data.plan_shards(1, drop_missing=False)
        for group in plan.groups()
        for batch in read_batches(plan, group.part, group.number, ["a"], 10)
    ]
    assert {batch.type for batch in batches} == {kind}
    expected = [value for array in arrays for value in array.to_pylist()]
    assert [value for batch in batches for value in batch.to_pylist()] == expected


def test_category_without_any_value_is_refused(tmp_path: Path) -> None:
    files = [
        table.append_column("city", pa.nulls(20, kind))
        for table, kind in zip(cut(customers(40), 20), (pa.string(), pa.int64()), strict=True)
    ]
    folder = write_files(tmp_path / "in", files)
    with raises("feature.all_missing", parameter="categorical"):
        run(folder, tmp_path / "out", prepare={"categorical": {"city": "onehot"}})


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.int64(), pa.float64(), pa.int64()),
        (pa.string(), pa.large_string(), pa.string()),
        (pa.binary(), pa.string(), pa.string()),
        (pa.int16(), pa.decimal128(9, 0), pa.int64()),
        (pa.string(), pa.int64(), None),
        (pa.bool_(), pa.int64(), None),
    ],
    ids=str,
)
def test_ids_of_two_types(
    tmp_path: Path, one: pa.DataType, other: pa.DataType, kind: pa.DataType | None
) -> None:
    tables = cut(customers(40).set_column(0, "customer", pa.array(range(40))), 20)
    if one == pa.binary():
        tables[0] = changed(tables[0], customer=pa.string())
    tables = [changed(table, customer=k) for table, k in zip(tables, (one, other), strict=True)]
    folder = write_files(tmp_path / "in", tables)
    if kind is None:
        with raises("input.schemas_differ"):
            run(folder, tmp_path / "out")
        return
    run(folder, tmp_path / "out", prepare={"duplicates": "error"})
    ids = read_parts(tmp_path / "out")["customer"]
    assert ids.type == kind
    assert ids.cast(pa.int64()).to_pylist() == list(range(40))


def test_ids_that_only_differ_in_type_are_duplicates(tmp_path: Path) -> None:
    table = customers(40).set_column(0, "customer", pa.array(range(40)))
    files = [table, changed(table.slice(5, 3), customer=pa.float64())]
    folder = write_files(tmp_path / "in", files)
    with raises("id.duplicates"):
        run(folder, tmp_path / "out", prepare={"duplicates": "error"})


@pytest.mark.parametrize("value", [7.5, 2.0**60], ids=str)
def test_float_ids_that_are_not_whole_are_refused(tmp_path: Path, value: float) -> None:
    one, other = cut(customers(40).set_column(0, "customer", pa.array(range(40))), 39)
    files = [one, other.set_column(0, "customer", pa.array([value]))]
    folder = write_files(tmp_path / "in", files)
    with raises("input.value_lost") as caught:
        run(folder, tmp_path / "out")
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("one", [2**60 + 0.0, 7.25], ids=str)
def test_hashed_ids_are_in_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: float
) -> None:
    monkeypatch.setenv("ID_KEY", "a secret that is long enough")
    table = customers(40).set_column(0, "customer", pa.array(range(40)))
    folder = write_files(
        tmp_path / "in", [table, table.slice(0, 1).set_column(0, "customer", pa.array([one]))]
    )
    with raises("input.value_lost") as caught:
        run(folder, tmp_path / "out", input={"id_hash_key_env": "ID_KEY"})
    assert str(one) not in str(caught.value)


def habits(folder: Path, table: pa.Table) -> Path:
    """Write a table by pandas, Polars, DuckDB and pyarrow, each with its own types."""
    folder.mkdir()
    a, b, third, d, e = cut(table, 60, 60, 60, 30)
    frame = a.to_pandas()
    frame["orders"] = frame["orders"].astype("float64")
    frame["city"] = frame["city"].astype("category")
    frame.to_parquet(folder / "a-pandas.parquet")
    pl.DataFrame(pl.from_arrow(b)).with_columns(
        pl.col("customer").cast(pl.Int32), pl.col("city").cast(pl.Categorical)
    ).write_parquet(folder / "b-polars.parquet")
    database = duckdb.connect()
    database.register("third", third)
    database.sql(
        "select customer::decimal(18, 0) as customer, spend, orders::utinyint as orders, "
        "recency::float as recency, city from third"
    ).write_parquet(str(folder / "c-duckdb.parquet"))
    views = d.set_column(4, "city", d["city"].cast(pa.string_view()))
    pq.write_table(views, folder / "d-arrow.parquet")
    small = changed(e, orders=pa.int8(), city=pa.binary())
    pq.write_table(small, folder / "e-small.parquet", store_schema=False)
    pd.DataFrame(columns=table.column_names).to_parquet(folder / "f-empty.parquet")
    return folder


@pytest.mark.slow
def test_job_on_files_of_several_programs(tmp_path: Path) -> None:
    table = customers(240)
    orders = np.abs(table["orders"].to_numpy()).astype(np.int64)
    table = table.set_column(2, "orders", pa.array(orders))
    table = table.append_column("city", pa.array(["Oslo", "Rome", "Bern", "Oslo"] * 60))
    sections: dict[str, Any] = {"prepare": {"categorical": {"city": "onehot"}}}
    run(habits(tmp_path / "in", table), tmp_path / "out", **sections)
    run(write_files(tmp_path / "one", [table]), tmp_path / "out-one", **sections)
    assert bits(tmp_path / "out") == bits(tmp_path / "out-one")
    assert read_parts(tmp_path / "out")["customer"].type == pa.int64()


@pytest.mark.slow
@pytest.mark.skipif(not THOROUGH, reason="takes seconds; messy_files reads other files of Spark")
def test_months_that_spark_writes_with_other_types(tmp_path: Path, spark: Any) -> None:
    for month, first, id_type, spend_type, region in (
        ("2024-01", 0, "int", "decimal(10, 2)", "'7'"),
        ("2024-02", 60, "bigint", "decimal(12, 4)", "'07'"),
    ):
        spark.range(first, first + 60).selectExpr(
            f"cast(id as {id_type}) as customer", f"cast(id * 1.5 as {spend_type}) as spend",
            f"cast(id % 7 as {id_type}) as orders", "cast(id % 5 as double) as recency",
            f"{region} as region",
        ).write.partitionBy("region").parquet(str(tmp_path / "in" / month))  # fmt: skip
    spark.range(0).write.parquet(str(tmp_path / "in" / "2024-03"))
    source: dict[str, Any] = {"path": str(tmp_path / "in" / "2024-*")}
    sections: dict[str, Any] = {"prepare": {"categorical": {"region": "onehot"}}}
    run(tmp_path, tmp_path / "out", input=source, **sections)
    ids = read_parts(tmp_path / "out")["customer"]
    assert ids.type == pa.int64()
    assert sorted(ids.to_pylist()) == list(range(120))
    features = manifest_of(tmp_path / "out")["segments"][0]["center"]
    assert {"region=7", "region=07"} <= set(features)
