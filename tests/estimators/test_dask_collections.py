"""Dask collections: fitted on their workers, with the bits of the same rows in NumPy."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest
from distributed import Client, LocalCluster
from support.errors import raises
from support.helpers import ANY_PORT, THOROUGH

from gpuseg import KMeans, Preprocessor, kmeans_sweep, silhouette_score
from gpuseg.errors import ConfigError, DataError, ResourceError
from gpuseg.runtime.dask.executor import DaskExecutor

Array = npt.NDArray[Any]

NAMES = ["a", "b", "c"]
N = 2000


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two workers as a user starts them, not forked; killed ones are restarted."""
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": "spawn"}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=ANY_PORT) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def other_client(cluster: LocalCluster) -> Iterator[Client]:
    """A client that is not the current one."""
    with Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    """The current client."""
    with Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def x() -> Array:
    rng = np.random.default_rng(0)
    centers = rng.uniform(-10, 10, (4, 3))
    return (centers[np.arange(N) % 4] + 2 * rng.normal(size=(N, 3))).astype(np.float32)


@pytest.fixture(scope="module")
def weight() -> Array:
    return np.random.default_rng(1).integers(0, 5, N) * 0.3


def model(**params: Any) -> KMeans:
    few_passes = {} if "init" in params else {"n_init": 2, "tol": 0.01}
    return KMeans(**{"n_clusters": 4, "random_state": 0, **few_passes, **params})


def state(fitted: KMeans) -> tuple[bytes, bytes, float, int]:
    labels = np.asarray(fitted.labels_)
    assert labels.dtype == np.int32
    return fitted.cluster_centers_.tobytes(), labels.tobytes(), fitted.inertia_, fitted.n_iter_


def frame(x: Array, parts: int = 5) -> Any:
    return dd.from_pandas(pd.DataFrame(x, columns=NAMES), npartitions=parts)


def with_empty_parts(x: Array) -> Any:
    """Partitions without rows, as filters leave them: first, between and last."""
    whole = frame(x)
    none = whole[whole.a > 1e30]
    first, second = frame(x[:700], 2), frame(x[700:], 3)
    return dd.concat([none, first, none, second, none], interleave_partitions=False)


# The same bits.

KINDS: dict[str, Callable[[Array], Any]] = {
    "array, by rows": lambda x: da.from_array(x, chunks=(300, 3)),
    "array, by rows and columns": lambda x: da.from_array(x, chunks=((1, 31, 968, 1000), (2, 1))),
    "array, whole": lambda x: da.from_array(x, chunks=x.shape),
    "array, float64": lambda x: da.from_array(x, chunks=(700, 3)).astype(np.float64),
    "array, unknown sizes": lambda x: frame(x).values,
    "frame": frame,
    "frame, empty parts": with_empty_parts,
}


OTHER_TESTS_HAVE = ("array, by rows", "array, whole", "frame")
"""Kinds that a default run compares with NumPy in other tests, or that are the simplest ones."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if THOROUGH or kind not in OTHER_TESTS_HAVE]
)
def test_collections_have_the_bits_of_numpy(client: Client, x: Array, kind: str) -> None:
    collection = KINDS[kind](x)
    expected, fitted = model().fit(x), model().fit(collection)
    assert isinstance(fitted.labels_, da.Array)
    assert state(fitted) == state(expected)
    assert fitted.n_features_in_ == 3
    names = NAMES if "frame" in kind else None
    assert getattr(fitted, "feature_names_in_", np.array(None)).tolist() == names
    distances = fitted.transform(collection)
    assert isinstance(distances, da.Array)
    assert distances.ndim == 2 and distances.shape[1] == 4
    assert np.asarray(distances).tobytes() == expected.transform(x).tobytes()
    some = collection[(collection["a"] if names else collection[:, 0]) > 0]
    assert np.asarray(fitted.predict(some)).tolist() == expected.predict(x[x[:, 0] > 0]).tolist()


@pytest.mark.slow
def test_lazy_results_have_the_chunks_of_the_rows(client: Client, x: Array) -> None:
    collection = KINDS["array, by rows and columns"](x)
    fitted = model().fit(collection)
    assert fitted.labels_.chunks == ((1, 31, 968, 1000),)
    assert fitted.transform(collection).chunks == ((1, 31, 968, 1000), (4,))
    assert fitted.fit_predict(collection).chunks == fitted.labels_.chunks
    assert fitted.predict(x).tolist() == np.asarray(fitted.labels_).tolist()


@pytest.mark.slow
def test_score_is_that_of_numpy(client: Client, x: Array) -> None:
    fitted = model().fit(x)
    assert fitted.score(KINDS["array, by rows"](x)) == pytest.approx(fitted.score(x), rel=1e-12)


@pytest.mark.slow
def test_weights(client: Client, x: Array, weight: Array) -> None:
    expected = state(model().fit(x, sample_weight=weight))
    rows = da.from_array(x, chunks=(300, 2))
    by_rows = da.from_array(weight, chunks=300)
    assert state(model().fit(rows, sample_weight=by_rows)) == expected
    series = dd.from_pandas(pd.Series(weight), npartitions=5)
    assert state(model().fit(frame(x), sample_weight=series)) == expected


@pytest.mark.slow
def test_other_parameters(client: Client, x: Array) -> None:
    start = x[[0, 1, 2, 7]].astype(float)
    params = {"init": start, "max_iter": 7, "tol": 0.0, "backend": "numpy"}
    collection = KINDS["array, by rows"](x)
    assert state(model(**params).fit(collection)) == state(model(**params).fit(x))


@pytest.mark.slow
def test_sweep(client: Client, x: Array, weight: Array) -> None:
    series = dd.from_pandas(pd.Series(weight), npartitions=5)
    params: dict[str, Any] = {"random_state": 3, "n_init": 1}
    swept = kmeans_sweep(frame(x), [2, 5, 3], sample_weight=series, **params)
    assert list(swept.models) == [2, 3, 5]
    for k, fitted in swept.models.items():
        assert state(fitted) == state(KMeans(k, **params).fit(x, sample_weight=weight))
        assert isinstance(fitted.labels_, da.Array)
        assert fitted.feature_names_in_.tolist() == NAMES


@pytest.mark.slow
def test_cosine_does_not_change_the_rows(client: Client, x: Array) -> None:
    persisted = da.from_array(x.copy(), chunks=(300, 3)).persist()
    fitted, expected = model(metric="cosine").fit(persisted), model(metric="cosine").fit(x)
    assert state(fitted) == state(expected)
    assert np.asarray(fitted.transform(persisted)).tobytes() == expected.transform(x).tobytes()
    assert np.asarray(persisted).tobytes() == x.tobytes()


# Workers and clients.


@pytest.mark.slow
def test_client_parameter(other_client: Client, x: Array) -> None:
    fitted = model().fit(KINDS["array, by rows"](x), client=other_client)
    with other_client.as_current():
        assert state(fitted) == state(model().fit(x))
    params: dict[str, Any] = {"random_state": 0, "n_init": 1}
    swept = kmeans_sweep(KINDS["array, by rows"](x), [2, 3], client=other_client, **params)
    assert [swept.models[k].inertia_ for k in (2, 3)] == [
        KMeans(k, **params).fit(x).inertia_ for k in (2, 3)
    ]


def test_without_a_client(x: Array) -> None:
    with pytest.raises(ResourceError, match="client"):
        model().fit(KINDS["array, by rows"](x))
    fitted = model().fit(x)
    lazy = fitted.predict(KINDS["array, by rows"](x))  # any scheduler of Dask
    assert lazy.compute(scheduler="sync").tolist() == fitted.labels_.tolist()


@pytest.mark.slow
def test_numpy_needs_no_client(x: Array) -> None:
    assert isinstance(model().fit(x).labels_, np.ndarray)


def shards_kept() -> int:
    from gpuseg.runtime.dask.worker import _SHARDS

    return len(_SHARDS)


@pytest.mark.slow
def test_nothing_is_left_on_the_workers(client: Client, x: Array) -> None:
    model().fit(KINDS["frame"](x))
    with pytest.raises(DataError):
        model(n_clusters=N + 1).fit(KINDS["frame"](x))
    assert set(client.run(shards_kept).values()) == {0}


# Refusals.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chunks", "code"),
    [
        (500, "sample_weight.other_partitions"),
        ((301, *[300] * 5, 199), "sample_weight.wrong_shape"),
    ],
)
def test_weights_with_other_partitions_are_refused(
    client: Client, x: Array, weight: Array, chunks: Any, code: str
) -> None:
    other = da.from_array(weight, chunks=chunks if isinstance(chunks, int) else (chunks,))
    with raises(code, DataError, parameter="sample_weight"):
        model().fit(KINDS["array, by rows"](x), sample_weight=other)


@pytest.mark.slow
def test_wrong_weights_are_refused(client: Client, x: Array, weight: Array) -> None:
    rows = KINDS["array, by rows"](x)
    with raises("sample_weight.not_a_collection", parameter="sample_weight"):
        model().fit(rows, sample_weight=weight)
    with raises("sample_weight.invalid", parameter="sample_weight"):
        model().fit(rows, sample_weight=da.from_array(weight - 0.3, chunks=300))
    with pytest.raises(DataError, match="all weights are zero"):
        model().fit(rows, sample_weight=da.zeros(N, chunks=300))


def objects(x: Array) -> Any:
    with dask.config.set({"dataframe.convert-string": False}):
        return dd.from_pandas(pd.DataFrame(x, columns=NAMES).astype({"b": object}), npartitions=3)


REFUSED: dict[str, tuple[Callable[[Array], Any], str]] = {
    "object column": (objects, "^column 'b' has dtype object"),
    "object array": (lambda x: da.from_array(x.astype(object), chunks=(300, 3)), "dtype object"),
    "text": (lambda x: frame(x).assign(b="x"), "^column 'b' is .*string"),
    "one column": (lambda x: frame(x)["a"], "^X has 1 dimensions"),
    "three dimensions": (lambda x: da.zeros((9, 3, 3)), "^X has 3 dimensions"),
    "missing": (
        lambda x: da.where(da.from_array(x, chunks=(300, 3)) > 14, np.nan, x),
        r"values are missing \(NaN\).*all values must be finite",
    ),
    "no rows": (lambda x: da.zeros((0, 3), chunks=(1, 3)), r"0 rows|0 sample\(s\)|at least one"),
    "few rows": (lambda x: frame(x[:3], 2), "n_clusters = 4: the data has only 3 rows"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", REFUSED)
def test_not_numeric_matrices_are_refused(client: Client, x: Array, kind: str) -> None:
    make, words = REFUSED[kind]
    with pytest.raises(ValueError if kind == "no rows" else DataError, match=words):
        model().fit(make(x))


@pytest.mark.slow
def test_vectors_are_refused(client: Client, x: Array) -> None:
    kind = pd.ArrowDtype(pa.list_(pa.float32()))
    frame = dd.from_pandas(pd.DataFrame({"v": pd.Series(list(x[:9]), dtype=kind)}), npartitions=2)
    with raises("feature.vectors_in_collection", DataError):
        model().fit(frame)


def test_other_columns_are_refused(client: Client, x: Array) -> None:
    fitted = model().fit(frame(x))
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(frame(x)[["c", "a", "b"]]).compute()
    with pytest.raises(ConfigError, match=r"init: has 4 rows of 2 values: .* = \(4, 3\)"):
        model(init=x[:4, :2]).fit(frame(x))


@pytest.mark.slow
def test_partial_fit_refuses_collections(x: Array) -> None:
    with raises("x.dask_collection"):
        model().partial_fit(da.from_array(x, chunks=(300, 3)))


@pytest.mark.slow
@pytest.mark.parametrize("params", [
    {}, {"transforms": "yeo-johnson", "clip": (0.01, 0.99), "scale": "robust", "missing": "mean"},
    {"categorical": {"d": "onehot"}, "missing": "median", "missing_indicator": True},
    {"categorical": {"d": "frequency"}, "missing": "median", "pca": 2},
], ids=str)  # fmt: skip
def test_a_preprocessor_leaves_rows_on_the_workers(
    client: Client, x: Array, params: dict[str, Any]
) -> None:
    """Same bits as in memory, lazy, with the index, and the names of the features."""
    table = pd.DataFrame(x.astype(float) + 1e7, columns=NAMES, index=np.arange(N) + 3)
    table["constant"] = 1.0
    if params:
        table.iloc[5, 0] = np.nan
    if "categorical" in params:
        table["d"] = np.where(np.arange(N) % 3, "u", None)
    here, there = Preprocessor(**params), Preprocessor(**params)
    expected = here.fit_transform(table)
    made = there.fit_transform(dd.from_pandas(table, npartitions=5))
    assert list(made.columns) == list(here.get_feature_names_out())
    computed = made.compute()
    assert computed.to_numpy().tobytes() == expected.tobytes()
    assert computed.index.tolist() == table.index.tolist()
    assert there.feature_names_in_.tolist() == here.feature_names_in_.tolist()
    assert there.transform(table).tobytes() == expected.tobytes()


@pytest.mark.slow
def test_a_preprocessor_of_dask_arrays(client: Client, x: Array) -> None:
    collection = da.from_array(x, chunks=(700, 3))
    made = Preprocessor().fit_transform(collection)
    assert made.shape == x.shape
    assert made.compute().tobytes() == Preprocessor().fit_transform(x).tobytes()
    persisted = collection.persist()
    Preprocessor().fit(persisted)
    assert persisted.compute().tobytes() == x.tobytes()
    with raises("feature.not_numeric", DataError):
        Preprocessor().fit(
            dd.from_pandas(pd.DataFrame({"t": pd.date_range("2026-01-01", periods=9)}))
        )
    with raises("category.missing", DataError, parameter="missing"):
        Preprocessor(categorical={"c": "onehot"}).fit(
            dd.from_pandas(pd.DataFrame({"c": ["a", None, "b"] * 3}), npartitions=2)
        )


@pytest.mark.slow
def test_silhouettes_of_dask_arrays(client: Client, x: Array) -> None:
    collection = da.from_array(x, chunks=(700, 3))
    fitted = model().fit(collection)
    for size in (None, 300):
        here = silhouette_score(x, fitted.labels_.compute(), sample_size=size, random_state=0)
        there = silhouette_score(collection, fitted.labels_, sample_size=size, random_state=0)
        assert (here, here.error) == (there, there.error)


@pytest.mark.slow
def test_a_function_of_initial_centers_gets_the_collection(client: Client, x: Array) -> None:
    collection = da.from_array(x, chunks=(700, 3))
    fitted = model(init=lambda X, n_clusters, random_state: X[:n_clusters].compute()).fit(
        collection
    )
    assert state(fitted) == state(model(init=x[:4].astype(float)).fit(x))


# Last, since the worker that replaces the dead one takes seconds to start.


@pytest.mark.slow
def test_a_worker_that_dies_during_the_fit(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows, persisted ones too, are computed and converted again elsewhere."""
    rows = np.random.default_rng(0).random((8_000, 8), np.float32)
    params = {"n_clusters": 12, "tol": 0.0, "max_iter": 40, "random_state": 0}
    client.wait_for_workers(2)
    collection = da.from_array(rows, chunks=(1000, 8)).persist()
    run, passes = DaskExecutor.map, []

    def running(self: DaskExecutor, function: Any, *args: Any, per_shard: Any = None) -> Any:
        passes.append(function.__name__)
        if passes.count("lloyd_pass") == 15:
            passes.append("killed")
            os.kill(sorted(client.run(os.getpid).values())[0], signal.SIGKILL)
        return run(self, function, *args, per_shard=per_shard)

    monkeypatch.setattr(DaskExecutor, "map", running)
    fitted = KMeans(**params).fit(collection)
    assert passes.count("killed") == 1
    assert fitted.n_iter_ > 15
    assert state(fitted) == state(KMeans(**params).fit(rows))
