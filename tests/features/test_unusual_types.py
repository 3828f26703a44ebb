"""Columns of types that few programs write: they work as plain ones do, or are refused by name."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import customers, in_turn, job, read_parts, write_files

import gpuseg
from gpuseg.errors import DataError
from gpuseg.features import from_transactions

VIEWS = {"string_view": pa.string_view(), "binary_view": pa.binary_view()}
PLAIN = {"string_view": pa.string(), "binary_view": pa.binary()}


@pytest.mark.parametrize(
    ("kind", "prepare", "hashed"),
    in_turn(VIEWS, ({}, {"missing": "drop"}, {"duplicates": "first"}), (False, True), step=2),
)
def test_views_as_ids(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    prepare: dict[str, str],
    hashed: bool,
) -> None:
    monkeypatch.setenv("ID_KEY", "a secret that is long enough")
    table = customers(60)
    ids = [f"c{i % 50:03}" for i in range(60)]
    spend = pa.array([None if i == 3 and prepare.get("missing") else i / 7 for i in range(60)])
    table = table.set_column(3, "spend", spend)
    outputs = []
    for name, types in {"views": VIEWS, "plain": PLAIN}.items():
        written = table.set_column(0, "customer", pa.array(ids).cast(PLAIN[kind]).cast(types[kind]))
        source = write_files(tmp_path / name, [written])
        section = {"id_hash_key_env": "ID_KEY"} if hashed else {}
        gpuseg.run(job(source, tmp_path / f"out-{name}", input=section, prepare=prepare))
        outputs.append(read_parts(tmp_path / f"out-{name}"))
    assert outputs[0].equals(outputs[1])


def lines(**columns: Any) -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table({
        "who": pa.array(np.arange(200) % 40), "paid": rng.lognormal(2, 1, 200),
        "at": np.datetime64("2025-01-01", "s") + rng.integers(0, 30_000_000, 200), **columns,
    })  # fmt: skip


@pytest.mark.parametrize(("kind", "hashed"), in_turn([
    pa.decimal32(9, 2), pa.decimal64(12, 2), pa.string_view(), pa.large_string(), pa.date32(),
    pa.binary_view(), pa.duration("s"), pa.dictionary(pa.int16(), pa.string()),
], [False, True], step=2))  # fmt: skip
def test_customers_of_a_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: pa.DataType, hashed: bool
) -> None:
    monkeypatch.setenv("ID_KEY", "a secret that is long enough")
    numbers = lines()["who"].combine_chunks()
    if kind in (pa.date32(), pa.duration("s")):
        who = numbers.cast(pa.int32() if kind == pa.date32() else pa.int64()).cast(kind)
    elif pa.types.is_decimal(kind):
        who = pa.array([Decimal(number) for number in numbers.to_pylist()], kind)
    elif pa.types.is_dictionary(kind):
        who = numbers.cast(pa.string()).dictionary_encode().cast(kind)
    else:
        text = numbers.cast(pa.string())
        who = text.cast(pa.binary()).cast(kind) if "binary" in str(kind) else text.cast(kind)
    write_files(tmp_path / "lines", [lines(who=who, what=pa.array(["a", "b"] * 100))])
    section: dict[str, Any] = {
        "path": str(tmp_path / "lines"), "customer": "who", "time": "at", "amount": "paid",
        "product": "what", **({"id_hash_key_env": "ID_KEY"} if hashed else {}),
    }  # fmt: skip
    output = {"path": str(tmp_path / "out")}
    gpuseg.run({"transactions": section, "segment": {"n_clusters": 2}, "output": output})
    ids = read_parts(tmp_path / "out")["customer_id"]
    assert len(set(ids.to_pylist())) == 40


@pytest.mark.parametrize("role", ["order", "product"])
def test_orders_and_products_of_bytes(tmp_path: Path, role: str) -> None:
    values = pa.array([bytes([255, i % 5]) for i in range(200)])
    write_files(tmp_path / "lines", [lines(what=values)])
    roles = {"customer": "who", "time": "at", "amount": "paid", role: "what"}
    section = {"path": str(tmp_path / "lines"), **roles}
    output = {"path": str(tmp_path / "out")}
    result = gpuseg.run({
        "transactions": section, "segment": {"n_clusters": 2}, "output": output
    })  # fmt: skip
    assert sum(part.rows for part in result.record.parts) == 40


@pytest.mark.parametrize("zone", ["Mars/Olympus", "+99:99"])
@pytest.mark.parametrize("role", ["time", "customer"])
def test_time_zones_that_do_not_exist(tmp_path: Path, role: str, zone: str) -> None:
    moments = pa.array(range(200), pa.timestamp("us", zone))
    pq.write_table(lines(odd=moments), tmp_path / "lines.parquet")
    roles = {"customer": "who", "time": "at", "amount": "paid", role: "odd"}
    with raises("column.unknown_time_zone", DataError):
        from_transactions(str(tmp_path / "lines.parquet"), **roles)
    with raises("column.unknown_time_zone", DataError):
        from_transactions(lines(odd=moments), **roles)


def test_time_zones_that_do_not_exist_in_ids(tmp_path: Path) -> None:
    moments = pa.array(range(60), pa.timestamp("us", "Mars/Olympus"))
    table = customers(60).set_column(0, "customer", moments)
    with raises("column.unknown_time_zone", DataError):
        gpuseg.run(job(write_files(tmp_path / "in", [table]), tmp_path / "out"))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_text_that_is_not_utf8(tmp_path: Path, kind: pa.DataType) -> None:
    """Arrow does not look at the bytes of text; who reads them does."""
    plain = pa.array([b"M\xfcller"] * 60, pa.binary())
    buffers = (plain.cast(pa.large_binary()) if kind == pa.large_string() else plain).buffers()
    like = pa.large_string() if kind == pa.large_string() else pa.string()
    text = pa.Array.from_buffers(like, 60, buffers)
    table = customers(60).set_column(0, "customer", text)
    source = write_files(tmp_path / "in", [table])
    with raises("file.damaged", DataError) as caught:
        gpuseg.run(job(source, tmp_path / "out"))
    assert "in-000.parquet" in str(caught.value)


def test_a_cut_csv_gz_in_a_join(tmp_path: Path) -> None:
    pq.write_table(lines(), tmp_path / "lines.parquet")
    content = gzip.compress("".join(["who,age\n", *(f"{i},{i}\n" for i in range(900))]).encode())
    (tmp_path / "ages.csv.gz").write_bytes(content[:-30])
    roles = {"customer": "who", "time": "at", "amount": "paid"}
    with raises("file.not_csv", DataError) as caught:
        gpuseg.run(
            {
                "transactions": {"path": str(tmp_path / "lines.parquet"), **roles},
                "join": [{"path": str(tmp_path / "ages.csv.gz"), "id": "who"}],
                "output": {"path": str(tmp_path / "out")},
            }
        )
    assert "ages.csv.gz" in str(caught.value)
