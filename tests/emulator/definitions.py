"""Definitions of CUDA's intrinsics in NumPy and Python, for the kernels of `examples`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


# ---- Collective operations


def shuffle_sources(threads: int, by: int, width: int) -> list[Array]:
    """Return the source thread of each thread, for each of the four shuffles."""
    t = np.arange(threads)
    first = t // width * width
    up = np.where(t - by >= first, t - by, t)
    down = np.where(t + by < first + width, t + by, t)
    return [first + by % width, up, down, t ^ by]


def votes(x: Array) -> Array:
    """Return the votes and reductions of the threads of a block."""
    block = [np.count_nonzero(x & 2), (x > 97).any(), (x >= 0).all()]
    rows = []
    for t, value in enumerate(x):
        warp, half = x[t // 32 * 32 :][:32], x[t // 16 * 16 :][:16] - 50
        rows.append(
            [
                *(
                    _mask(warp & 1),
                    (half > 40).any(),
                    (half < 40).all(),
                    _mask(warp % 5 == value % 5),
                ),
                *(warp.sum(), half.min(), half.max()),
                *(half.view(np.uint32).min(), half.view(np.uint32).max()),
                *block,
            ]
        )
    return np.array(rows, np.int64).astype(np.int32)


def _mask(lanes: Iterable[Any]) -> int:
    return sum(1 << lane for lane, is_in in enumerate(lanes) if is_in)


def atomics(x: Array) -> tuple[list[int], list[int], list[int]]:
    """Return the results of many threads' atomic operations."""
    numbers: list[int] = x.tolist()
    smallest, largest, total = min(numbers), max(numbers), sum(numbers)
    every, common = int(np.bitwise_or.reduce(x)), int(np.bitwise_and.reduce(x))
    return (
        [total, smallest, largest, every, common, numbers[7]],
        [total, smallest, largest, 5],
        [total << 30, smallest << 40, largest << 40, smallest, largest, 3 * len(numbers)],
    )


# ---- Products of matrices: the elements of each lane


def fragments_of_a(a: Array) -> Array:
    """Return the registers [...,32,4] of the lanes that hold a [...,16,16], as PTX defines it."""
    lane, i = np.arange(32)[:, None], np.arange(4)[None, :]
    return _pairs(a, lane // 4 + i % 2 * 8, lane % 4 * 2 + i // 2 * 8)


def fragments_of_b(b: Array) -> Array:
    """Return the registers [...,32,2] of the lanes that hold b [...,16,8]."""
    lane, i = np.arange(32)[:, None], np.arange(2)[None, :]
    return _pairs(np.swapaxes(b, -1, -2), lane // 4, lane % 4 * 2 + i * 8)


def positions_of_c() -> tuple[Array, Array]:
    """Return row and column of each of the four numbers that a lane holds of C or D [16,8]."""
    lane, i = np.arange(32)[:, None], np.arange(4)[None, :]
    return lane // 4 + i // 2 * 8, lane % 4 * 2 + i % 2


def _pairs(matrix: Array, rows: Array, columns: Array) -> Array:
    """Return the elements at these positions, with the next of its row in the upper half."""
    bits = bf16(matrix.astype(np.float32))
    pairs: Array = bits[..., rows, columns] | bits[..., rows, columns + 1] << 16
    return pairs


def product_bound(magnitude: Array) -> Array:
    """Return the error bound of an element, from the sum of the magnitudes of its terms."""
    return np.where(magnitude > 0, 18 * 2.0**-23 * magnitude + 2.0**-126, 0)


# ---- Arithmetic


def numbers(dtype: type[np.floating[Any]]) -> tuple[Array, Array]:
    """Return pairs of numbers of all magnitudes, and special pairs that are hard to round."""
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    span = 40 if dtype is np.float32 else 300
    wide = np.ldexp(rng.normal(size=(2, 400)), rng.integers(-span, span, (2, 400)))
    close = 1 + rng.normal(size=(2, 100)) * 1e-3
    special: list[Any] = [0, 1, -1, 0.5, -2.5, 1 / 3, 1e-30, info.max, -info.max, info.tiny]
    special += [info.smallest_subnormal, 1e18]
    pairs = np.array(list(itertools.product(special, repeat=2))).T
    table = np.concatenate([wide, pairs, close], axis=1).astype(dtype)
    return table[0], table[1]


def rounding(a: Array, b: Array) -> list[Array]:
    """Return + and × and √ of float32, each rounded to nearest, down, up; then two steps in one.

    Sums and products come from exact fractions; NumPy's own operations round to nearest.
    """
    exact_a, exact_b = (list(map(Fraction, part.tolist())) for part in (a, b))
    sums = [x + y for x, y in zip(exact_a, exact_b, strict=True)]
    products = [x * y for x, y in zip(exact_a, exact_b, strict=True)]
    roots = np.sqrt(np.abs(a))
    # The square shows whether a root was rounded up; the difference stands for the exact root.
    beyond = [Fraction(r) ** 2 - abs(x) for r, x in zip(roots.tolist(), exact_a, strict=True)]
    exact_roots = [Fraction(r) - d for r, d in zip(roots.tolist(), beyond, strict=True)]
    down = _directed(a + b, sums, False)
    down[(a == -b) & (a != 0)] = -0.0  # as IEEE 754 has it
    return [
        *(a + b, down, _directed(a + b, sums, True)),
        *(a * b, _directed(a * b, products, False), _directed(a * b, products, True)),
        *(roots, _directed(roots, exact_roots, False), _directed(roots, exact_roots, True)),
        *(a * b + a, a * b - b),
    ]


def _directed(nearest: Array, exact: Sequence[Fraction], up: bool) -> Array:
    """Return the results rounded down or up, from those rounded to nearest."""

    def wrong(value: float, right: Fraction) -> bool:
        if np.isinf(value):
            return (value > 0) != up
        return value < right if up else value > right

    where = [wrong(value, right) for value, right in zip(nearest.tolist(), exact, strict=True)]
    return np.where(where, np.nextafter(nearest, np.float32(np.inf if up else -np.inf)), nearest)


def bf16(x: Array) -> Array:
    """Return the bits of the bfloat16 nearest to float32 numbers, ties to even.

    Of the two neighbors, the one with the smaller magnitude has the upper half of the number's
    bits. Beyond the largest, what would be the next number counts as infinity.
    """
    inner = x.view(np.uint32) >> 16
    to_inner = np.abs(x.astype(np.float64) - _of_bf16(inner))
    to_outer = np.abs(_of_bf16(inner + 1) - x.astype(np.float64))
    outer = (to_outer < to_inner) | ((to_outer == to_inner) & (inner % 2 == 1))
    nearest = np.where(np.isfinite(x) & outer, inner + 1, inner)
    return np.where(np.isnan(x), 0x7FFF, nearest).astype(np.uint32)


def _of_bf16(bits: Array) -> Array:
    """Return bfloat16 numbers as float64, with infinity as the power of two that comes next."""
    values = (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return np.where(np.isinf(values), np.copysign(2.0**128, values), values)


def fused(a: Array, b: Array) -> list[float]:
    """Return a × b + a, rounded once; NaN where that overflows."""
    exact = [Fraction(x) * Fraction(y) + Fraction(x) for x, y in zip(a, b, strict=True)]
    return [float(value) if abs(value) < 1e308 else np.nan for value in exact]


def same_bits(a: Array, b: Array) -> bool:
    """Return whether numbers are equal, including signs of zeros; all NaN are equal."""
    signs_a, signs_b = (np.signbit(part) | np.isnan(part) for part in (a, b))
    return np.array_equal(a, b, equal_nan=True) and np.array_equal(signs_a, signs_b)


def bits(x: int, y: int) -> list[int]:
    """Return the results of the bit intrinsics for two integers of 64 bits."""
    low = x & 0xFFFFFFFF
    return [
        *(low.bit_count(), x.bit_count(), (low & -low).bit_length(), (x & -x).bit_length()),
        *(32 - low.bit_length(), 64 - x.bit_length(), int(f"{low:032b}"[::-1], 2)),
        *(low * (y & 0xFFFFFFFF) >> 32, x * y >> 64, low & 0x7F7FFFFF, x & 0x7FEFFFFFFFFFFFFF),
    ]
