"""Columns that pandas writes for the index of a frame: never features unless they are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import call, customers, opened, read_parts, run, toml

from gpuseg.io.parquet.index_columns import index_columns


@pytest.fixture
def frame() -> pd.DataFrame:
    return customers(600).to_pandas()


def filtered(frame: pd.DataFrame) -> pd.DataFrame:
    """Return some rows; pandas writes the index of all as a range, which is no column."""
    return frame[frame.index % 3 > 0]


def named(frame: pd.DataFrame) -> pd.DataFrame:
    return filtered(frame).rename_axis("position")


def of_two_levels(frame: pd.DataFrame) -> pd.DataFrame:
    levels = np.arange(600)[::-1] // 7
    return frame.set_index(pd.MultiIndex.from_arrays([levels, levels], names=["region", None]))


def through_csv(frame: pd.DataFrame) -> pd.DataFrame:
    frame.to_csv("frame.csv")
    pd.read_csv("frame.csv").to_csv("frame.csv")
    return pd.read_csv("frame.csv")


FRAMES = {
    "filtered": (filtered, {"__index_level_0__"}),
    "named": (named, {"position"}),
    "two levels": (of_two_levels, {"region", "__index_level_1__"}),
    "CSV": (through_csv, {"Unnamed: 0", "Unnamed: 0.1"}),
    "plain": (lambda frame: frame, set()),
}


@pytest.mark.parametrize(("change", "index"), FRAMES.values(), ids=FRAMES.keys())
def test_an_index_is_no_feature_by_default(
    tmp_path: Path, frame: pd.DataFrame, change: Any, index: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "in.parquet"
    change(frame).to_parquet(path)
    data = opened(path, id="customer")
    assert data.features == ("recency", "orders", "spend")
    assert set(data.left_out) == index
    for name in index:
        assert name in opened(path, "spend", name).features
        assert opened(path, id=name).id == name
        assert name in opened(path, categories=[name]).features


def test_the_run_and_the_plan_say_what_is_left_out(
    tmp_path: Path, frame: pd.DataFrame, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.parquet"
    filtered(frame).to_parquet(path)
    job = {"input": {"path": str(path), "id": "customer"}, "segment": {"n_clusters": 3}}
    (tmp_path / "job.toml").write_text(toml({**job, "output": {"path": str(tmp_path / "out")}}))
    plan = json.loads(call(capfd, "run", tmp_path / "job.toml", "--dry-run", "--json").out)
    assert plan["index_columns_left_out"] == ["__index_level_0__"]
    assert "__index_level_0__" in call(capfd, "run", tmp_path / "job.toml", "--dry-run").out
    manifest = run(path, tmp_path / "out", input={"features": None}).manifest
    assert manifest["job"]["input"]["features"] == ["recency", "orders", "spend"]
    assert any("__index_level_0__" in warning for warning in manifest["warnings"])


def test_an_index_as_the_id_is_written(tmp_path: Path, frame: pd.DataFrame) -> None:
    some = filtered(frame)
    some.set_index("customer").to_parquet(tmp_path / "in.parquet")
    run(tmp_path / "in.parquet", tmp_path / "out", input={"features": None})
    assert read_parts(tmp_path / "out")["customer"].to_pylist() == some["customer"].tolist()


def test_files_may_differ_in_their_index(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame.to_parquet(tmp_path / "0.parquet")
    filtered(frame).to_parquet(tmp_path / "1.parquet")
    data = opened(tmp_path, id="customer")
    assert data.features == ("recency", "orders", "spend")
    with raises("input.schemas_differ"):
        opened(tmp_path, "spend", "__index_level_0__")


def test_nothing_but_an_index_is_no_feature(tmp_path: Path) -> None:
    pd.DataFrame({"name": ["a", "b"]}, index=[5, 7]).to_parquet(tmp_path / "in.parquet")
    with raises("features.none_numeric"):
        opened(tmp_path / "in.parquet")


@pytest.mark.parametrize("name", ["index", "level_0", "row_nr", "...1"])
def test_likely_row_numbers_give_a_warning(tmp_path: Path, name: str) -> None:
    table = customers(600).append_column(name, pa.array(np.arange(600)))
    pq.write_table(table, tmp_path / "in.parquet")
    warnings = run(tmp_path / "in.parquet", tmp_path / "out", input={"features": None})
    assert any(f"'{name}'" in warning for warning in warnings.manifest["warnings"])


@pytest.mark.parametrize(
    "metadata",
    [
        *(b"", b"{", b"\xff", b"[]", b"null", b'{"index_columns": 3}', b"[" * 10_000),
        *(b'{"index_columns": null}', b'{"index_columns": [{"kind": "range"}, 7, null]}'),
        b'{"index_columns": ["not in the file"]}',
    ],
)
def test_metadata_that_declare_no_column(metadata: bytes) -> None:
    schema = pa.schema([("a", pa.int64())], {b"pandas": metadata})
    assert index_columns(schema) == set()
