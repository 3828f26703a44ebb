"""Rows sorted by keys."""

from __future__ import annotations

import numpy as np

from gpuseg.numerics.sort_keys import sorted_rows


def test_rows_are_those_of_a_stable_argsort() -> None:
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    values[::7], values[::11], values[::13] = 0.0, -0.0, np.round(values[::13])
    values[[1, 2, 3, 4]] = np.inf, -np.inf, 1e-45, -1e-45
    np.testing.assert_array_equal(sorted_rows(values), np.argsort(values, kind="stable"))
