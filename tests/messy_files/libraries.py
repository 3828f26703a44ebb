"""Parquet files by the libraries that people use: Polars, DuckDB, arrow-rs and Spark."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from messy_files.exports import ROLES
from messy_files.messy_file import CUSTOMERS, LINES, MessyFile, customers_table, lines_table

INPUT = {"input": {"id": "id", "features": ["orders", "spend"]}}


def polars_lines(folder: Path) -> MessyFile:
    """Write lines by Polars: views of strings, uint32, categories, times in nanoseconds."""
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({
        "CustomerID": pl.Series([str(x.customer) for x in LINES], dtype=pl.Categorical),
        "InvoiceNo": [x.invoice for x in LINES],
        "StockCode": pl.Series([x.product for x in LINES], dtype=pl.Categorical),
        "InvoiceDate": pl.Series([x.time for x in LINES], dtype=pl.Datetime("ns")),
        "Quantity": pl.Series([x.quantity for x in LINES], dtype=pl.Int16),
        "UnitPrice": [Decimal(str(x.price)) for x in LINES],
    })  # fmt: skip
    path = folder / "lines.parquet"
    frame.write_parquet(path)
    return MessyFile(path, {"transactions": ROLES}, lines_table())


def polars_customers(folder: Path) -> MessyFile:
    """Write customers by Polars: ids are views of strings, counts uint32 as its `len` has them."""
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({
        "id": [f"{c.id:05}" for c in CUSTOMERS],
        "orders": pl.Series([c.orders for c in CUSTOMERS], dtype=pl.UInt32),
        "spend": pl.Series([c.spend for c in CUSTOMERS], dtype=pl.Float32),
        "names": [[c.name] for c in CUSTOMERS],
    })  # fmt: skip
    path = folder / "customers.parquet"
    frame.write_parquet(path)
    return MessyFile(path, INPUT, customers_table(lambda id: f"{id:05}"))


def duckdb_customers(folder: Path) -> MessyFile:
    """Write customers by DuckDB: sums are HUGEINT and DECIMAL(38), with a struct beside."""
    duckdb = pytest.importorskip("duckdb")
    path = folder / "customers.parquet"
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE lines (id BIGINT, orders INT, paid DECIMAL(12, 2))")
        connection.executemany(
            "INSERT INTO lines VALUES (?, ?, ?)", [(c.id, c.orders, c.spend) for c in CUSTOMERS]
        )
        connection.execute(
            "COPY (SELECT id, sum(orders) AS orders, sum(paid) AS spend, "
            "{'city': 'Köln', 'zip': ['50667']} AS address, uuid() AS session "
            f"FROM lines GROUP BY id) TO '{path}'"
        )
    return MessyFile(path, INPUT, customers_table())


def arrow_rs_customers(folder: Path) -> MessyFile:
    """Write customers by arrow-rs, the writer of deltalake: large strings and dictionaries."""
    deltalake = pytest.importorskip("deltalake")
    table = pa.table({
        "id": pa.array([f"0{c.id}" for c in CUSTOMERS], pa.large_string()),
        "plan": pa.array(["basic", None, "pro", "pro", "basic"]).dictionary_encode(),
        "orders": pa.array([c.orders for c in CUSTOMERS], pa.int16()),
        "spend": pa.array([c.spend for c in CUSTOMERS], pa.float64()),
    })  # fmt: skip
    deltalake.write_deltalake(folder / "table", table)
    (file,) = (folder / "table").glob("*.parquet")
    path = file.rename(folder / "customers.parquet")
    return MessyFile(path, INPUT, customers_table(lambda id: f"0{id}"))


def spark_lines(folder: Path, spark: Any) -> MessyFile:
    """Write lines by Spark: times as INT96, decimals, a folder for each country."""
    rows = [
        (x.customer, x.invoice, x.product, x.time, x.quantity, Decimal(str(x.price)), country)
        for x, country in zip(LINES, ["EIRE", "D E"] * 4, strict=True)
    ]
    schema = (
        "CustomerID bigint, InvoiceNo string, StockCode string, InvoiceDate timestamp_ntz, "
        "Quantity int, UnitPrice decimal(10, 2), Country string"
    )
    frame = spark.createDataFrame(rows, schema)
    frame = frame.withColumn("InvoiceDate", frame.InvoiceDate.cast("timestamp"))
    path = folder / "lines"
    frame.repartition(2).write.partitionBy("Country").parquet(str(path))
    return MessyFile(path, {"transactions": ROLES}, lines_table(id_of=int))


def spark_vectors(folder: Path, spark: Any) -> MessyFile:
    """Write customers by Spark: features are a vector of its library of machine learning."""
    from pyspark.ml.linalg import Vectors

    rows = [(c.id, Vectors.dense([c.orders, c.spend])) for c in CUSTOMERS]
    path = folder / "customers"
    spark.createDataFrame(rows, ["id", "features"]).write.parquet(str(path))
    return MessyFile(
        path,
        {"input": {"id": "id", "features": ["features"]}},
        {c.id: {"features[0]": c.orders, "features[1]": c.spend} for c in CUSTOMERS},
    )


FILES = (polars_lines, polars_customers, duckdb_customers, arrow_rs_customers)
FILES_OF_SPARK = (spark_lines, spark_vectors)
