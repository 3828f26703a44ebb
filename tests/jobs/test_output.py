"""Whole runs: the output keeps its contract, whoever reads it, however the input was filed."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from support.helpers import (
    FEATURES,
    Array,
    bits,
    call,
    customers,
    cut,
    job,
    leftovers,
    listing,
    matrix,
    read_parts,
    run,
    toml,
    write_files,
)

import gpuseg

MANIFEST_KEYS = [
    "format", "gpuseg", "run_id", "started", "job", "input", "backend", "reader", "devices",
    "executor", "versions", "result", "sweep", "seconds", "features", "preparation", "profile",
    "segments", "parts", "lineage", "warnings",
]  # fmt: skip


def means(table: pa.Table, segment: Array, weight: Array | None = None) -> Array:
    """The mean of the features of each segment, in float64."""
    x = np.stack([table[name].to_numpy() for name in FEATURES], axis=1)
    w = np.ones(len(x)) if weight is None else weight
    return np.stack(
        [np.average(x[segment == k], axis=0, weights=w[segment == k]) for k in range(3)]
    )


# The contract.


def test_folder_holds_what_the_contract_says(tmp_path: Path, source: Path) -> None:
    result = run(source, tmp_path / "out")
    assert result.path == str(tmp_path / "out")
    assert list(listing(tmp_path / "out")) == [
        "_SUCCESS", "_examples.json", "_manifest.json",
        "_model", "_model/drift.safetensors", "_model/model.json", "_model/model.safetensors",
        "_report.html", "part-00000.parquet", "part-00001.parquet", "part-00002.parquet",
    ]  # fmt: skip
    assert (tmp_path / "out" / "_SUCCESS").read_bytes() == b""
    report = (tmp_path / "out" / "_report.html").read_text()
    assert report.lower().startswith("<!doctype html>")
    assert not re.search(r"""(src|href)=["']https?:""", report)
    assert leftovers(tmp_path) == []


def test_rows_are_those_of_the_input_file_by_file(tmp_path: Path, source: Path) -> None:
    run(source, tmp_path / "out")
    for i in range(3):
        written = pq.read_table(tmp_path / "out" / f"part-{i:05d}.parquet")
        read = pq.read_table(source / f"in-{i:03d}.parquet")
        assert written["customer"].equals(read["customer"])
        assert written.schema == pa.schema(
            {"customer": pa.int64(), "segment": pa.int32(), "distance": pa.float32()}
        )


def test_columns_without_id(tmp_path: Path, source: Path) -> None:
    run(source, tmp_path / "with")
    result = run(source, tmp_path / "out", input={"id": None})
    written = read_parts(tmp_path / "out")
    assert written.schema == pa.schema({"segment": pa.int32(), "distance": pa.float32()})
    assert written.equals(read_parts(tmp_path / "with").drop_columns("customer"))
    assert result.manifest["job"]["input"]["id"] is None


def test_segments_and_distances_are_k_means(tmp_path: Path, source: Path, table: pa.Table) -> None:
    result = run(source, tmp_path / "out")
    written = read_parts(tmp_path / "out")
    segment, distance = written["segment"].to_numpy(), written["distance"].to_numpy()
    x = matrix(table).astype(np.float64)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    centers = np.stack([scaled[segment == k].mean(axis=0) for k in range(3)])
    to_centers = np.linalg.norm(scaled[:, None] - centers, axis=2)
    assert np.array_equal(segment, to_centers.argmin(axis=1))
    np.testing.assert_allclose(distance, to_centers.min(axis=1), rtol=1e-5)
    assert result.manifest["result"]["inertia"] == pytest.approx((distance**2.0).sum(), rel=1e-6)
    np.testing.assert_allclose(result.model.cluster_centers_, means(table, segment), rtol=1e-5)


def test_manifest_describes_the_run(tmp_path: Path, source: Path) -> None:
    result = run(source, tmp_path / "out", segment={"random_state": 5})
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert list(manifest) == MANIFEST_KEYS
    assert manifest == result.manifest
    assert manifest["gpuseg"] == gpuseg.__version__
    assert manifest["job"]["segment"]["random_state"] == 5
    assert manifest["input"]["rows"] == 600
    assert manifest["input"]["files"] == 3
    assert manifest["input"]["row_groups"] == 7
    assert manifest["backend"]["name"] == "numba"
    assert manifest["backend"]["reason"].startswith("auto")
    assert manifest["executor"]["n_workers"] == 1
    assert manifest["executor"]["row_storage"]["mode"] == "resident"
    assert " MiB per worker, within " in manifest["executor"]["row_storage"]["reason"]
    assert manifest["result"]["metric"] == "euclidean"
    assert manifest["sweep"] == []
    assert manifest["warnings"] == []
    assert {"plan", "read", "prepare", "fit", "write", "total"} <= set(manifest["seconds"])
    segment = read_parts(tmp_path / "out")["segment"].to_numpy()
    assert [s["size"] for s in manifest["segments"]] == np.bincount(segment).tolist()
    assert [(p["name"], p["rows"], p["bytes"]) for p in manifest["parts"]] == [
        (f"part-{i:05d}.parquet", n, (tmp_path / "out" / f"part-{i:05d}.parquet").stat().st_size)
        for i, n in enumerate((150, 300, 150))
    ]


# Preparation and the saved model.


def test_weights_move_the_centers(tmp_path: Path, table: pa.Table) -> None:
    weight = np.arange(600) % 5 + 0.5
    source = write_files(tmp_path / "in", cut(table.append_column("w", [weight]), 200))
    result = run(source, tmp_path / "out", input={"weight": "w"})
    written = read_parts(tmp_path / "out")
    segment, distance = written["segment"].to_numpy(), written["distance"].to_numpy()
    expected = means(table, segment, weight)
    np.testing.assert_allclose(result.model.cluster_centers_, expected, rtol=1e-5)
    inertia = (weight * distance.astype(np.float64) ** 2).sum()
    assert result.manifest["result"]["inertia"] == pytest.approx(inertia, rel=1e-6)


@pytest.mark.parametrize("missing", ["drop", "mean", "median"])
def test_missing_values(tmp_path: Path, table: pa.Table, missing: str) -> None:
    spend = table["spend"].to_numpy().copy()
    gone = np.arange(600) % 9 == 3
    spend[gone] = np.nan
    holed = table.set_column(3, "spend", pa.array(spend, from_pandas=True))
    source = write_files(tmp_path / "in", cut(holed, 123))
    manifest = run(source, tmp_path / "out", prepare={"missing": missing}).manifest
    written = read_parts(tmp_path / "out")
    kept = ~gone if missing == "drop" else np.ones(600, bool)
    assert written["customer"].to_pylist() == np.flatnonzero(kept).tolist()
    raw = matrix(holed)
    model = gpuseg.load_model(tmp_path / "out")
    assert np.array_equal(model.predict(raw[kept]), written["segment"].to_numpy())
    assert manifest["input"]["rows_dropped"] == int((~kept).sum())
    left = raw[~gone, 2].astype(np.float64)
    fill = {"drop": None, "mean": left.mean(), "median": np.median(left)}
    assert manifest["features"]["spend"]["fill"] == pytest.approx(fill[missing])
    if missing == "drop":
        with pytest.raises(gpuseg.DataError, match="67 rows"):
            model.predict(raw)


@pytest.mark.slow
def test_file_of_which_every_row_is_dropped(
    tmp_path: Path, table: pa.Table, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second, third = cut(table, 100, 200)
    second = second.set_column(1, "recency", pa.nulls(200, pa.float64()))
    source = write_files(tmp_path / "in", [first, second, third])
    content = toml(job(source, tmp_path / "out", prepare={"missing": "drop"}))
    (tmp_path / "job.toml").write_text(content)
    outcome = call(capfd, "run", tmp_path / "job.toml")
    assert outcome.code == 0, outcome.err
    left = [*range(100), *range(300, 600)]
    assert ds.dataset(tmp_path / "out").to_table()["customer"].to_pylist() == left


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["none", "standard", "robust", "minmax"])
@pytest.mark.parametrize("transform", ["none", {"spend": "log1p", "orders": "log1p"}])
def test_model_predicts_the_written_segments(
    tmp_path: Path, table: pa.Table, scale: str, transform: str | dict[str, str]
) -> None:
    for f, name in enumerate(FEATURES, 1):
        table = table.set_column(f, name, pc.add(table[name], 30.0))
    source = write_files(tmp_path / "in", cut(table, 400))
    result = run(
        source, tmp_path / "out", prepare={"scale": scale, "transform": transform},
        segment={"n_clusters": 7},
    )  # fmt: skip
    written = read_parts(tmp_path / "out")["segment"].to_numpy()
    for model in (result.model, gpuseg.load_model(tmp_path / "out" / "_model")):
        assert model.features == FEATURES
        assert np.array_equal(model.predict(matrix(table)), written)
        assert np.array_equal(model.predict(table.select(FEATURES).to_pandas()), written)
    assert set(written.tolist()) == set(range(7))


# Readers.


def with_pyarrow(folder: Path) -> Array:
    return ds.dataset(folder).to_table().to_pandas().to_numpy()


def with_pandas(folder: Path) -> Array:
    return pd.read_parquet(folder).to_numpy()


def with_duckdb(folder: Path) -> Array:
    with duckdb.connect() as database:
        return database.sql(f"from read_parquet('{folder}/*.parquet')").df().to_numpy()


def with_dask(folder: Path) -> Array:
    import dask.dataframe as dd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dask's own use of pandas
        return dd.read_parquet(folder).compute(scheduler="synchronous").to_numpy()


@pytest.mark.slow
@pytest.mark.parametrize("reader", [with_pyarrow, with_pandas, with_duckdb, with_dask])
def test_output_is_one_dataset_to(tmp_path: Path, source: Path, reader: Any) -> None:
    run(source, tmp_path / "out")
    expected = read_parts(tmp_path / "out").to_pandas().to_numpy()
    rows = reader(tmp_path / "out")
    rows = rows[rows[:, 0].argsort()]
    assert rows[:, 0].tolist() == list(range(600))
    assert np.array_equal(rows, expected)


# The same bits.


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["standard", "robust"])
def test_same_bits_however_rows_are_filed(tmp_path: Path, scale: str) -> None:
    table = customers(5000, blobs=9, seed=3)
    outputs = []
    for i, (sizes, group) in enumerate([((), 5000), ((1, 4000), 77), ((2500, 100, 800), 1000)]):
        source = write_files(tmp_path / f"in-{i}", cut(table, *sizes), row_group_size=group)
        sections = {"segment": {"n_clusters": 6}, "prepare": {"scale": scale}}
        run(source, tmp_path / f"out-{i}", **sections)
        outputs.append(bits(tmp_path / f"out-{i}"))
    assert outputs[0] == outputs[1] == outputs[2]


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_same_bits_on_both_backends_and_any_threads(tmp_path: Path, weighted: bool) -> None:
    table = customers(5000, blobs=9).append_column("w", [np.arange(5000) % 3 + 0.1])
    source = write_files(tmp_path / "in", cut(table, 2000))
    settings = [("numpy", 1), ("numba", 1), ("numba", 3)]
    for backend, threads in settings:
        run(
            source, tmp_path / f"{backend}-{threads}",
            input={"weight": "w" if weighted else None},
            segment={"n_clusters": 6},
            runtime={"backend": backend, "threads_per_worker": threads},
        )  # fmt: skip
    first, *others = (bits(tmp_path / f"{backend}-{threads}") for backend, threads in settings)
    assert all(other == first for other in others)
