"""The estimator: scikit-learn's contract, gpuseg's guarantees, and errors."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from support.errors import raises

from gpuseg import KMeans
from gpuseg.algorithms.kmeans.params import KMeansParams
from gpuseg.errors import ConfigError, DataError, ResourceError

Array = npt.NDArray[Any]


EXPECTED_FAILURES = {
    "check_dtype_object": "object arrays are refused: they are slow and may hold text"
}


@pytest.mark.slow
@parametrize_with_checks(
    [KMeans(n_clusters=3, random_state=0), KMeans(n_clusters=3, random_state=0, backend="numpy")],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_keeps_scikit_learns_contract(estimator: KMeans, check: Any) -> None:
    check(estimator)


@pytest.fixture
def x() -> Array:
    rng = np.random.default_rng(0)
    centers = rng.uniform(-10, 10, (4, 3))
    return (centers[np.arange(200) % 4] + rng.normal(size=(200, 3))).astype(np.float32)


def model(**params: Any) -> KMeans:
    return KMeans(**{"n_clusters": 4, "random_state": 0, **params})


@pytest.mark.parametrize("backend", ["auto", "numpy", "numba"])
def test_attributes(x: Array, backend: str) -> None:
    fitted = model(backend=backend).fit(x)
    assert fitted.cluster_centers_.dtype == np.float64
    assert fitted.cluster_centers_.shape == (4, 3)
    assert fitted.labels_.dtype == np.int32
    assert fitted.labels_.shape == (200,)
    assert isinstance(fitted.inertia_, float)
    assert isinstance(fitted.n_iter_, int)
    assert 1 <= fitted.n_iter_ <= 300
    assert fitted.n_features_in_ == 3
    assert fitted.backend_ == {"auto": "numba"}.get(backend, backend)
    assert fitted.backend_reason_.startswith("auto: " if backend == "auto" else "requested")


def test_methods_agree(x: Array) -> None:
    fitted = model().fit(x)
    distances = np.sqrt(((x.astype(float)[:, None, :] - fitted.cluster_centers_) ** 2).sum(axis=2))
    labels = fitted.predict(x)
    assert labels.dtype == np.int32
    assert labels.tolist() == fitted.labels_.tolist() == distances.argmin(axis=1).tolist()
    assert model().fit_predict(x).tolist() == labels.tolist()
    np.testing.assert_allclose(fitted.transform(x), distances, rtol=1e-12)
    np.testing.assert_array_equal(model().fit_transform(x), fitted.transform(x))
    assert fitted.transform(x).dtype == np.float64
    assert fitted.inertia_ == pytest.approx((distances.min(axis=1) ** 2).sum(), rel=1e-12)
    assert fitted.score(x) == pytest.approx(-fitted.inertia_, rel=1e-12)
    weight = np.arange(200) % 3
    weighted = model().fit(x, sample_weight=weight)
    assert weighted.score(x, sample_weight=weight) == pytest.approx(-weighted.inertia_, rel=1e-12)


@pytest.mark.slow
def test_predicts_by_the_float64_centers() -> None:
    """Rows on and next to bisectors of centers such as 1/3, which are sensitive to rounding."""
    for seed in range(40):
        grid = np.random.default_rng(seed).integers(0, 9, (60, 1)).astype(np.float32)
        fitted = model(n_clusters=5, random_state=seed).fit(grid)
        centers = np.sort(fitted.cluster_centers_[:, 0])
        middles = ((centers[1:] + centers[:-1]) / 2).astype(np.float32)
        neighbors = [np.nextafter(middles, np.float32(to)) for to in (-np.inf, np.inf)]
        rows = np.concatenate([grid[:, 0], middles, *neighbors])[:, None]
        distances = (rows - fitted.cluster_centers_.T) ** 2
        assert fitted.predict(rows).tolist() == distances.argmin(axis=1).tolist()
        assert fitted.labels_.tolist() == fitted.predict(grid).tolist()


def state(fitted: KMeans) -> tuple[bytes, bytes, float, int]:
    centers = fitted.cluster_centers_.tobytes()
    return centers, fitted.labels_.tobytes(), fitted.inertia_, fitted.n_iter_


@pytest.mark.slow
def test_random_state(x: Array) -> None:
    noise = np.random.default_rng(1).normal(size=(300, 2))
    again = [state(model(n_clusters=8, random_state=seed).fit(noise)) for seed in (5, 5, 6)]
    assert again[0] == again[1] != again[2]
    legacy = [
        state(model(n_clusters=8, random_state=np.random.RandomState(7)).fit(noise))
        for _ in range(2)
    ]
    assert legacy[0] == legacy[1]
    assert state(model(random_state=np.int64(3)).fit(x)) == state(model(random_state=3).fit(x))
    fresh = {state(model(n_clusters=20, random_state=None).fit(noise)) for _ in range(3)}
    assert len(fresh) > 1


@pytest.mark.parametrize("threads", [1, 2, None])
def test_threads_and_backends_do_not_matter(x: Array, threads: int | None) -> None:
    expected = state(model(backend="numpy", n_threads=1).fit(x))
    assert state(model(n_threads=threads).fit(x)) == expected


@pytest.mark.parametrize("kind", [np.array, lambda a: a.tolist(), pd.DataFrame])
def test_init_may_be_centers(x: Array, kind: Any) -> None:
    start = x[[0, 1, 2, 3]].astype(float) + 0.25
    fitted = model(init=kind(start), max_iter=1, tol=0.0).fit(x)
    nearest = ((x.astype(float)[:, None, :] - start) ** 2).sum(axis=2).argmin(axis=1)
    means = [x[nearest == j].astype(float).mean(axis=0) for j in range(4)]
    np.testing.assert_allclose(fitted.cluster_centers_, means, rtol=1e-12)
    assert state(model(init=kind(start), random_state=9).fit(x)) == state(
        model(init=kind(start), random_state=1, n_init=1).fit(x)
    )


@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_more_runs_are_not_worse(init: str) -> None:
    noise = np.random.default_rng(3).normal(size=(400, 2))
    inertia = [model(n_clusters=9, init=init, n_init=n).fit(noise).inertia_ for n in (1, 3, 12)]
    assert inertia == sorted(inertia, reverse=True)
    assert inertia[2] < inertia[0]


REFUSED = [
    ({"n_clusters": 0}, ConfigError, "n_clusters = 0: must be at least 1"),
    ({"n_clusters": "8"}, ConfigError, "n_clusters = '8': must be a whole number"),
    ({"n_clusters": 2.5}, ConfigError, r"n_clusters = 2\.5: must be a whole number"),
    ({"n_clusters": 201}, DataError, "n_clusters = 201: .* only 200 rows; use .* <= 200"),
    ({"n_init": 0}, ConfigError, "n_init = 0: must be 'auto' or at least 1"),
    ({"n_init": "many"}, ConfigError, "n_init = 'many': must be 'auto' or .* whole number"),
    ({"max_iter": 0}, ConfigError, "max_iter = 0: must be at least 1"),
    ({"tol": -1}, ConfigError, "tol = -1: must be at least 0"),
    ({"tol": np.nan}, ConfigError, "tol = nan: must be "),
    ({"random_state": -1}, ConfigError, "random_state = -1: must be at least 0"),
    ({"init": "kmeans"}, ConfigError, r"init = 'kmeans': must be 'k-means\+\+' or 'random'"),
    (
        {"init": np.zeros((4, 2))},
        ConfigError,
        r"init: has 4 rows of 2 values: must .* = \(4, 3\)",
    ),
    (
        {"init": np.zeros((3, 3))},
        ConfigError,
        r"init: has 3 centers: must have one for each cluster, and `n_clusters` = 4",
    ),
    (
        {"init": np.full((4, 3), np.nan)},
        ConfigError,
        "init: has .* infinite values: centers must be finite",
    ),
    ({"backend": "gpu"}, ConfigError, "backend = 'gpu': must be one of auto, numpy, numba, cuda"),
    ({"backend": "cuda"}, ResourceError, "backend = 'cuda': CuPy .* set backend = \"auto\""),
    ({"n_threads": 0}, ConfigError, "n_threads = 0: "),
    ({"n_threads": 1.5}, ConfigError, r"n_threads = 1\.5: "),
]


@pytest.mark.parametrize(("params", "error", "message"), REFUSED)
def test_a_bad_parameter_is_named_with_its_value_and_rule(
    x: Array, params: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        model(**params).fit(x)


@pytest.mark.parametrize(
    ("weight", "code"),
    [
        (np.ones(199), "sample_weight.wrong_shape"),
        (np.full(200, np.nan), "sample_weight.invalid"),
        (np.r_[np.ones(199), -3.0], "sample_weight.invalid"),
    ],
)
def test_bad_weights_are_refused(x: Array, weight: Array, code: str) -> None:
    with raises(code, DataError, parameter="sample_weight"):
        model().fit(x, sample_weight=weight)


def test_weights_must_not_all_be_zero(x: Array) -> None:
    with pytest.raises(DataError, match="all weights are zero"):
        model().fit(x, sample_weight=np.zeros(200))


def test_defaults_are_those_of_the_parameters() -> None:
    ours = inspect.signature(KMeans.__init__).parameters
    shared = set(KMeansParams.model_fields) - {"random_state"}
    assert shared == {"n_clusters", "init", "n_init", "max_iter", "tol", "metric"}
    for name in shared:
        assert ours[name].default == KMeansParams.model_fields[name].default
    assert ours["random_state"].default is None


def test_clone_and_pickle(x: Array) -> None:
    fitted = model(tol=0.5, n_init=2, n_threads=1).fit(x)
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "cluster_centers_")
    with pytest.raises(NotFittedError):
        copy.predict(x)
    loaded = pickle.loads(pickle.dumps(fitted))
    assert state(loaded) == state(fitted)
    np.testing.assert_array_equal(loaded.predict(x), fitted.labels_)


def test_names_and_frames(x: Array) -> None:
    frame = pd.DataFrame(x, columns=["a", "b", "c"], index=np.arange(200) + 7)
    fitted = model().set_output(transform="pandas").fit(frame)
    assert fitted.feature_names_in_.tolist() == ["a", "b", "c"]
    assert fitted.get_feature_names_out().tolist() == [f"kmeans{i}" for i in range(4)]
    distances = fitted.transform(frame)
    assert distances.columns.tolist() == fitted.get_feature_names_out().tolist()
    assert distances.index.tolist() == frame.index.tolist()
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(frame[["c", "a", "b"]])


def test_in_a_pipeline(x: Array) -> None:
    fitted = make_pipeline(StandardScaler(), model()).fit(x)
    single = model().fit(StandardScaler().fit_transform(x))
    assert fitted.predict(x).tolist() == single.labels_.tolist()


@pytest.mark.parametrize("kind", [np.float64, np.asfortranarray, np.ndarray.tolist, pd.DataFrame])
def test_other_inputs_give_the_same(x: Array, kind: Any) -> None:
    expected = state(model().fit(x))
    other = kind(x)
    assert state(model().fit(other)) == expected
    strided = np.repeat(x, 2, axis=0)[::2]
    assert state(model().fit(strided)) == expected


@pytest.mark.slow
def test_arguments_are_not_changed(x: Array) -> None:
    weight, start = np.arange(200) % 5 * 1.0, x[:4].astype(float)
    kept = [a.copy() for a in (x, weight, start)]
    for argument in (x, weight, start):
        argument.setflags(write=False)
    fitted = model(init=start).fit(x, sample_weight=weight)
    fitted.predict(x), fitted.transform(x), fitted.score(x, sample_weight=weight)
    for argument, before in zip((x, weight, start), kept, strict=True):
        np.testing.assert_array_equal(argument, before)
    assert fitted.init is start


@pytest.mark.parametrize(
    "init",
    [
        "k-means++",
        "random",
        pytest.param(
            np.array([[0.0], [1.0], [50.0], [60.0]]),
        ),
    ],
)
def test_few_distinct_rows_warn(init: Any) -> None:
    message = "n_clusters = 4, but X has only 2 distinct rows; .* Use n_clusters <= 2"
    with pytest.warns(ConvergenceWarning, match=message):
        fitted = model(init=init).fit([[0.0], [1.0], [0.0], [1.0], [-0.0]])
    assert fitted.inertia_ == 0
    assert fitted.cluster_centers_[fitted.labels_].tolist() == [[0], [1], [0], [1], [0]]
