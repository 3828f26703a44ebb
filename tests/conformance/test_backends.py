"""Each primitive of each backend returns the results of the protocol, bit for bit.

One test body for all backends, and an oracle that shares no code with any of them: the formula of
`backends.protocols` as one NumPy expression, exact integers, or rationals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.helpers import ON_GPU, THOROUGH, in_turn
from support.row_bounds import seen

from gpuseg.backends import column_summary
from gpuseg.backends.backend import Backend
from gpuseg.backends.column_summary import ColumnSummary
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.backends.types import Centers, PackedRun
from gpuseg.numerics.log1p import log1p
from gpuseg.numerics.reproducible_sums import finer_magic, grid_magic
from gpuseg.numerics.sum_grid import LloydSums, SumGrid

Array = npt.NDArray[Any]
Rng = np.random.Generator

FEATURES = (1, 2, 3, 4, 5, 16, 17, 64, 65)
SIZES = ((1, 1), (1, 7), (31, 2), (33, 20), (64, 4), (65, 66), (255, 7), (257, 2), (257, 20))
"""Rows and centers; a tile of the numba kernels has 64 rows, and four features or centers are
processed together."""


def normal(rng: Rng, n: int, d: int, k: int) -> tuple[Array, Array]:
    return rng.normal(size=(n, d)), rng.normal(size=(k, d))


def integers(rng: Rng, n: int, d: int, k: int) -> tuple[Array, Array]:
    """Duplicate rows, and centers on the half grid: many exact ties."""
    return rng.integers(-2, 3, (n, d)), rng.integers(-4, 5, (k, d)) / 2


def equal_centers(rng: Rng, n: int, d: int, k: int) -> tuple[Array, Array]:
    """Each center twice, the copies far apart in index."""
    half = rng.normal(size=(-(-k // 2), d))
    return rng.normal(size=(n, d)), np.concatenate([half, half])[:k]


def bisectors(rng: Rng, n: int, d: int, k: int) -> tuple[Array, Array]:
    """Rows half-way between two centers, or one float32 step off in one coordinate."""
    centers = rng.normal(size=(k, d)).astype(np.float32)
    pair = rng.integers(k, size=(2, n))
    x = ((centers[pair[0]].astype(float) + centers[pair[1]]) / 2).astype(np.float32)
    f, toward = rng.integers(d, size=n), rng.choice([-np.inf, 0, np.inf], n)
    rows = np.arange(n)
    x[rows, f] = np.where(toward == 0, x[rows, f], np.nextafter(x[rows, f], np.float32(toward)))
    return x, centers


def far_bisectors(rng: Rng, n: int, d: int, k: int) -> tuple[Array, Array]:
    """Rows as far from one center as from another, and far from both."""
    centers = rng.normal(size=(k, d))
    a, b = centers[rng.integers(k, size=(2, n))]
    away, apart = rng.normal(size=(n, d)), a - b
    squares = (apart**2).sum(axis=1, keepdims=True)
    along = (away * apart).sum(axis=1, keepdims=True) / np.where(squares > 0, squares, 1)
    return (a + b) / 2 + 10.0 ** rng.uniform(1, 4, (n, 1)) * (away - along * apart), centers


def on_centers(rng: Rng, n: int, d: int, k: int) -> tuple[Array, Array]:
    """Every row is a center, or one float32 step from one; some centers are duplicates."""
    centers = rng.normal(size=(k, d)).astype(np.float32)
    centers[k // 2 + 1 :] = centers[: (k - 1) // 2]
    x = centers[rng.integers(k, size=n)]
    toward = rng.choice([-np.inf, np.inf], (n, d)).astype(np.float32)
    return np.where(rng.random((n, d)) < 0.3, np.nextafter(x, toward), x), centers


def constant_columns(rng: Rng, n: int, d: int, k: int) -> tuple[Array, Array]:
    x, centers = normal(rng, n, d, k)
    x[:, ::2], centers[:, ::2] = 7.1, 7.1
    return x, centers


def outliers(rng: Rng, n: int, d: int, k: int) -> tuple[Array, Array]:
    x, centers = normal(rng, n, d, k)
    x[:: max(n // 3, 1)] *= 1e6
    return x, centers


def far_rows(rng: Rng, n: int, d: int, k: int) -> tuple[Array, Array]:
    """Rows so far away that close centers tie even in float64."""
    centers = 1 + 1e-5 * rng.normal(size=(k, d))
    return 1e12 * rng.choice([-1.0, 1.0], (n, d)), centers


def permuted_centers(rng: Rng, n: int, d: int, k: int) -> tuple[Array, Array]:
    """Centers equally far from rows (v, v, …, v): the order of the additions matters."""
    return np.repeat(rng.normal(size=(n, 1)), d, axis=1), rng.permuted(
        np.repeat(rng.normal(size=(1, d)), k, axis=0), axis=1
    )


def moved(scale: float, offset: float = 0.0) -> Callable[..., tuple[Array, Array]]:
    """Bisectors where float32 underflows, overflows, or has few digits left, or none."""

    def build(rng: Rng, n: int, d: int, k: int) -> tuple[Array, Array]:
        x, centers = bisectors(rng, n, d, k)
        return x.astype(float) * scale + offset, centers.astype(float) * scale + offset

    return build


DATA = {
    "normal": normal,
    "integers": integers,
    "equal centers": equal_centers,
    "bisectors": bisectors,
    "far bisectors": far_bisectors,
    "on centers": on_centers,
    "constant columns": constant_columns,
    "outliers": outliers,
    "far rows": far_rows,
    "permuted centers": permuted_centers,
    "offset 1e6": moved(20, 1e6),
    "offset 1e8": moved(20, 1e8),
    **{f"scale {s:g}": moved(s) for s in (1e-30, 1e-22, 1e18, 1e30)},
}


def assert_same_bits(actual: Array, expected: Array) -> None:
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    assert actual.tobytes() == expected.tobytes()


def distances_of(x: Array, centers: Array) -> Array:
    """Σ (x_f - c_f)² in float64, the features in order."""
    squares = (x.astype(np.float64)[:, None, :] - centers) ** 2
    return np.cumsum(squares, axis=2)[:, :, -1]


def cases(build: Callable[..., tuple[Array, Array]], d: int) -> list[tuple[Array, Centers]]:
    """Data of all sizes, each with the mean as shift or with an unsuitable one; in turn."""
    data = []
    for i, (n, k) in enumerate(SIZES):
        x, centers = build(np.random.default_rng(100 * d + i), n, d, k)
        x, centers = x.astype(np.float32), centers.astype(np.float64)
        shifts = (x.mean(axis=0, dtype=np.float64), np.zeros(d))
        for shift in shifts if THOROUGH else shifts[(i + d) % 2 :][:1]:
            data.append((x, Centers(centers, shift.astype(np.float32))))
    return data


@pytest.mark.slow
@pytest.mark.parametrize(("data", "d"), in_turn(DATA, FEATURES, step=6))
def test_nearest_is_the_argmin_of_the_float64_distances(
    backend: Backend, data: str, d: int
) -> None:
    for x, centers in cases(DATA[data], d):
        expected = distances_of(x, centers.values)
        before = x.copy()
        labels, distances = backend.nearest(x, backend.pack(centers))
        assert_same_bits(labels, expected.argmin(axis=1).astype(np.int32))
        assert_same_bits(distances, expected.min(axis=1))
        assert_same_bits(backend.squared_distances(x, centers.values), expected)
        assert_same_bits(x, before)


@pytest.mark.parametrize("n_segments", [1, 2, 5])
def test_runner_up_is_the_nearest_center_of_another_segment(
    backend: Backend, n_segments: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpuseg.backends.numpy.centroids._MAX_VALUES", 9 * 64)  # several blocks
    rng = np.random.default_rng(n_segments)
    for n, k in ((0, 5), (1, 5), (200, 9)):
        x = rng.integers(0, 4, (n, 3)).astype(np.float32)  # many distances are equal
        x[n // 2 :] *= 1e30
        centers = rng.integers(0, 4, (k, 3)).astype(np.float64)
        segment = rng.permutation(np.arange(k) % n_segments).astype(np.int32)
        squares = distances_of(x, centers)
        following, near, far = backend.runner_up(backend.to_device(x), centers, segment)
        for row in range(n):
            nearest = int(squares[row].argmin())
            others = [j for j in range(k) if segment[j] != segment[nearest]]
            best = min(others, key=lambda j: squares[row, j], default=None)
            assert near[row] == squares[row, nearest]
            assert far[row] == (np.inf if best is None else squares[row, best])
            assert following[row] == (-1 if best is None else segment[best])
        assert (following.dtype, near.dtype, far.dtype) == (np.int32, np.float64, np.float64)


def test_one_step_off_a_bisector_is_decided_exactly(backend: Backend) -> None:
    centers = np.array([[3.0], [-1.25], [0.5], [10.0], [0.5]])
    middles = np.float32([0.875, 1.75, 5.25, 6.5, -0.375, 4.375])
    steps = [np.nextafter(middles, np.float32(to)) for to in (-np.inf, np.inf)]
    x = np.concatenate([middles, *steps])[:, None]
    exact = [[(Fraction(float(v)) - Fraction(c)) ** 2 for c in centers[:, 0]] for v in x[:, 0]]
    for shift in (0.0, 3.0, -1e4):
        labels, _ = backend.nearest(x, backend.pack(Centers(centers, np.float32([shift]))))
        assert labels.tolist() == [row.index(min(row)) for row in exact]


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 2, 3, 16, 17, 64])
def test_nearest_of_many_rows_close_to_bisectors(backend: Backend, d: int) -> None:
    """So many rows that some would pass a twentieth of the proven margin."""
    n = 30_000 if d < 4 else 8_000
    if backend.name == "cuda" and not (ON_GPU or THOROUGH):  # the emulator computes row by row
        n //= 5
    for k in (4, 9):
        x, values = bisectors(np.random.default_rng(d), n, d, k)
        expected = distances_of(x, values).argmin(axis=1).astype(np.int32)
        for shift in (0.7, 3.0):
            centers = Centers(values.astype(float), np.full(d, shift, np.float32))
            actual, _ = backend.nearest(x, backend.pack(centers))
            assert_same_bits(actual, expected)


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 2, 3, 4, 16])
def test_nearest_where_float32_errs_most(backend: Backend, d: int) -> None:
    """Errors of half a unit each, where units are relatively largest: a sixth of the margin.

    Two centers on either side of the origin, half their squared norms just above 1, and rows
    near the middle: scores and norms are each rounded by up to 2^-24.
    """
    rng = np.random.default_rng(d)
    for _ in range(1000 if THOROUGH else 200):
        direction = rng.normal(size=d)
        direction /= np.sqrt((direction**2).sum())
        values = np.sqrt(2) * np.outer([1, -1] * (1 + 0.05 * rng.random(2)), direction)
        offset = 2.0**-24 * rng.uniform(-1.5, 1.5, (64, 1)) * direction
        x = (values.mean(axis=0) + offset).astype(np.float32)
        actual, _ = backend.nearest(x, backend.pack(Centers(values, np.zeros(d, np.float32))))
        assert_same_bits(actual, distances_of(x, values).argmin(axis=1).astype(np.int32))


def test_nearest_does_not_depend_on_the_rows_around(backend: Backend) -> None:
    """A row has the same result at every position of a tile and with any neighbors."""
    x, values = bisectors(np.random.default_rng(0), 200, 5, 6)
    packed = backend.pack(Centers(values.astype(float), np.zeros(5, np.float32)))
    labels, distances = backend.nearest(x, packed)
    for start in range(70):
        actual = backend.nearest(x[start:], packed)
        assert_same_bits(actual[0], labels[start:])
        assert_same_bits(actual[1], distances[start:])
    order = np.random.default_rng(1).permutation(200)
    actual = backend.nearest(x[order], packed)
    assert_same_bits(actual[0], labels[order])
    assert_same_bits(actual[1], distances[order])


@pytest.mark.slow
@pytest.mark.parametrize(("data", "d"), in_turn(DATA, FEATURES, step=8))
def test_lloyd_sums_the_terms_on_the_grid(backend: Backend, data: str, d: int) -> None:
    for i, (x, centers) in enumerate(cases(DATA[data], d)):
        rng = np.random.default_rng(i)
        n, k = len(x), len(centers.values)
        weights = (None, rng.lognormal(0, 6, n)), (np.ones(n), rng.integers(0, 4, n) * 1.0)
        z = x.astype(np.float64) - centers.shift
        labels = distances_of(x, centers.values).argmin(axis=1)
        # Two of four combinations per shift; they alternate from size to size.
        for weight in weights[(i + i // 2) % 2]:
            w = np.ones(n) if weight is None else weight
            n_terms = n if weight is None else 2**17  # more terms than rows
            coarse = [grid_magic(n_terms, w.max() * r) for r in (*np.abs(z).max(axis=0), 1.0)]
            magics = np.array([coarse, [finer_magic(n_terms, magic) for magic in coarse]])
            grid = SumGrid(magics[:, :-1].copy(), magics[:, -1].copy(), n_terms)
            terms, shares = levels(w[:, None] * z, grid.sums), levels(w, grid.weight)
            # Multiples of one quantum: NumPy adds them without rounding, in whatever order.
            sums = [[values[labels == j].sum(axis=0) for j in range(k)] for values in terms]
            weight_sums = [[values[labels == j].sum() for j in range(k)] for values in shares]
            packed, memory = backend.pack(centers), backend.new_bounds(n, k)
            (whole,) = backend.lloyd(x, weight, [PackedRun(packed, memory)], grid)
            assert_same_bits(whole.sums, np.array(sums))
            assert_same_bits(whole.weight, np.array(weight_sums))
            assert_same_bits(seen(backend, memory).label, labels.astype(np.int32))
            assert whole.n_rows_scored == n
            parts, cut = LloydSums.zeros(2, k, d), backend.new_bounds(n, k)
            for rows in (slice(n // 2, n), slice(0, n // 2)):
                block_weight = None if weight is None else weight[rows]
                parts.add(
                    backend.lloyd(x[rows], block_weight, [PackedRun(packed, cut.take(rows))], grid)[
                        0
                    ]
                )
            assert_same_bits(parts.sums, whole.sums)
            assert_same_bits(parts.weight, whole.weight)
            assert_same_bits(seen(backend, cut).label, labels.astype(np.int32))
            assert parts.n_rows_scored == n


def levels(values: Array, magics: Array) -> list[Array]:
    """Split into a part on each level's grid: the rounding error of one goes to the next."""
    parts: list[Array] = []
    for magic in magics:
        parts.append(to_grid(values, magic))
        values = values - parts[-1]
    return parts


def to_grid(values: Array, magic: Array | float) -> Array:
    """Round to multiples of q, where M = 1.5·2^52·q; ties to even, no negative zero."""
    q = np.asarray(magic) / 1.5 * 2.0**-52
    return np.rint(values / q) * q + 0.0


SPECIAL = np.float32(
    [np.nan, np.inf, -np.inf, -1, -2, -1e30, np.nextafter(np.float32(-1), np.float32(0)),
     0.0, -0.0, 1e-45, -1e-45, 1e-40, 1.1754944e-38, -0.5, 1, 1e6, 1e30, 3.4028235e38]
)  # fmt: skip


def columns_with_specials(n: int, d: int) -> tuple[Array, Array]:
    """Columns of any magnitude and sign, every third with special values; transform codes."""
    rng = np.random.default_rng(n * d)
    x = (rng.normal(size=(n, d)) * 10.0 ** rng.integers(-30, 30, d)).astype(np.float32)
    some = rng.random((n, d)) < 0.4
    some[:, 1::3] = False
    x[some] = rng.choice(SPECIAL, some.sum())
    return x, rng.integers(0, 2, d)


@pytest.mark.slow
@pytest.mark.parametrize("first_row", [0, 10**10])
@pytest.mark.parametrize("d", FEATURES)
def test_summary_is_exact(backend: Backend, d: int, first_row: int) -> None:
    for n in (1, 31, 257):
        x, transform = columns_with_specials(n, d)
        actual = backend.summarize(backend.to_device(x), transform, first_row)
        assert actual.rows == n
        for f, code in enumerate(transform.tolist()):
            column = x[:, f]
            outside = (column <= -1) & np.isfinite(column) & (code == 1)
            kinds = (np.isnan(column), np.isinf(column), outside)
            for kind in range(len(column_summary.KINDS)):
                rows = np.flatnonzero(kinds[kind])
                assert actual.counts[kind, f] == rows.size
                assert actual.firsts[kind, f] == (
                    first_row + rows[0] if rows.size else column_summary.NO_ROW
                )
            values = column[~np.any(kinds, axis=0)].astype(np.float64)
            values = log1p(values).astype(np.float32) if code else values
            assert actual.minimum[f] == values.min(initial=np.inf)
            assert actual.maximum[f] == values.max(initial=-np.inf)
            assert actual.valid()[f] == values.size
            units = [int(np.ldexp(v, 149)) for v in values.astype(np.float64)]
            exact = Fraction(sum(units), 2**149), Fraction(sum(u * u for u in units), 2**298)
            assert actual.moments.totals(f) == exact


@pytest.mark.parametrize("d", FEATURES)
def test_summary_does_not_depend_on_the_split(backend: Backend, d: int) -> None:
    x, transform = columns_with_specials(257, d)
    on_device = backend.to_device(x)
    total = backend.summarize(on_device, transform, 5)
    parts = [
        backend.summarize(on_device[a:b], transform, 5 + a)
        for a, b in ((100, 257), (0, 1), (1, 100))
    ]
    merged = ColumnSummary.empty(d)
    for part in parts:
        merged = merged.merge(part)
    assert merged.rows == total.rows
    for name in ("counts", "firsts", "minimum", "maximum"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(total, name))
    for f in range(d):
        assert merged.moments.totals(f) == total.moments.totals(f)


@pytest.mark.slow
@pytest.mark.parametrize("d", FEATURES)
def test_prepare_fills_clips_transforms_and_scales_in_place(backend: Backend, d: int) -> None:
    rng = np.random.default_rng(d)
    for n in (1, 31, 257):
        x, transform = columns_with_specials(n, d)
        x[:, transform == 1] = np.abs(x[:, transform == 1])
        x[np.isinf(x)] = np.nan
        fill = np.where(np.arange(d) % 4 == 3, np.nan, rng.random(d)).astype(np.float32)
        shift, scale = rng.normal(size=d), rng.uniform(1, 1e3, d)
        values = np.where(np.isnan(x), fill, x)
        clip = None
        if n > 1:
            clip = np.nanquantile(np.nan_to_num(x), [0.2, 0.7], axis=0).astype(np.float32)
            values = np.where(np.isnan(values), values, np.clip(values, *clip))
        logged = values[:, transform == 1].astype(np.float64)
        values[:, transform == 1] = log1p(logged).astype(np.float32)
        on_device = backend.to_device(x)
        backend.prepare(on_device, FeatureTransform(fill, transform, shift, scale, clip=clip))
        expected = ((values.astype(np.float64) - shift) / scale).astype(np.float32)
        prepared = backend.to_host(on_device)
        assert (np.isnan(prepared) == np.isnan(expected)).all()  # the bits of NaN are not specified
        assert_same_bits(np.nan_to_num(prepared), np.nan_to_num(expected))


@pytest.mark.parametrize("values", [(np.nan, np.inf), pytest.param((-1.0, -2.0, -4.0, -1e30))])
def test_log1p_of_what_has_none_is_not_finite(backend: Backend, values: tuple[float, ...]) -> None:
    """`KMeansModel.predict` detects values outside the domain by this."""
    x = np.array(values, np.float32)[:, None]
    with np.errstate(all="ignore"):
        on_device = backend.to_device(x)
        backend.prepare(on_device, replace(FeatureTransform.identity(1), transform=np.array([1])))
    assert not np.isfinite(backend.to_host(on_device)).any()


@pytest.mark.parametrize("d", FEATURES)
def test_prepare_only_scales_what_is_not_filled_clipped_or_transformed(
    backend: Backend, d: int
) -> None:
    rng = np.random.default_rng(d)
    for n in (0, 1, 33):
        x, _ = columns_with_specials(n, d)
        none = FeatureTransform.identity(d)
        shift, scale = rng.uniform(1e-3, 1e3, (d, 2)).T  # not contiguous
        transform = replace(none, shift=shift, scale=scale)
        assert transform.only_scales
        on_device = backend.to_device(x.copy())
        with np.errstate(all="ignore"):
            backend.prepare(on_device, transform)
            expected = ((x.astype(np.float64) - transform.shift) / transform.scale).astype("f4")
        prepared = backend.to_host(on_device)
        assert (np.isnan(prepared) == np.isnan(expected)).all()
        assert_same_bits(np.nan_to_num(prepared), np.nan_to_num(expected))


@pytest.mark.parametrize(
    "change",
    [
        {"fill": np.array([np.nan, 0.0], np.float32)},
        {"transform": np.array([0, 1])},
        {"clip": np.array([[0.0, 0.0], [1.0, 1.0]], np.float32)},
    ],
)
def test_what_fills_clips_or_transforms_does_not_only_scale(change: dict[str, Any]) -> None:
    assert not replace(FeatureTransform.identity(2), **change).only_scales


def test_prepare_divides(backend: Backend) -> None:
    """Quotients half-way between two float32 numbers; multiplied by an inverse, some miss it."""
    x = np.arange(3, 129, 2, dtype=np.float32)
    shift, scale = 3 * 2.0**-25 * x.astype(np.float64), x.astype(np.float64)
    row, none = backend.to_device(x[None, :].copy()), FeatureTransform.identity(len(x))
    backend.prepare(row, replace(none, shift=shift, scale=scale))
    assert backend.to_host(row)[0].tolist() == [1 - 2.0**-23] * len(x)


def key_of(backend: Backend, value: np.float32) -> int:
    x = backend.to_device(np.array([[0, value]], np.float32))
    high = int(np.flatnonzero(backend.key_histogram(x, 1, None)).item())
    return high << 16 | int(np.flatnonzero(backend.key_histogram(x, 1, [high])[0]).item())


def test_keys_sort_as_values_and_are_counted(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    spread = np.float32(rng.normal(size=40) * 10.0 ** rng.integers(-44, 38, 40))
    distinct = np.unique(np.concatenate([SPECIAL[~np.isnan(SPECIAL)], spread]))
    keys = [key_of(backend, value) for value in distinct]
    assert keys == sorted(set(keys))
    column = rng.choice(np.append(distinct, np.float32(np.nan)), 257)
    present = np.searchsorted(distinct, column[~np.isnan(column)])
    expected = np.array(keys)[present]
    x = backend.to_device(np.column_stack([np.zeros(257, np.float32), column]))
    high = backend.key_histogram(x, 1, None)
    assert_same_bits(high, np.bincount(expected >> 16, minlength=65536))
    prefixes = [int(expected[0] >> 16), int(high.argmax()), 1, int(expected[0] >> 16)]
    low = [np.bincount(expected[expected >> 16 == p] & 65535, minlength=65536) for p in prefixes]
    assert_same_bits(backend.key_histogram(x, 1, prefixes), np.array(low))


def test_bins_are_numbers_of_edges_below(backend: Backend) -> None:
    rng = np.random.default_rng(3)
    for n, d in ((0, 3), (1, 1), (70, 5), (257, 16), (64, 300)):
        x = rng.integers(-40, 40, (n, d)).astype(np.float32)
        edges = np.sort(rng.integers(-45, 45, (d, 255)).astype(np.float32), axis=1)
        edges[-1] = np.inf
        x[rng.random((n, d)) < 0.1] = np.nan
        x[rng.random((n, d)) < 0.1] = rng.choice([-np.inf, np.inf, -0.0])
        below = (edges < x[:, :, None]).sum(axis=2)
        expected = np.where(np.isnan(x), 256, below).astype(np.uint16)
        bins = backend.bin_rows(backend.to_device(x), edges)
        assert_same_bits(backend.to_host(bins), expected)
        group = rng.integers(4, size=n).astype(np.int32)
        counts = np.full((5, d, 257), 7)
        backend.count_bins(bins, group, counts)
        rows = (expected[..., None] == np.arange(257)) & (n > 0)
        of_groups = [rows[group == g].sum(axis=0) for g in range(5)]
        assert_same_bits(counts, 7 + np.array(of_groups))
