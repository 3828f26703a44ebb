"""numba's kernels count no references in their loops: counts cost more than the work."""

import re
from typing import Any

import numpy as np
import pytest

import gpuseg
from gpuseg.backends.numba.dbscan import border_assignment, connect_core, core_counts, grid_queries
from gpuseg.backends.numba.kmeans import lloyd

DBSCAN_KERNELS = {
    "core counts": (core_counts.count_within_space, 3),
    "connections": (connect_core.connect_within_space, 3),
    "border rows": (border_assignment.assign_border, 3),
    "core counts in a grid": (grid_queries.count_neighbors, 2),
    "border rows in a grid": (grid_queries.assign_border, 2),
}
"""Kernels, and a number of features for which they run."""


@pytest.mark.slow
@pytest.mark.parametrize("name", DBSCAN_KERNELS)
def test_dbscan_counts_no_references_in_loops(name: str) -> None:
    kernel, n_features = DBSCAN_KERNELS[name]
    x = np.random.default_rng(0).normal(size=(500, n_features)).astype(np.float32)
    gpuseg.DBSCAN(0.3, backend="numba").fit(x)
    blocks = blocks_of(llvm_code(kernel))
    counted = [block for block in blocks if re.search(r"call.*@NRT_incref", block)]
    assert len(counted) <= 1, "references are counted before the loops"


TILE_FUNCTIONS = (
    "load_tile",
    "score_tile",
    "label_tile",
    "certify_tile",
    "exact_nearest",
    "failing_rows",
    "add_rows",
)
"""Functions that the k-means kernel calls for each tile of rows."""


@pytest.mark.slow
def test_functions_of_a_tile_count_no_references() -> None:
    """A function that LLVM has put into its caller would count its references there."""
    x = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    gpuseg.KMeans(4, backend="numba", random_state=0).fit(x)
    symbol = re.compile("|".join(f"{len(name)}{name}B" for name in TILE_FUNCTIONS))
    functions = llvm_code(lloyd.lloyd).split("\ndefine ")[1:]
    of_a_tile = [function for function in functions if symbol.search(function.split("\n")[0])]
    assert len(of_a_tile) > len(TILE_FUNCTIONS) / 2
    assert not any("NRT_incref" in function for function in of_a_tile)
    kernel = next(function for function in functions if "5lloyd5lloydB" in function.split("\n")[0])
    counted = [block for block in blocks_of(kernel) if re.search(r"call.*@NRT_incref", block)]
    assert len(counted) <= 3, "references are counted before the loops"


def blocks_of(code: str) -> list[str]:
    """Return the basic blocks of LLVM code."""
    return re.split(r"\n(?=[\w.$\"]+:)", code)


def llvm_code(kernel: Any) -> str:
    """Return the LLVM code of a compiled kernel; one from numba's cache has no code to read."""
    fresh = type(kernel)(kernel.py_func, targetoptions=dict(kernel.targetoptions))
    (signature,) = kernel.signatures[:1]
    fresh.compile(signature)
    return str(fresh.inspect_llvm(signature))
