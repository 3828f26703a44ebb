"""Seeding and whole runs: every backend returns the bits of plain loops."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.helpers import in_turn

from gpuseg.backends.backend import Backend
from gpuseg.backends.types import CELLS_READ, Centers, PackedRun, StopRule
from gpuseg.numerics.reproducible_sums import finer_magic, grid_magic
from gpuseg.numerics.sum_grid import SumGrid
from gpuseg.runtime.executor import TaskContext

Array = npt.NDArray[Any]

ONE, TWO = TaskContext(1).map, TaskContext(2).map

SHAPES = [(1, 1), (7, 3), (33, 2), (64, 17), (257, 5), (900, 16)]


def some_rows(n: int, d: int, kind: str = "normal") -> Array:
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, d)) * 3
    if kind == "copies":
        x = rng.integers(-1, 2, (n, d)).astype(float)
    if kind == "far":
        x = x + 1e6
    return x.astype(np.float32)


def weights(n: int, weighted: bool, with_zeros: bool = False) -> Array:
    rng = np.random.default_rng(n + 1)
    values = rng.lognormal(0, 2, n) if weighted else np.ones(n)
    if with_zeros:
        values[rng.random(n) < 0.2] = 0.0
        values[0] = 1.0
    return values


# Seeding.


def squares_to(x: Array, point: Array) -> list[float]:
    """Return the squared distances of all rows, features in order."""
    squares = []
    for row in x.astype(float).tolist():
        total = 0.0
        for value, center in zip(row, point.astype(float).tolist(), strict=True):
            total += (value - center) * (value - center)
        squares.append(total)
    return squares


def sum_in_order(values: list[float]) -> float:
    return [0.0, *accumulate(values)][-1]


def row_behind(mass: list[float], position: float) -> int:
    """Return the first entry that ends behind a position, at most the last one with mass."""
    last = max(i for i, value in enumerate(mass) if value > 0)
    return next((i for i, end in enumerate(accumulate(mass)) if end > position), last)


def left(weight: list[float], nearest: list[float], squares: list[float]) -> float:
    total = 0.0
    for w, a, b in zip(weight, nearest, squares, strict=True):
        total += w * min(a, b)
    return total


def seeds_by_loops(x: Array, weight: Array, draws: Array) -> list[int]:
    w = weight.tolist()
    seeds = [row_behind(w, draws[0, 0] * sum_in_order(w))]
    nearest = squares_to(x, x[seeds[0]])
    for step in draws[1:].tolist():
        mass = [a * b for a, b in zip(w, nearest, strict=True)]
        if not any(mass):
            break
        candidates = [row_behind(mass, draw * sum_in_order(mass)) for draw in step]
        squares = [squares_to(x, x[row]) for row in candidates]
        best = min(range(len(step)), key=lambda j: left(w, nearest, squares[j]))
        seeds.append(candidates[best])
        nearest = [min(a, b) for a, b in zip(nearest, squares[best], strict=True)]
    return seeds


@pytest.mark.parametrize(("n_candidates", "shape", "kind", "weighted"), in_turn(
    [1, 5, 7], [(1, 1), (7, 3), (33, 2), (65, 17)], ["normal", "copies", "far"], [False, True]
))  # fmt: skip
def test_plus_plus_chooses_as_loops_do(
    backend: Backend, n_candidates: int, shape: tuple[int, int], kind: str, weighted: bool
) -> None:
    n, d = shape
    x, weight = some_rows(n, d, kind), weights(n, weighted)
    draws = np.random.default_rng(5).random((3, 6, n_candidates))
    draws[0, :, 0] = np.nextafter(1.0, 0.0)
    chosen = backend.plus_plus(x, weight, draws, ONE)
    assert [rows.tolist() for rows in chosen] == [seeds_by_loops(x, weight, run) for run in draws]
    assert all(rows.dtype == np.int64 for rows in chosen)


def test_plus_plus_stops_where_no_other_row_is_left(backend: Backend) -> None:
    x = np.array([[1.0], [2.0], [1.0], [2.0], [3.0]], np.float32)
    draws = np.random.default_rng(0).random((4, 9, 5))
    for rows in backend.plus_plus(x, np.ones(5), draws, ONE):
        assert sorted(x[rows, 0].tolist()) == [1.0, 2.0, 3.0]


@pytest.mark.slow
def test_threads_share_the_seedings_of_many_rows(backend: Backend) -> None:
    n = 1000 if backend.name == "numpy" else 5000
    x, weight = some_rows(n, 40), weights(n, True)
    draws = np.random.default_rng(5).random((5, 40, 5))
    one, two = (backend.plus_plus(x, weight, draws, mapped) for mapped in (ONE, TWO))
    assert [rows.tobytes() for rows in one] == [rows.tobytes() for rows in two]
    assert len({rows.tobytes() for rows in one}) == 5


# Seeding within cells.


def plane(squares: list[float], between: list[float], home: int, other: int) -> float:
    """Return the squared distance of a candidate to the plane halfway between two first seeds."""
    if other == home:
        return -1.0
    farther = max(squares[other] - squares[home], 0.0)
    return farther * farther / (4 * between[other]) if between[other] else 0.0


def seeds_in_cells_by_loops(x: Array, weight: Array, first: Array, draws: Array) -> list[int]:
    w, points = weight.tolist(), x[first]
    to_points = [squares_to(points, row) for row in x]
    cell_of = [squares.index(min(squares)) for squares in to_points]
    cells = [[i for i, c in enumerate(cell_of) if c == cell] for cell in range(len(first))]
    nearest = [min(squares) for squares in to_points]
    seeds: list[int] = []
    for step in draws.tolist():
        masses = [[w[i] * nearest[i] for i in rows] for rows in cells]
        mass = [sum_in_order(values) for values in masses]
        if not any(mass):
            break
        best, most = (0, [0]), -1.0
        for draw in step:
            position = draw * sum_in_order(mass)
            home = row_behind(mass, position)
            rest = position - sum_in_order(mass[:home])
            row = cells[home][row_behind(masses[home], rest)]
            between = squares_to(points, points[home])
            planes = [plane(to_points[row], between, home, c) for c in range(len(cells))]
            within = [c for c in range(len(cells)) if planes[c] < max(nearest[i] for i in cells[c])]
            read = sorted(within, key=lambda c: planes[c])[:CELLS_READ]
            squares, gain = squares_to(x, x[row]), 0.0
            for i in (i for c in read for i in cells[c]):
                gain += w[i] * (nearest[i] - min(nearest[i], squares[i]))
            if gain > most:
                best, most = (row, read), gain
        squares = squares_to(x, x[best[0]])
        for i in (i for c in best[1] for i in cells[c]):
            nearest[i] = min(nearest[i], squares[i])
        seeds.append(best[0])
    return seeds


@pytest.mark.parametrize(("sizes", "kind", "weighted"), in_turn(
    [(7, 3, 1), (33, 2, 6), (130, 1, 9), (90, 17, 24)], ["normal", "copies", "far"], [False, True],
    step=2,
))  # fmt: skip
def test_seeds_in_cells_are_those_of_loops(
    backend: Backend, sizes: tuple[int, int, int], kind: str, weighted: bool
) -> None:
    n, d, n_first = sizes
    x, weight = some_rows(n, d, kind), weights(n, weighted)
    draws = np.random.default_rng(6).random((2, 8, 3))
    draws[0, :, 0], draws[0, :, 1] = np.nextafter(1.0, 0.0), 0.0
    first = backend.plus_plus(x, weight, np.random.default_rng(7).random((2, n_first, 5)), ONE)
    for mapped in (ONE, TWO):
        chosen = backend.choose_in_cells(x, weight, first, draws, mapped)
        assert [rows.tolist() for rows in chosen] == [
            seeds_in_cells_by_loops(x, weight, rows, run)
            for rows, run in zip(first, draws, strict=True)
        ]
        assert all(rows.dtype == np.int64 for rows in chosen)


def test_seeds_in_cells_stop_where_no_other_row_is_left(backend: Backend) -> None:
    x = np.float32([[1], [2], [1], [5], [9], [9], [6]])
    draws = np.random.default_rng(0).random((1, 20, 2))
    for first in ([0], [1, 3], [0, 1, 3, 4, 6]):
        rows = np.array(first)
        (further,) = backend.choose_in_cells(x, np.ones(7), [rows], draws, ONE)
        assert sorted(x[[*first, *further], 0].tolist()) == [1, 2, 5, 6, 9]


# Runs.


def grid_of(x: Array, weight: Array, shift: Array) -> SumGrid:
    largest = float(weight.max())
    reach = np.abs(x.astype(float) - shift).max(axis=0).tolist()
    coarse = [grid_magic(len(x), r * largest) for r in (*reach, 1.0)]
    magics = np.array([coarse, [finer_magic(len(x), magic) for magic in coarse]])
    return SumGrid(np.ascontiguousarray(magics[:, :-1]), magics[:, -1].copy(), len(x))


def passes_one_by_one(
    backend: Backend,
    x: Array,
    weight: Array | None,
    centers: Centers,
    grid: SumGrid,
    stop: StopRule,
) -> tuple[Array, Array, int, bool]:
    """Iterate by `Backend.lloyd` with all rows scored, and the means by the formula."""
    on_device = backend.to_device(x)
    values, cluster_weight, shift = centers.values, np.zeros(centers.k), centers.shift
    for n_iter in range(stop.max_iter):
        packed = backend.pack(Centers(values, shift))
        fresh = PackedRun(packed, backend.new_bounds(len(x), centers.k))
        (sums,) = backend.lloyd(on_device, weight, [fresh], grid)
        total, feature_sums = sums.weight[0] + sums.weight[1], sums.sums[0] + sums.sums[1]
        if not total.all():
            return values, cluster_weight, n_iter, False
        before, cluster_weight = values, total
        values = shift.astype(float) + feature_sums / total[:, None]
        change = 0.0
        for difference in (values - before).ravel().tolist():
            change += difference * difference
        if change <= stop.max_change:
            return values, cluster_weight, n_iter + 1, True
    return values, cluster_weight, stop.max_iter, False


def bits(run: Any) -> tuple[bytes, bytes, int, bool]:
    centers, weight, n_iter, converged = run[:4]
    return centers.tobytes(), weight.tobytes(), n_iter, converged


@pytest.mark.parametrize(
    ("shape", "kind", "weighted"),
    in_turn(SHAPES, ["normal", "copies", "far"], [False, True], step=4),
)
def test_a_run_is_its_passes_one_by_one(
    backend: Backend, shape: tuple[int, int], kind: str, weighted: bool
) -> None:
    n, d = shape
    x = some_rows(n, d, kind)
    weight = weights(n, weighted, with_zeros=True)
    shift = x.mean(axis=0, dtype=np.float64).astype(np.float32)
    grid, rng = grid_of(x, weight, shift), np.random.default_rng(d)
    rows = [rng.choice(n, min(k, n), replace=False) for k in (1, 3, 5, 3, 13)]
    starts = [Centers(x[row].astype(float), shift) for row in rows]
    for given in (weight, None):
        for stop in (StopRule(0, 0.0), StopRule(1, 0.0), StopRule(30, 0.0), StopRule(30, 0.05)):
            runs = backend.iterate(x, given, starts, grid, stop, ONE)
            expected = [
                passes_one_by_one(backend, x, given, centers, grid, stop) for centers in starts
            ]
            assert list(map(bits, runs)) == list(map(bits, expected))
            assert [run.centers.shape for run in runs] == [c.values.shape for c in starts]
            assert all(run.n_rows_scored >= n for run in runs if run.n_iter)


def test_a_run_stops_before_a_pass_that_leaves_a_center_without_rows(backend: Backend) -> None:
    x = np.array([[0.0], [1.0], [10.0], [11.0]], np.float32)
    shift = np.array([5.0], np.float32)
    starts = [
        Centers(np.array([[0.0], [1.0], [50.0]]), shift),
        Centers(np.array([[0.0], [10.0]]), shift),
    ]
    grid = grid_of(x, np.ones(4), shift)
    far, near = backend.iterate(x, None, starts, grid, StopRule(10, 0.0), ONE)
    assert (far.n_iter, far.converged, far.centers.tolist()) == (0, False, [[0.0], [1.0], [50.0]])
    assert (near.n_iter, near.converged, near.centers.tolist()) == (2, True, [[0.5], [10.5]])
    assert near.weight.tolist() == [2.0, 2.0]


@pytest.mark.slow
def test_threads_share_the_runs_of_many_rows(backend: Backend) -> None:
    x = some_rows(1000 if backend.name == "numpy" else 5000, 40)
    grid = grid_of(x, np.ones(len(x)), x[0])
    starts = [Centers(x[i : i + 30 + i % 2].astype(float), x[0]) for i in range(6)]
    stop = StopRule(6, 0.0)
    one, two = (backend.iterate(x, None, starts, grid, stop, mapped) for mapped in (ONE, TWO))
    assert list(map(bits, one)) == list(map(bits, two))
    models = [(Centers(run.centers, x[0]), (2.0**60, 2.0**20)) for run in one]
    sums = [backend.sum_assignments(x, None, models, mapped) for mapped in (ONE, TWO)]
    assert [s.parts.tobytes() for s in sums[0]] == [s.parts.tobytes() for s in sums[1]]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_sums_of_assignments_are_those_of_each_assignment(
    backend: Backend, n: int, d: int, weighted: bool
) -> None:
    x, rng = some_rows(n, d), np.random.default_rng(d)
    weight = weights(n, True, with_zeros=True) if weighted else None
    models = []
    for k in (1, 4, 7, 4):
        centers = Centers(rng.normal(size=(k, d)), x[0])
        largest = float(((x.astype(float) - centers.values[0]) ** 2).sum(axis=1).max()) * 1e4
        coarse = grid_magic(n, largest)
        fine = finer_magic(n, coarse)
        models.append((centers, (coarse, fine, finer_magic(n, fine))))
    sums = backend.sum_assignments(x, weight, models, ONE)
    for (centers, grids), actual in zip(models, sums, strict=True):
        packed = backend.pack(centers)
        _, _, expected = backend.assign(backend.to_device(x), weight, packed, grids)
        assert actual.parts.tobytes() == expected.parts.tobytes()
        assert actual.sizes.tolist() == expected.sizes.tolist()
        assert actual.inertia == expected.inertia
