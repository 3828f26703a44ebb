"""numba's kernels of DBSCAN count no references in their loops: counts cost more than the work."""

import re

import numpy as np
import pytest

import gpuseg
from gpuseg.backends.numba.dbscan import border_assignment, connect_core, core_counts, grid_queries

KERNELS = {
    "core counts": (core_counts.count_within_space, 3),
    "connections": (connect_core.connect_within_space, 3),
    "border rows": (border_assignment.assign_border, 3),
    "core counts in a grid": (grid_queries.count_neighbors, 2),
    "border rows in a grid": (grid_queries.assign_border, 2),
}
"""Kernels, and a number of features for which they run."""


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", KERNELS)
def test_no_references_are_counted_in_loops(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, n_features = KERNELS[name]
    x = np.random.default_rng(0).normal(size=(500, n_features)).astype(np.float32)
    gpuseg.DBSCAN(0.3, backend="numba").fit(x)
    fresh = type(kernel)(kernel.py_func, targetoptions=dict(kernel.targetoptions))
    (signature,) = kernel.signatures[:1]
    fresh.compile(signature)  # a kernel from numba's cache has no code to read
    code = fresh.inspect_llvm(signature)
    loops = re.split(r"\n(?=[\w.$\"]+:)", code)
    counted = [block for block in loops if re.search(r"call.*@NRT_incref", block)]
    assert len(counted) <= 1, "references are counted before the loops"
