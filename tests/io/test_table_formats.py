"""Tables of Delta, Iceberg and Hudi: their current rows or an error, never rows of other versions.

The tables are made by the libraries. What these do not write, such as deletion vectors, is added to
a table by hand.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.delta_tables import actions_of, add_commit, delete_by_vector, needs
from support.errors import raises
from support.helpers import customers, opened, read_parts, run

import gpuseg
from gpuseg.errors import DataError, GpusegError, ResourceError
from gpuseg.features import from_transactions
from gpuseg.io.input_files import input_files
from gpuseg.io.parquet.dataset import Dataset
from gpuseg.io.parquet.shard_plan import read_batches
from gpuseg.io.storage import Storage

N = 60


@pytest.fixture
def table() -> pa.Table:
    """Customers in two countries."""
    return customers(N).append_column("country", pa.array(["D E", "007"] * (N // 2)))


def rows_of(data: Dataset, *names: str) -> list[tuple[Any, ...]]:
    """Return columns of all rows in one order, as shards read them."""
    (plan,) = data.plan_shards(1, False)
    batches = [
        batch
        for group in plan.groups()
        for batch in read_batches(plan, group.part, group.number, list(names), 1000)
    ]
    columns = pa.Table.from_batches(batches).to_pydict()
    return sorted(zip(*(columns[name] for name in names), strict=True), key=repr)


def expected(table: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    columns = table.to_pydict()
    return sorted(zip(*(columns[name] for name in names), strict=True), key=repr)


# Delta.


def delta(path: Path, table: pa.Table, **options: Any) -> Path:
    from deltalake import write_deltalake

    write_deltalake(path, table, **options)
    return path


def change(path: Path, action: str, *arguments: Any) -> None:
    from deltalake import DeltaTable

    getattr(DeltaTable(path), action)(*arguments)


def appended(path: Path, table: pa.Table) -> pa.Table:
    delta(path, table)
    delta(path, table, mode="append")
    return pa.concat_tables([table, table])


def overwritten(path: Path, table: pa.Table) -> pa.Table:
    delta(path, table)
    delta(path, table.slice(5), mode="overwrite")
    return table.slice(5)


def compacted(path: Path, table: pa.Table) -> pa.Table:
    whole = appended(path, table)
    from deltalake import DeltaTable

    DeltaTable(path).optimize.compact()
    return whole


def deleted(path: Path, table: pa.Table) -> pa.Table:
    delta(path, table, partition_by=["country"])
    change(path, "delete", f"customer < {table['customer'][10].as_py()}")
    change(path, "create_checkpoint")
    return table.slice(10)


def deleted_by_vector(path: Path, table: pa.Table) -> pa.Table:
    delta(path, table, partition_by=["country"])
    adds = {add["partitionValues"]["country"]: add for add in actions_of(path, "add")}
    delete_by_vector(path, adds["D E"], [0, 3, N // 2 - 1])
    kept = np.ones(N, bool)
    kept[[0, 6, N - 2]] = False
    return table.filter(pa.array(kept))


def with_a_new_column(path: Path, table: pa.Table) -> pa.Table:
    older = table.drop_columns(["spend"])
    delta(path, older)
    delta(path, table, mode="append", schema_mode="merge")
    return pa.concat_tables([older, table], promote_options="default")


def renamed(path: Path, table: pa.Table) -> pa.Table:
    """Rename a column in the log alone, and drop one, as column mapping does."""
    delta(path, table.rename_columns(["customer", "recency", "orders", "col-1", "country"]))
    (metadata,) = actions_of(path, "metaData")
    schema = json.loads(metadata["schemaString"])
    for number, field in enumerate(schema["fields"]):
        name = field["name"]
        field["metadata"] = {
            "delta.columnMapping.id": number + 1, "delta.columnMapping.physicalName": name,
        }  # fmt: skip
        field["name"] = {"col-1": "spend"}.get(name, name)
    schema["fields"] = [field for field in schema["fields"] if field["name"] != "orders"]
    mapping = {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "5"}
    changed = {**metadata, "schemaString": json.dumps(schema), "configuration": mapping}
    add_commit(path, needs("columnMapping"), {"metaData": changed})
    return table.drop_columns(["orders"])


def widened(path: Path, table: pa.Table) -> pa.Table:
    """Make columns wider in the log alone, as type widening does, and append a file of them."""
    narrow, wide = with_narrow_columns(table)
    delta(path, narrow)
    (metadata,) = actions_of(path, "metaData")
    schema = json.loads(metadata["schemaString"])
    for field in schema["fields"]:
        field["type"] = {"integer": "long", "float": "double"}.get(field["type"], field["type"])
    changed = {**metadata, "schemaString": json.dumps(schema)}
    add_commit(path, needs("typeWidening"), {"metaData": changed})
    delta(path / "newer", wide)
    (add,) = actions_of(path / "newer", "add")
    shutil.move(path / "newer" / add["path"], path / add["path"])
    shutil.rmtree(path / "newer")
    add_commit(path, {"add": add})
    return pa.concat_tables([narrow.cast(wide.schema), wide])


def with_narrow_columns(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return a table with columns of int32 and float, and one with int64 and double."""
    narrow = pa.table({
        "customer": table["customer"].cast(pa.int32()), "country": table["country"],
        "spend": table["spend"].cast(pa.float32()),
    })  # fmt: skip
    wide = pa.table({
        "customer": pa.array([2**40 + i for i in range(N)]), "country": table["country"],
        "spend": table["spend"],
    })  # fmt: skip
    return narrow, wide


CHANGES = [
    *(appended, overwritten, compacted, deleted, deleted_by_vector, with_a_new_column, renamed),
    widened,
]


@pytest.mark.parametrize("change_table", CHANGES, ids=lambda change: change.__name__)
def test_a_delta_table_has_its_current_rows(
    tmp_path: Path, table: pa.Table, change_table: Callable[[Path, pa.Table], pa.Table]
) -> None:
    current = change_table(tmp_path / "table", table)
    names = [name for name in current.column_names if name not in ("customer", "country")]
    data = opened(tmp_path / "table", id="customer")
    assert set(data.features) == set(names)
    assert data.rows == current.num_rows
    columns = ("customer", "country", *names)
    assert rows_of(data, *columns) == expected(current, *columns)


def test_partition_values_have_the_types_of_the_table(tmp_path: Path) -> None:
    days = [date(2025, 1, 1 + i % 2) for i in range(6)]
    table = pa.table({"id": range(6), "x": [1.0] * 6, "code": ["007", None] * 3, "day": days})
    data = opened(delta(tmp_path / "table", table, partition_by=["code", "day"]))
    assert {file.constants["code"].type for file in data.files} == {pa.string()}
    assert sorted(set(rows_of(data, "day", "id"))) == expected(table, "day", "id")
    codes = {(id, code) for id, code in rows_of(data, "id", "code")}
    assert codes == set(zip(range(6), ["007", None] * 3, strict=True))


def test_a_delta_table_that_needs_an_unknown_feature(tmp_path: Path, table: pa.Table) -> None:
    path = delta(tmp_path / "table", table)
    add_commit(path, needs("catalogManaged"))
    with pytest.raises(DataError) as caught:
        opened(path)
    assert caught.value.code in ("table.unsupported", "table.unreadable")
    assert "catalog" in str(caught.value)


# Iceberg.


@pytest.fixture
def iceberg(tmp_path: Path) -> Callable[[pa.Table], Any]:
    """Create an Iceberg table in a warehouse whose catalog is a file."""

    def create(table: pa.Table) -> Any:
        from pyiceberg.catalog.sql import SqlCatalog

        catalog = SqlCatalog(
            "test", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/wh"
        )
        catalog.create_namespace("shop")
        created = catalog.create_table("shop.customers", schema=table.schema)
        created.append(table)
        catalog.engine.dispose()
        return created

    return create


def folder_of(table: Any) -> Path:
    return Path(table.location().removeprefix("file://"))


def delete_positions(table: Any, rows: Sequence[int]) -> None:
    """Delete rows of the first file of an Iceberg table by their positions."""
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.typedef import Record

    first = next(iter(table.scan().plan_files())).file.file_path
    schema = pa.schema([
        pa.field("file_path", pa.string(), False, {"PARQUET:field_id": "2147483546"}),
        pa.field("pos", pa.int64(), False, {"PARQUET:field_id": "2147483545"}),
    ])  # fmt: skip
    path = folder_of(table) / "data" / "deletes.parquet"
    deletes = {"file_path": [first] * len(rows), "pos": list(rows)}
    pq.write_table(pa.table(deletes, schema=schema), path)
    file = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES, file_path=f"file://{path}",
        file_format=FileFormat.PARQUET, partition=Record(), record_count=len(rows),
        file_size_in_bytes=path.stat().st_size, sort_order_id=None, spec_id=0, equality_ids=None,
        key_metadata=None,
    )  # fmt: skip
    file.spec_id = 0
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as append:
        append.append_data_file(file)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["plain", "deleted", "positions", "renamed", "new column", "widened"]
)
def test_an_iceberg_table_has_its_current_rows(
    table: pa.Table, iceberg: Callable[[pa.Table], Any], kind: str
) -> None:
    narrow, wide = with_narrow_columns(table)
    created, current = iceberg(narrow if kind == "widened" else table), table
    if kind == "widened":
        from pyiceberg.types import DoubleType, LongType

        with created.update_schema() as update:
            update.update_column("customer", LongType())
            update.update_column("spend", DoubleType())
        created.append(wide)
        current = pa.concat_tables([narrow.cast(wide.schema), wide])
    elif kind == "deleted":
        created.delete(f"customer < {table['customer'][10].as_py()}")
        current = table.slice(10)
    elif kind == "positions":
        delete_positions(created, range(7))
        current = table.slice(7)
    elif kind == "renamed":
        with created.update_schema() as update:
            update.rename_column("spend", "money")
            update.delete_column("orders")
        current = table.drop_columns(["orders"]).rename_columns({"spend": "money"})
    elif kind == "new column":
        older = table.append_column("age", pa.nulls(N, pa.int64()))
        with created.update_schema() as update:
            update.union_by_name(older.schema)
        newer = table.append_column("age", pa.array(range(N)))
        created.append(newer)
        current = pa.concat_tables([older, newer])
    names = [name for name in current.column_names if name not in ("customer", "country")]
    columns = ("customer", "country", *names)
    for path in (folder_of(created), Path(created.metadata_location.removeprefix("file://"))):
        data = opened(path, id="customer")
        assert set(data.features) == set(names)
        assert rows_of(data, *columns) == expected(current, *columns)


@pytest.mark.slow
def test_metadata_files_of_one_version_are_ambiguous(
    table: pa.Table, iceberg: Callable[[pa.Table], Any]
) -> None:
    created = iceberg(table)
    newest = Path(created.metadata_location.removeprefix("file://"))
    shutil.copy(newest, newest.with_name(f"{newest.name[:5]}-other.metadata.json"))
    with raises("table.ambiguous_version", DataError):
        opened(folder_of(created))
    assert opened(newest).rows == N


# All formats.


def test_hudi_is_refused_by_name(tmp_path: Path, table: pa.Table) -> None:
    (tmp_path / ".hoodie").mkdir()
    (tmp_path / ".hoodie" / "hoodie.properties").write_text("hoodie.table.name=t\n")
    pq.write_table(table, tmp_path / "a.parquet")
    with raises("table.unsupported", DataError) as caught:
        opened(tmp_path)
    assert "Hudi" in str(caught.value)


@pytest.mark.parametrize(("library", "extra"), [("deltalake", "delta"), ("pyiceberg", "iceberg")])
def test_a_missing_library_is_named(
    tmp_path: Path, table: pa.Table, monkeypatch: pytest.MonkeyPatch, library: str, extra: str
) -> None:
    if extra == "delta":
        delta(tmp_path, table)
    else:
        (tmp_path / "metadata").mkdir()
        (tmp_path / "metadata" / "v1.metadata.json").write_text("{}")
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.setitem(sys.modules, name, None)
    with raises("table.library_missing", ResourceError) as caught:
        opened(tmp_path)
    assert f"gpuseg[{extra}]" in caught.value.hint


def test_a_part_of_a_table_and_a_folder_of_tables_are_refused(
    tmp_path: Path, table: pa.Table
) -> None:
    path = delta(tmp_path / "shop" / "customers", table, partition_by=["country"])
    part = next(path.glob("country=*/*.parquet"))
    for inside in (part, part.parent):
        with raises("table.path_inside", DataError):
            opened(inside)
    with raises("table.path_above", DataError):
        opened(tmp_path / "shop")
    (tmp_path / "wh" / "metadata").mkdir(parents=True)
    (tmp_path / "wh" / "data").mkdir()
    (tmp_path / "wh" / "metadata" / "v1.metadata.json").write_text("{}")
    pq.write_table(table, tmp_path / "wh" / "data" / "a.parquet")
    with raises("table.path_inside", DataError):
        opened(tmp_path / "wh" / "data")


@pytest.mark.slow
def test_jobs_of_a_table_with_deleted_rows(
    tmp_path: Path, two_workers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = customers(300).append_column("country", pa.array(["D E", "007"] * 150))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    current = deleted_by_vector_of(tmp_path / "table", table)
    pq.write_table(current, tmp_path / "current.parquet")
    run(tmp_path / "current.parquet", tmp_path / "plain")
    run(tmp_path / "table", tmp_path / "local")
    run(tmp_path / "table", tmp_path / "dask", runtime=two_workers)
    assert read_parts(tmp_path / "local").equals(read_parts(tmp_path / "plain"))
    assert read_parts(tmp_path / "dask").equals(read_parts(tmp_path / "plain"))
    gc.collect()
    assert not list(temporary.iterdir())


def deleted_by_vector_of(path: Path, table: pa.Table) -> pa.Table:
    delta(path, table)
    (add,) = actions_of(path, "add")
    delete_by_vector(path, add, [0, 7, 299])
    kept = np.ones(300, bool)
    kept[[0, 7, 299]] = False
    return table.filter(pa.array(kept))


@pytest.mark.slow
def test_lines_and_attributes_of_tables(tmp_path: Path, iceberg: Callable[[pa.Table], Any]) -> None:
    rng = np.random.default_rng(0)
    at = pa.array(1_735_689_600_000_000 + rng.integers(0, 10**13, 300))
    at = at.cast(pa.timestamp("us", "UTC"))
    who = pa.array(rng.integers(0, 40, 300))
    lines = pa.table({"who": who, "at": at, "paid": rng.random(300) + 1})
    current = deleted_by_vector_of(tmp_path / "lines", lines)
    roles = {"customer": "who", "time": "at", "amount": "paid"}
    assert from_transactions(tmp_path / "lines", **roles).equals(
        from_transactions(current, **roles)
    )
    ages = iceberg(pa.table({"who": pa.array(range(40)), "age": pa.array(range(40))}))
    delete_positions(ages, [0, 1])
    manifest = gpuseg.run({
        "transactions": {"path": str(tmp_path / "lines"), **roles},
        "join": [{"path": str(folder_of(ages)), "id": "who"}],
        "segment": {"n_clusters": 3},
        "output": {"path": str(tmp_path / "out")},
    }).manifest  # fmt: skip
    assert manifest["transactions"]["quality"]["lines"] == 297
    assert manifest["transactions"]["joins"][0]["rows"] == 38


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_damaged_tables_are_refused(
    tmp_path: Path, table: pa.Table, iceberg: Callable[[pa.Table], Any], kind: str
) -> None:
    if kind == "delta":
        whole = delta(tmp_path / "table", table)
        files = sorted((whole / "_delta_log").iterdir())
    else:
        created = iceberg(table)
        whole = folder_of(created)
        newest = Path(created.metadata_location).name
        files = [path for path in (whole / "metadata").iterdir() if path.suffix == ".avro"]
        files.append(whole / "metadata" / newest)
    rng = np.random.default_rng(1)
    for file in files:
        content = file.read_bytes()
        damaged = bytearray(content)
        damaged[int(rng.integers(len(content)))] ^= 0xFF
        for spoiled in (b"", content[: len(content) // 2], bytes(damaged), b"{}", b"[]"):
            file.write_bytes(spoiled)
            try:
                opened(whole)
            except GpusegError as error:
                assert error.code.startswith(("table.", "file."))
        file.write_bytes(content)
    assert opened(whole).rows == N


@pytest.mark.parametrize("name", ["_delta_log/_last_checkpoint", "deletion_vector_1.bin"])
def test_pipes_in_a_delta_table_are_refused(tmp_path: Path, table: pa.Table, name: str) -> None:
    deleted_by_vector(tmp_path / "table", table)
    os.mkfifo(tmp_path / "table" / name)
    with raises("file.not_regular", DataError):
        opened(tmp_path / "table")


@pytest.mark.slow
def test_pipes_in_an_iceberg_table_are_refused(
    tmp_path: Path, table: pa.Table, iceberg: Callable[[pa.Table], Any]
) -> None:
    created = iceberg(table)
    delete_positions(created, range(7))
    files = [file for file in folder_of(created).rglob("*") if file.is_file()]
    current = [
        *(path for path in files if path.suffix == ".avro"),
        *(path for path in files if path.suffix == ".parquet"),
        Path(created.metadata_location.removeprefix("file://")),
    ]
    for file in current:
        file.rename(tmp_path / "kept")
        os.mkfifo(file)
        with raises("file.not_regular", DataError):
            opened(folder_of(created))
        (tmp_path / "kept").replace(file)
    assert opened(folder_of(created)).rows == N - 7


def test_a_damaged_page_of_a_table_is_no_lack_of_room(tmp_path: Path, table: pa.Table) -> None:
    deleted_by_vector(tmp_path / "table", table)
    for file in (tmp_path / "table").rglob("*.parquet"):
        chunk = pq.read_metadata(file).row_group(0).column(0)
        content = bytearray(file.read_bytes())
        start, stop = chunk.dictionary_page_offset or chunk.data_page_offset, file.stat().st_size
        content[start + 20 : min(start + 200, stop - 5000)] = b"\xff" * 180
        file.write_bytes(content)
    with raises("file.damaged", DataError):
        opened(tmp_path / "table")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        ("zstandard", "table.unreadable", DataError),
        ("snappy", "table.codec_missing", ResourceError),
    ],
)
def test_manifests_with_other_codecs(
    table: pa.Table, iceberg: Callable[[pa.Table], Any], error: str, code: str, kind: Any
) -> None:
    """The name of the codec is in the header of an Avro file, with its length before it."""
    created = iceberg(table)
    for path in (folder_of(created) / "metadata").glob("*.avro"):
        content = path.read_bytes()
        assert b"\x14avro.codec\x0edeflate" in content
        name = bytes([2 * len(error)]) + error.encode()
        path.write_bytes(content.replace(b"\x0edeflate", name))
    with raises(code, kind):
        opened(folder_of(created))


def test_plain_files_are_read_where_they_are(tmp_path: Path, table: pa.Table) -> None:
    path = delta(tmp_path / "table", table)
    storage = Storage.from_url(str(path), {}, "input.path")
    where, files = input_files(storage, "input_path")
    assert where is storage
    assert [Path(file.path).parent for file in files] == [path]
