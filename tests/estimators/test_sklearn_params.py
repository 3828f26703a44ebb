"""Scikit-learn's words in the constructors: each has a meaning or is refused with a next step."""

from __future__ import annotations

import inspect
import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.cluster
from support.errors import raises

import gpuseg
from gpuseg import DBSCAN, KMeans, Preprocessor
from gpuseg.errors import ConfigError

Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def x() -> Array:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(center, 1, (60, 2)) for center in (0, 10, 20)])


def first_rows(X: Array, n_clusters: int, random_state: Any) -> Array:
    """Initial centers as a user's function makes them."""
    assert isinstance(random_state, np.random.RandomState)
    return X[random_state.permutation(len(X))[:n_clusters]]


@pytest.mark.parametrize(
    ("ours", "theirs"), [(KMeans, sklearn.cluster.KMeans), (DBSCAN, sklearn.cluster.DBSCAN)]
)
def test_every_parameter_of_scikit_learn_exists_with_its_default(ours: Any, theirs: Any) -> None:
    here, there = (inspect.signature(kind.__init__).parameters for kind in (ours, theirs))
    for name, parameter in there.items():
        assert here[name].default == parameter.default, name
        assert here[name].kind == parameter.kind, name


@pytest.mark.parametrize("params", [
    {"algorithm": "elkan"}, {"copy_x": False}, {"copy_x": np.bool_(True)}, {"verbose": 0},
    {"n_clusters": np.int64(3), "n_init": np.int32(1), "max_iter": np.uint16(300)},
    {"tol": np.float32(1e-4), "random_state": np.int64(0), "n_threads": np.int64(2)},
    {"verbose": np.False_}, {"metric": np.str_("euclidean")},
], ids=str)  # fmt: skip
def test_kmeans_gives_the_same(x: Array, params: dict[str, Any]) -> None:
    expected = KMeans(3, random_state=0).fit(x)
    fitted = KMeans(**{"n_clusters": 3, "random_state": 0, **params}).fit(x)
    assert fitted.labels_.tolist() == expected.labels_.tolist()
    np.testing.assert_allclose(fitted.cluster_centers_, expected.cluster_centers_, rtol=1e-6)


@pytest.mark.parametrize("params", [
    {"algorithm": "ball_tree"}, {"algorithm": "kd_tree"}, {"algorithm": "brute"},
    {"leaf_size": np.int64(1)}, {"metric": "l2"}, {"metric": "minkowski"}, {"metric_params": {}},
    {"metric": "minkowski", "p": np.float64(2)}, {"p": 2}, {"n_jobs": 1}, {"n_jobs": -1},
    {"n_jobs": -99}, {"n_jobs": 2, "n_threads": 2}, {"eps": np.float64(1)},
    {"min_samples": np.int64(5)}, {"metric": "minkowski", "metric_params": {"p": 2}},
], ids=str)  # fmt: skip
def test_dbscan_gives_the_same(x: Array, params: dict[str, Any]) -> None:
    expected = DBSCAN(1.0).fit(x)
    fitted = DBSCAN(**{"eps": 1.0, **params}).fit(x)
    assert fitted.labels_.tolist() == expected.labels_.tolist()
    assert fitted.predict(x).tolist() == expected.predict(x).tolist()


@pytest.mark.parametrize(("metric", "params"), [
    ("manhattan", {"metric": "l1"}), ("manhattan", {"metric": "cityblock"}),
    ("manhattan", {"metric": "minkowski", "p": 1}),
    ("manhattan", {"metric": "minkowski", "metric_params": {"p": 1}}),
    ("chebyshev", {"metric": "chebyshev"}), ("chebyshev", {"metric": "infinity"}),
    ("chebyshev", {"metric": "minkowski", "p": np.inf}),
    ("chebyshev", {"metric": "minkowski", "metric_params": {"p": math.inf}}),
    ("chebyshev", {"metric": "chebyshev", "p": np.inf}),
], ids=str)  # fmt: skip
def test_names_of_other_metrics(x: Array, metric: str, params: dict[str, Any]) -> None:
    expected = sklearn.cluster.DBSCAN(0.6, metric=metric).fit(x)
    fitted = DBSCAN(0.6, **params).fit(x)
    assert fitted.labels_.tolist() == expected.labels_.tolist()
    assert fitted.core_sample_indices_.tolist() == expected.core_sample_indices_.tolist()


@pytest.mark.parametrize(("kind", "params", "code", "parameter"), [
    (KMeans, {"algorithm": "full"}, "parameter.invalid_value", "algorithm"),
    (KMeans, {"copy_x": "no"}, "parameter.invalid_value", "copy_x"),
    (KMeans, {"verbose": -1}, "parameter.invalid_value", "verbose"),
    (KMeans, {"n_clusters": np.array(3)}, "parameter.array", "n_clusters"),
    (KMeans, {"tol": np.array(0.1)}, "parameter.array", "tol"),
    (KMeans, {"n_threads": True}, "n_threads.invalid", "n_threads"),
    (KMeans, {"init": "k-means||"}, "parameter.invalid_value", "init"),
    (KMeans, {"init": [["a"]]}, "init.not_numeric", "init"),
    (KMeans, {"init": [1.0, 2.0]}, "init.wrong_shape", "init"),
    (KMeans, {"random_state": np.random.default_rng(0)}, "parameter.invalid_value",
     "random_state"),
    (DBSCAN, {"eps": np.array(0.5)}, "parameter.array", "eps"),
    (DBSCAN, {"algorithm": "rbc"}, "parameter.invalid_value", "algorithm"),
    (DBSCAN, {"leaf_size": 0}, "parameter.invalid_value", "leaf_size"),
    (DBSCAN, {"n_jobs": 0}, "n_jobs.invalid", "n_jobs"),
    (DBSCAN, {"n_jobs": True}, "n_jobs.invalid", "n_jobs"),
    (DBSCAN, {"n_jobs": 2, "n_threads": 1}, "n_jobs.with_n_threads", "n_jobs"),
    (DBSCAN, {"metric": "canberra"}, "metric.not_available", "metric"),
    (DBSCAN, {"metric": "precomputed"}, "metric.not_available", "metric"),
    (DBSCAN, {"metric": "manhatan"}, "parameter.invalid_value", "metric"),
    (DBSCAN, {"metric": ["l1"]}, "parameter.invalid_value", "metric"),
    (DBSCAN, {"metric": ["l1"], "p": 1}, "p.without_minkowski", "p"),
    (DBSCAN, {"metric": lambda a, b: 0.0}, "metric.callable", "metric"),
    (DBSCAN, {"metric": "minkowski", "p": 3}, "p.not_available", "p"),
    (DBSCAN, {"metric": "chebyshev", "p": 2}, "p.without_minkowski", "p"),
    (DBSCAN, {"p": 1}, "p.without_minkowski", "p"),
    (DBSCAN, {"p": 0, "metric": "minkowski"}, "parameter.invalid_value", "p"),
    (DBSCAN, {"p": 2, "metric": "minkowski", "metric_params": {"p": 1}}, "p.twice", "p"),
    (DBSCAN, {"metric_params": {"w": [1, 2]}}, "metric_params.not_available", "metric_params"),
    (DBSCAN, {"metric_params": 3}, "parameter.invalid_value", "metric_params"),
    (Preprocessor, {"max_categories": np.array(3)}, "parameter.array", "max_categories"),
])  # fmt: skip
def test_refused(x: Array, kind: Any, params: dict[str, Any], code: str, parameter: str) -> None:
    with raises(code, ConfigError, parameter=parameter):
        kind(**params).fit(x)


def test_a_function_of_initial_centers(x: Array) -> None:
    given, seen = x[[0, 60, 120]], []

    def init(X: Array, n_clusters: int, random_state: Any) -> Array:
        seen.append(X)
        return given

    fitted = KMeans(3, init=init, n_init=2, random_state=0).fit(x)
    assert len(seen) == 2 and np.array_equal(seen[0], x)
    assert fitted.labels_.tolist() == KMeans(3, init=given).fit(x).labels_.tolist()
    far = x + 1e9  # rows that are measured from an origin
    moved = KMeans(3, init=lambda X, n_clusters, random_state: given + 1e9).fit(far)
    assert moved.labels_.tolist() == fitted.labels_.tolist()
    by_batch = KMeans(3, init=init).partial_fit(x)
    assert by_batch.predict(x).tolist() == fitted.labels_.tolist()


def test_a_function_gets_ten_runs_and_the_random_state(x: Array) -> None:
    noise = np.random.default_rng(1).normal(size=(300, 2))
    fits = [KMeans(8, init=first_rows, random_state=seed).fit(noise) for seed in (3, 3, 4)]
    assert fits[0].inertia_ == fits[1].inertia_ != fits[2].inertia_
    single = KMeans(8, init=first_rows, n_init=1, random_state=3).fit(noise)
    assert fits[0].inertia_ <= single.inertia_
    sweep = gpuseg.kmeans_sweep(noise, [4, 8], init=first_rows, random_state=3)
    assert sweep.inertia[8] == fits[0].inertia_


@pytest.mark.parametrize(("returned", "code"), [
    (np.zeros((2, 2)), "init.wrong_shape"), (np.zeros((3, 5)), "init.wrong_shape"),
    (np.full((3, 2), np.nan), "init.not_finite"), ("text", "init.not_numeric"),
    (None, "init.wrong_shape"), ([1.0, 2.0, 3.0], "init.wrong_shape"),
], ids=str)  # fmt: skip
def test_what_a_function_of_initial_centers_returns_is_checked(
    x: Array, returned: Any, code: str
) -> None:
    with raises(code, ConfigError, parameter="init"):
        KMeans(3, init=lambda X, n_clusters, random_state: returned).fit(x)


def test_several_runs_from_given_centers_warn(x: Array) -> None:
    with pytest.warns(RuntimeWarning, match="there is one run") as seen:
        fitted = KMeans(3, init=x[:3], n_init=10).fit(x)
    assert [warning.filename for warning in seen] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        single = KMeans(3, init=x[:3], n_init=1).fit(x)
    assert fitted.inertia_ == single.inertia_


def test_verbose_prints_the_iterations(x: Array, capsys: pytest.CaptureFixture[str]) -> None:
    quiet = KMeans(3, init=x[:3]).fit(x)
    assert not capsys.readouterr().out
    loud = KMeans(3, init=x[:3], verbose=1).fit(x)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == loud.n_iter_ + 1 == quiet.n_iter_ + 1
    assert loud.cluster_centers_.tobytes() == quiet.cluster_centers_.tobytes()
    loud.partial_fit(x)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_numpy_values_of_the_preprocessor(x: Array) -> None:
    expected = Preprocessor(clip=(0.1, 0.9), pca=1, drop_correlated=0.9).fit_transform(x)
    params = {"clip": np.array([0.1, 0.9]), "pca": np.int64(1), "drop_correlated": np.float64(0.9)}
    flags = {"missing_indicator": np.False_, "drop_near_constant": np.False_}
    assert np.array_equal(Preprocessor(**params, **flags).fit_transform(x), expected)
