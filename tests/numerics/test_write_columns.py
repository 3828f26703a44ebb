"""Columns become rows of float32, whatever fits in the cache."""

from __future__ import annotations

import numpy as np

from gpuseg.numerics.to_float32 import write_columns


def test_columns_of_several_blocks_are_written() -> None:
    n_rows, numbers = 70_001, [0, 2, 3]
    values = np.random.default_rng(0).normal(size=(3, n_rows))
    rows = np.full((n_rows, 4), 7, np.float32)
    write_columns(rows, list(zip(numbers, values, strict=True)))
    assert np.array_equal(rows[:, numbers], values.T.astype(np.float32))
    assert np.all(rows[:, 1] == 7)


def test_no_rows_and_no_columns() -> None:
    write_columns(np.empty((0, 1), np.float32), [(0, np.empty(0))])
    write_columns(np.empty((3, 0), np.float32), [])
