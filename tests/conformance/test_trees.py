"""Splits of decision trees: backends against the specification, the latter against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.backends.numpy.trees import NumpyTrees

CASES = [(1, 1, 1, 1), (2, 1, 2, 1), (40, 3, 4, 1), (40, 3, 4, 25), (257, 5, 3, 10), (600, 2, 9, 3)]


def a_node(n: int, d: int, k: int) -> tuple[NDArray[np.float32], ...]:
    """Return columns with ties, and the sorted rows of a node that has two thirds of the rows."""
    rng = np.random.default_rng(n)
    columns = np.round(rng.normal(size=(d, n)), 1).astype(np.float32)
    columns[-1] *= n % 2  # a constant column
    rows = np.sort(rng.permutation(n)[: (2 * n + 2) // 3])
    order = np.stack([rows[np.argsort(values[rows], kind="stable")] for values in columns])
    return columns, order.astype(np.int32), rng.integers(0, k, n).astype(np.int32)


def best_by_a_loop(
    values: NDArray[np.float32], classes: NDArray[np.int32], min_rows: int
) -> tuple[float, int]:
    best = 0.0, 0
    for size in range(min_rows, len(values) - min_rows + 1):
        if values[size - 1] < values[size]:
            sides = classes[:size], classes[size:]
            score = sum(float((np.bincount(side) ** 2).sum()) / len(side) for side in sides)
            best = max(best, (score, size), key=lambda split: split[0])
    return best


@pytest.mark.parametrize(("n", "d", "k", "min_rows"), CASES)
def test_specification_finds_the_best_split(n: int, d: int, k: int, min_rows: int) -> None:
    columns, order, classes = a_node(n, d, k)
    counts = np.bincount(classes[order[0]], minlength=k)
    splits = NumpyTrees().best_splits(columns, order, classes, counts, min_rows)
    expected = [
        best_by_a_loop(values[rows], classes[rows], min_rows)
        for values, rows in zip(columns, order, strict=True)
    ]
    assert list(zip(splits[0].tolist(), splits[1].tolist(), strict=True)) == expected


@pytest.mark.parametrize("backend", ["numba", "cuda"])
@pytest.mark.parametrize(("n", "d", "k", "min_rows"), CASES)
def test_backends_give_the_bits_of_the_specification(
    backend: str, n: int, d: int, k: int, min_rows: int
) -> None:
    columns, order, classes = a_node(n, d, k)
    counts = np.bincount(classes[order[0]], minlength=k)
    arguments = columns, order, classes, counts, min_rows
    scores, n_below = registry.get_trees(backend).best_splits(*arguments)
    expected = NumpyTrees().best_splits(*arguments)
    np.testing.assert_array_equal(scores, expected[0])
    np.testing.assert_array_equal(n_below, expected[1])
