"""Decoded columns of every type, written among the features and held against NumPy's rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.backends.cuda.decoded import TYPES, Column, DecodedRows
from gpuseg.backends.cuda.launcher import Launcher

Array = npt.NDArray[Any]

_BEFORE = 3
"""Values that lie before the first one that is meant."""

_ROUNDED_TWICE = 2**60 + 2**36 + 1
"""Another float32 when it is rounded to float64 first."""

_NANS = {
    "float32": np.array([0x7FC00000, 0xFFC00001, 0x7F80BEEF, 0xFFABCDEF], np.uint32),
    "float64": np.array([
        0x7FF8 << 48, 0xFFF8 << 48, 0x7FF0_0000_0000_0001, 0xFFFA_BCDE_F123_4567,
    ], np.uint64),
}  # fmt: skip
"""Quiet and signalling, of either sign, with something in their bits."""


def try_decoded(launcher: Launcher, n: int, d: int) -> None:
    """Write n rows of d features, the lower half of them beside rows that are there already."""
    rng = np.random.default_rng(n * d)
    rows = slice(n // 2, n)
    m, width = n - n // 2, d + 2
    there = DecodedRows(launcher, n, width, weighted=True)
    weight = rng.lognormal(0, 3, m)
    before = np.zeros((n // 2, width), np.float32)
    if n // 2:
        everything = np.ascontiguousarray(before.T)
        there.write(slice(0, n // 2), [], everything, range(width), np.ones(n // 2))
    columns, expected, beyond = [], np.empty((m, width), np.float32), 0
    for f in range(d):
        name = TYPES[(f + n) % len(TYPES)]
        values, present = _values(rng, name, m + _BEFORE), rng.random(m + _BEFORE) < 0.8
        expected[:, f] = _rounded(values, present)[_BEFORE:]
        finite = np.isfinite(values[_BEFORE:]) & present[_BEFORE:]
        beyond += int((np.isinf(expected[:, f]) & finite).sum())
        columns.append(_column(launcher, name, values, present, f, d if f == 0 else None))
    expected[:, d] = np.isnan(expected[:, 0])
    expected[:, d + 1] = rng.normal(size=m)
    heavy = _column(launcher, "float64", np.append(np.zeros(_BEFORE), weight), None, None, None)
    host = np.ascontiguousarray(expected[:, d + 1 :].T)
    n_beyond = there.write(rows, [*columns, heavy], host, [d + 1])
    assert n_beyond == beyond, "values beyond float32"
    with launcher.stream():
        x, heaviness = launcher.to_host(there.x), launcher.to_host(there.weight)
    assert x.tobytes() == np.concatenate([before, expected]).tobytes(), "columns"
    assert heaviness.tobytes() == np.append(np.ones(n // 2), weight).tobytes(), "weights"
    _try_weights(launcher)


def _try_weights(launcher: Launcher) -> None:
    """No weights: what is negative, missing, not finite, or beyond float32."""
    largest = float(np.finfo(np.float32).max)
    values = np.array([0.0, -0.0, -1e-300, np.nan, np.inf, largest, np.nextafter(largest, 1e39), 7])
    present = np.arange(8) < 7
    column = _column(launcher, "float64", np.append(np.zeros(_BEFORE), values), np.append(
        np.ones(_BEFORE, bool), present), None, None)  # fmt: skip
    n_refused = DecodedRows(launcher, 8, 1, weighted=True).write(slice(0, 8), [column])
    assert n_refused == 5, "refused weights"


def _values(rng: np.random.Generator, name: str, m: int) -> Array:
    """Return values of a type, every other one of them out of the ordinary."""
    dtype = np.dtype(name)
    if name == "bool":
        return rng.random(m) < 0.5
    if dtype.kind in "iu":
        ends = np.iinfo(dtype)
        values = rng.integers(ends.min, ends.max, m, dtype, endpoint=True)
        special = np.array([0, 1, ends.min, ends.max, min(_ROUNDED_TWICE, ends.max)], dtype)
    else:
        with np.errstate(over="ignore", under="ignore"):
            values = (rng.normal(size=m) * 10.0 ** rng.uniform(-50, 42, m)).astype(dtype)
        nans = _NANS[name].view(dtype)
        special = np.concatenate([nans, np.array([np.inf, -np.inf, 0.0, -0.0], dtype)])
    return np.where(np.arange(m) % 2, np.resize(special, m), values)


@np.errstate(over="ignore", under="ignore", invalid="ignore")
def _rounded(values: Array, present: Array) -> Array:
    """Return values as float32, as the Arrow reader does; whole numbers by way of float64."""
    wide = values if values.dtype == np.float32 else values.astype(np.float64)
    rounded = wide.astype(np.float32)
    rounded[~present] = np.nan
    return rounded


def _column(
    launcher: Launcher,
    name: str,
    values: Array,
    present: Array | None,
    feature: int | None,
    flag: int | None,
) -> Column:
    """Move a column, and what is there of it, to the device."""
    with launcher.stream():
        raw = launcher.to_device(values.view(np.uint8).reshape(-1).copy())
        bits = None if present is None else np.packbits(present, bitorder="little")
        mask = None if bits is None else launcher.to_device(bits)
    return Column(raw, name, feature, mask, _BEFORE, flag)
