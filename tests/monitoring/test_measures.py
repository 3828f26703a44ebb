"""Measures of drift: equal to SciPy's on the binned data, and to a plain PSI."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ks_2samp, wasserstein_distance

from gpuseg.monitoring.measures import (
    in_ranges,
    ks,
    ks_chance,
    psi,
    psi_chance,
    ranges_of,
    wasserstein,
    wasserstein_chance,
)

N_BINS = 256
Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]

DATA: dict[str, tuple[Draw, Draw, int, int]] = {
    "normal": (lambda g, n: g.normal(size=n), lambda g, n: g.normal(0.3, 1, n), 5000, 4000),
    "wider": (lambda g, n: g.normal(size=n), lambda g, n: g.normal(0, 2, n), 3000, 3000),
    "far": (lambda g, n: g.normal(size=n), lambda g, n: g.normal(9, 1, n), 2000, 500),
    "same": (lambda g, n: g.normal(size=n), lambda g, n: g.normal(size=n), 1000, 1000),
    "lognormal": (lambda g, n: g.lognormal(0, 2, n), lambda g, n: g.lognormal(1, 2, n), 2000, 900),
    "huge": (lambda g, n: 1e30 * g.normal(size=n), lambda g, n: 1e30 * g.random(n), 900, 900),
    "tiny": (lambda g, n: 1e-30 * g.normal(size=n), lambda g, n: 1e-30 * g.random(n), 900, 900),
    "uniform": (lambda g, n: g.random(n), lambda g, n: g.random(n) ** 2, 3000, 70),
    "heavy tails": (lambda g, n: g.standard_cauchy(n), lambda g, n: g.normal(size=n), 2000, 2000),
    "two modes": (
        lambda g, n: g.normal(6 * g.integers(0, 2, n)), lambda g, n: g.normal(6, 1, n), 2000, 999,
    ),
    "poisson": (lambda g, n: g.poisson(3, n), lambda g, n: g.poisson(5, n), 2000, 3000),
    "two values": (lambda g, n: g.random(n) < 0.1, lambda g, n: g.random(n) < 0.4, 500, 700),
    "ties": (
        lambda g, n: np.maximum(g.normal(size=n), 0), lambda g, n: np.maximum(g.normal(size=n), 1),
        2000, 2000,
    ),
    "constant": (lambda g, n: np.full(n, 7.0), lambda g, n: np.full(n, 7.0), 100, 50),
    "no longer constant": (lambda g, n: np.full(n, 7.0), lambda g, n: g.normal(7, 1, n), 100, 50),
    "now constant": (lambda g, n: g.normal(7, 1, n), lambda g, n: np.full(n, 7.0), 100, 50),
    "few rows": (lambda g, n: g.normal(size=n), lambda g, n: g.normal(size=n), 7, 5),
    "one row": (lambda g, n: g.normal(size=n), lambda g, n: g.normal(size=n), 1, 3),
    "few and many": (lambda g, n: g.normal(size=n), lambda g, n: g.normal(size=n), 20, 9000),
    "ranks": (lambda g, n: np.arange(n), lambda g, n: np.arange(n) * 1.1, 1000, 1000),
}  # fmt: skip


def binned(name: str) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return counts before and now by bin, and the positions of the bins."""
    draw, draw_now, n, m = DATA[name]
    rng = np.random.default_rng(len(name))
    x, y = draw(rng, n).astype(np.float64), draw_now(rng, m).astype(np.float64)
    edges = np.quantile(x, np.arange(1, N_BINS) / N_BINS, method="inverted_cdf")
    before, now = (
        np.bincount(np.searchsorted(edges, values), minlength=N_BINS) for values in (x, y)
    )
    sums = np.bincount(np.searchsorted(edges, x), x, N_BINS)
    empty = np.append(edges, np.nextafter(edges[-1], np.inf))
    return before, now, np.where(before > 0, sums / np.maximum(before, 1), empty)


def plain_psi(before: list[int], now: list[int]) -> float:
    pairs = [(b, a) for b, a in zip(before, now, strict=True) if b or a]
    n, m, k = sum(before), sum(now), len(pairs)
    total = 0.0
    for b, a in pairs:
        p, q = (b + 0.5) / (n + k / 2), (a + 0.5) / (m + k / 2)
        total += (p - q) * math.log(p / q)
    return total


@pytest.mark.parametrize("name", DATA)
def test_measures_equal_those_of_scipy_and_a_plain_psi(name: str) -> None:
    before, now, positions = binned(name)
    bins = np.arange(N_BINS)
    of_scipy = ks_2samp(np.repeat(bins, before), np.repeat(bins, now), method="asymp").statistic
    assert ks(before, now) == pytest.approx(of_scipy, abs=1e-12)
    of_scipy = wasserstein_distance(positions, positions, before, now)
    assert wasserstein(before, now, positions) == pytest.approx(of_scipy, rel=1e-9, abs=1e-40)
    ranges = ranges_of(before)
    shares = (in_ranges(before, ranges), in_ranges(now, ranges))
    assert psi(*shares) == pytest.approx(plain_psi(*(s.tolist() for s in shares)), abs=1e-12)
    assert (np.diff(ranges) >= 0).all()
    assert shares[0].sum() == before.sum()
    assert shares[1].sum() == now.sum()


def test_many_features_are_measured_at_once() -> None:
    data = [binned(name) for name in DATA]
    before, now, positions = (np.stack(each) for each in zip(*data, strict=True))
    for i, one in enumerate(data):
        assert ks(before, now)[i] == ks(one[0], one[1])
        assert wasserstein(before, now, positions)[i] == wasserstein(*one)
        ranges = ranges_of(before)
        both = in_ranges(before, ranges)[i], in_ranges(now, ranges)[i]
        assert psi(in_ranges(before, ranges), in_ranges(now, ranges))[i] == psi(*both)


def test_ranges_have_about_as_many_rows_each() -> None:
    before, _, _ = binned("normal")
    rows = in_ranges(before, ranges_of(before))
    assert abs(rows - before.sum() / 10).max() <= before.max()


def test_no_rows_are_no_drift() -> None:
    rows, none = np.array([3, 4]), np.zeros(2, np.int64)
    positions = np.array([0.0, 1.0])
    for before, now in ((rows, none), (none, rows), (none, none)):
        assert psi(before, now) == ks(before, now) == wasserstein(before, now, positions) == 0
        assert psi_chance(before, now) == ks_chance(before, now) == 0
        assert wasserstein_chance(before, now, positions) == 0


@pytest.mark.parametrize(("n", "m"), [(1000, 1000), (5000, 700)])
@pytest.mark.parametrize("skew", [False, True])
def test_chance_is_the_mean_of_samples_of_one_distribution(n: int, m: int, skew: bool) -> None:
    rng = np.random.default_rng(3)
    shares = np.full(N_BINS, 1 / N_BINS)
    positions = np.exp(np.linspace(0, 3, N_BINS)) if skew else np.linspace(0, 1, N_BINS)
    before, now = rng.multinomial(n, shares, 400), rng.multinomial(m, shares, 400)
    ranges = np.broadcast_to(np.arange(N_BINS) * 10 // N_BINS, before.shape)
    both = in_ranges(before, ranges), in_ranges(now, ranges)
    assert psi(*both).mean() == pytest.approx(psi_chance(*both).mean(), rel=0.06)
    assert ks(before, now).mean() == pytest.approx(ks_chance(before, now).mean(), rel=0.1)
    measured = wasserstein(before, now, positions).mean()
    chance = wasserstein_chance(before, now, positions).mean()
    assert measured == pytest.approx(chance, rel=0.06)
