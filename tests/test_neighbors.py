"""DBSCAN's primitives: every backend against the specification, and that against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.neighbors import NearestNeighbors

from gpuseg.backends.neighbors import NO_CLUSTER, Neighbors
from gpuseg.backends.numba_.neighbors import NumbaNeighbors
from gpuseg.backends.numpy_neighbors import NumpyNeighbors
from gpuseg.backends.reach import Reach
from gpuseg.runtime.executor import Env

Array = npt.NDArray[Any]

EACH = Env(2).map
SPEC = NumpyNeighbors()


@pytest.fixture(params=["numba"])
def backend(request: pytest.FixtureRequest) -> Neighbors:
    return {"numba": NumbaNeighbors()}[request.param]


def rows(kind: str, n: int, d: int) -> Array:
    """Return rows that are hard in some way; float64 where float32 would lose them."""
    rng = np.random.default_rng(n * d)
    if kind == "grid":  # many distances are exactly eps
        return rng.integers(0, 4, (n, d)).astype(np.float32)
    if kind == "duplicates":
        return rng.choice(rng.normal(size=(max(1, n // 5), d)), n).astype(np.float32)
    if kind == "huge offset":
        return rng.normal(size=(n, d)) + 1e6
    if kind == "constant columns":
        x = np.ones((n, d), np.float32)
        x[:, 0] = rng.normal(size=n)
        return x
    if kind == "two scales":
        return np.concatenate(
            [rng.normal(size=(n // 2, d)) / 1000, rng.normal(size=(n - n // 2, d))]
        )
    if kind == "beyond float32":
        return rng.normal(size=(n, d)) * 1e30 ** rng.integers(-1, 2, (n, d))
    return rng.normal(size=(n, d)).astype(np.float32)


KINDS = (
    "normal", "grid", "duplicates", "huge offset", "constant columns", "two scales",
    "beyond float32",
)  # fmt: skip


def reach_of(x: Array, eps: float, p: int) -> Reach:
    return Reach.of(x.min(axis=0), x.max(axis=0), eps**p, p)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("n", [1, 31, 33, 64, 255, 257, 700])
@pytest.mark.parametrize("kind", KINDS)
def test_every_primitive(backend: Neighbors, kind: str, n: int, p: int) -> None:
    d = 1 + n % 7
    x, y = rows(kind, n, d), rows(kind, n + 100, d)[: max(1, n - 20)]
    rng = np.random.default_rng(n)
    eps = {"beyond float32": 1e-3, "two scales": 0.01}.get(kind, 1.0 + p)
    reach = reach_of(np.concatenate([x, y]), eps, p)
    weight = rng.integers(0, 3, len(y))
    core, there = rng.random(n) < 0.6, rng.random(len(y)) < 0.6
    group = np.where(core, rng.integers(0, 5, n), -1)
    theirs = np.where(there, 5 + rng.integers(0, 5, len(y)), -1)
    found = []
    for b in (backend, SPEC):
        own, other = b.lay_out(x, reach, EACH), b.lay_out(y, reach, EACH)
        counts = []
        for side, heavy in ((own, None), (other, None), (other, weight)):
            counts.append(np.arange(n) % 2)
            b.count_within(own, side, heavy, 7, counts[-1], EACH)
        claimed = np.full(n, NO_CLUSTER)
        claimed[::3] = 1
        cluster = np.where(
            there, rng.integers(0, 4, len(y)) * 0 + np.arange(len(y)) % 4, NO_CLUSTER
        )
        b.claim(own, ~core, other, cluster, claimed, EACH)
        best, row = np.full((n, 3), np.inf), np.full((n, 3), -1)
        best[::4] = reach.limit
        b.find_nearest(own, core, other, there, best, row, EACH)
        lowest = b.link(own, core, EACH)[0]
        joined = b.link_across(own, group, other, theirs, 10, EACH)[0]
        found.append([*(np.minimum(own, 7) for own in counts), claimed, best, row, lowest, joined])
    for own_result, expected in zip(*found, strict=True):
        np.testing.assert_array_equal(own_result, expected)


@pytest.mark.parametrize("backend", [SPEC, NumbaNeighbors()], ids=["numpy", "numba"])
@pytest.mark.parametrize(("metric", "p"), [("euclidean", 2), ("manhattan", 1)])
def test_against_scikit_learn(backend: Neighbors, metric: str, p: int) -> None:
    x = rows("grid", 400, 3)
    reach = reach_of(x, 1.0, p)
    own = backend.lay_out(x, reach, EACH)
    near = NearestNeighbors(radius=1.0, metric=metric, algorithm="kd_tree").fit(x)
    found = np.zeros(400, np.int64)
    backend.count_within(own, own, None, 1000, found, EACH)
    assert found.tolist() == [len(i) for i in near.radius_neighbors(x, return_distance=False)]
    everyone = np.ones(400, bool)
    best, row = np.full((400, 5), np.inf), np.full((400, 5), -1)
    backend.find_nearest(own, everyone, own, everyone, best, row, EACH)
    np.testing.assert_allclose(best ** (1 / p), near.kneighbors(x, 5)[0], rtol=1e-12)


def test_nothing_is_near_nothing(backend: Neighbors) -> None:
    x = rows("normal", 5, 2)
    reach = reach_of(x, 1.0, 2)
    own, none = backend.lay_out(x, reach, EACH), backend.lay_out(x[:0], reach, EACH)
    found, nobody = np.zeros(5, np.int64), np.zeros(0, np.int64)
    assert backend.count_within(own, none, None, 3, found, EACH) == 0
    assert backend.count_within(none, own, None, 3, nobody, EACH) == 0
    assert not found.any()
    assert backend.link(none, nobody.astype(bool), EACH)[0].size == 0


def test_limits_in_float32_leave_the_rest_to_float64() -> None:
    rng = np.random.default_rng(0)
    for p in (1, 2):
        for kind in ("normal", "huge offset"):
            x = rows(kind, 500, 6).astype(np.float64 if kind == "huge offset" else np.float32)
            size_of = lambda a, b, p=p: (np.abs(a - b) ** p).sum(axis=-1)  # noqa: E731
            i, j = rng.integers(0, 500, (2, 3000))
            for eps in (0.5, 1.7, 3.0):
                reach = reach_of(x, eps, p)
                z = reach.scaled(x)
                rough = size_of(z[i], z[j])
                exact = size_of(x[i].astype(np.float64), x[j].astype(np.float64))
                assert (exact[rough < np.float32(reach.sure)] <= reach.limit).all()
                assert (exact[rough > np.float32(reach.far)] > reach.limit).all()
                undecided = (rough >= np.float32(reach.sure)) & (rough <= np.float32(reach.far))
                assert undecided.mean() < 0.01
