"""Transforms beyond scaling: Yeo-Johnson, its likelihood, and projection.

One test body for all backends, against scipy, exact rationals, or the formula of the protocol.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from gpuseg.backends.backend import Backend
from gpuseg.backends.feature_transform import FeatureTransform, Projection
from gpuseg.numerics.reproducible_sums import finer_magic, grid_magic
from gpuseg.numerics.sum_grid import SumGrid
from gpuseg.numerics.yeo_johnson import LARGEST, expm1, inverse_yeo_johnson, yeo_johnson

Array = npt.NDArray[Any]

POWERS = (-3.0, -1e-3, 0.0, 1e-9, 0.5, 1.0, 1.7, 2.0, 2.0 + 1e-12, 5.0)
SIZES = ((1, 1), (31, 3), (33, 2), (255, 1), (257, 17))


def values(n: int) -> Array:
    """Values of both signs and of all magnitudes, from tiny to beyond float32's integers."""
    rng = np.random.default_rng(n)
    x = rng.normal(size=n) * 10.0 ** rng.uniform(-12, 8, n)
    x[: min(n, 3)] = [0.0, -0.0, -1.0][: min(n, 3)]
    return x.astype(np.float32)


def two_grids(rows: int, largest: Array) -> Array:
    coarse = np.vectorize(lambda bound: grid_magic(rows, bound))(largest)
    return np.array([coarse, np.vectorize(lambda magic: finer_magic(rows, magic))(coarse)])


def test_expm1_is_that_of_the_library_to_a_few_units() -> None:
    y = np.concatenate([values(5000).astype(np.float64), np.linspace(-50, 50, 4001), [0.0]])
    y = y[np.abs(y) < LARGEST]
    np.testing.assert_allclose(expm1(y), np.expm1(y), rtol=8e-16)
    assert np.isnan(expm1(np.array([np.nan]))[0])
    assert expm1(np.array([1e9, -1e9])).tolist() == [expm1(np.array([700.0]))[0], -1.0]


@pytest.mark.parametrize("power", POWERS)
def test_yeo_johnson_is_scipys_and_can_be_undone(power: float) -> None:
    x = values(4000).astype(np.float64)
    x = x[np.abs(x) < 1e6]
    actual = yeo_johnson(x, power)
    kept = np.isfinite(actual)
    np.testing.assert_allclose(actual[kept], stats.yeojohnson(x, power)[kept], rtol=2e-9)
    assert (np.diff(actual[np.argsort(x)]) >= 0).all()
    near = np.abs(x) < 20
    np.testing.assert_allclose(
        inverse_yeo_johnson(actual, power)[near], x[near], rtol=1e-6, atol=1e-15
    )


@pytest.mark.parametrize(("n", "d"), SIZES)
def test_prepare_applies_the_powers(backend: Backend, n: int, d: int) -> None:
    x = np.stack([np.roll(values(n), f) for f in range(d)], axis=1)
    power = np.resize(POWERS, d)
    transform = np.arange(d) % 3  # none, log1p, Yeo-Johnson
    x[:, transform == 1] = np.abs(x[:, transform == 1])
    x[n // 2] = np.nan
    shift, scale = np.arange(d) / 8, np.exp2(-np.arange(d))
    expected = x.astype(np.float64)
    with np.errstate(over="ignore"):
        for f in np.flatnonzero(transform == 2):
            expected[:, f] = yeo_johnson(x[:, f].astype(np.float64), power[f])
        for f in np.flatnonzero(transform == 1):
            ones = yeo_johnson(x[:, f].astype(np.float64), 0.0)  # log1p above 0
            expected[:, f] = ones.astype(np.float32)
        expected = ((expected - shift) / scale).astype(np.float32)
        on_device = backend.to_device(x.copy())
        fill = np.full(d, np.nan, np.float32)
        how = FeatureTransform(fill, transform, shift, scale, power=power)
        assert backend.prepare(on_device, how) is on_device
    np.testing.assert_array_equal(backend.to_host(on_device), expected)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "d"), SIZES)
def test_gram_is_exact_up_to_its_grids(backend: Backend, n: int, d: int) -> None:
    rng = np.random.default_rng(n)
    x = (rng.normal(size=(n, d)) * 10.0 ** np.arange(d) + 1e3).astype(np.float32)
    mean = x.astype(np.float64).mean(axis=0)
    largest = np.abs(x - mean).max(axis=0)
    grids = two_grids(n, np.outer(largest, largest))
    on_device = backend.to_device(x)
    actual = backend.gram(on_device, mean, grids)
    parts = backend.gram(on_device[: n // 2], mean, grids) + backend.gram(
        on_device[n // 2 :], mean, grids
    )
    np.testing.assert_array_equal(actual, parts)
    assert not np.tril(actual, -1).any()
    offset = x - mean
    for i in range(d):
        for j in range(i, d):
            terms = SumGrid.split(offset[:, i] * offset[:, j], grids[:, i, j])
            assert actual[:, i, j].tolist() == terms.sum(axis=1).tolist()
            exact = sum(Fraction(a * b) for a, b in zip(offset[:, i], offset[:, j], strict=True))
            bound = 2.0**-50 * n * largest[i] * largest[j]
            assert abs(actual[0, i, j] + actual[1, i, j] - float(exact)) <= bound


@pytest.mark.slow
@pytest.mark.parametrize(("n", "d"), SIZES)
def test_power_sums_add_up_the_transforms(backend: Backend, n: int, d: int) -> None:
    x = np.stack([np.clip(np.roll(values(n), f), -1e3, 1e3) for f in range(d)], axis=1)
    powers, feature = np.array(POWERS[:-1]), d - 1
    column = x[:, feature].astype(np.float64)
    t = np.array([yeo_johnson(column, power) for power in powers])
    origin = t.mean(axis=1)
    logs = np.sign(column) * np.log1p(np.abs(column))
    largest = np.abs(t - origin[:, None]).max(axis=1) + 1
    grids = two_grids(n, np.concatenate([largest, largest**2, [np.abs(logs).max() + 1]]))
    on_device = backend.to_device(x)
    actual = backend.power_sums(on_device, feature, powers, origin, grids)
    halves = [
        backend.power_sums(part, feature, powers, origin, grids)
        for part in (on_device[: n // 3], on_device[n // 3 :])
    ]
    np.testing.assert_array_equal(actual, halves[0] + halves[1])
    off = t - origin[:, None]
    for level, terms in enumerate(
        SumGrid.split(np.concatenate([off, off * off]), grids[:, :-1, None])
    ):
        np.testing.assert_array_equal(actual[level, :-1], terms.sum(axis=1))
    assert actual[:, -1].sum() == pytest.approx(logs.sum(), rel=1e-12, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("p", [1, 3, 8])
def test_projection_is_the_sum_in_order(backend: Backend, p: int) -> None:
    rng = np.random.default_rng(p)
    for n in (1, 33, 257):
        x = (rng.normal(size=(n, 8)) * 100 + 7).astype(np.float32)
        mean, components = rng.normal(size=8), rng.normal(size=(p, 8))
        total = np.zeros((n, p))
        for f in range(8):
            total += (x[:, f] - mean[f])[:, None] * components[:, f]
        how = replace(FeatureTransform.identity(8), projection=Projection(mean, components))
        actual = backend.to_host(backend.prepare(backend.to_device(x.copy()), how))
        np.testing.assert_array_equal(actual, total.astype(np.float32))
        unit = backend.prepare(backend.to_device(x.copy()), replace(how, unit=True))
        lengths = np.linalg.norm(backend.to_host(unit).astype(np.float64), axis=1)
        np.testing.assert_allclose(lengths, 1, rtol=1e-6)


@pytest.mark.parametrize(("n", "d"), SIZES)
def test_distance_sums_are_those_of_the_formula(backend: Backend, n: int, d: int) -> None:
    rng = np.random.default_rng(n)
    x, points = (rng.normal(size=(rows, d)).astype(np.float32) for rows in (n, 45))
    x[: min(n, 9)] = points[: min(n, 9)]
    starts = np.unique([0, n // 5, n // 2, n])
    magic = grid_magic(n, 100.0)
    square = np.zeros((n, 45), np.float32)
    for f in range(d):
        square += (x[:, f, None] - points[:, f]) ** 2
    rounded = (np.sqrt(square).astype(np.float64) + magic) - magic
    expected = np.add.reduceat(rounded, starts[:-1], axis=0)
    on_device = backend.to_device(x)
    np.testing.assert_array_equal(backend.distance_sums(on_device, starts, points, magic), expected)
    parts = [
        backend.distance_sums(on_device[a:b], np.array([0, b - a]), points, magic)
        for a, b in itertools.pairwise(starts)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), expected)
