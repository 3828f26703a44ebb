"""Inputs of the estimators: any table gives the bits of the NumPy array of its values.

Inputs that are not tables of numbers are refused.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
from numba.core.dispatcher import Dispatcher
from support.errors import raises

from gpuseg import KMeans, Preprocessor
from gpuseg.algorithms.kmeans.fit import KMeansFit, sweep_kmeans
from gpuseg.errors import DataError
from gpuseg.estimators._inputs.arrays import as_matrix
from gpuseg.runtime.executor import Executor

Array = npt.NDArray[Any]

NAMES = ["a", "b", "c"]


def values(n: int = 200) -> Array:
    rng = np.random.default_rng(0)
    centers = rng.uniform(-10, 10, (4, 3))
    return (centers[np.arange(n) % 4] + rng.normal(size=(n, 3))).astype(np.float32)


@pytest.fixture
def x() -> Array:
    return values()


def model(**params: Any) -> KMeans:
    return KMeans(**{"n_clusters": 4, "random_state": 0, **params})


def state(fitted: KMeans) -> tuple[bytes, bytes, float, int]:
    centers = fitted.cluster_centers_.tobytes()
    return centers, fitted.labels_.tobytes(), fitted.inertia_, fitted.n_iter_


# NumPy arrays and lists.


def test_float32_rows_are_used_as_they_are(x: Array) -> None:
    assert as_matrix(x, KMeans(), reset=True) is x
    part = x[10:50]
    assert np.shares_memory(as_matrix(part, KMeans(), reset=True), x)
    x.setflags(write=False)
    assert np.shares_memory(as_matrix(x, KMeans(), reset=True), x)


def test_a_fit_makes_no_copy_of_float32_rows(monkeypatch: pytest.MonkeyPatch, x: Array) -> None:
    loaded = []

    def sweep(executor: Executor, *args: Any, **options: Any) -> list[KMeansFit]:
        loaded.extend(executor.map(lambda shard, context: shard.x))
        return sweep_kmeans(executor, *args, **options)

    monkeypatch.setattr("gpuseg.estimators.kmeans.sweep_kmeans", sweep)
    model().fit(x)
    model(metric="cosine").fit(x)
    assert loaded[0] is x
    assert not np.shares_memory(loaded[1], x)


ARRAYS: dict[str, Callable[[Array], Any]] = {
    "float64": lambda x: x.astype(np.float64),
    "longdouble": lambda x: x.astype(np.longdouble),
    "Fortran": np.asfortranarray,
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "every other column": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "big-endian": lambda x: x.astype(">f4"),
    "read-only": lambda x: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
    "unaligned": lambda x: np.frombuffer(b"_" + x.tobytes(), np.float32, offset=1).reshape(-1, 3),
    "lists": np.ndarray.tolist,
    "tuples": lambda x: tuple(map(tuple, x.tolist())),
    "list of arrays": list,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_give_the_same_bits(x: Array, kind: str) -> None:
    fitted = model().fit(ARRAYS[kind](x))
    assert state(fitted) == state(model().fit(x))
    assert not hasattr(fitted, "feature_names_in_")
    assert fitted.predict(ARRAYS[kind](x)).tolist() == fitted.labels_.tolist()
    matrix = as_matrix(ARRAYS[kind](x), KMeans(), reset=True)
    assert (matrix.dtype, matrix.flags.c_contiguous) == (np.float32, True)
    assert matrix.tobytes() == x.tobytes()


@pytest.mark.slow
def test_no_kernel_is_compiled_again_for_read_only_arrays(x: Array) -> None:
    """Compiling takes seconds; so kernels get views of one type, whatever the user has."""

    def fit(writable: bool) -> None:
        rows, positive, weight = x.copy(), abs(x), x[:, 0] ** 2
        for array in (rows, positive, weight):
            array.setflags(write=writable)
        fitted = model(backend="numba").fit(rows, weight)
        fitted.cluster_centers_.setflags(write=writable)
        fitted.predict(rows)
        fitted.transform(rows)
        model(backend="numba", metric="cosine").fit(rows)
        Preprocessor(transforms="log1p", backend="numba").fit_transform(positive)

    fit(writable=True)
    before = n_compiled()
    fit(writable=False)
    assert n_compiled() == before


def n_compiled() -> dict[str, int]:
    """Return for how many types each of numba's kernels is compiled in this process."""
    modules = [m for name, m in sys.modules.items() if name.startswith("gpuseg.backends.numba.")]
    return {
        f"{module.__name__}.{name}": len(kernel.signatures)
        for module in modules
        for name, kernel in vars(module).items()
        if isinstance(kernel, Dispatcher)
    }


@dataclass
class HasArray:
    """An object that NumPy can read, and that is no array."""

    rows: Array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.rows, dtype)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float64, np.float32])
def test_objects_that_numpy_can_read_follow_the_rule_of_arrays(dtype: Any) -> None:
    """Directly from int64 some values would be rounded to another float32."""
    rows = np.array([[2**60 + 2**36 + 1, 3], [2**24 + 1, -(2**24) - 3]]).astype(dtype)
    if dtype == np.int64:
        assert (rows.astype(np.float32) != rows.astype(np.float64).astype(np.float32)).any()
    expected = as_matrix(rows, model(), reset=True)
    assert as_matrix(HasArray(rows), model(), reset=True).tobytes() == expected.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int64, np.uint64, np.float16])
def test_small_numbers_of_any_type_give_the_same_bits(dtype: Any) -> None:
    whole = np.random.default_rng(1).integers(0, 2 if dtype is bool else 100, (300, 3))
    expected = state(model(n_clusters=2).fit(whole.astype(np.float32)))
    assert state(model(n_clusters=2).fit(whole.astype(dtype))) == expected
    table = pa.table(dict(zip(NAMES, whole.astype(dtype).T.copy(), strict=True)))
    assert state(model(n_clusters=2).fit(table)) == expected


# Frames and tables.


@dataclass
class OnlyArrow:
    """An object with only the Arrow PyCapsule interface."""

    table: pa.Table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


def arrow(x: Array) -> pa.Table:
    """Columns in several chunks of different sizes, some of them empty."""
    ends = [0, 0, 3, 3, len(x) // 2, len(x)]
    chunks = [x[a:b].T.copy() for a, b in pairwise(ends)]
    return pa.concat_tables([pa.table(dict(zip(NAMES, chunk, strict=True))) for chunk in chunks])


def pandas(x: Array, **dtypes: str) -> pd.DataFrame:
    frame = pd.DataFrame(x, columns=NAMES, index=np.arange(len(x)) * 2 + 7)
    return frame.astype(dtypes)


def polars(x: Array) -> Any:
    return pytest.importorskip("polars").DataFrame(x, schema=NAMES)


def duck(x: Array) -> Any:
    return duckdb.from_arrow(arrow(x)).project("a, b, c")


TABLES: dict[str, Callable[[Array], Any]] = {
    "pandas": pandas,
    "pandas, by columns": lambda x: pd.DataFrame({n: x[:, f] for f, n in enumerate(NAMES)}),
    "pandas, float64": lambda x: pandas(x, a="float64"),
    "pandas, nullable": lambda x: pandas(x, a="Float32", b="Float64").reset_index(drop=True),
    "pandas, nullable, with an index": lambda x: pandas(x, a="Float32", b="Float64", c="Float32"),
    "pandas, Arrow's types": lambda x: pandas(x, b="float[pyarrow]").reset_index(drop=True),
    "pandas, named index": lambda x: pandas(x, a="Float32").rename_axis("customer"),
    "pandas, two indices": lambda x: pandas(x, a="Float32").set_axis(
        pd.MultiIndex.from_product([range(len(x) // 2), [0, 1]])
    ),
    "Polars": polars,
    "Polars, in chunks": lambda x: pytest.importorskip("polars").concat(
        [polars(x[:50]), polars(x[50:])], rechunk=False
    ),
    "pyarrow table": arrow,
    "pyarrow batch": lambda x: arrow(x).combine_chunks().to_batches()[0],
    "pyarrow reader": lambda x: arrow(x).to_reader(),
    "pyarrow, float64": lambda x: arrow(x).cast(pa.schema([(n, pa.float64()) for n in NAMES])),
    "only Arrow": lambda x: OnlyArrow(arrow(x)),
    "DuckDB": duck,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", TABLES)
def test_tables_give_the_same_bits(x: Array, kind: str) -> None:
    fitted = model().fit(TABLES[kind](x))
    assert fitted.n_features_in_ == 3
    assert fitted.feature_names_in_.tolist() == NAMES
    assert state(fitted) == state(model().fit(x))
    assert fitted.predict(TABLES[kind](x)).tolist() == fitted.labels_.tolist()
    plain = model().fit(x)
    assert fitted.transform(TABLES[kind](x)).tobytes() == plain.transform(x).tobytes()
    weight = np.arange(200) % 3
    assert fitted.score(TABLES[kind](x), sample_weight=weight) == plain.score(
        x, sample_weight=weight
    )


@pytest.mark.parametrize("kind", TABLES)
def test_tables_become_one_matrix(kind: str) -> None:
    """Also with more rows than one block."""
    x = values(40_000)
    matrix = as_matrix(TABLES[kind](x), KMeans(), reset=True)
    assert (matrix.dtype, matrix.flags.c_contiguous) == (np.float32, True)
    assert matrix.tobytes() == x.tobytes()


@pytest.mark.parametrize(
    "dtypes",
    [
        {"a": "int64", "b": "bool", "c": "float32"},
        {"a": "Int16", "b": "boolean", "c": "Float64"},
        {"a": "uint8", "b": "bool[pyarrow]", "c": "float64"},
        {"a": "int32", "b": "int8", "c": "double[pyarrow]"},
    ],
    ids=["NumPy", "nullable", "one of Arrow's", "one of Arrow's, no bool"],
)
def test_frames_of_mixed_types(dtypes: dict[str, str]) -> None:
    rng = np.random.default_rng(2)
    x = np.stack([rng.integers(0, 99, 300), rng.integers(0, 2, 300), rng.random(300)], axis=1)
    x = x.astype(np.float32)
    frame = pandas(x, **dtypes).reset_index(drop=True)
    assert frame.dtypes.astype(str).tolist()[:2] == list(dtypes.values())[:2]
    assert as_matrix(frame, KMeans(), reset=True).tobytes() == x.tobytes()
    assert state(model().fit(frame)) == state(model().fit(x))


def test_decimals_are_numbers(x: Array) -> None:
    cents = [[Decimal(round(float(v) * 100)).scaleb(-2) for v in column] for column in x.T]
    table = pa.table(
        {n: pa.array(c, pa.decimal128(12, 2)) for n, c in zip(NAMES, cents, strict=True)}
    )
    rounded = np.array(cents, dtype=np.float64).T
    assert state(model().fit(table)) == state(model().fit(rounded))


@pytest.mark.parametrize("kind", [pa.int64(), pa.bool_(), pa.float32(), pa.decimal128(25, 2)])
def test_null_is_a_missing_value(kind: pa.DataType) -> None:
    column = pa.array([1, None, 0, 1], pa.int64()).cast(kind)
    matrix = as_matrix(pa.table({"a": column, "b": [0.5] * 4}), KMeans(), reset=True)
    assert np.array_equal(matrix[:, 0], np.float32([1, np.nan, 0, 1]), equal_nan=True)
    assert matrix[:, 1].tolist() == [0.5] * 4


# Names.


def renamed(kind: str, names: list[str]) -> Callable[[Array], Any]:
    if kind == "Polars":
        return lambda x: pytest.importorskip("polars").DataFrame(x, schema=names)
    if kind == "pyarrow":
        return lambda x: pa.table(dict(zip(names, x.T.copy(), strict=True)))
    dtype = "Float32" if kind == "pandas, nullable" else "float32"
    return lambda x: pd.DataFrame(x, columns=names).astype(dtype)


@pytest.mark.parametrize("kind", ["pandas", "pandas, nullable", "Polars", "pyarrow"])
@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["c", "a", "b"], "must be in the same order as they were in fit"),
        (["a", "b", "z"], r"unseen at fit time:\n- z\nFeature names seen .* missing:\n- c"),
        (["a", "b"], r"yet now missing:\n- c"),
        (["a", "b", "c", "d"], r"unseen at fit time:\n- d"),
    ],
)
def test_other_columns_are_refused_as_scikit_learn_does(
    x: Array, kind: str, names: list[str], words: str
) -> None:
    fitted = model().fit(TABLES["pyarrow table"](x))
    other = renamed(kind, names)(np.c_[x, x][:, : len(names)])
    for method in (fitted.predict, fitted.transform, fitted.score):
        with pytest.raises(ValueError, match=r"The feature names should match(.|\n)*" + words):
            method(other)


def test_names_and_no_names(x: Array) -> None:
    named = model().fit(polars(x))
    with pytest.warns(UserWarning, match="X does not have valid feature names, but KMeans was"):
        assert named.predict(x).tolist() == named.labels_.tolist()
    unnamed = model().fit(x)
    with pytest.warns(UserWarning, match="X has feature names, but KMeans was fitted without"):
        assert unnamed.predict(arrow(x)).tolist() == unnamed.labels_.tolist()
    named.fit(x)
    assert not hasattr(named, "feature_names_in_")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named.predict(x)


@pytest.mark.parametrize("kind", [np.asarray, pd.DataFrame])
@pytest.mark.parametrize("columns", [2, 4])
def test_another_width_is_refused(x: Array, kind: Any, columns: int) -> None:
    fitted = model().fit(kind(x))
    with pytest.raises(ValueError, match=f"X has {columns} features, but KMeans is expecting 3"):
        fitted.predict(kind(np.c_[x, x][:, :columns]))


# Refusals.


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_array", "coo_array"])
def test_sparse_matrices_are_refused(x: Array, kind: str) -> None:
    sparse = getattr(scipy.sparse, kind)(x)
    for call in (model().fit, model().partial_fit, model().fit(x).predict):
        with pytest.raises(TypeError, match=r"(?i)sparse.*dense.*toarray"):
            call(sparse)


REFUSED: dict[str, tuple[Callable[[Array], Any], str]] = {
    "object array": (lambda x: x.astype(object), "feature.not_numeric"),
    "object column": (lambda x: pandas(x).astype({"b": object}), "feature.not_numeric"),
    "object column next to nullable ones": (
        lambda x: pandas(x, a="Float32").astype({"b": object}), "feature.not_numeric",
    ),
    "text, pandas": (lambda x: pandas(x).assign(b="x"), "feature.not_numeric"),
    "text, Polars": (
        lambda x: polars(x).with_columns(b=pytest.importorskip("polars").lit("x")),
        "feature.not_numeric",
    ),
    "text, pyarrow": (
        lambda x: arrow(x).set_column(1, "b", pa.array(["x"] * len(x))), "feature.not_numeric",
    ),
    "days, pyarrow": (
        lambda x: arrow(x).set_column(1, "b", pa.array(range(len(x)), pa.date32())),
        "feature.not_numeric",
    ),
    "categories, pandas": (
        lambda x: pandas(x).assign(b=pd.Categorical(["x", "y"] * (len(x) // 2))),
        "feature.not_numeric",
    ),
    "one column, nullable": (lambda x: pandas(x, a="Float32")["a"], "(?i)1D|2D|series"),
    "one column, Polars": (lambda x: polars(x)["a"], "x.one_column"),
    "one column, pyarrow": (lambda x: arrow(x)["a"], "x.one_column"),
    "no rows, pyarrow": (lambda x: arrow(x)[:0], "x.empty"),
    "no rows, Polars": (lambda x: polars(x)[:0], "x.empty"),
    "no columns, pyarrow": (lambda x: arrow(x).select([]), "x.empty"),
    "times": (lambda x: x.astype(int).astype("M8[D]"), "feature.not_numeric"),
    "durations": (lambda x: x.astype(int).astype("m8[D]"), "feature.not_numeric"),
    "times in lists": (lambda x: [[date(2026, 1, 2)] * 3] * 9, "feature.not_numeric"),
    "times, pandas": (
        lambda x: pandas(x).assign(b=pd.Timestamp("2026-01-02")), "feature.not_numeric",
    ),
    "times with a zone, pandas": (
        lambda x: pandas(x).assign(b=pd.Timestamp("2026-01-02", tz="UTC")), "feature.not_numeric",
    ),
    # By scikit-learn.
    "one column, NumPy": (lambda x: x[:, 0], "Expected 2D array, got 1D array"),
    "one list": (lambda x: x[0].tolist(), "Expected 2D array, got 1D array"),
    "one column, pandas": (lambda x: pandas(x)["a"], "(?i)1D|2D|one column|series"),
    "one number": (lambda x: 5.0, "Expected 2D array, got scalar array"),
    "three dimensions": (lambda x: x[None], "Found array with dim 3"),
    "no rows": (lambda x: x[:0], r"Found array with 0 sample\(s\)"),
    "no rows, integers": (lambda x: x[:0].astype(int), r"Found array with 0 sample\(s\)"),
    "no rows, pandas": (lambda x: pandas(x)[:0], r"Found array with 0 sample\(s\)"),
    "no rows, pandas, integers": (
        lambda x: pandas(x)[:0].astype(int), r"Found array with 0 sample\(s\)",
    ),
    "no columns": (lambda x: x[:, :0], r"Found array with 0 feature\(s\)"),
    "complex": (lambda x: x.astype(np.complex64), "Complex data not supported"),
    "text": (lambda x: [["a", "b", "c"]] * 9, "feature.not_numeric"),
    "ragged": (lambda x: [[1.0, 2.0, 3.0], [1.0]] * 5, "inhomogeneous"),
    "a dict": (lambda x: {"a": [1.0]}, "must be a string or a real number|dict"),
}  # fmt: skip
"""Inputs, each with the code of the error, or with words of scikit-learn or NumPy."""


@contextmanager
def refused(expected: str) -> Iterator[None]:
    if re.fullmatch(r"\w+\.\w+", expected):
        with raises(expected, DataError) as caught:
            yield
        assert expected != "feature.not_numeric" or re.search("^column 'b'|^X ", str(caught.value))
    else:
        with pytest.raises((ValueError, TypeError), match=expected):
            yield


@pytest.mark.slow
@pytest.mark.parametrize("kind", REFUSED)
def test_inputs_that_are_not_numeric_tables_are_refused(x: Array, kind: str) -> None:
    make, expected = REFUSED[kind]
    with refused(expected):
        model().fit(make(x))
    fitted = model().fit(x)
    with warnings.catch_warnings(), refused(expected):
        warnings.filterwarnings("ignore", "X has feature names, but KMeans was fitted without")
        fitted.predict(make(x))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize(
    ("value", "words"),
    [(np.nan, "missing"), (np.inf, "inf"), (-np.inf, "inf"), (1e39, "beyond float32")],
)
def test_values_that_are_not_finite_are_refused(
    x: Array, metric: str, value: float, words: str
) -> None:
    spoiled = x.astype(np.float64)
    spoiled[[7, 30], 1] = value
    for call in (model(metric=metric).fit, model(metric=metric).partial_fit):
        code = "features.not_finite" if metric == "euclidean" else "features.no_direction"
        with raises(code, DataError) as caught:
            call(spoiled)
        assert words in str(caught.value)
    if metric == "euclidean":
        with pytest.raises(DataError, match=r"2 values are missing|and 2 values are infinite"):
            model().fit(spoiled)
    fitted = model(metric=metric).fit(x)
    for call in (fitted.predict, fitted.transform, fitted.score):
        with raises("x.not_finite") as caught:
            call(spoiled)
        assert re.search(r"\b2 rows .*\brow 7\b", str(caught.value))


@pytest.mark.parametrize("kind", ["pyarrow table", "Polars", "pandas, nullable", "DuckDB"])
def test_nulls_are_refused_as_missing_values(x: Array, kind: str) -> None:
    table = arrow(x)
    holed = table.set_column(
        1, "b", pa.array([None if i in (3, 9) else float(v) for i, v in enumerate(x[:, 1])])
    )
    makes: dict[str, Callable[[], Any]] = {
        "pyarrow table": lambda: holed,
        "Polars": lambda: pytest.importorskip("polars").from_arrow(holed),
        "pandas, nullable": lambda: holed.to_pandas(types_mapper=pd.ArrowDtype),
        "DuckDB": lambda: duckdb.from_arrow(holed),
    }
    with pytest.raises(DataError, match=r"2 values are missing \(NaN\) and 0 values are infinite"):
        model().fit(makes[kind]())
    with raises("x.not_finite") as caught:
        model().fit(table).predict(makes[kind]())
    assert re.search(r"\b2 rows .*\brow 3\b", str(caught.value))


def test_a_fit_that_fails_leaves_nothing_fitted(x: Array) -> None:
    fresh = model()
    with pytest.raises(DataError):
        fresh.fit(np.full((9, 3), np.nan))
    assert not hasattr(fresh, "cluster_centers_")
