"""DBSCAN of one and two features in a grid of cells: its use, the ends of cells, and labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.cluster
from support.helpers import THOROUGH, in_turn
from support.neighbor_cases import (
    PARALLEL_MAP,
    SPEC,
    NearCase,
    eps_bounds_of,
    rdist_of,
    results_of,
    rows,
    try_near,
)

from gpuseg import DBSCAN
from gpuseg.backends.numba.dbscan.cell_grid import build_grid
from gpuseg.backends.numba.neighbors import NumbaNeighbors
from gpuseg.numerics.distance_metrics import MAXIMUM
from gpuseg.numerics.eps_bounds import EpsBounds

Array = npt.NDArray[Any]


def blobs(n: int, d: int) -> Array:
    """Three blobs and noise, float64."""
    rng = np.random.default_rng(d)
    return rng.normal(size=(n, d)) * 0.5 + rng.choice([-4.0, 0.0, 4.0], (n, 1))


@pytest.mark.slow
@pytest.mark.parametrize(("n", "d", "p"), in_turn([1, 31, 257, 500, 900], [1, 2], [MAXIMUM, 1, 2]))
def test_rows_at_the_ends_of_cells(n: int, d: int, p: int) -> None:
    try_near(NumbaNeighbors(), NearCase("cell ends", n, d, p, eps=1.0))


@pytest.mark.parametrize("n", [500, 501])
@pytest.mark.parametrize("p", [MAXIMUM, 1, 2])
def test_rows_of_a_cell_are_neighbors_and_neighbors_are_near(n: int, p: int) -> None:
    x = rows("cell ends", n, 2)
    x[np.abs(x) > 2] = 0.0
    grid = build_grid(x, eps_bounds_of(x, 1.0, p), PARALLEL_MAP)
    assert grid is not None
    cell = np.empty(n, int)
    cell[grid.order] = np.repeat(np.arange(len(grid.start) - 1), np.diff(grid.start))
    near = rdist_of(x[:, None], x, p) <= 1
    position = np.column_stack([cell % grid.width, cell // grid.width])
    n_cells = np.abs(position[:, None] - position).max(axis=2)
    assert near[n_cells == 0].all() and not near[n_cells > 0].all()
    assert n_cells[near].max() <= grid.radius


@pytest.mark.parametrize("n", [40_000, 150_001])
def test_rows_of_a_cell_keep_their_order_for_any_number_of_parts(n: int) -> None:
    x = blobs(n, 2).astype(np.float32)
    grid = build_grid(x, eps_bounds_of(x, 0.2, 2), PARALLEL_MAP)
    assert grid is not None and n > 2 * len(grid.start)
    cell = np.repeat(np.arange(len(grid.start) - 1), np.diff(grid.start))
    assert (np.diff(grid.order)[np.diff(cell) == 0] > 0).all()
    assert np.sort(grid.order).tolist() == list(range(n))
    assert (x[grid.order] == np.column_stack([grid.x[:n], grid.y[:n]])).all()


@pytest.mark.slow
@pytest.mark.parametrize("p", [MAXIMUM, 1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_exactly_eps_apart_are_neighbors_and_no_others(dtype: type, p: int) -> None:
    x = np.random.default_rng(p).normal(size=(257, 2)).astype(dtype)
    for i in range(1, 100 if THOROUGH else 30):
        rdist = rdist_of(*x[[i, 0]].astype(np.float64), p)
        some = x if i < 4 else x[[0, i]]  # without other rows, which might connect them
        for limit in (rdist, np.nextafter(rdist, 0)):
            bounds = EpsBounds.from_ranges(some.min(axis=0), some.max(axis=0), float(limit), p)
            results, expected = (
                results_of(b, some, some, bounds) for b in (NumbaNeighbors(), SPEC)
            )
            for (name, result), (_, correct) in zip(results, expected, strict=True):
                assert (result == correct).all(), name


@pytest.mark.slow
@pytest.mark.parametrize("p", [MAXIMUM, 1, 2])
def test_few_rows_per_cell(p: int) -> None:
    for n in range(40, 140, 1 if THOROUGH else 3):
        try_near(NumbaNeighbors(), NearCase("normal", n, 2, p, eps=0.6))


@pytest.mark.slow
@pytest.mark.parametrize(("d", "metric", "dtype"), in_turn(
    [1, 2], ["euclidean", "manhattan", "chebyshev"], [np.float32, np.float64], step=2
))  # fmt: skip
def test_labels_are_scikit_learns(d: int, metric: str, dtype: type) -> None:
    x, eps = blobs(40_000, d).astype(dtype), 0.001 if d == 1 else 0.06
    assert build_grid(x, eps_bounds_of(x, eps, 2), PARALLEL_MAP) is not None
    model = DBSCAN(eps, min_samples=8, metric=metric, backend="numba", n_threads=2).fit(x)
    expected = sklearn.cluster.DBSCAN(eps=eps, min_samples=8, metric=metric)
    expected.fit(x.astype(np.float64))
    assert model.n_clusters_ > 3 and 0 < model.noise_share_ < 1
    assert model.labels_.tolist() == expected.labels_.tolist()
    assert model.core_sample_indices_.tolist() == expected.core_sample_indices_.tolist()


def test_no_grid_for_unsuitable_data() -> None:
    x = blobs(5000, 2)
    far, heap = x.copy(), x.copy()
    far[0], heap[:4500] = 1e9, 0.5
    assert build_grid(x, eps_bounds_of(x, 0.3, 2), PARALLEL_MAP) is not None
    assert build_grid(far, eps_bounds_of(far, 0.3, 2), PARALLEL_MAP) is None
    assert build_grid(heap, eps_bounds_of(heap, 0.3, 2), PARALLEL_MAP) is None
    assert build_grid(x, eps_bounds_of(x, 1e-160, 1), PARALLEL_MAP) is None
    assert build_grid(x * 1e300, eps_bounds_of(x * 1e300, 1e200, 1), PARALLEL_MAP) is None
    assert build_grid(blobs(5000, 3), eps_bounds_of(blobs(5000, 3), 0.3, 2), PARALLEL_MAP) is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["far", "heap"])
def test_labels_without_a_grid_are_the_same(kind: str) -> None:
    x = blobs(6000, 2)
    x[0 if kind == "far" else slice(4500)] = 1e6 if kind == "far" else 0.5
    model = DBSCAN(0.1, min_samples=8, backend="numba").fit(x)
    expected = sklearn.cluster.DBSCAN(eps=0.1, min_samples=8).fit(x)
    assert model.labels_.tolist() == expected.labels_.tolist()
