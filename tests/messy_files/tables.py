"""Tables of Delta Lake and Iceberg whose files are not their rows."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.delta_tables import actions_of, delete_by_vector

from messy_files.libraries import INPUT
from messy_files.messy_file import CUSTOMERS, MessyFile, customers_table, named


def customers_in_arrow() -> pa.Table:
    """Return the customers as a library of tables takes them."""
    return pa.table({
        "id": [c.id for c in CUSTOMERS],
        "orders": [c.orders for c in CUSTOMERS],
        "spend": [c.spend for c in CUSTOMERS],
    })  # fmt: skip


def delta_with_deletes(folder: Path) -> MessyFile:
    """Write a Delta table that was overwritten, and has rows deleted in both ways."""
    deltalake = pytest.importorskip("deltalake")
    customers = customers_in_arrow()
    others = pa.table({"id": [7, 8], "orders": [5, 5], "spend": [1.0, 2.0]})
    path = folder / "table"
    deltalake.write_deltalake(path, others)
    deltalake.write_deltalake(path, pa.concat_tables([others, customers]), mode="overwrite")
    deltalake.DeltaTable(path).delete("id = 7")
    add = actions_of(path, "add")[-1]
    ids = pq.read_table(path / add["path"])["id"].to_pylist()  # in an order that differs
    delete_by_vector(path, add, [ids.index(8)])
    return MessyFile(path, INPUT, customers_table())


def iceberg_with_renamed_column(folder: Path) -> MessyFile:
    """Write an Iceberg table whose column was renamed after rows were written."""
    sql = pytest.importorskip("pyiceberg.catalog.sql")
    customers = customers_in_arrow()
    uri, warehouse = f"sqlite:///{folder}/catalog.db", f"file://{folder}"
    catalog = sql.SqlCatalog("test", uri=uri, warehouse=warehouse)
    catalog.create_namespace("shop")
    table = catalog.create_table("shop.customers", schema=customers.schema)
    table.append(customers.slice(0, 3))
    with table.update_schema() as update:
        update.rename_column("spend", "money")
    table.append(customers.slice(3).rename_columns({"spend": "money"}))
    catalog.close()
    return MessyFile(
        Path(table.location().removeprefix("file://")),
        {"input": {"id": "id", "features": ["orders", "money"]}},
        named(customers_table(), spend="money"),
    )


FILES = (delta_with_deletes, pytest.param(iceberg_with_renamed_column, marks=pytest.mark.slow))
