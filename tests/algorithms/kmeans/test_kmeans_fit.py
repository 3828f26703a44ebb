"""The engine: the same bits however rows are sharded, and the right numbers.

Right means: labels and inertia as recomputed in float64, and what scikit-learn finds from the
same initial centers, empty clusters included. Blocks are cut to 64 rows here, so that a shard
of a few hundred rows has several and threads have something to share.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import Place
from sklearn.cluster import KMeans as SklearnKMeans
from support.errors import raises
from support.helpers import THOROUGH, in_turn

from gpuseg.algorithms.kmeans.fit import KMeansFit, _n_restarts, fit_kmeans
from gpuseg.algorithms.kmeans.params import KMeansParams
from gpuseg.backends.backend import Backend

Array = npt.NDArray[Any]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuseg.sharding.shard.BLOCK_ROWS", 64)


def blobs(n: int, d: int, k: int, spread: float = 1.0, seed: int = 0) -> tuple[Array, Array]:
    """Return rows of k blobs, float32, and one row of each blob to start from."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(-20, 20, (k, d))
    x = (centers[np.arange(n) % k] + spread * rng.normal(size=(n, d))).astype(np.float32)
    return x, x[:k].astype(np.float64)


def fit(
    place: Place, backend: str, x: Array, weight: Array | None = None,
    shards: int = 1, threads: int = 1, **params: Any,
) -> tuple[KMeansFit, Array]:  # fmt: skip
    """Fit, and return the fit with the labels of all rows."""
    if isinstance(init := params.get("init"), np.ndarray):
        params.update(init=init.tolist(), n_clusters=len(init))
    executor, loaded = place(x, weight, shards, threads)
    result = fit_kmeans(executor, KMeansParams(**params), backend)
    return result, np.concatenate([shard.labels for shard in loaded])


def bits(fitted: KMeansFit, labels: Array) -> tuple[object, ...]:
    centers = fitted.centers.values.tobytes(), fitted.centers.shift.tobytes()
    sizes = tuple(fitted.sizes.tolist())
    return *centers, labels.tobytes(), fitted.inertia.hex(), fitted.n_iter, fitted.converged, sizes


def distances_of(x: Array, centers: Array) -> Array:
    squares = (x.astype(np.float64)[:, None, :] - centers) ** 2
    return np.cumsum(squares, axis=2)[:, :, -1]


def weights(n: int) -> Array:
    """Weights with many digits, and every tenth 0."""
    w = np.random.default_rng(n).lognormal(0, 2, n)
    w[::10] = 0
    return w


DATA = {
    "overlapping": blobs(301, 3, 5, spread=8.0)[0],
    "integers": np.random.default_rng(1).integers(0, 4, (301, 2)).astype(np.float32),
    "offset 1e6": blobs(301, 4, 5)[0] + np.float32(1e6),
    "one feature": blobs(257, 1, 3, spread=5.0)[0],
    "outlier": np.concatenate([blobs(256, 5, 5)[0], np.full((1, 5), 1e5, np.float32)]),
    "scale 1e-30": blobs(301, 3, 5)[0] * np.float32(1e-30),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("init", "weighted"), [("k-means++", False), ("k-means++", True), ("random", True)]
)
@pytest.mark.parametrize("data", DATA)
def test_same_bits_for_all_backends_shardings_and_threads(
    place: Place, data: str, weighted: bool, init: str
) -> None:
    x = DATA[data]
    weight = weights(len(x)) if weighted else None
    results = {
        bits(*fit(place, backend, x, weight, shards, threads, n_clusters=5, init=init, n_init=2))
        for backend in ("numpy", "numba")
        for shards in (1, 2, 3, 7)
        for threads in (1, 2)
        if THOROUGH or (shards + threads) % 3 == (backend == "numba")
    }
    assert len(results) == 1


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_a_sample_does_not_depend_on_the_sharding(
    place: Place, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more rows than the sample holds, seeding meets rows by cumulated weight."""
    monkeypatch.setattr("gpuseg.algorithms.kmeans.sampling.SAMPLE_ROWS", 128)
    monkeypatch.setattr("gpuseg.algorithms.kmeans.sampling.SAMPLE_ROWS_PER_CENTER", 8)
    x = blobs(1001, 2, 4, spread=6.0)[0]
    weight = weights(len(x)) if weighted else None
    results = {
        bits(*fit(place, backend, x, weight, shards, n_clusters=4, random_state=3))
        for backend in ("numpy", "numba")
        for shards in (1, 2, 3, 7)
    }
    assert len(results) == 1


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_many_clusters_do_not_depend_on_shards_and_threads(
    place: Place, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seeds within cells, and rows that threads share in small blocks."""
    monkeypatch.setattr("gpuseg.sharding.shard._MAX_BLOCK_PRODUCTS", 0)
    monkeypatch.setattr("gpuseg.sharding.shard._LEAST_ROWS", 16)
    monkeypatch.setattr("gpuseg.algorithms.kmeans.lloyd._MAX_PASS_PRODUCTS", 0)
    x = blobs(501, 3, 9, spread=4.0)[0]
    results = {
        bits(*fit(place, "numba", x, weights(501), s, t, n_clusters=300, metric=metric))
        for s, t in ((1, 1), (1, 2), (3, 2), (7, 1))
    }
    assert len(results) == 1


def test_threads_that_share_no_rows(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters can leave shards without rows."""
    monkeypatch.setattr("gpuseg.sharding.shard._MAX_BLOCK_PRODUCTS", 0)
    x = np.float32([[1], [2], [9]])
    results = {bits(*fit(place, "numba", x, None, s, 2, n_clusters=2)) for s in (1, 5)}
    assert len(results) == 1


@pytest.mark.parametrize(("k", "n_seedings"), [(1, 10), (128, 10), (181, 5), (287, 1), (10_000, 1)])
def test_the_more_clusters_the_fewer_seedings(k: int, n_seedings: int) -> None:
    assert _n_restarts(KMeansParams(n_clusters=k), k) == n_seedings
    assert _n_restarts(KMeansParams(n_clusters=k, init="random"), k) == 10
    assert _n_restarts(KMeansParams(n_clusters=k, n_init=3), k) == 3


@pytest.mark.slow
@pytest.mark.parametrize(("data", "weighted"), in_turn(DATA, [False, True], step=2))
def test_labels_and_inertia_are_those_of_the_centers(
    backend: Backend, place: Place, data: str, weighted: bool
) -> None:
    x = DATA[data]
    weight = weights(len(x)) if weighted else None
    executor, shards = place(x, weight, 3)
    fitted = fit_kmeans(executor, KMeansParams(n_clusters=5), backend.name)
    labels = np.concatenate([shard.labels for shard in shards])
    kept = np.concatenate([shard.distance for shard in shards])
    distances = distances_of(x, fitted.centers.values)
    assert labels.tolist() == distances.argmin(axis=1).tolist()
    assert kept.tobytes() == np.sqrt(distances.min(axis=1)).astype(np.float32).tobytes()
    assert fitted.sizes.tolist() == np.bincount(labels, minlength=5).tolist()
    terms = distances.min(axis=1) * (1.0 if weight is None else weight)
    assert fitted.inertia == pytest.approx(math.fsum(terms), rel=1e-12, abs=0)
    assert fitted.n_distinct == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "weighted"), in_turn([(1, 3), (2, 7), (16, 20), (65, 2)], [False, True], step=2)
)
def test_finds_what_scikit_learn_finds(
    backend: Backend, place: Place, shape: tuple[int, int], weighted: bool
) -> None:
    d, k = shape
    x, init = blobs(500, d, k, seed=d)
    weight = weights(len(x)) if weighted else None
    theirs = SklearnKMeans(k, init=init, n_init=1).fit(x.astype(float), sample_weight=weight)
    ours, labels = fit(place, backend.name, x, weight, shards=3, init=init)
    assert labels.tolist() == theirs.labels_.tolist()
    np.testing.assert_allclose(ours.centers.values, theirs.cluster_centers_, rtol=1e-6, atol=1e-6)
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-6)


FAR = {
    "one far center": [[0, 0], [9, 9], [1e4, 1e4]],
    "two far centers": [[1e4, -1e4], [0, 0], [1e4, 1e4], [9, 9]],
    "equal centers": [[0, 0], [9, 9], [9, 9]],
}


@pytest.mark.slow
@pytest.mark.parametrize("max_iter", [1, 2, 100])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("centers", FAR)
def test_empty_clusters_move_as_in_scikit_learn(
    place: Place, centers: str, weighted: bool, max_iter: int
) -> None:
    rng = np.random.default_rng(5)
    x = np.concatenate([rng.normal(size=(60, 2)), 9 + rng.normal(size=(70, 2))]).astype(np.float32)
    x[[17, 99]] += [[8, -7], [-5, 11]]  # the rows farthest from their centers
    weight = rng.integers(1, 5, len(x)).astype(float) if weighted else None
    init = np.array(FAR[centers], float)
    settings = {"max_iter": max_iter, "tol": 0.0, "init": init}
    theirs = SklearnKMeans(len(init), n_init=1, **settings)
    theirs.fit(x.astype(float), sample_weight=weight)
    results = [
        fit(place, backend, x, weight, shards, **settings)
        for backend in ("numpy", "numba")
        for shards in (1, 2, 7)
    ]
    assert len({bits(*one) for one in results}) == 1
    ours, labels = results[0]
    np.testing.assert_allclose(ours.centers.values, theirs.cluster_centers_, rtol=1e-9, atol=1e-9)
    assert labels.tolist() == theirs.labels_.tolist()
    assert (ours.sizes > 0).all()


def test_rows_equally_far_move_in_the_order_of_the_data(place: Place) -> None:
    x = np.float32([[0], [4], [-4], [4], [0], [-4], [0]])
    init = np.array([[0.0], [1e3], [2e3]])
    for backend in ("numpy", "numba"):
        for shards in (1, 2, 3, 7):
            ours, _ = fit(place, backend, x, None, shards, init=init, max_iter=1)
            assert ours.centers.values[1:].tolist() == [[4.0], [-4.0]]


def test_a_shard_without_rows_changes_nothing(place: Place) -> None:
    """A shard loses all its rows where each has a missing value and they are dropped."""
    x, init = DATA["one feature"], np.array([[0.0], [1.0], [1e4]])
    executor, shards = place(x)
    expected = bits(fit_kmeans(executor, parameters(init), "numba"), shards[0].labels)
    first, last = place(x)[1][0], place(x[:0])[1][0]
    executor.load(lambda shard, env: shard, [first, last])
    assert bits(fit_kmeans(executor, parameters(init), "numba"), first.labels) == expected


def parameters(init: Array) -> KMeansParams:
    return KMeansParams(n_clusters=len(init), init=init.tolist())


def test_a_center_that_no_row_can_fill_stays(backend: Backend, place: Place) -> None:
    init = np.array([[0.0], [50.0], [1.0], [-60.0]])
    fitted, _ = fit(place, backend.name, np.float32([[0], [1], [1], [0]]), None, 2, init=init)
    assert fitted.centers.values.tolist() == init.tolist()
    assert fitted.n_distinct == 2


@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_fewer_distinct_rows_than_clusters_are_reported(
    backend: Backend, place: Place, init: str
) -> None:
    x = np.float32([[0, 1], [2, 3], [0, 1], [-0.0, 1], [5, 5], [2, 3]])
    fitted, labels = fit(place, backend.name, x, None, 2, n_clusters=5, init=init)
    assert fitted.n_distinct == 3
    assert fitted.inertia == 0
    assert len(set(labels.tolist())) == 3
    assert fitted.centers.values[labels].tolist() == x.tolist()


def test_weights_that_are_all_zero_are_refused(backend: Backend, place: Place) -> None:
    x, _ = blobs(31, 2, 2)
    with raises("weight.all_zero"):
        fit(place, backend.name, x, np.zeros(31), 2, n_clusters=2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(
    backend: Backend, place: Place, value: float
) -> None:
    x, _ = blobs(31, 2, 2)
    x[30, 1] = value
    with raises("features.not_finite"):
        fit(place, backend.name, x, None, 2, n_clusters=2)


def test_fewer_rows_than_clusters_are_refused(backend: Backend, place: Place) -> None:
    with raises("n_clusters.too_few_rows", value=8, parameter="n_clusters"):
        fit(place, backend.name, blobs(7, 2, 2)[0], None, 2)


def test_rows_of_weight_zero_move_nothing(backend: Backend, place: Place) -> None:
    x, init = blobs(257, 3, 4, spread=6.0)
    init[3] = 1e4  # an empty cluster must not move to a row of weight 0 either
    ghosts = np.concatenate([x, 100 * x[:50]])
    weight = np.repeat([1.0, 0.0], [257, 50])
    order = np.random.default_rng(0).permutation(len(ghosts))
    without, labels = fit(place, backend.name, x, init=init, tol=0.0)
    with_ghosts, all_labels = fit(
        place, backend.name, ghosts[order], weight[order], 3, init=init, tol=0.0
    )
    np.testing.assert_allclose(
        with_ghosts.centers.values, without.centers.values, rtol=1e-9, atol=1e-9
    )
    assert all_labels[np.argsort(order)][:257].tolist() == labels.tolist()
    assert with_ghosts.inertia == pytest.approx(without.inertia, rel=1e-9)


@pytest.mark.parametrize("data", DATA)
def test_an_integer_weight_is_so_many_rows(backend: Backend, place: Place, data: str) -> None:
    x = DATA[data]
    count = np.random.default_rng(2).integers(0, 4, len(x))
    init = x[np.flatnonzero(count)[:3]].astype(np.float64)
    settings = {"init": init, "max_iter": 3, "tol": 0.0}
    weighted, _ = fit(place, backend.name, x, count.astype(float), 3, **settings)
    repeated, _ = fit(place, backend.name, np.repeat(x, count, axis=0), None, 2, **settings)
    scale = np.abs(x).max()
    np.testing.assert_allclose(
        weighted.centers.values / scale, repeated.centers.values / scale, rtol=1e-9, atol=1e-12
    )
    assert weighted.inertia == pytest.approx(repeated.inertia, rel=1e-9)


def test_max_iter_and_tol(backend: Backend, place: Place) -> None:
    x, init = blobs(257, 2, 4, spread=8.0)
    seen: list[tuple[int, float, float]] = []
    executor, _ = place(x, None, 2)
    strict = parameters(init).model_copy(update={"tol": 0.0})
    fitted = fit_kmeans(executor, strict, backend.name, lambda *facts: seen.append(facts))
    assert fitted.converged
    assert [n for n, _, _ in seen] == list(range(1, fitted.n_iter + 1))
    assert seen[-1][2] == 0
    assert all(change > 0 for _, _, change in seen[:-1])
    assert seen[-1][1] == pytest.approx(fitted.inertia, rel=1e-9)
    inertias = [inertia for _, inertia, _ in seen]
    assert inertias == sorted(inertias, reverse=True)
    once, _ = fit(place, backend.name, x, init=init, max_iter=1)
    means = [x[distances_of(x, init).argmin(axis=1) == j].astype(float).mean(0) for j in range(4)]
    assert (once.n_iter, once.converged) == (1, False)
    np.testing.assert_allclose(once.centers.values, means, rtol=1e-12)
    for n, _, change in seen[:-1]:  # tol is relative to the features' mean variance
        tol = change / x.astype(float).var(axis=0).mean() * (1 + 1e-9)
        stopped, _ = fit(place, backend.name, x, init=init, tol=tol)
        assert stopped.converged
        assert stopped.n_iter <= n
        assert seen[stopped.n_iter - 1][2] <= change
