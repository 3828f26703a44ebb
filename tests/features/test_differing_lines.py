"""Files of lines and of attributes that differ in their types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.errors import raises

import gpuseg
from gpuseg.features.api import from_transactions


def lines(n: int = 900) -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table({
        "who": rng.integers(0, 90, n),
        "at": np.datetime64("2025-01-01", "us") + rng.integers(0, 3e10, n) * 1000,
        "paid": np.round(rng.lognormal(2, 1, n), 2),
        "what": pa.array(rng.integers(0, 9, n)).cast(pa.string()),
    })  # fmt: skip


def people() -> pa.Table:
    return pa.table({"who": np.arange(90), "age": np.arange(90) % 50, "city": ["a", "b", "c"] * 30})


def cast(table: pa.Table, kinds: dict[str, pa.DataType]) -> pa.Table:
    """Cast columns; to null if the type is null."""
    for name, kind in kinds.items():
        column = pa.nulls(len(table)) if pa.types.is_null(kind) else table[name].cast(kind)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def filed(folder: Path, table: pa.Table, *kinds: dict[str, pa.DataType]) -> Path:
    """Cut a table into as many files as there are casts, and cast each."""
    folder.mkdir()
    rows = -(-len(table) // len(kinds))
    for i, casts in enumerate(kinds):
        pq.write_table(cast(table.slice(i * rows, rows), casts), folder / f"{i}.parquet")
    return folder


def built(path: Path) -> pa.Table:
    return from_transactions(str(path), customer="who", time="at", amount="paid", product="what")


@pytest.mark.parametrize(
    "kinds",
    [
        {"who": pa.int32()},
        {"who": pa.float64()},
        {"who": pa.decimal128(19, 0)},
        {"what": pa.large_string()},
        {"what": pa.dictionary(pa.int8(), pa.string())},
        {"what": pa.binary()},
        {"paid": pa.string()},
        {"at": pa.timestamp("ns")},
        {"at": pa.string()},
    ],
    ids=str,
)
def test_lines_of_two_types(tmp_path: Path, kinds: dict[str, pa.DataType]) -> None:
    table = lines()
    expected = built(filed(tmp_path / "same", table, {}, {}))
    for name, casts in {"last": ({}, kinds), "first": (kinds, {})}.items():
        result = built(filed(tmp_path / name, table, *casts))
        result = result.set_column(0, "customer_id", result["customer_id"].cast(pa.int64()))
        assert result.sort_by("customer_id").equals(expected.sort_by("customer_id"))


@pytest.mark.parametrize("column", ["who", "at", "paid", "what"])
def test_lines_with_a_column_of_no_type(tmp_path: Path, column: str) -> None:
    casts = {column: pa.null()}
    folder = filed(tmp_path / "in", lines(), {}, casts)
    pq.write_table(pa.table({}), folder / "empty.parquet")
    result = built(folder)
    assert result["customer_id"].type == pa.int64()
    assert result.equals(built(filed(tmp_path / "turned", lines(), {}, casts)))


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        ({"who": pa.string()}, "transactions.schemas_differ"),
        ({"what": pa.int64()}, "transactions.schemas_differ"),
        ({"at": pa.timestamp("us", "UTC")}, "transactions.schemas_differ"),
    ],
    ids=str,
)
def test_lines_that_cannot_be_unified(
    tmp_path: Path, kinds: dict[str, pa.DataType], code: str
) -> None:
    with raises(code) as caught:
        built(filed(tmp_path / "in", lines(), {}, kinds))
    for text in (*kinds, "0.parquet", "1.parquet"):
        assert text in str(caught.value)


def test_names_of_utc_are_one_zone(tmp_path: Path) -> None:
    zones = [{"at": pa.timestamp("us", zone)} for zone in ("UTC", "+00:00", "Etc/UTC")]
    assert built(filed(tmp_path / "in", lines(), *zones)).num_rows == 90


def joined(folder: Path, **join: Any) -> pa.Table:
    gpuseg.run({
        "transactions": {
            "path": str(folder / "lines"), "customer": "who", "time": "at", "amount": "paid",
        },
        "join": [{"path": str(folder / "people"), "id": "who", **join}],
        "segment": {"n_clusters": 2},
        "output": {"path": str(folder / "out"), "overwrite": True},
    })  # fmt: skip
    parts = sorted((folder / "out" / "_features").glob("*"))
    table = pa.concat_tables([pq.read_table(pa.BufferReader(p.read_bytes())) for p in parts])
    return table.select(["customer_id", "age", "city"]).sort_by("customer_id")


@pytest.mark.parametrize(
    ("kinds", "age"),
    [
        ({"who": pa.int16(), "age": pa.int8()}, pa.int64()),
        ({"who": pa.float64(), "age": pa.float32()}, pa.float64()),
        ({"who": pa.decimal128(19, 0), "city": pa.large_string()}, pa.int64()),
        ({"city": pa.dictionary(pa.int8(), pa.string()), "age": pa.decimal128(21, 2)},
         pa.decimal128(22, 2)),
    ],
    ids=str,
)  # fmt: skip
def test_attributes_of_two_types(
    tmp_path: Path, kinds: dict[str, pa.DataType], age: pa.DataType
) -> None:
    filed(tmp_path / "lines", lines(), {})
    filed(tmp_path / "people", people(), kinds, {})
    result = joined(tmp_path)
    assert result["age"].type == age
    expected = people().rename_columns(["customer_id", "age", "city"])
    assert cast(result, {"age": pa.int64()}).equals(expected)


@pytest.mark.parametrize("kinds", [{"who": pa.string()}, {"city": pa.null()}, {}], ids=str)
def test_attributes_that_are_null_refused_or_missing(
    tmp_path: Path, kinds: dict[str, pa.DataType]
) -> None:
    filed(tmp_path / "lines", lines(), {})
    folder = filed(tmp_path / "people", people(), {}, kinds)
    if "city" in kinds:
        assert joined(tmp_path)["city"].null_count == 45
        return
    if not kinds:
        table = pq.read_table(folder / "0.parquet")
        pq.write_table(table.drop_columns(["city"]), folder / "0.parquet")
    with raises("join.schemas_differ"):
        joined(tmp_path)
