"""Frames and tables with columns of vectors are the matrix of their elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from support.errors import raises
from support.helpers import in_turn
from support.vector_columns import KINDS, WIDTH, Rows, as_numbers, names, rows

from gpuseg import DBSCAN, KMeans, Preprocessor
from gpuseg.errors import DataError
from gpuseg.preprocessing.pipeline import as_arrow

PLAIN = names("", "v")


def _pandas_arrow(vectors: Rows) -> Any:
    kind = pd.ArrowDtype(pa.list_(pa.float32()))
    return pd.DataFrame({"v": pd.Series(vectors, dtype=kind)})


def _pandas_objects(vectors: Rows) -> Any:
    arrays = [None if v is None else np.array(v, np.float64) for v in vectors]
    return pd.DataFrame({"v": pd.Series(arrays, dtype=object)})


FRAMES: dict[str, Callable[[Rows], Any]] = {
    "Polars list": lambda v: pl.DataFrame({"v": v}, {"v": pl.List(pl.Float64)}),
    "Polars array": lambda v: pl.DataFrame({"v": v}, {"v": pl.Array(pl.Float32, WIDTH)}),
    "pandas, Arrow's list": _pandas_arrow,
    "pandas, arrays": _pandas_objects,
    "pandas, lists": lambda v: pd.DataFrame({"v": v}),
    **{
        kind: lambda v, build=build: pa.table({"v": build(v)})  # type: ignore[misc]
        for kind, build in KINDS.items()
    },
    "chunks": lambda v: _in_chunks(v),
    "list view": lambda v: pa.table({"v": pa.array(v, pa.list_view(pa.float32()))}),
}


def _in_chunks(vectors: Rows) -> pa.Table:
    cuts = [vectors[:1], vectors[1:7], [], vectors[7:]]
    return pa.table({"v": pa.chunked_array(cuts, pa.list_(pa.float32()))})


@pytest.mark.parametrize("name", FRAMES)
def test_fit_and_predict(name: str) -> None:
    vectors = rows(with_missing=False)
    X, expected = FRAMES[name](vectors), np.array(vectors, np.float32)
    fitted = KMeans(3, random_state=0).fit(X)
    of_array = KMeans(3, random_state=0).fit(expected)
    assert fitted.cluster_centers_.tobytes() == of_array.cluster_centers_.tobytes()
    assert np.array_equal(fitted.labels_, of_array.labels_)
    assert fitted.feature_names_in_.tolist() == names(name, "v")
    assert np.array_equal(fitted.predict(X), of_array.labels_)
    assert np.array_equal(DBSCAN(6.0).fit_predict(X), DBSCAN(6.0).fit_predict(expected))


PARAMS: dict[str, dict[str, Any]] = {
    "numbers": {"missing": "mean", "transforms": {"v": "yeo-johnson"}},
    "flags": {"missing": "zero", "missing_indicator": True},
}


@pytest.mark.parametrize(("name", "kind"), in_turn(FRAMES, PARAMS, step=2))
def test_preprocessor(name: str, kind: str) -> None:
    params = PARAMS[kind]
    vectors, features = rows(), names(name, "v")
    X = FRAMES[name](vectors)
    by_element = dict(params)
    if "transforms" in params:
        by_element["transforms"] = dict.fromkeys(features, "yeo-johnson")
    by_element["missing_indicator"] = False
    fitted = Preprocessor(**params)
    z = fitted.fit_transform(X)
    of_numbers = Preprocessor(**by_element).fit_transform(as_numbers(vectors, features))
    assert z[:, :WIDTH].tobytes() == of_numbers.tobytes()
    assert fitted.transform(X).tobytes() == z.tobytes()
    flag = ["v is missing"] if "missing_indicator" in params else []
    assert fitted.get_feature_names_out().tolist() == [*features, *flag]


def test_far_from_zero() -> None:
    x = np.random.default_rng(0).normal(size=(90, 3)) + np.array([1e9, 0.0, -3e10])
    X = pl.DataFrame({"v": x.tolist()})
    columns = pl.DataFrame({f"v[{f}]": x[:, f] for f in range(3)})
    one, other = (KMeans(2, random_state=0).fit(data) for data in (X, columns))
    assert one.cluster_centers_.tobytes() == other.cluster_centers_.tobytes()
    assert (
        Preprocessor().fit_transform(X).tobytes() == Preprocessor().fit_transform(columns).tobytes()
    )


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA], ids=str)
def test_first_vector_of_pandas_is_missing(missing: Any) -> None:
    vectors = [*np.eye(3), np.ones(3)]
    X = pd.DataFrame({"v": pd.Series([missing, *vectors], dtype=object)})
    fitted = Preprocessor(missing="zero", scale="none")
    assert fitted.fit_transform(X).tolist() == [[0.0] * 3, *np.array(vectors).tolist()]


def test_wrong_shape_after_the_first_chunk() -> None:
    chunks = [[[1.0, 2.0]], [[3.0, 4.0], [5.0]]]
    with raises("vector.wrong_shape") as caught:
        KMeans(2).fit(pa.table({"v": pa.chunked_array(chunks)}))
    assert "row 2" in str(caught.value)


@pytest.mark.slow
def test_more_elements_than_32_bits_count() -> None:
    length = 60_000
    values = pa.Array.from_buffers(pa.bool_(), 2**31 - 2, [None, pa.allocate_buffer(2**28)])
    n_rows = len(values) // length
    chunk = pa.ListArray.from_arrays(
        pa.array(np.arange(n_rows + 1, dtype=np.int32) * length), values
    )
    assert len(as_arrow(pa.chunked_array([chunk, chunk]), "v")) == 2 * n_rows


@pytest.mark.parametrize(
    ("code", "X"),
    [
        ("vector.wrong_shape", pa.table({"v": [[1.0, 2.0], [3.0]]})),
        ("vector.wrong_shape", pd.DataFrame({"v": [np.zeros(2), np.zeros(3)]})),
        ("vector.wrong_size", pa.table({"v": pa.array([[], []], pa.list_(pa.float32()))})),
        ("vector.none", pa.table({"v": pa.nulls(3, pa.list_(pa.float32()))})),
        ("feature.not_numeric", pa.table({"v": [["a"], ["b"]]})),
        ("feature.not_numeric", pd.DataFrame({"v": [["a"], ["b"]]})),
        ("column.mixed_types", pd.DataFrame({"v": [[1.0], "b"]})),
        ("column.mixed_types", pd.DataFrame({"v": [np.zeros((2, 2)), np.zeros((2, 2))]})),
    ],
)
def test_refused(code: str, X: Any) -> None:
    with raises(code, DataError):
        KMeans(2).fit(X)
