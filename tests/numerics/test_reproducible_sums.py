"""Numerics that do not depend on the order of the rows, against exact arithmetic.

Tests sums on a grid, sums as integers, the logarithm, hashed draws and quantiles; the oracles are
rationals, `math.fsum`, 120-digit decimals and NumPy's sorting quantile.
"""

from __future__ import annotations

import hashlib
import math
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import Place
from numba import njit
from support.helpers import THOROUGH, in_turn

from gpuseg.backends.backend import Backend
from gpuseg.backends.column_summary import ColumnSummary
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.backends.numba.preprocessing import yeo_johnson
from gpuseg.numerics import hashing
from gpuseg.numerics.log1p import log1p
from gpuseg.numerics.moments import Moments
from gpuseg.numerics.reproducible_sums import finer_magic, grid_magic
from gpuseg.sharding.quantiles import quantiles

Array = npt.NDArray[Any]
FLOAT32_MAX = 3.4028234663852886e38

COUNTS = (1, 2, 3, 31, 257, 1000, 1024)
BOUNDS = (1.0, 0.1, 1 - 2.0**-30, 1 + 2.0**-52, 3e-39, 1e-30, 1e30, 7 * FLOAT32_MAX**2, 1e-300)


def terms_up_to(largest: float, n: int, seed: int) -> Array:
    """Return three rows of n terms: two worst cases for the grids, and arbitrary terms.

    The worst cases are positive terms near the bound, and terms that all leave a remainder of
    almost half a quantum.
    """
    rng = np.random.default_rng(seed)
    near, any_sign = rng.uniform(0.9, 1, n), rng.uniform(-1, 1, n) * 2.0 ** -rng.integers(0, 60, n)
    near[0] = any_sign[0] = 1
    q = grid_magic(n, largest) / 1.5 * 2.0**-52
    halves = rng.integers(0, 4, n) + rng.uniform(0.45, 0.5, n)
    return np.stack([near * largest, any_sign * largest, halves * q])


def sums_in_several_orders(terms: Array) -> list[float]:
    """Add the terms sequentially, in several orders, and as parts of several sizes."""
    rng = np.random.default_rng(0)
    permuted = [terms, terms[::-1], np.sort(terms), *(rng.permutation(terms) for _ in range(5))]
    parts = [[sum(p.tolist(), 0.0) for p in np.array_split(terms, m)] for m in (2, 7, 13)]
    return [sum(t.tolist(), 0.0) for t in permuted] + [sum(p[::-1], 0.0) for p in parts]


@pytest.mark.parametrize("largest", BOUNDS)
@pytest.mark.parametrize("n", COUNTS)
def test_sums_on_the_grid_are_exact_in_any_order(n: int, largest: float) -> None:
    magic = grid_magic(n, largest)
    for terms in terms_up_to(largest, n, n):
        rounded = (terms + magic) - magic
        assert set(sums_in_several_orders(rounded)) == {math.fsum(rounded)}
        rest = terms - rounded
        finer = finer_magic(n, magic)
        fine = (rest + finer) - finer
        assert set(sums_in_several_orders(fine)) == {math.fsum(fine)}


@pytest.mark.slow
@pytest.mark.parametrize("largest", BOUNDS[:-1])
@pytest.mark.parametrize("n", COUNTS)
def test_rounding_errors_are_within_the_documented_bound(n: int, largest: float) -> None:
    """2^e <= 2·n·largest, n >= 2, so q/2 = 2^(e-53) is at most n·largest·2^-52."""
    coarse_error = Fraction(max(n, 2)) * Fraction(largest) * Fraction(1 + 2.0**-40) / 2**52
    fine_error = max(n, 2) * coarse_error * Fraction(1 + 2.0**-40) / 2**52
    magic = grid_magic(n, largest)
    finer = finer_magic(n, magic)
    for terms in terms_up_to(largest, n, n):
        coarse = (terms + magic) - magic
        fine = ((terms - coarse) + finer) - finer
        for term, c, f in zip(terms.tolist(), coarse.tolist(), fine.tolist(), strict=True):
            assert abs(Fraction(term) - Fraction(c)) <= coarse_error
            assert abs(Fraction(term) - Fraction(c) - Fraction(f)) <= fine_error


def test_the_grid_of_zeros_keeps_zero() -> None:
    for n in COUNTS:
        assert (0.0 + grid_magic(n, 0.0)) - grid_magic(n, 0.0) == 0.0


COLUMNS = {
    "integers": [1, 2, 3, 4, 5],
    "negative": [-1.5, -2.25, 3.75, -1e-3],
    "one value": [7.1],
    "constant": [0.1] * 33,
    "zeros": [0.0, -0.0, 0.0],
    "minus zero": [-0.0],
    "subnormal": [1e-45, -3e-45, 1e-40, -1e-39, 1.1754942e-38],
    "subnormal and normal": [1e-45, 1.1754944e-38, 1.0, -1e-45],
    "largest": [FLOAT32_MAX, FLOAT32_MAX, -FLOAT32_MAX, 1.0],
    "all scales": [10.0**e * (-1) ** e for e in range(-45, 39)],
    "all ones": [16777215.0, -16777215.0, 8388609.0],
    "offset 1e6": [1e6 + i / 8 for i in range(257)],
    "offset 1e8": [1e8 + 8 * i for i in range(31)],
}


def moments_of(backend: Backend, values: Array) -> Moments:
    return backend.summarize(
        backend.to_device(values[:, None].copy()), np.zeros(1, np.int64), 0
    ).moments


@pytest.mark.parametrize("name", COLUMNS)
def test_moments_are_exact(backend: Backend, name: str) -> None:
    values = np.array(COLUMNS[name], np.float32)
    exact = [Fraction(v) for v in values.tolist()]
    total, squares = sum(exact, Fraction(0)), sum((v * v for v in exact), Fraction(0))
    assert moments_of(backend, values).totals(0) == (total, squares)
    assert float(total) == math.fsum(values.tolist())
    for split in (0, 1, len(values) // 2):
        merged = moments_of(backend, values[split:]).merge(moments_of(backend, values[:split]))
        assert merged.totals(0) == (total, squares)
    moments = moments_of(backend, values)
    ((mean,), (variance,)) = moments.means_and_variances(np.array([len(values)]))
    assert mean == float(total / len(exact))
    assert variance == float(sum((v - total / len(exact)) ** 2 for v in exact) / len(exact))


def test_moments_of_long_columns_match_two_passes(backend: Backend) -> None:
    """At offset 1e6, Σx² - (Σx)²/n in float64 loses all digits; exact moments lose none."""
    values = (1e6 + np.random.default_rng(0).normal(size=(20_000, 3)) / 4).astype(np.float32)
    summary = backend.summarize(backend.to_device(values), np.zeros(3, np.int64), 0)
    means, variances = summary.moments.means_and_variances(summary.valid())
    for f, (mean, variance) in enumerate(zip(means, variances, strict=True)):
        assert mean == math.fsum(values[:, f].tolist()) / len(values)
        assert variance == pytest.approx(values[:, f].astype(float).var(), rel=1e-12)


def test_no_rows_have_no_moments(backend: Backend) -> None:
    empty = backend.summarize(
        backend.to_device(np.empty((0, 2), np.float32)), np.zeros(2, np.int64), 0
    )
    assert (empty.rows, empty.valid().tolist()) == (0, [0, 0])
    assert [empty.moments.totals(f) for f in range(2)] == [(0, 0), (0, 0)]
    assert ColumnSummary.empty(2).merge(empty).minimum.tolist() == [np.inf, np.inf]


def float32_sample(runs: int, length: int) -> Array:
    """Return ascending runs of consecutive float32 values, (runs, length)."""
    rng = np.random.default_rng(0)
    landmarks = [0, 1e-45, 1e-38, 2.0**-53, 2.0**-24, 1e-4, 0.41421356, 1, 3, 1e10, 1e38]
    below = -np.array([1e-42, 1e-38, 1e-10, 1e-4, 0.29289323, 0.5, 0.9, 0.9999])
    spread = 10.0 ** rng.uniform(-12, 38, runs - len(landmarks) - len(below))
    starts = np.concatenate([landmarks, below, spread]).astype(np.float32)
    steps = np.arange(length, dtype=np.int32)
    # As integers, the bits of float32 numbers of one sign are consecutive.
    bits = starts.view(np.int32)[:, None] + np.where(starts < 0, -1, 1)[:, None] * steps
    return np.ascontiguousarray(bits.astype(np.int32)).view(np.float32)


def exact_log1p(x: float) -> Decimal:
    with localcontext() as context:
        context.prec = 120
        return (1 + Decimal(x)).ln()


def test_log1p_is_accurate_to_a_few_units_of_float64() -> None:
    x = np.concatenate([float32_sample(60, 5).ravel(), np.float32([-0.99999994])])
    x = x[x != 0].astype(np.float64)
    for value, log in zip(x.tolist(), log1p(x).tolist(), strict=True):
        exact = exact_log1p(value)
        assert abs(Decimal(log) - exact) <= abs(exact) * Decimal(2.0**-50)
    assert log1p(np.array([0.0, -0.0])).tolist() == [0.0, 0.0]


def test_log1p_rounded_is_within_one_float32_step_and_monotone(backend: Backend) -> None:
    x = float32_sample(300, 400)
    result = x.copy()
    transform = FeatureTransform(*(np.full(400, v) for v in (np.float32(np.nan), 1, 0.0, 1.0)))
    backend.prepare(result, transform)
    reference = np.log1p(x.astype(np.float64)).astype(np.float32)
    steps = result.view(np.int32).astype(np.int64) - reference.view(np.int32)
    assert np.abs(steps).max() <= 1
    assert (np.diff(x, axis=1) > 0).all()
    assert (np.diff(result, axis=1) >= 0).all()


@njit
def numba_log1p(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Call numba's log1p as kernels do; Python cannot call it."""
    logs = np.empty_like(x)
    for i in range(x.size):
        logs[i] = yeo_johnson.log1p(x[i])
    return logs


def test_log1p_keeps_its_bits() -> None:
    """Its bits are part of every saved model, so its series and order must not change."""
    x = float32_sample(100, 20).ravel().astype(np.float64)
    assert numba_log1p(x).tobytes() == log1p(x).tobytes()
    steps = np.concatenate([np.arange(4096) / 64 - 0.984375, 0.4 + np.arange(2**15) * 2.0**-22])
    digest = hashlib.sha256(log1p(steps).tobytes()).hexdigest()
    assert digest[:16] == "5499c9bbe6f3cff9"


def test_draws_are_uniform_and_depend_only_on_seed_and_stream() -> None:
    draws = hashing.hash_uniform(7, 3, 20_000)
    assert draws.dtype == np.float64
    assert draws.min() >= 0
    assert draws.max() < 1
    assert (hashing.hash_uniform(7, 3, 20_000) == draws).all()
    assert (hashing.hash_uniform(7, 3, 31) == draws[:31]).all()
    for other in (hashing.hash_uniform(8, 3, 20_000), hashing.hash_uniform(7, 4, 20_000)):
        assert not np.isin(other, draws).any()
        assert abs(np.corrcoef(draws, other)[0, 1]) < 0.03
    assert abs(np.corrcoef(draws[1:], draws[:-1])[0, 1]) < 0.03
    shares = np.histogram(draws, 50, (0, 1))[0]
    assert ((shares - 400.0) ** 2 / 400).sum() < 100  # χ² of 49 degrees: 1 in 25,000 is above
    assert len(np.unique(hashing.hash_uniform(2**62, 0, 1000))) == 1000


def test_splitmix64_has_the_published_outputs() -> None:
    """Compare with the first outputs of the authors' C code from state 1234567."""
    states = np.array([(1234567 + i * 0x9E3779B97F4A7C15) % 2**64 for i in range(3)], np.uint64)
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert hashing.splitmix64(states).tolist() == expected


@pytest.mark.slow
@pytest.mark.parametrize(("n", "shards"), in_turn([1, 2, 5, 8, 256, 257], [1, 4], step=2))
def test_quantiles_equal_those_of_numpy(
    backend: Backend, place: Place, n: int, shards: int
) -> None:
    rng = np.random.default_rng(n)
    x = np.stack(
        [
            rng.normal(size=n),
            rng.integers(-2, 3, n),
            rng.normal(size=n) * 10.0 ** rng.integers(-42, 38, n),
            1e6 + rng.normal(size=n),
            -np.abs(rng.normal(size=n)),
            np.zeros(n),
            rng.choice([0.0, -0.0, 1e-45, -1e-45], n),
        ],
        axis=1,
    ).astype(np.float32)
    missing = rng.random(x.shape) < 0.2
    missing[0] = False
    with_missing = np.where(missing, np.float32(np.nan), x)
    probabilities = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
    for rows in (x, with_missing) if THOROUGH or shards == 1 else (with_missing,):
        executor, _ = place(rows, shards=shards)
        features = [3, 0, 1, 2, 4, 5, 6]
        result = quantiles(executor, backend.name, features, probabilities)
        expected = np.nanquantile(rows.astype(np.float64), probabilities, axis=0).T[features]
        # Between two ranks NumPy may start from the upper one, with another last bit.
        spread = np.nanmax(np.abs(rows), axis=0)[features].astype(np.float64)[:, None]
        assert (np.abs(result - expected) <= spread * 2.0**-51).all()
        at_ranks = [0, 5] if n != 257 or rows is with_missing else [0, 1, 2, 3, 5]
        np.testing.assert_array_equal(result[:, at_ranks], expected[:, at_ranks])
