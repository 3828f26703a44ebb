"""One pass over the columns is exact for any values: against rationals, bit for bit.

The numba kernel sums tiles of 512 values per lane in float64, window by window of exponents;
these columns have values inside a window, at its edges, and just beyond it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.helpers import THOROUGH, in_turn

from gpuseg.backends.backend import Backend
from gpuseg.backends.column_summary import KINDS, NO_ROW, ColumnSummary
from gpuseg.numerics.log1p import log1p

Array = npt.NDArray[Any]
Rng = np.random.Generator

SHAPES = (
    *((n, d) for n in (1, 31, 63, 64, 65, 257) for d in (1, 3, 17)),
    *((n, 16) for n in (511, 512, 513, 1100)),
    (8191, 1), (8192, 1), (8193, 1), (600, 32), (130, 64),
)  # fmt: skip
"""A row of the numba kernel's tile has 16 values, so a tile of one column has 8192 rows."""


def normal(rng: Rng, n: int, d: int) -> Array:
    return rng.normal(size=(n, d))


def offset(by: float) -> Callable[[Rng, int, int], Array]:
    return lambda rng, n, d: by * (1 + 1e-6 * rng.normal(size=(n, d)))


def mixed(lowest: float, highest: float) -> Callable[[Rng, int, int], Array]:
    return lambda rng, n, d: rng.normal(size=(n, d)) * 10 ** rng.uniform(lowest, highest, (n, d))


def subnormal(rng: Rng, n: int, d: int) -> Array:
    return rng.integers(-(2**23), 2**23, (n, d)) * 2.0**-149


def around_the_smallest(rng: Rng, n: int, d: int) -> Array:
    """Exponents of all windows whose lower edge is near the subnormal numbers, or among them."""
    return rng.integers(-(2**24), 2**24, (n, d)) * 2.0 ** rng.integers(-149, -100, (n, d))


def signed_zeros(rng: Rng, n: int, d: int) -> Array:
    return rng.choice([0.0, -0.0], (n, d))


def counts(rng: Rng, n: int, d: int) -> Array:
    return rng.poisson(2, (n, d))


def constant(rng: Rng, n: int, d: int) -> Array:
    return np.full((n, d), -7.1)


def edges(rng: Rng, n: int, d: int) -> Array:
    """Powers of two, and their neighbors, down to where a second and a third window begin."""
    powers = np.float32(2.0 ** -rng.integers(0, 64, (n, d)))
    toward = np.float32(rng.choice([0, 1, 2], (n, d))) * powers
    return rng.choice([-1, 1], (n, d)) * np.nextafter(powers, toward)


def two_scales(rng: Rng, n: int, d: int) -> Array:
    """A few tiny values: most lanes are done after one window, some are not."""
    return rng.normal(size=(n, d)) * np.where(rng.random((n, d)) < 0.01, 1e-12, 1)


def crowded(rng: Rng, n: int, d: int) -> Array:
    """The largest sums that a window may contain, and one odd value below or at its edge.

    The digits that float64 needs for the sums grow with the distance between the two exponents,
    which differs between columns: past the distance where a second window begins. The squares are
    rounded to multiples of 32: that of 2^24 - 7, which is 17 modulo 32, loses -15 each time.
    On a grid twice as coarse 2^24 - 17 would, 33 modulo 64, lose -31.
    """
    gaps = np.arange(d) % 13 + 12
    x = np.full((n, d), 2.0**24 - rng.choice([7, 17], d)) * rng.choice([-1, 1], d)
    x[n // 2] = (2.0**23 + 1) * 2.0**-gaps
    return x


def sprinkled(rng: Rng, n: int, d: int) -> Array:
    """NaN and infinity at random, everywhere in column 1, and at the end of column 2."""
    x = rng.normal(size=(n, d))
    some = rng.random((n, d)) < 0.1
    x[some] = rng.choice([np.nan, np.inf, -np.inf], some.sum())
    x[:, 1:2], x[:, 2:3] = np.nan, 1.0
    x[-1, 2:3] = -np.inf
    return x


COLUMNS = {
    "normal": normal,
    "offset 1e6": offset(1e6),
    "offset 1e30": offset(-1e30),
    "largest": offset(3.4e38),
    "mixed": mixed(-38, 38),
    "mixed somewhat": mixed(-10, 10),
    "subnormal": subnormal,
    "around the smallest": around_the_smallest,
    "zeros": lambda rng, n, d: np.zeros((n, d)),
    "signed zeros": signed_zeros,
    "counts": counts,
    "constant": constant,
    "edges": edges,
    "two scales": two_scales,
    "crowded": crowded,
    "sprinkled": sprinkled,
}


def shapes_of(name: str) -> Sequence[tuple[int, int]]:
    """Return all shapes, or by default every other one, and others for the next columns."""
    return SHAPES if THOROUGH else SHAPES[list(COLUMNS).index(name) % 2 :: 2]


def columns(name: str, n: int, d: int) -> Array:
    with np.errstate(over="ignore"):
        return COLUMNS[name](np.random.default_rng(n * d), n, d).astype(np.float32)


def totals_of(values: Array) -> tuple[Fraction, Fraction]:
    """Every float32 is an integer times 2^-149."""
    units = [int(u) for u in np.ldexp(values.astype(np.float64), 149)]
    return Fraction(sum(units), 2**149), Fraction(sum(u * u for u in units), 2**298)


def assert_exact(actual: ColumnSummary, x: Array, transform: Array, first_row: int) -> None:
    assert actual.rows == len(x)
    for f, code in enumerate(transform.tolist()):
        column = x[:, f]
        outside = (column <= -1) & np.isfinite(column) & (code == 1)
        kinds = (np.isnan(column), np.isinf(column), outside)
        for kind in range(len(KINDS)):
            rows = np.flatnonzero(kinds[kind])
            assert actual.counts[kind, f] == rows.size
            assert actual.firsts[kind, f] == (first_row + rows[0] if rows.size else NO_ROW)
        values = column[~np.any(kinds, axis=0)]
        values = log1p(values.astype(np.float64)).astype(np.float32) if code else values
        for bound, exact in (
            (actual.minimum[f], values.min(initial=np.inf)),
            (actual.maximum[f], values.max(initial=-np.inf)),
        ):
            assert bound == exact
            assert bound != 0 or not np.signbit(bound)
        assert actual.moments.totals(f) == totals_of(values)


@pytest.mark.slow
@pytest.mark.parametrize("name", COLUMNS)
def test_summary_of_any_columns_is_exact(backend: Backend, name: str) -> None:
    for n, d in shapes_of(name):
        x = columns(name, n, d)
        before = x.tobytes()
        none = np.zeros(d, np.int64)
        assert_exact(backend.summarize(backend.to_device(x), none, 10**10), x, none, 10**10)
        assert x.tobytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["normal", "mixed somewhat", "subnormal", "edges", "sprinkled"])
def test_summary_after_log1p_is_exact(backend: Backend, name: str) -> None:
    """As the only column, and together with columns that are not transformed."""
    for n, d in shapes_of(name):
        x = columns(name, n, d)
        before = x.tobytes()
        for transform in (np.ones(d, np.int64), np.arange(d) % 3 // 2):
            assert_exact(backend.summarize(backend.to_device(x), transform, 7), x, transform, 7)
        assert x.tobytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gap", "value"), in_turn(range(12, 30), [-(2.0**24) + 7, 2.0**24 - 7, 2.0**24 - 17])
)
def test_a_full_tile_loses_nothing(backend: Backend, gap: int, value: float) -> None:
    """As `crowded`, for every distance, in tiles of 512 values that are full to the last."""
    for scale in (2.0**-126, 1.0, 2.0**60):
        x = np.full((1024, 16), value * scale)
        x[::512] = np.sign(value) * (2.0**23 + 1) * 2.0**-gap * scale
        x = x.astype(np.float32)
        actual = backend.summarize(backend.to_device(x), np.zeros(16, np.int64), 0).moments
        expected = totals_of(x[:, 0])
        assert all(actual.totals(f) == expected for f in range(16))


@pytest.mark.parametrize("name", COLUMNS)
def test_a_row_adds_little_to_each_integer(backend: Backend, name: str) -> None:
    """At most 2^25, so that an int64 holds the sums of 2^38 rows, be they merged row by row."""
    for n, d in ((1, 17), (257, 3), (1100, 16)):
        actual = backend.summarize(
            backend.to_device(columns(name, n, d)), np.zeros(d, np.int64), 0
        ).moments
        for table in (actual.first, actual.second_high, actual.second_low):
            assert np.abs(table).max() <= n * 2**25


@pytest.mark.parametrize("d", [1, 3, 16, 17])
def test_summaries_of_parts_merge_to_that_of_all(backend: Backend, d: int) -> None:
    """Split anywhere, so that rows begin at any address."""
    x, transform = columns("two scales", 700, d), np.zeros(d, np.int64)
    x[13, 0], x[500, d - 1] = np.nan, np.inf
    for cuts in ((1, 64), (100, 699), (350, 351)):
        ends = [0, *cuts, len(x)]
        merged = ColumnSummary.empty(d)
        for a, b in reversed(list(pairwise(ends))):
            merged = merged.merge(backend.summarize(backend.to_device(x[a:b]), transform, a))
        assert_exact(merged, x, transform, 0)
