"""DBSCAN's primitives: backends against the specification, the latter against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from emulator.build import unavailable
from emulator.launcher import ONE_BLOCK, SMALL
from emulator.strict_arrays import StrictLauncher
from sklearn.neighbors import NearestNeighbors
from support.helpers import THOROUGH, in_turn
from support.neighbor_cases import (
    NEAR_CASES,
    PARALLEL_MAP,
    SPEC,
    NearCase,
    eps_bounds_of,
    rdist_of,
    rows,
    try_near,
)

from gpuseg.backends import registry
from gpuseg.backends.cuda.neighbors import CudaNeighbors
from gpuseg.backends.numba.neighbors import NumbaNeighbors
from gpuseg.backends.protocols import NeighborKernels
from gpuseg.numerics.distance_metrics import MAXIMUM

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

CASES = (
    *in_turn(KINDS, [1, 31, 33, 64, 255, 257, 700], [1, 2], step=5),
    *in_turn([*KINDS, "infinite when scaled"], [1, 33, 257], [MAXIMUM], step=2),
)
"""Kinds of rows, their number, and p; all share the code that p does not change."""

DEVICES = {"small": SMALL, "one block": ONE_BLOCK}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "n", "p"), CASES)
def test_every_primitive(backend: NeighborKernels, kind: str, n: int, p: int) -> None:
    try_near(backend, NearCase(kind, n, 1 + n % 7, p))


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 64, 700])
@pytest.mark.parametrize("kind", [*KINDS, "infinite when scaled"])
def test_few_features_without_a_grid(kind: str, n: int) -> None:
    for p in (MAXIMUM, 1, 2) if THOROUGH or n < 700 else (1, 2)[len(kind) % 2 :][:1]:
        try_near(NumbaNeighbors(may_use_grid=False), NearCase(kind, n, 1 + n % 7, p))


@pytest.mark.slow
@pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))
@pytest.mark.parametrize(
    ("case", "device", "schedule"),
    in_turn(NEAR_CASES, DEVICES, ["up", "down", "random", "fuzz"], step=5),
)
def test_kernels_access_memory_correctly(case: NearCase, schedule: str, device: str) -> None:
    launcher = StrictLauncher(check=True, schedule=schedule, limits=DEVICES[device])
    try_near(CudaNeighbors(launcher), case)


@pytest.mark.slow
@pytest.mark.parametrize("backend", [SPEC, NumbaNeighbors()], ids=["numpy", "numba"])
@pytest.mark.parametrize(
    ("metric", "p"), [("euclidean", 2), ("manhattan", 1), ("chebyshev", MAXIMUM)]
)
def test_against_scikit_learn(backend: NeighborKernels, metric: str, p: int) -> None:
    x = rows("grid", 400, 3)
    index = backend.build_index(x, eps_bounds_of(x, 1.0, p), PARALLEL_MAP)
    near = NearestNeighbors(radius=1.0, metric=metric, algorithm="kd_tree").fit(x)
    counts = np.zeros(400, np.int64)
    backend.count_neighbors(index, index, None, 1000, counts, PARALLEL_MAP)
    assert counts.tolist() == [len(i) for i in near.radius_neighbors(x, return_distance=False)]
    all_rows = np.ones(400, bool)
    rdist, row = np.full((400, 5), np.inf), np.full((400, 5), -1)
    backend.find_nearest(index, all_rows, index, all_rows, rdist, row, PARALLEL_MAP)
    distance = np.sqrt(rdist) if p == 2 else rdist
    np.testing.assert_allclose(distance, near.kneighbors(x, 5)[0], rtol=1e-12)


def test_an_index_without_rows_has_no_neighbors(backend: NeighborKernels) -> None:
    x = rows("normal", 5, 2)
    bounds = eps_bounds_of(x, 1.0, 2)
    index, empty = (
        backend.build_index(x, bounds, PARALLEL_MAP),
        backend.build_index(x[:0], bounds, PARALLEL_MAP),
    )
    counts, no_counts = np.zeros(5, np.int64), np.zeros(0, np.int64)
    assert backend.count_neighbors(index, empty, None, 3, counts, PARALLEL_MAP) == 0
    assert backend.count_neighbors(empty, index, None, 3, no_counts, PARALLEL_MAP) == 0
    assert not counts.any()
    assert backend.connect_core(empty, no_counts.astype(bool), PARALLEL_MAP)[0].size == 0


def test_float32_bounds_leave_uncertain_pairs_to_float64() -> None:
    rng = np.random.default_rng(0)
    for p in (MAXIMUM, 1, 2):
        for kind in ("normal", "huge offset"):
            x = rows(kind, 500, 6).astype(np.float64 if kind == "huge offset" else np.float32)
            i, j = rng.integers(0, 500, (2, 3000))
            for eps in (0.5, 1.7, 3.0):
                bounds = eps_bounds_of(x, eps, p)
                z = bounds.scaled(x)
                rough = rdist_of(z[i], z[j], p)
                exact = rdist_of(x[i].astype(np.float64), x[j].astype(np.float64), p)
                assert (exact[rough < np.float32(bounds.rdist_lower)] <= bounds.rdist_limit).all()
                assert (exact[rough > np.float32(bounds.rdist_upper)] > bounds.rdist_limit).all()
                undecided = (rough >= np.float32(bounds.rdist_lower)) & (
                    rough <= np.float32(bounds.rdist_upper)
                )
                assert undecided.mean() < 0.01
