"""DBSCAN: scikit-learn's labels, row by row, for any backend, sharding and order of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pytest
import sklearn.cluster
from distributed import Client, LocalCluster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_blobs
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.estimator_checks import parametrize_with_checks
from support.errors import raises
from support.helpers import ANY_PORT, THOROUGH, in_turn

from gpuseg import DBSCAN, estimate_eps
from gpuseg.algorithms.dbscan.fit import fit_dbscan
from gpuseg.algorithms.dbscan.fixed_point_weights import FixedPointWeights
from gpuseg.algorithms.dbscan.params import DBSCANParams
from gpuseg.algorithms.dbscan.spatial_partition import build_balanced_tree, find_partition
from gpuseg.errors import ConfigError, DataError
from gpuseg.runtime.executor import LocalExecutor
from gpuseg.sharding.chunked_shard import ChunkedShard
from gpuseg.sharding.shard import Shard

Array = npt.NDArray[Any]

METRICS = {"euclidean": 0.5, "manhattan": 0.7, "chebyshev": 0.4, "cosine": 0.001, "haversine": 0.03}


def blobs(n: int, d: int, metric: str = "euclidean") -> Array:
    """Return blobs and some noise, float32."""
    x, _ = make_blobs(n - n // 20, d, centers=6, random_state=n, cluster_std=0.7)
    noise = np.random.default_rng(n).uniform(-12, 12, (n // 20, d))
    x = np.random.default_rng(1).permutation(np.concatenate([x, noise]))
    return (x / 14 if metric == "haversine" else x).astype(np.float32)


def sklearn_labels(x: Array, weight: Array | None = None, **params: Any) -> Array:
    algorithm = "brute" if params.get("metric") == "cosine" else "ball_tree"
    model = sklearn.cluster.DBSCAN(**params, algorithm=algorithm)
    labels: Array = model.fit(x.astype(np.float64), sample_weight=weight).labels_
    return labels


def sharded(
    x: Array, params: DBSCANParams, shards: int, weight: Array | None = None, backend: str = "numba"
) -> tuple[Array, Array, Array]:
    """Return labels, distances and core flags of a fit over some shards."""
    bounds = np.linspace(0, len(x), shards + 1).astype(int)
    loaded = [
        Shard(x[a:b], None if weight is None else weight[a:b], first_row=int(a))
        for a, b in pairwise(bounds)
    ]
    executor = LocalExecutor(2)
    executor.load(lambda shard, env: shard, loaded)
    fit = fit_dbscan(executor, params, backend)
    labels = np.concatenate([shard.labels for shard in loaded])
    assert fit.sizes.tolist() == np.bincount(labels[labels >= 0], minlength=fit.n_clusters).tolist()
    assert (fit.n_rows, fit.n_noise) == (len(x), (labels < 0).sum())
    distances = np.concatenate([shard.distance for shard in loaded])
    return labels, distances, np.concatenate([shard.core for shard in loaded])


@st.composite
def cases(draw: Any) -> tuple[Array, Array | None, dict[str, Any]]:
    """Draw rows, weights and parameters."""
    n, d = draw(st.sampled_from([1, 2, 5, 31, 63, 64, 65, 130, 300])), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["normal", "grid", "duplicates", "far away", "one point"]))
    x = rng.normal(size=(n, d))
    if kind == "grid":  # many distances are exactly eps
        x = rng.integers(0, draw(st.integers(2, 6)), (n, d)) * 1.0
    if kind == "duplicates":
        x = rng.choice(x[: max(1, n // 5)], n)
    if kind == "far away":
        x = 1000 + rng.choice([0.001, 1.0], (n, 1)) * x
    if kind == "one point":
        x = np.ones((n, d))
    x = x.astype(np.float32) if draw(st.booleans()) else x
    weight = (
        rng.integers(0, 4, n) * draw(st.sampled_from([0.25, 1.0])) if draw(st.booleans()) else None
    )
    if weight is not None:
        weight[0] = 1  # scikit-learn wants one that is not 0
    metric = draw(st.sampled_from(["euclidean", "manhattan", "chebyshev"]))
    eps = draw(st.sampled_from([0.01, 0.5, 1.0, float(np.sqrt(2)), 2.0, 3.0, 100.0]))
    return x, weight, {"eps": eps, "min_samples": draw(st.integers(1, 20)), "metric": metric}


@pytest.mark.slow
@settings(max_examples=500 if THOROUGH else 100, derandomize=True, deadline=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(cases())
def test_labels_are_scikit_learns(case: tuple[Array, Array | None, dict[str, Any]]) -> None:
    x, weight, params = case
    model = DBSCAN(**params, backend="numba", n_threads=1).fit(x, sample_weight=weight)
    reference = sklearn.cluster.DBSCAN(**params, algorithm="kd_tree")
    expected = reference.fit(x.astype(np.float64), sample_weight=weight)
    np.testing.assert_array_equal(model.labels_, expected.labels_)
    np.testing.assert_array_equal(model.core_sample_indices_, expected.core_sample_indices_)
    assert model.components_.dtype == x.dtype
    np.testing.assert_array_equal(model.components_, expected.components_)


@pytest.mark.slow
@settings(max_examples=60 if THOROUGH else 30, derandomize=True, deadline=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(cases(), st.sampled_from([2, 3, 5]))
def test_any_sharding_and_the_specification_agree(
    case: tuple[Array, Array | None, dict[str, Any]], shards: int
) -> None:
    x, weight, options = case
    params = DBSCANParams(**options)
    expected = sharded(x, params, 1, weight, "numpy")
    for result in (sharded(x, params, 1, weight), sharded(x, params, shards, weight)):
        for array, other in zip(result, expected, strict=True):
            assert array.tobytes() == other.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
def test_every_metric(metric: str) -> None:
    x = blobs(3000, 2, metric)
    params = {"eps": METRICS[metric], "min_samples": 8, "metric": metric}
    model = DBSCAN(**params).fit(x)
    np.testing.assert_array_equal(model.labels_, sklearn_labels(x, **params))
    assert model.n_clusters_ > 1
    assert 0 < model.noise_share_ == (model.labels_ < 0).mean() < 0.5
    others = sharded(x, DBSCANParams(**params), 4)
    np.testing.assert_array_equal(others[0], model.labels_)
    assert others[1].tobytes() == sharded(x, DBSCANParams(**params), 1)[1].tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 3])
def test_distances_are_to_the_nearest_core_row(shards: int) -> None:
    x = blobs(800, 3)
    labels, distances, core = sharded(x, DBSCANParams(eps=0.6, min_samples=6), shards)
    wide = x.astype(np.float64)
    nearest = np.sqrt(((wide[:, None] - wide[core]) ** 2).sum(axis=2)).min(axis=1)
    np.testing.assert_allclose(distances, nearest, rtol=1e-6)
    assert not distances[core].any()
    assert ((labels >= 0) == (distances <= np.float32(0.6))).all()
    none = sharded(x, DBSCANParams(eps=1e-6, min_samples=6), shards)
    assert (none[0] == -1).all()
    assert np.isinf(none[1]).all()


def test_order_of_rows_only_renumbers() -> None:
    x = blobs(2000, 2)
    order = np.random.default_rng(3).permutation(len(x))
    straight, shuffled = DBSCAN(min_samples=8).fit(x), DBSCAN(min_samples=8).fit(x[order])
    core = straight.core_sample_indices_
    np.testing.assert_array_equal(np.sort(order[shuffled.core_sample_indices_]), core)
    back = np.empty(len(x), int)
    back[order] = shuffled.labels_
    pairs = np.unique(np.column_stack([straight.labels_[core], back[core]]), axis=0)
    assert len(pairs) == straight.n_clusters_ == shuffled.n_clusters_
    np.testing.assert_array_equal(straight.labels_ < 0, back < 0)


@pytest.mark.slow
def test_skewed_data_is_divided_by_work() -> None:
    """Half of the rows have a thousandth of the spread of the others."""
    rng = np.random.default_rng(0)
    x = blobs(60_000, 6).astype(np.float64)
    x[:30_000] = x[0] + rng.normal(size=(30_000, 6)) / 1000
    x = rng.permutation(x)
    executor = LocalExecutor(2)
    parts = np.split(x, 4)
    executor.load(
        lambda shard, env: shard,
        [Shard(shard, first_row=15_000 * i) for i, shard in enumerate(parts)],
    )
    fit = fit_dbscan(executor, DBSCANParams(eps=1.0, min_samples=10), "numba", distances=False)
    assert max(fit.seconds_per_shard) <= 1.5 * np.mean(fit.seconds_per_shard)
    assert fit.estimate.distances == pytest.approx(sum(fit.distances_per_shard), rel=1.0)


@pytest.fixture(params=[2, 4] if THOROUGH else [2])
def client(request: pytest.FixtureRequest, two_workers: dict[str, Any]) -> Iterator[Client]:
    with ExitStack() as stack:
        cluster = two_workers["cluster"]
        if request.param != 2:
            cluster = stack.enter_context(
                LocalCluster(request.param, threads_per_worker=1, dashboard_address=ANY_PORT)
            )
        yield stack.enter_context(Client(cluster, set_as_default=False))


@pytest.mark.slow
def test_the_same_on_dask_workers(client: Client) -> None:
    """Fit rows and rows with weights on workers and here: the same bits."""
    x = blobs(6000, 3)
    here = DBSCAN(min_samples=8).fit(x)
    weights = np.arange(6000) % 3 * 1.0
    weighed = DBSCAN(min_samples=8).fit(x, sample_weight=weights)
    rows = da.from_array(x, chunks=(700, 3))
    there = DBSCAN(min_samples=8).fit(rows, client=client)
    assert there.labels_.tobytes() == here.labels_.tobytes()
    np.testing.assert_array_equal(there.components_, here.components_)
    np.testing.assert_array_equal(client.compute(there.predict(rows)).result(), here.predict(x))
    dask_weights = da.from_array(weights, chunks=700)
    with_weights = DBSCAN(min_samples=8).fit(rows, sample_weight=dask_weights, client=client)
    np.testing.assert_array_equal(with_weights.labels_, weighed.labels_)


@pytest.mark.slow
def test_frames_and_other_numbers() -> None:
    x = blobs(900, 2)
    labels = DBSCAN(min_samples=6).fit(x).labels_
    wide = x.astype(np.float64)
    for same in (
        wide, pd.DataFrame(wide, columns=["a", "b"]), pl.DataFrame(wide, ["a", "b"]),
        wide.tolist(), np.asfortranarray(x),
    ):  # fmt: skip
        np.testing.assert_array_equal(DBSCAN(min_samples=6).fit(same).labels_, labels)
    grid = np.argwhere(np.ones((9, 9), int))
    assert DBSCAN(eps=1, min_samples=np.int64(5)).fit(grid).n_clusters_ == 1
    assert DBSCAN(eps=1, min_samples=5).fit_predict(grid).sum() == -4  # the corners


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
def test_eps_estimate_is_exact(metric: str) -> None:
    x = blobs(5000, 2, metric)
    estimate = estimate_eps(x, 8, metric=metric)
    assert 1800 < len(estimate.k_distances) < 2300
    near = NearestNeighbors(
        n_neighbors=8, metric=metric, algorithm="brute" if metric == "cosine" else "auto"
    ).fit(x.astype(np.float64))
    everyone = np.sort(near.kneighbors(x.astype(np.float64))[0][:, -1])
    positions = np.searchsorted(everyone, estimate.k_distances)
    for i, distance in zip(positions, estimate.k_distances, strict=True):
        neighbors = everyone[max(i - 1, 0) : i + 1]
        assert np.isclose(neighbors, distance, rtol=1e-6, atol=1e-12).any()
    for candidate in estimate.candidates:
        fit = DBSCAN(candidate.eps, min_samples=8, metric=metric).fit(x)
        assert fit.noise_share_ == pytest.approx(
            candidate.noise_share, abs=4 * candidate.noise_error
        )
        assert candidate.largest_share == np.bincount(fit.labels_ + 1)[1:].max(initial=0) / len(x)
        assert candidate.distances > 0
        core = len(fit.core_sample_indices_) / len(x)
        assert core == pytest.approx(candidate.core_share, abs=0.05)
    assert estimate.eps in [candidate.eps for candidate in estimate.candidates]


@pytest.mark.slow
def test_eps_estimate_of_a_few_rows_and_of_one_point() -> None:
    with raises("min_samples.more_than_rows", value=5, parameter="min_samples"):
        estimate_eps(blobs(40, 2)[:3])
    with raises("eps.no_estimate"):
        estimate_eps(np.ones((50, 2)))


@pytest.mark.parametrize(("params", "message"), [
    ({"eps": 0}, r"eps = 0.0: must be more than 0"),
    ({"eps": -1.0}, r"eps = -1.0: must be more than 0"),
    ({"eps": float("nan")}, r"eps = nan: must be"),
    ({"eps": "auto"}, r"eps = 'auto': must be"),
    ({"min_samples": 0}, r"min_samples = 0: must be at least 1"),
    ({"min_samples": 2.5}, r"min_samples = 2.5: must be"),
    ({"metric": "canberra"}, r"metric = 'canberra': must be .*'manhattan'"),
    ({"backend": "cpu"}, r"backend = 'cpu': must be one of"),
    ({"n_threads": 0}, r"n_threads = 0: must be None or an int from 1 to 4,096"),
], ids=str)  # fmt: skip
def test_bad_parameters(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DBSCAN(**params).fit(blobs(50, 2))


def test_bad_rows() -> None:
    x = blobs(50, 2)
    with raises("metric.not_two_columns", DataError, parameter="metric"):
        DBSCAN(metric="haversine").fit(blobs(50, 3))
    with raises("metric.not_radians", DataError, parameter="metric"):
        DBSCAN(metric="haversine").fit(x)
    x[7] = 0
    with raises("metric.row_of_zeros", DataError, parameter="metric"):
        DBSCAN(metric="cosine").fit(x)
    x[9, 1] = np.nan
    with raises("x.not_finite", DataError):
        DBSCAN().fit(x)
    with raises("sample_weight.invalid", DataError, parameter="sample_weight"):
        DBSCAN().fit(blobs(3, 2), sample_weight=[1, -1, 1])


EXPECTED_FAILURES = {
    "check_dtype_object": "object arrays are refused: an object a value is slow, and hides text"
}


@pytest.mark.slow
@parametrize_with_checks(
    [DBSCAN(n_threads=1)], expected_failed_checks=lambda estimator: EXPECTED_FAILURES
)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.slow
@pytest.mark.parametrize("eps", [1e-200, 1e-40, 1e-20, 1e20, 1e200])
def test_any_scale(eps: float) -> None:
    x = np.random.default_rng(1).integers(0, 4, (90, 2)) * eps
    x = x if 1e-38 < eps < 1e38 else x.astype(np.float64)
    if eps in (1e-200, 1e200):  # eps² is 0 or infinite in float64, for scikit-learn, too
        assert DBSCAN(eps, min_samples=3).fit(x).labels_.shape == (90,)
        return
    np.testing.assert_array_equal(
        DBSCAN(eps, min_samples=3).fit(x).labels_, sklearn_labels(x, eps=eps, min_samples=3)
    )
    if eps == 1e-40:
        x = x.astype(np.float32)
        np.testing.assert_array_equal(
            DBSCAN(eps, min_samples=3).fit(x).labels_, sklearn_labels(x, eps=eps, min_samples=3)
        )


@pytest.mark.parametrize("n_partitions", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("times", [1, 2, 1000])
def test_partitions_are_balanced_by_rows_and_work(times: int, n_partitions: int) -> None:
    x = np.random.default_rng(0).normal(size=(8000, 3))
    work = np.where(x[:, 0] < 0, 1.0, times)
    partition = find_partition(x, build_balanced_tree(x, work, n_partitions))
    rows, share = np.bincount(partition), np.bincount(partition, work)
    assert len(rows) == n_partitions
    assert share.max() <= 1.5 * share.mean()
    assert rows.max() <= (1.03 if times == 1 else 2) * rows.mean()


@pytest.mark.parametrize("n", [0, 1, 3, 4])
def test_partitions_of_few_or_no_rows(n: int) -> None:
    x = np.arange(n)[:, None] * np.ones(2)
    tree = build_balanced_tree(x, np.ones(n), 4)
    partition = find_partition(np.arange(-100.0, 100.0)[:, None] * np.ones(2), tree)
    assert (np.diff(partition) >= 0).all() and partition.min() >= 0 and partition.max() <= 3
    if n == 4:
        assert find_partition(x, tree).tolist() == [0, 1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("d", "n_shards", "backend"), in_turn([2, 3], [1, 3], ["numpy", "numba"], step=2)
)
def test_each_row_is_reported_once_a_sweep(d: int, n_shards: int, backend: str) -> None:
    x, reported = blobs(1000, d), Counter[str]()
    executor = LocalExecutor(2, lambda rows: reported.update(rows=rows))
    bounds = np.linspace(0, len(x), n_shards + 1).astype(int).tolist()
    shards = [Shard(x[i:j], first_row=i) for i, j in pairwise(bounds)]
    executor.load(lambda shard, env: shard, shards)
    for distances, sweeps in ((False, 3), (True, 4)):
        reported.clear()
        fit_dbscan(executor, DBSCANParams(), backend, distances=distances)
        assert reported["rows"] == sweeps * len(x)


@pytest.mark.parametrize("total", [0.0, 1e-9, 5.0, 2.0**29 - 1, 2.0**29, 2.0**40, 2.0**60])
@pytest.mark.parametrize("whole_numbers", [True, False])
@pytest.mark.parametrize("min_samples", [1, 10, 2**31])
def test_sums_of_weights_have_room(min_samples: int, whole_numbers: bool, total: float) -> None:
    weights = FixedPointWeights.fit(min_samples, total, whole_numbers)
    room = np.iinfo(weights.dtype).max
    assert 2 * total * weights.scale < room and 1 <= weights.min_weight <= room
    if total >= min_samples:  # some row may be core
        assert weights.min_weight / weights.scale == pytest.approx(min_samples, rel=1e-9)
    else:
        assert weights.min_weight > total * weights.scale


@pytest.mark.slow
def test_min_samples_above_all_weights() -> None:
    x = np.zeros((40, 2))
    assert (DBSCAN(min_samples=2**31).fit_predict(x) == -1).all()


@pytest.mark.slow
def test_weights_that_are_no_whole_numbers_or_huge() -> None:
    third = DBSCAN(min_samples=1).fit(np.zeros((3, 1)), sample_weight=[1 / 3] * 3)
    assert third.labels_.tolist() == [0, 0, 0]
    far = np.array([[0.0], [100.0]])
    for weight in ([3, 1e19], [1e308, 1e308]):
        labels = DBSCAN(min_samples=3).fit(far, sample_weight=weight).labels_
        assert labels.tolist() == [0, 1]
    many = DBSCAN(min_samples=2**23).fit(np.zeros((4, 1)), sample_weight=[0.5] * 4)
    assert many.labels_.tolist() == [-1] * 4


@pytest.mark.slow
def test_cosine_of_huge_and_tiny_rows_and_of_opposite_ones() -> None:
    huge = np.array([[1e200, 0], [0, 1e200], [1e-200, 0], [-1, 0]])
    model = DBSCAN(eps=0.1, min_samples=1, metric="cosine").fit(huge)
    assert model.labels_.tolist() == [0, 1, 0, 2]
    assert not DBSCAN(eps=2, min_samples=1, metric="cosine").fit(huge).labels_.any()


@pytest.mark.slow
def test_a_shard_without_rows_among_weighted_ones() -> None:
    x, weight = blobs(300, 2), np.arange(300) % 3 * 1.0
    full, none = (x, weight), (x[:0], weight[:0])
    expected = sharded(x, DBSCANParams(min_samples=4), 1, weight)[0]
    executor = LocalExecutor(2)
    loaded = [ChunkedShard([none]), ChunkedShard([full])]
    executor.load(lambda shard, env: shard, loaded)
    fit_dbscan(executor, DBSCANParams(min_samples=4), "numba")
    assert loaded[0].labels is not None and len(loaded[0].labels) == 0
    np.testing.assert_array_equal(loaded[1].labels, expected)
