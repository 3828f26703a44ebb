"""Bounds decide which rows a Lloyd pass scores, and never what it finds.

The centers are moved in every way that a bound may mishandle: to the means of their rows, only
one, all a little, hardly, far. After each step the pass with bounds is compared with one without,
and with float64 distances that share no code with any backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from support.helpers import THOROUGH, in_turn
from support.row_bounds import seen

from gpuseg.algorithms.kmeans.bounds import BoundState
from gpuseg.backends import registry
from gpuseg.backends.backend import Backend
from gpuseg.backends.types import MAX_GAP, Centers, PackedRun, RowBounds
from gpuseg.numerics.reproducible_sums import finer_magic, grid_magic
from gpuseg.numerics.sum_grid import LloydSums, SumGrid

Array = npt.NDArray[Any]
Rng = np.random.Generator

SIZES = (
    *((1, 1), (1, 7), (31, 2), (33, 7), (63, 1), (64, 64), (65, 7), (255, 2), (257, 71)),
    *((500, 7), (500, 66)),
)
"""Rows and centers."""

STEPS = 7


def separated(rng: Rng, n: int) -> Array:
    return 40.0 * rng.integers(0, 3, (n, 4)) + rng.normal(size=(n, 4))


def structureless(rng: Rng, n: int) -> Array:
    return rng.normal(size=(n, 17))


def integers(rng: Rng, n: int) -> Array:
    return rng.integers(0, 5, (n, 2))


def duplicates(rng: Rng, n: int) -> Array:
    return rng.normal(size=(-(-n // 5), 3))[rng.integers(-(-n // 5), size=n)]


def one_feature(rng: Rng, n: int) -> Array:
    return rng.normal(size=(n, 1))


def offset(rng: Rng, n: int) -> Array:
    return 1e6 + 20 * rng.normal(size=(n, 5))


def outliers(rng: Rng, n: int) -> Array:
    x = rng.normal(size=(n, 3))
    x[:: max(n // 5, 1)] *= 10.0 ** rng.integers(2, 9)
    return x


def tiny(rng: Rng, n: int) -> Array:
    return 1e-20 * rng.normal(size=(n, 3))


def huge(rng: Rng, n: int) -> Array:
    """Some squared distances are beyond float32, and others are not."""
    return 6e18 * rng.normal(size=(n, 3))


DATA: dict[str, Callable[[Rng, int], Array]] = {
    "separated": separated,
    "structureless": structureless,
    "integers": integers,
    "duplicates": duplicates,
    "one feature": one_feature,
    "offset 1e6": offset,
    "outliers": outliers,
    "tiny": tiny,
    "huge": huge,
}


def sizes_of(data: str) -> list[tuple[int, tuple[int, int]]]:
    """Return numbered sizes; a default run tries every other one, and others for the next data."""
    first = list(DATA).index(data) % 2
    return list(enumerate(SIZES)) if THOROUGH else list(enumerate(SIZES))[first::2]


def distances_of(x: Array, centers: Array) -> Array:
    """Σ (x_f - c_f)² in float64, the features in order."""
    total = np.zeros((len(x), len(centers)))
    for f in range(x.shape[1]):
        total += (x[:, f].astype(np.float64)[:, None] - centers[:, f]) ** 2
    return total


class Pass(NamedTuple):
    """Centers, with the float64 distances to them and the labels that follow."""

    centers: Centers
    squares: Array
    labels: Array


def passes(rng: Rng, x: Array, k: int, far_shift: bool = False) -> Iterator[Pass]:
    """Yield centers on their way, beginning on rows: every other step goes to the means."""
    spread = float(x.std(axis=0, dtype=np.float64).mean()) or 1.0
    values = x[rng.integers(len(x), size=k)].astype(np.float64)
    shift = (np.zeros(x.shape[1]) if far_shift else x.mean(axis=0, dtype=np.float64)).astype(
        np.float32
    )
    for step in range(STEPS):
        squares = distances_of(x, values)
        labels = squares.argmin(axis=1).astype(np.int32)
        yield Pass(Centers(values.copy(), shift), squares, labels)
        kind = step % 2 and rng.integers(6)
        if kind == 1:  # only one
            values[rng.integers(k)] += spread * rng.normal(size=x.shape[1])
        elif kind == 2:  # all a little, by very different amounts
            values += spread * 10.0 ** rng.uniform(-7, -1, (k, 1)) * rng.normal(size=values.shape)
        elif kind == 3:  # all by the same amount
            values += spread / 8
        elif kind == 4:  # one to where another is: a tie
            values[rng.integers(k)] = values[rng.integers(k)]
        elif kind == 0:
            means = [x[labels == j].mean(axis=0, dtype=np.float64) if (labels == j).any()
                     else values[j] for j in range(k)]  # fmt: skip
            values = np.array(means)


def weights_of(rng: Rng, n: int, kind: str) -> Array | None:
    if kind == "none":
        return None
    weight = 10.0 ** rng.uniform(-6, 0, n)
    weight[1::10] = 0
    return weight


def grid_of(x: Array, weight: Array | None, shift: Array) -> SumGrid:
    """Return grids of two levels, as the engine uses them."""
    heaviest = 1.0 if weight is None else float(weight.max())
    reach = np.abs(x.astype(np.float64) - shift).max(axis=0).tolist()
    coarse = [grid_magic(len(x), heaviest * r) for r in (*reach, 1.0)]
    magics = np.array([coarse, [finer_magic(len(x), magic) for magic in coarse]])
    return SumGrid(magics[:, :-1].copy(), magics[:, -1].copy())


def empty_state(backend: Backend, n: int, centers: Centers, grid: SumGrid) -> BoundState:
    return BoundState.empty(backend.new_bounds(n, centers.k), centers, grid)


def score(
    backend: Backend, x: Array, weight: Array | None, centers: Centers, grid: SumGrid,
    bounds: RowBounds, *ends: int,
) -> LloydSums:  # fmt: skip
    """One pass over x, in blocks."""
    total = LloydSums.zeros(len(grid.weight), *centers.values.shape)
    packed = backend.pack(centers)
    for a, b in pairwise((0, *ends, len(x))):
        block_weight = None if weight is None else weight[a:b]
        total.add(
            backend.lloyd(
                x[a:b], block_weight, [PackedRun(packed, bounds.take(slice(a, b)))], grid
            )[0]
        )
    return total


@pytest.mark.slow
@pytest.mark.parametrize(("data", "kind"), in_turn(DATA, ["none", "six orders"], step=2))
def test_a_pass_with_bounds_finds_what_a_fresh_one_does(
    backend: Backend, data: str, kind: str
) -> None:
    for i, (n, k) in sizes_of(data):
        rng = np.random.default_rng(100 * len(data) + i)
        x, weight = DATA[data](rng, n).astype(np.float32), weights_of(rng, n, kind)
        state, grid = None, None
        for centers, _, labels in passes(rng, x, k, far_shift=i % 3 == 2):
            grid = grid or grid_of(x, weight, centers.shift)
            state = state or empty_state(backend, n, centers, grid)
            state.move_to(centers)
            ends = sorted(rng.integers(0, n + 1, 2).tolist())
            change = score(backend, x, weight, centers, grid, state.bounds, *ends)
            total = state.add_change(change)
            fresh = backend.new_bounds(n, k)
            whole = score(backend, x, weight, centers, grid, fresh)
            for bounds in (state.bounds, fresh):
                assert seen(backend, bounds).label.tobytes() == labels.tobytes()
            assert total.sums.tobytes() == whole.sums.tobytes()
            assert total.weight.tobytes() == whole.weight.tobytes()
            assert whole.n_rows_scored == n >= total.n_rows_scored == change.n_rows_scored


@pytest.mark.slow
@pytest.mark.parametrize("data", DATA)
def test_slack_never_promises_too_much(backend: Backend, data: str) -> None:
    """slack - drift <= distance to any other center - distance to the nearest one, always."""
    for i, (n, k) in sizes_of(data):
        far_shift = i % 4 > 1  # of the sizes tried for each data, every other one
        rng = np.random.default_rng(100 * len(data) + i)
        x = DATA[data](rng, n).astype(np.float32)
        state = None
        for centers, squares, labels in passes(rng, x, k, far_shift):
            grid = grid_of(x, None, centers.shift)
            state = state or empty_state(backend, n, centers, grid)
            state.move_to(centers)
            change = score(backend, x, None, centers, grid, state.bounds)
            state.add_change(change)
            bounds = seen(backend, state.bounds)
            promised = bounds.slack.astype(np.float64) - bounds.drift[labels]
            assert bounds.slack.dtype == bounds.drift.dtype == np.float32
            if k == 1:
                assert (promised <= MAX_GAP).all()
                continue
            near, far = np.sqrt(np.partition(squares, 1, axis=1)[:, :2]).T
            assert (promised <= far - near).all()


@pytest.mark.slow
def test_slack_keeps_its_promise_after_a_long_way(backend: Backend) -> None:
    """Drift of millions has few digits left, and here the centers come as close as they can.

    A drift of hundreds leaves nothing of a slack with few digits.
    """
    x = np.linspace(0.1, 4.9, 400, dtype=np.float32)[:, None]
    shift = np.zeros(1, np.float32)
    grid = grid_of(x, None, shift)
    farthest = 2 if backend.slack_rounding > 1e-3 else 7
    kept = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        values = np.array([[0.0], [10.0]])
        state = empty_state(backend, len(x), Centers(values, shift), grid)
        state.moved += 10.0 ** rng.uniform(farthest - 5, farthest)
        for _ in range(4):
            state.move_to(Centers(values, shift))
            squares = distances_of(x, values)
            change = score(backend, x, None, Centers(values, shift), grid, state.bounds)
            state.add_change(change)
            bounds = seen(backend, state.bounds)
            kept += len(x) - change.n_rows_scored
            assert (bounds.label == squares.argmin(axis=1)).all()
            near, far = np.sort(np.sqrt(squares), axis=1).T
            promised = bounds.slack.astype(np.float64) - bounds.drift[bounds.label]
            assert (promised <= far - near).all()
            values = values - rng.uniform(0, 0.8, (2, 1))
    assert kept > 10_000


@pytest.mark.slow
def test_rows_that_float64_can_hardly_separate_are_scored_again(backend: Backend) -> None:
    """Far off, a center may be nearer and yet, once rounded, as far as another: a tie."""
    x = np.float32([[1e8], [-1e8], [3e8]])
    shift = np.zeros(1, np.float32)
    grid = grid_of(x, None, shift)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        values = 3e-8 * rng.normal(size=(3, 1))
        state = empty_state(backend, 3, Centers(values, shift), grid)
        for _ in range(6):
            state.move_to(Centers(values, shift))
            bounds = state.bounds
            state.add_change(score(backend, x, None, Centers(values, shift), grid, bounds))
            bounds = seen(backend, bounds)
            assert bounds.label.tolist() == distances_of(x, values).argmin(axis=1).tolist()
            values = values + 5e-9 * rng.normal(size=(3, 1))


def test_slack_promises_nearly_all_there_is(backend: Backend) -> None:
    """A bound that gives away much would be true, and slow."""
    lost = backend.slack_rounding
    margin = max(lost / 4, 1e-4)
    for i, (n, k) in enumerate(SIZES):
        rng = np.random.default_rng(i)
        x, values = structureless(rng, n).astype(np.float32), rng.normal(size=(k, 17))
        centers, squares = Centers(values, x.mean(axis=0)), distances_of(x, values)
        bounds = backend.new_bounds(n, k)
        score(backend, x, None, centers, grid_of(x, None, centers.shift), bounds)
        bounds = seen(backend, bounds)
        if k == 1:
            assert (bounds.slack > (1 - lost) * MAX_GAP / 2).all()
            continue
        near, far = np.sqrt(np.partition(squares, 1, axis=1)[:, :2]).T
        certain = far - near > 1e-3
        min_slack = (1 - lost) * (far - near) - margin
        assert (bounds.slack[certain] >= min_slack[certain]).all()


@pytest.mark.parametrize("k", [1, 2, 3, 8])
def test_drift_is_how_far_centers_may_have_come_together(k: int) -> None:
    """The distance moved plus, step by step, the largest distance of any other; hardly more."""
    rng = np.random.default_rng(k)
    values, shift = rng.normal(size=(k, 3)), np.zeros(3, np.float32)
    grid = SumGrid(np.ones((1, 3)), np.ones(1))
    state = empty_state(registry.get("numpy"), 5, Centers(values, shift), grid)
    expected = np.zeros(k)
    for step in range(30):
        scale = 10.0 ** rng.integers(-9, 3, (k, 1)) if step % 3 else np.full((k, 1), 0.1)
        moves = scale * rng.normal(size=(k, 3)) * (rng.random((k, 1)) < 0.7)
        if step % 5 == 4:
            moves[:] = moves[0]  # several have moved most
        before, values = values, values + moves
        state.move_to(Centers(values, shift))
        moved = np.sqrt(((values - before) ** 2).sum(axis=1))
        for j in range(k):
            expected[j] += moved[j] + max(moved[np.arange(k) != j], default=0.0)
        drift = state.bounds.drift.astype(np.float64)
        assert state.bounds.drift.dtype == np.float32
        assert (drift >= expected).all()
        assert (drift <= expected * (1 + 1e-6)).all()


def test_changing_the_returned_sums_does_not_change_the_state() -> None:
    """The engine subtracts rows that move to empty clusters from the sums that it gets."""
    centers = Centers(np.ones((3, 2)), np.zeros(2, np.float32))
    state = empty_state(registry.get("numpy"), 4, centers, SumGrid(np.ones((1, 2)), np.ones(1)))
    change = LloydSums(np.ones((1, 3, 2)), np.ones((1, 3)), 4)
    returned = state.add_change(change)
    returned.sums -= 7
    returned.weight -= 7
    again = state.add_change(LloydSums(np.ones((1, 3, 2)), np.ones((1, 3)), 1))
    assert (again.sums == 2).all()
    assert (again.weight == 2).all()
    assert (returned.n_rows_scored, again.n_rows_scored) == (4, 1)
    assert not state.bounds.fresh


def test_few_rows_are_scored_once_the_centers_converge(backend: Backend) -> None:
    for seed, (n, k) in enumerate(((1000, 9), (1000, 27), (4000, 3))):
        rng = np.random.default_rng(seed)
        blobs = 40.0 * rng.permutation(81)[:k, None] + rng.normal(size=(k, 4))
        x = (blobs[np.arange(n) % k] + rng.normal(size=(n, 4))).astype(np.float32)
        values, shift = blobs + rng.normal(size=(k, 4)), x.mean(axis=0)
        grid = grid_of(x, None, shift)
        state = empty_state(backend, n, Centers(values, shift), grid)
        n_scored = []
        for _ in range(4):
            centers = Centers(values, shift)
            state.move_to(centers)
            change = score(backend, x, None, centers, grid, state.bounds, n // 3)
            total = state.add_change(change)
            n_scored.append(total.n_rows_scored)
            values = shift + total.sums[0] / total.weight[0][:, None]
        assert n_scored[0] == n
        assert max(n_scored[1:]) < n / 5
        assert n_scored[-1] == 0
