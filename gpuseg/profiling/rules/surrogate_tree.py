"""A small decision tree that tells the segments apart: scikit-learn's, pruned and made readable.

The tree is a surrogate: it does not decide who belongs where, it says so in few words, and its
fidelity is the share of customers for whom that is right. Cuts are put at the roundest number
between the values that they part, which leaves every customer of the sample on his side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

_MAX_DEPTH = 6
_LEAVES_PER_SEGMENT = 3
_MIN_SHARE = 0.002
"""Of the customers, in a leaf."""

_MIN_GAIN = 0.003
"""In Gini's impurity of all: a cut that gains less makes rules longer, and hardly better."""


@dataclass(frozen=True)
class Leaf:
    """Customers who are said to be of one segment."""

    segment: int


@dataclass(frozen=True)
class Split:
    """Customers whose value is at most the cut go below, the others above."""

    feature: int
    cut: float
    below: Node
    above: Node


Node = Leaf | Split


@dataclass(frozen=True)
class Bound:
    """What a path through the tree demands of one feature: low < value <= high."""

    feature: int
    low: float = -np.inf
    high: float = np.inf


def grow(x: NDArray[np.float32], label: NDArray[np.int32]) -> Node:
    """Return a tree for rows without missing values, float32 (m, d), and their segments (m,)."""
    from sklearn.tree import DecisionTreeClassifier  # a second to import, for few runs

    n_segments = len(np.unique(label))
    tree = DecisionTreeClassifier(
        max_depth=_MAX_DEPTH,
        max_leaf_nodes=max(2, _LEAVES_PER_SEGMENT * n_segments),
        min_samples_leaf=max(1, int(_MIN_SHARE * len(x))),
        min_impurity_decrease=_MIN_GAIN,
        random_state=0,
    ).fit(x, label)
    grown = tree.tree_

    def node(number: int, rows: NDArray[np.int64]) -> Node:
        f = int(grown.feature[number])
        if f < 0:
            return Leaf(int(tree.classes_[grown.value[number][0].argmax()]))
        low = x[rows, f] <= grown.threshold[number]
        cut = roundest(float(x[rows[low], f].max()), float(x[rows[~low], f].min()))
        below = node(int(grown.children_left[number]), rows[low])
        above = node(int(grown.children_right[number]), rows[~low])
        return below if below == above and isinstance(below, Leaf) else Split(f, cut, below, above)

    return node(0, np.arange(len(x)))


def roundest(low: float, high: float) -> float:
    """Return the number with the fewest digits that is at least `low` and below `high`."""
    middle = low + (high - low) / 2
    for digits in range(1, 18):
        number = float(f"{middle:.{digits}g}")
        if low <= number < high:
            return number
    return low


def assigned(tree: Node, x: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return the segment that the tree gives each row, int32 (m,)."""
    label = np.empty(len(x), np.int32)

    def give(node: Node, rows: NDArray[np.int64]) -> None:
        if isinstance(node, Leaf):
            label[rows] = node.segment
            return
        below = x[rows, node.feature] <= np.float64(node.cut)  # a bare float would become float32
        give(node.below, rows[below])
        give(node.above, rows[~below])

    give(tree, np.arange(len(x)))
    return label


def paths(tree: Node, bounds: tuple[Bound, ...] = ()) -> Iterator[tuple[int, tuple[Bound, ...]]]:
    """Yield the segment of each leaf, and what its path demands, feature by feature."""
    if isinstance(tree, Leaf):
        yield tree.segment, bounds
        return
    known = {own.feature: own for own in bounds}
    own = known.get(tree.feature, Bound(tree.feature))
    lower = {**known, tree.feature: replace(own, high=min(own.high, tree.cut))}
    upper = {**known, tree.feature: replace(own, low=max(own.low, tree.cut))}
    yield from paths(tree.below, tuple(lower.values()))
    yield from paths(tree.above, tuple(upper.values()))
