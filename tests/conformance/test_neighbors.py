"""DBSCAN's primitives: every backend against the specification, and that against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from emulator.build import unavailable
from emulator.launcher import ONE_BLOCK, SMALL
from emulator.strict_arrays import ApartLauncher
from sklearn.neighbors import NearestNeighbors
from support.helpers import in_turn
from support.neighbor_cases import EACH, NEAR_CASES, SPEC, NearCase, reach_of, rows, try_near

from gpuseg.backends import registry
from gpuseg.backends.cuda.neighbors import CudaNeighbors
from gpuseg.backends.numba.neighbors import NumbaNeighbors
from gpuseg.backends.protocols import NeighborKernels

Array = npt.NDArray[Any]


@pytest.fixture(params=["numba", "cuda"])
def backend(request: pytest.FixtureRequest) -> NeighborKernels:
    if request.param == "numba":
        return NumbaNeighbors()
    request.getfixturevalue("cuda")
    return registry.get_neighbors("cuda")


KINDS = (
    "normal", "grid", "duplicates", "huge offset", "constant columns", "two scales",
    "beyond float32",
)  # fmt: skip


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("n", [1, 31, 33, 64, 255, 257, 700])
@pytest.mark.parametrize("kind", KINDS)
def test_every_primitive(backend: NeighborKernels, kind: str, n: int, p: int) -> None:
    try_near(backend, NearCase(kind, n, 1 + n % 7, p))


@pytest.mark.parametrize("n", [1, 64, 700])
@pytest.mark.parametrize("kind", KINDS)
def test_few_features_without_a_grid(kind: str, n: int) -> None:
    for p in (1, 2):
        try_near(NumbaNeighbors(may_use_grid=False), NearCase(kind, n, 1 + n % 7, p))


@pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))
@pytest.mark.parametrize(
    ("case", "schedule"), in_turn(NEAR_CASES, ["up", "down", "random", "fuzz"], step=2)
)
def test_kernels_touch_memory_as_they_may(case: NearCase, schedule: str) -> None:
    for limits in (SMALL, ONE_BLOCK):
        launcher = ApartLauncher(check=True, schedule=schedule, limits=limits)
        try_near(CudaNeighbors(launcher), case)


@pytest.mark.parametrize("backend", [SPEC, NumbaNeighbors()], ids=["numpy", "numba"])
@pytest.mark.parametrize(("metric", "p"), [("euclidean", 2), ("manhattan", 1)])
def test_against_scikit_learn(backend: NeighborKernels, metric: str, p: int) -> None:
    x = rows("grid", 400, 3)
    reach = reach_of(x, 1.0, p)
    own = backend.build_index(x, reach, EACH)
    near = NearestNeighbors(radius=1.0, metric=metric, algorithm="kd_tree").fit(x)
    found = np.zeros(400, np.int64)
    backend.count_neighbors(own, own, None, 1000, found, EACH)
    assert found.tolist() == [len(i) for i in near.radius_neighbors(x, return_distance=False)]
    everyone = np.ones(400, bool)
    best, row = np.full((400, 5), np.inf), np.full((400, 5), -1)
    backend.find_nearest(own, everyone, own, everyone, best, row, EACH)
    np.testing.assert_allclose(best ** (1 / p), near.kneighbors(x, 5)[0], rtol=1e-12)


def test_nothing_is_near_nothing(backend: NeighborKernels) -> None:
    x = rows("normal", 5, 2)
    reach = reach_of(x, 1.0, 2)
    own, none = backend.build_index(x, reach, EACH), backend.build_index(x[:0], reach, EACH)
    found, nobody = np.zeros(5, np.int64), np.zeros(0, np.int64)
    assert backend.count_neighbors(own, none, None, 3, found, EACH) == 0
    assert backend.count_neighbors(none, own, None, 3, nobody, EACH) == 0
    assert not found.any()
    assert backend.connect_core(none, nobody.astype(bool), EACH)[0].size == 0


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
