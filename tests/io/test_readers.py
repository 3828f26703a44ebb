"""Outputs read by other programs: each finds the rows of the parts, once, and no others."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.dataframe
import deltalake
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import dataset
from pyiceberg.catalog.sql import SqlCatalog
from support.helpers import THOROUGH, customers, cut, manifest_of, read_parts, write_files

import gpuseg
from gpuseg.jobs.run_features import run_features

SEGMENTS: dict[str, dict[str, Any]] = {
    "k-means": {"n_clusters": 3},
    "sweep": {"n_clusters": [2, 3]},
    "DBSCAN": {"algorithm": "dbscan", "eps": 2.0, "min_samples": 5},
    "hierarchical": {"algorithm": "hierarchical", "levels": [2, 3]},
}


def lines() -> pa.Table:
    """Four lines of each of 90 customers, who spend little or much."""
    customer = np.repeat(np.arange(90), 4)
    day = np.datetime64("2026-01-01") + np.arange(360) * 7 % 300
    price = np.where(customer % 2, 100.0, 1.0) + np.arange(360) % 13
    return pa.table({"customer": customer, "time": day.astype("datetime64[s]"), "amount": price})


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An output of each kind, with drawings."""
    folder = tmp_path_factory.mktemp("outputs")
    source = write_files(folder / "in", cut(customers(400), 250))
    for kind, segment in SEGMENTS.items():
        gpuseg.run({
            "input": {"path": str(source), "id": "customer"},
            "segment": segment,
            "output": {"path": str(folder / kind), "plots": True},
        })  # fmt: skip
    bought = write_files(folder / "lines", cut(lines(), 200))
    job = {
        "transactions": {
            "path": str(bought), "customer": "customer", "time": "time", "amount": "amount",
        },
        "segment": SEGMENTS["DBSCAN"],
        "output": {"path": str(folder / "transactions"), "plots": True},
    }  # fmt: skip
    gpuseg.run(job)
    run_features({**job, "output": {"path": str(folder / "features")}})
    return {kind: folder / kind for kind in [*SEGMENTS, "transactions", "features"]}


def from_duckdb(pattern: str) -> pa.Table:
    with duckdb.connect() as connection:
        return connection.sql(f"SELECT * FROM read_parquet('{pattern}')").to_arrow_table()


def from_dask(pattern: str) -> pd.DataFrame:
    with warnings.catch_warnings():  # of pandas, about Dask's use of it
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        return dask.dataframe.read_parquet(pattern).compute(scheduler="sync")


def from_delta(folder: Path) -> pa.Table:
    copy = shutil.copytree(folder, folder.with_name(f"{folder.name}-delta"))
    deltalake.convert_to_deltalake(copy)
    return deltalake.DeltaTable(copy).to_pyarrow_table()


def from_iceberg(folder: Path) -> pa.Table:
    store = folder.with_name(f"{folder.name}-iceberg")
    store.mkdir()
    catalog = SqlCatalog("test", uri=f"sqlite:///{store}/catalog.db", warehouse=f"file://{store}")
    try:
        catalog.create_namespace("space")
        files = sorted(map(str, folder.rglob("*.parquet")))
        table = catalog.create_table("space.customers", schema=pq.read_schema(files[-1]))
        table.add_files(files)
        return table.scan().to_arrow()
    finally:
        catalog.close()


READERS: dict[str, Callable[[Path], Any]] = {
    "pyarrow": pq.read_table,
    "pyarrow.dataset": lambda folder: dataset.dataset(folder).to_table(),
    "pandas": pd.read_parquet,
    "DuckDB, folder": lambda folder: from_duckdb(f"{folder}"),
    "DuckDB, glob": lambda folder: from_duckdb(f"{folder}/*.parquet"),
    "DuckDB, recursive glob": lambda folder: from_duckdb(f"{folder}/**/*.parquet"),
    "Polars, glob": lambda folder: pl.read_parquet(f"{folder}/*.parquet").to_arrow(),
    "Polars, recursive glob": lambda folder: pl.read_parquet(f"{folder}/**/*.parquet").to_arrow(),
    "Dask, folder": lambda folder: from_dask(f"{folder}"),
    "Dask, recursive glob": lambda folder: from_dask(f"{folder}/**/*.parquet"),
    "Delta, conversion": from_delta,
    "Iceberg, add_files": from_iceberg,
}


def pairs(table: Any) -> list[tuple[Any, Any]]:
    """Return the customers of a table or frame with their segments, or first features, in order."""
    names = [str(name) for name in table.columns] if isinstance(table, pd.DataFrame) else None
    id, value = (names or table.column_names)[:2]
    columns = (np.asarray(table[name]).tolist() for name in (id, value))
    return sorted(zip(*columns, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_readers_find_each_row_once(outputs: dict[str, Path], name: str) -> None:
    for folder in outputs.values():
        assert pairs(READERS[name](folder)) == pairs(read_parts(folder))


@pytest.mark.slow
@pytest.mark.skipif(not THOROUGH, reason="Spark takes long to start; --thorough")
def test_spark_finds_each_row_once(outputs: dict[str, Path], spark: Any) -> None:
    for folder in outputs.values():
        for recursive in (False, True):
            reader = spark.read.option("recursiveFileLookup", recursive)
            rows = reader.parquet(str(folder)).collect()
            assert sorted(tuple(row)[:2] for row in rows) == pairs(read_parts(folder))


@pytest.mark.slow
def test_sidecars_are_listed_and_readable(outputs: dict[str, Path]) -> None:
    listed = {
        kind: [sidecar["path"] for sidecar in manifest_of(folder).get("sidecars", [])]
        for kind, folder in outputs.items()
    }
    assert {kind for kind, paths in listed.items() if paths} == {"DBSCAN", "transactions"}
    for kind, folder in outputs.items():
        parts = {part["name"] for part in manifest_of(folder)["parts"]}
        named = list(folder.rglob("*.parquet"))
        assert {str(path.relative_to(folder)) for path in named} == parts
        starts = {path: path.read_bytes()[:4] for path in folder.rglob("*") if path.is_file()}
        hidden = {path for path, start in starts.items() if start == b"PAR1"} - set(named)
        assert hidden == {path for pattern in listed[kind] for path in folder.glob(pattern)}
    features = f"{outputs['transactions']}/{listed['transactions'][0]}"
    expected = pairs(pq.read_table(outputs["features"]))
    assert pairs(from_duckdb(features)) == pairs(from_dask(features)) == expected
    assert pairs(pl.read_parquet(features).to_arrow()) == expected
