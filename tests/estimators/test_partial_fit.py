"""Batches of a stream: each center is the mean of all rows ever assigned to it."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.base import clone

from gpuseg import KMeans
from gpuseg.errors import ConfigError, DataError

Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def x() -> Array:
    rng = np.random.default_rng(0)
    centers = rng.uniform(-10, 10, (4, 3))
    return (centers[rng.integers(4, size=900)] + 3 * rng.normal(size=(900, 3))).astype(np.float32)


@pytest.fixture(scope="module")
def weight() -> Array:
    """Whole numbers, some of them 0, but not all of a batch."""
    weights = np.random.default_rng(1).integers(0, 4, 900).astype(np.float64)
    weights[[300, 899]] = 2, 1
    return weights


BATCHES = [slice(0, 300), slice(300, 301), slice(301, 899), slice(899, 900)]


def model(**params: Any) -> KMeans:
    return KMeans(**{"n_clusters": 4, "random_state": 0, **params})


def fed(fitted: KMeans, x: Array, weight: Array | None = None) -> KMeans:
    for rows in BATCHES:
        fitted.partial_fit(x[rows], sample_weight=None if weight is None else weight[rows])
    return fitted


def state(fitted: KMeans) -> tuple[bytes, bytes, float, int]:
    centers = fitted.cluster_centers_.tobytes()
    return centers, fitted.labels_.tobytes(), fitted.inertia_, fitted.n_steps_


def nearest(x: Array, centers: Array) -> Array:
    return np.asarray(((x[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1))


def running_means(
    centers: Array, mass: Array, batches: Sequence[Array], weights: Sequence[Array]
) -> tuple[Array, Array]:
    """Move the centers batch by batch, row by row, in float64."""
    centers, mass = centers.astype(np.float64), mass.astype(np.float64)
    for x, weight in zip(batches, weights, strict=True):
        rows = x.astype(np.float64)
        for row, w, k in zip(rows, weight, nearest(rows, centers.copy()), strict=True):
            if w > 0:
                mass[k] += w
                centers[k] += (row - centers[k]) * w / mass[k]
    return centers, mass


def simulated(
    start: Array, x: Array, weight: Array | None = None, mass: Array | None = None
) -> Array:
    w = np.ones(len(x)) if weight is None else weight
    mass = np.zeros(len(start)) if mass is None else mass
    batches, weights = ([values[rows] for rows in BATCHES] for values in (x, w))
    return running_means(start, mass, batches, weights)[0]


# Running means.


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_centers_are_running_means(x: Array, weight: Array, weighted: bool, backend: str) -> None:
    """From initial centers; a batch is assigned before the centers move."""
    w = weight if weighted else None
    start = x[[3, 50, 100, 200]].astype(np.float64) + 0.25
    fitted = fed(model(init=start, backend=backend), x, w)
    np.testing.assert_allclose(fitted.cluster_centers_, simulated(start, x, w), atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_centers_after_a_fit_are_running_means(x: Array, weight: Array, weighted: bool) -> None:
    w = weight if weighted else None
    fitted = model().fit(x[:500], sample_weight=None if w is None else w[:500])
    mass = np.bincount(fitted.labels_, None if w is None else w[:500], minlength=4)
    start = fitted.cluster_centers_.copy()
    fed(fitted, x, w)
    np.testing.assert_allclose(fitted.cluster_centers_, simulated(start, x, w, mass), atol=1e-9)


def test_centers_keep_the_digits_of_rows_far_from_the_origin(x: Array) -> None:
    far = (x + np.float32(4096)).astype(np.float32)
    fitted = model().fit(far[:500])
    mass, start = np.bincount(fitted.labels_, minlength=4), fitted.cluster_centers_.copy()
    fed(fitted, far)
    np.testing.assert_allclose(fitted.cluster_centers_, simulated(start, far, None, mass), 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("params", [{}, {"init": "random"}, {"metric": "cosine"}], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_backends_and_threads_do_not_matter(
    x: Array, weight: Array, params: dict[str, Any], weighted: bool
) -> None:
    w = weight if weighted else None
    expected = state(fed(model(backend="numpy", n_threads=1, **params), x, w))
    for threads in (1, 2):
        assert state(fed(model(backend="numba", n_threads=threads, **params), x, w)) == expected


@pytest.mark.parametrize("with_init", [False, True])
def test_weights_are_copies(x: Array, weight: Array, with_init: bool) -> None:
    init: Any = x[:4].astype(np.float64) if with_init else "k-means++"
    weighted, copied = model(init=init), model(init=init)
    for rows in BATCHES:
        weighted.partial_fit(x[rows], sample_weight=weight[rows])
        copied.partial_fit(np.repeat(x[rows], weight[rows].astype(int), axis=0))
        np.testing.assert_allclose(
            weighted.cluster_centers_, copied.cluster_centers_, rtol=0, atol=1e-12
        )
        assert weighted.inertia_ == pytest.approx(copied.inertia_, rel=1e-12)


def test_rows_of_no_weight_move_nothing(x: Array) -> None:
    fitted = model().partial_fit(x[:300])
    single, both = pickle.loads(pickle.dumps(fitted)), fitted
    single.partial_fit(x[300:400])
    both.partial_fit(x[300:500], sample_weight=np.repeat([1.0, 0.0], 100))
    np.testing.assert_allclose(both.cluster_centers_, single.cluster_centers_, rtol=0, atol=1e-12)


# Batches.


def test_one_batch(x: Array) -> None:
    fitted = model().partial_fit(x)
    assert (fitted.n_steps_, fitted.n_features_in_) == (1, 3)
    assert fitted.cluster_centers_.shape == (4, 3)
    assert fitted.cluster_centers_.dtype == np.float64
    assert fitted.labels_.dtype == np.int32
    assert fitted.labels_.tolist() == fitted.predict(x).tolist()
    assert fitted.inertia_ == pytest.approx(-fitted.score(x), rel=1e-12)
    assert fitted.backend_ == "numba"
    assert fitted.backend_reason_.startswith("auto: ")
    whole = model().fit(x)
    assert whole.inertia_ <= fitted.inertia_ <= 1.2 * whole.inertia_


def test_labels_and_inertia_are_those_of_the_last_batch(x: Array) -> None:
    fitted = model()
    for step, rows in enumerate(BATCHES, start=1):
        assert fitted.partial_fit(x[rows]) is fitted
        assert fitted.n_steps_ == step
        assert fitted.labels_.tolist() == fitted.predict(x[rows]).tolist()
        assert fitted.inertia_ == pytest.approx(-fitted.score(x[rows]), rel=1e-12)
    assert fitted.transform(x).argmin(axis=1).tolist() == fitted.predict(x).tolist()


def test_many_batches_come_near_a_fit(x: Array) -> None:
    rng = np.random.default_rng(3)
    fitted = model()
    for _ in range(60):
        fitted.partial_fit(x[rng.choice(900, 100, replace=False)])
    assert fitted.n_steps_ == 60
    assert -fitted.score(x) < 1.02 * model().fit(x).inertia_


def test_earlier_centers_are_not_changed(x: Array) -> None:
    fitted = model().partial_fit(x[:300])
    kept = fitted.cluster_centers_
    before = kept.copy()
    fitted.partial_fit(x[300:])
    assert np.array_equal(kept, before)
    assert not np.array_equal(fitted.cluster_centers_, before)


def test_arguments_are_not_changed(x: Array, weight: Array) -> None:
    start = x[:4].astype(np.float64)
    kept = [a.copy() for a in (x, weight, start)]
    fed(model(init=start), x, weight + 1)
    for argument, before in zip((x, weight, start), kept, strict=True):
        assert np.array_equal(argument, before)


def test_random_state(x: Array) -> None:
    noise = np.random.default_rng(7).normal(size=(900, 2))
    again = [state(fed(model(n_clusters=9, random_state=seed), noise)) for seed in (5, 5, 6)]
    assert again[0] == again[1] != again[2]
    assert fed(model(random_state=None), x).n_steps_ == 4


def test_pickled_in_between(x: Array) -> None:
    expected = state(fed(model(), x))
    fitted = model()
    for rows in BATCHES:
        fitted = pickle.loads(pickle.dumps(fitted)).partial_fit(x[rows])
    assert state(fitted) == expected


def test_fit_and_clone_start_again(x: Array) -> None:
    streamed = fed(model(), x)
    assert not hasattr(clone(streamed), "cluster_centers_")
    streamed.fit(x)
    single = model().fit(x)
    assert streamed.cluster_centers_.tobytes() == single.cluster_centers_.tobytes()
    fed(streamed, x)
    fed(single, x)
    assert streamed.cluster_centers_.tobytes() == single.cluster_centers_.tobytes()


def test_fit_resets_the_number_of_steps(x: Array) -> None:
    fitted = fed(model(), x).fit(x)
    assert getattr(fitted, "n_steps_", 0) == 0
    assert fitted.partial_fit(x).n_steps_ == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pandas", "pyarrow"])
def test_batches_may_be_tables(x: Array, kind: str) -> None:
    def table(rows: slice) -> Any:
        if kind == "pandas":
            return pd.DataFrame(x[rows], columns=["a", "b", "c"])
        return pa.table(dict(zip("abc", x[rows].T.copy(), strict=True)))

    fitted = model()
    for rows in BATCHES:
        fitted.partial_fit(table(rows))
    assert state(fitted) == state(fed(model(), x))
    assert fitted.feature_names_in_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.partial_fit(pd.DataFrame(x, columns=["c", "b", "a"]))
    assert fitted.n_steps_ == 4


def test_cosine_centers_keep_length_one(x: Array) -> None:
    fitted = model(metric="cosine")
    for step, rows in enumerate(BATCHES, start=1):
        fitted.partial_fit(x[rows])
        norms = np.linalg.norm(fitted.cluster_centers_, axis=1)
        np.testing.assert_allclose(norms, 1, rtol=0, atol=1e-14)
        assert fitted.n_steps_ == step
    assert fitted.labels_.tolist() == fitted.predict(x[BATCHES[-1]]).tolist()
    assert -fitted.score(x) < 1.1 * model(metric="cosine").fit(x).inertia_


# Refusals.


def test_too_few_rows_to_begin(x: Array) -> None:
    fitted = model()
    with pytest.raises(DataError, match=r"n_clusters = 4\b.*\b3 rows"):
        fitted.partial_fit(x[:3])
    assert not hasattr(fitted, "cluster_centers_")
    assert not hasattr(fitted, "n_steps_")
    assert fitted.partial_fit(x[:4]).n_steps_ == 1
    assert fitted.partial_fit(x[:1]).n_steps_ == 2


@pytest.mark.parametrize("width", [2, 4])
def test_another_width(x: Array, width: int) -> None:
    fitted = model().partial_fit(x)
    with pytest.raises(ValueError, match=f"X has {width} features, but KMeans is expecting 3"):
        fitted.partial_fit(np.c_[x, x][:, :width])


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.ones(899), r"\(899,\)"),
        (np.full(900, -1.0), r"row 0 .* -1\.0"),
        (np.zeros(900), "all weights are zero"),
    ],
)
def test_wrong_weights(x: Array, weights: Array, words: str) -> None:
    fitted = model().fit(x)
    before = fitted.cluster_centers_.copy()
    with pytest.raises(DataError, match=words):
        fitted.partial_fit(x, sample_weight=weights)
    assert np.array_equal(fitted.cluster_centers_, before)
    assert getattr(fitted, "n_steps_", 0) == 0


def test_missing_values_change_nothing(x: Array) -> None:
    fitted = model().partial_fit(x[:300])
    before = state(fitted)
    spoiled = x.copy()
    spoiled[5, 1] = np.nan
    with pytest.raises(DataError, match=r"1 value is missing"):
        fitted.partial_fit(spoiled)
    assert state(fitted) == before


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"n_clusters": 0}, "n_clusters = 0: "),
        ({"init": np.zeros((4, 2))}, r"\(4, 3\)"),
        ({"metric": "l1"}, "metric = 'l1': "),
    ],
)
def test_wrong_parameters(x: Array, params: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        model(**params).partial_fit(x)
