"""A small decision tree that imitates the segmentation, pruned and made readable.

The tree is a surrogate: it does not decide which segment a customer is in, it approximates that
decision with few conditions. Its fidelity is the share of customers that it gets right. Thresholds
are moved to the roundest number between the values that they separate; every customer of the sample
stays on the same side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gpuseg.profiling.rules.tree_growth import TreeLimits, TreeNode, grow_tree

_MAX_DEPTH = 6
_LEAVES_PER_SEGMENT = 3

_MIN_SHARE = 0.002
"""Smallest share of the customers in a leaf."""

_MIN_GAIN = 0.003
"""Smallest gain of a split in Gini impurity; smaller ones make rules longer and hardly better."""


@dataclass(frozen=True)
class Leaf:
    """Customers that get one segment."""

    segment: int


@dataclass(frozen=True)
class Split:
    """Customers with values of at most `threshold` go to `below`, all others to `above`."""

    feature: int
    threshold: float
    below: Node
    above: Node


Node = Leaf | Split


@dataclass(frozen=True)
class Bound:
    """The condition of a path on one feature: low < value <= high."""

    feature: int
    low: float = -np.inf
    high: float = np.inf


def fit_tree(x: NDArray[np.float32], label: NDArray[np.int32]) -> Node:
    """Return a tree for rows (m, d) without missing values and their segments (m,)."""
    limits = TreeLimits(
        max_depth=_MAX_DEPTH,
        max_leaves=max(2, _LEAVES_PER_SEGMENT * len(np.unique(label))),
        min_rows=max(1, int(_MIN_SHARE * len(x))),
        min_gain=_MIN_GAIN,
    )
    return _readable(grow_tree(x, label, limits))


def _readable(node: TreeNode) -> Node:
    """Return a grown tree with round thresholds, and without splits into one segment."""
    if node.split is None:
        return Leaf(node.label)
    below, above = map(_readable, node.children)
    if below == above and isinstance(below, Leaf):
        return below
    return Split(node.split.feature, roundest(node.split.low, node.split.high), below, above)


def roundest(low: float, high: float) -> float:
    """Return the number with the fewest digits that is at least `low` and below `high`."""
    middle = low + (high - low) / 2
    for digits in range(1, 18):
        number = float(f"{middle:.{digits}g}")
        if low <= number < high:
            return number
    return low


def predict(tree: Node, x: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return the segment of each row, int32 (m,)."""
    label = np.empty(len(x), np.int32)

    def assign(node: Node, rows: NDArray[np.int64]) -> None:
        if isinstance(node, Leaf):
            label[rows] = node.segment
            return
        threshold = np.float64(node.threshold)  # a Python float would be rounded to float32
        below = x[rows, node.feature] <= threshold
        assign(node.below, rows[below])
        assign(node.above, rows[~below])

    assign(tree, np.arange(len(x)))
    return label


def paths(tree: Node, bounds: tuple[Bound, ...] = ()) -> Iterator[tuple[int, tuple[Bound, ...]]]:
    """Yield the segment of each leaf and the conditions of its path, one for each feature."""
    if isinstance(tree, Leaf):
        yield tree.segment, bounds
        return
    by_feature = {bound.feature: bound for bound in bounds}
    bound = by_feature.get(tree.feature, Bound(tree.feature))
    lower = {**by_feature, tree.feature: replace(bound, high=min(bound.high, tree.threshold))}
    upper = {**by_feature, tree.feature: replace(bound, low=max(bound.low, tree.threshold))}
    yield from paths(tree.below, tuple(lower.values()))
    yield from paths(tree.above, tuple(upper.values()))
