"""Load the kernels of a k-means job from numba's cache, before the job needs them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from gpuseg.backends import registry
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.backends.types import Centers, PackedRun, StopRule
from gpuseg.numerics.sum_grid import SumGrid


def load_kernels(seeds: bool) -> None:
    """Call on one row what a job calls on all; seeding, too, if the job seeds.

    numba loads a kernel at its first call, for up to 25 ms, and lets all threads wait meanwhile.
    """
    b, trees = registry.get("numba"), registry.get_trees("numba")
    x, no_transform = np.ones((1, 1), np.float32), np.zeros(1, np.int64)
    centers = Centers(np.zeros((1, 1)), np.zeros(1, np.float32))
    packed = b.pack(centers)
    b.digest(x, None, 0)
    b.summarize(x, no_transform, 0)
    b.prepare(x, FeatureTransform.identity(1))
    b.gram(x, np.zeros(1), np.ones((2, 1, 1)))
    bins = b.bin_rows(x, np.zeros((1, 255), np.float32))
    b.count_bins(bins, np.zeros(1, np.int32), np.zeros((1, 1, 257), np.int64))
    grid = SumGrid(np.ones((2, 1)), np.ones(2))
    b.lloyd(x, None, [PackedRun(packed, b.new_bounds(1, 1))], grid)
    b.nearest(x, packed)
    b.runner_up(x, centers.values, np.zeros(1, np.int32))
    order, classes = np.zeros((1, 1), np.int32), np.zeros(1, np.int32)
    trees.best_splits(x, order, classes, np.ones(1, np.int64), 1)
    if seeds:
        b.plus_plus(x, np.ones(1), np.zeros((1, 1, 1)), _one_by_one)
        b.iterate(x, None, [centers], grid, StopRule(1, 0.0), _one_by_one)
        b.sum_assignments(x, None, [(centers, (1.0, 1.0, 1.0))], _one_by_one)


def _one_by_one(
    function: Callable[[Any], Any], items: Sequence[Any], rows: int = 0
) -> Iterable[Any]:
    return map(function, items)
