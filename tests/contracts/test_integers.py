"""Integers become float32 by way of float64, in jobs, estimators and models alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from support.helpers import Array, read_parts, write_files

import gpuseg
from gpuseg.estimators._inputs.arrays import as_matrix
from gpuseg.estimators._inputs.load import load_rows
from gpuseg.estimators._inputs.row_format import KMeansRows
from gpuseg.numerics.to_float32 import as_floats, to_float32

NAMES = ["a", "b"]

LARGE = 2**54 + 2**30 + 1
"""2^54 + 2^31 as float32, but 2^54 by way of float64."""


def integers() -> Array:
    rng = np.random.default_rng(0)
    column = rng.integers(-(2**62), 2**62, 400)
    column[:4] = LARGE, -LARGE, 2**53 + 1, 2**62 + 2**38 + 1
    return np.stack([column, rng.permutation(column)], axis=1)


def expected(x: Array) -> Array:
    return x.astype(np.float64).astype(np.float32)


def table(x: Array) -> pa.Table:
    return pa.table(dict(zip(NAMES, x.T.copy(), strict=True)))


def with_gap(x: Array) -> pa.Table:
    """The same rows with a gap at the end, which makes other conversions of the columns."""
    return pa.concat_tables([table(x), pa.table({name: pa.nulls(1, pa.int64()) for name in NAMES})])


INPUTS: dict[str, Callable[[Array], Any]] = {
    "array": lambda x: x,
    "Fortran array": np.asfortranarray,
    "lists": np.ndarray.tolist,
    "list of arrays": list,
    "pandas": lambda x: pd.DataFrame(x, columns=NAMES),
    "pandas, one float column": lambda x: pd.DataFrame({"a": x[:, 0], "b": x[:, 1].astype(float)}),
    "pandas, nullable": lambda x: pd.DataFrame(x, columns=NAMES).astype("Int64"),
    "Polars": lambda x: pl.DataFrame(x, schema=NAMES),
    "Arrow": table,
    "Arrow with a gap": with_gap,
}


def test_the_rule_is_needed() -> None:
    x = np.array([LARGE])
    assert x.astype(np.float32)[0] == 2**54 + 2**31
    assert to_float32(x)[0] == 2**54
    assert as_floats(x).dtype == np.float64


@pytest.mark.parametrize("dtype", [bool, "i1", "u2", "<i4", ">i8", "u8", "f2", "f4", "f8", ">f4"])
def test_to_float32(dtype: Any) -> None:
    x = np.random.default_rng(1).integers(0, 2**7, (40_000, 3)).astype(dtype)
    for array in (x, np.asfortranarray(x), x[::-3], x[:, 1]):
        converted = to_float32(array)
        assert converted.dtype == np.float32 and converted.flags.c_contiguous
        assert np.array_equal(converted, array.astype(np.float64).astype(np.float32))
    rows = np.ones((3, 2), np.float32)
    assert to_float32(rows) is rows


@pytest.mark.parametrize("kind", INPUTS)
def test_estimators(kind: str) -> None:
    x = integers()
    matrix = as_matrix(INPUTS[kind](x), gpuseg.KMeans(), reset=True)
    assert matrix[: len(x)].tobytes() == expected(x).tobytes()


@pytest.mark.slow
def test_dask_collections_of_estimators(two_workers: dict[str, Any]) -> None:
    from distributed import Client

    x = integers()
    with Client(two_workers["cluster"]) as client:
        collection, row_format = da.from_array(x, chunks=(150, 2)), KMeansRows("numpy", "", 1)
        with load_rows(gpuseg.KMeans(), collection, None, row_format, 1, client) as rows:
            parts = rows.executor.map(_all_rows)
    assert np.concatenate(parts).tobytes() == expected(x).tobytes()


def _all_rows(shard: Any, context: Any) -> Array:
    return np.concatenate(list(shard.map_blocks(context, lambda block: block.x)))


def test_jobs_and_models(tmp_path: Path) -> None:
    """All read the same float32 rows: the distances tell them apart."""
    x = integers()
    source = write_files(tmp_path / "in", [table(x)])
    gpuseg.run({
        "input": {"path": str(source)},
        "prepare": {"scale": "none"},
        "segment": {"n_clusters": 3},
        "output": {"path": str(tmp_path / "out")},
    })  # fmt: skip
    parts, model = read_parts(tmp_path / "out"), gpuseg.load_model(tmp_path / "out")
    for kind, make in INPUTS.items():
        if "gap" not in kind:
            segments, distances = model.predict(make(x), return_distance=True)
            assert segments.tolist() == parts["segment"].to_pylist(), kind
            assert distances.tobytes() == parts["distance"].to_numpy().tobytes(), kind
    fitted = gpuseg.KMeans(3, random_state=0).fit(x)
    assert fitted.labels_.tolist() == parts["segment"].to_pylist()
    assert fitted.cluster_centers_.tobytes() == model.centers.values.tobytes()
