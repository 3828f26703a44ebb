"""Grow a decision tree for classes, the best split first (CART; Breiman et al. 1984).

scikit-learn's tree is not used, because its import takes longer than all other imports of a job
together, and it sorts the rows at each node. Here they are sorted once. Tests compare the two.

With n_c rows of class c among n rows, the Gini impurity is 1 − Σ (n_c / n)². A split into l rows
below and r rows above decreases the impurity of all N rows by

    gain = (Σ l_c² / l + Σ r_c² / r − Σ n_c² / n) / N.

A row of class c that joins the rows below increases Σ l_c² by 2 l_c + 1 and decreases Σ r_c² by
2 (n_c − l_c) − 1. So cumulative sums over sorted rows give the gains of all splits by a feature.
The sums are of integers, thus exact.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class TreeLimits(NamedTuple):
    """When a tree stops growing.

    Attributes
    ----------
    max_depth, max_leaves : int
    min_rows : int
        Minimum number of rows in a leaf.
    min_gain : float
        Minimum gain of a split, above 0.
    """

    max_depth: int
    max_leaves: int
    min_rows: int
    min_gain: float


class BestSplit(NamedTuple):
    """A split of the rows of a node.

    Attributes
    ----------
    gain : float
        Decrease of the impurity of all rows.
    feature : int
    n_below : int
        Number of rows below.
    low, high : float
        Largest value of the feature below, and smallest value above.
    """

    gain: float
    feature: int
    n_below: int
    low: float
    high: float


@dataclass
class TreeNode:
    """A node of the tree.

    Attributes
    ----------
    label : int
        The most frequent class, the first one of equally frequent ones.
    split : BestSplit or None
        None in a leaf.
    children : tuple of TreeNode
        The nodes below and above the split; empty in a leaf.
    """

    label: int
    split: BestSplit | None = None
    children: tuple[TreeNode, ...] = ()


class _SplittableLeaf(NamedTuple):
    """A leaf that can be split. The best one of several is the smallest."""

    negative_gain: float
    number: int  # the older one of equally good leaves is smaller
    split: BestSplit
    node: TreeNode
    order: NDArray[np.int32]
    depth: int


def grow_tree(x: NDArray[np.float32], label: NDArray[np.int32], limits: TreeLimits) -> TreeNode:
    """Return the root of a tree for rows (m, d) without missing values and their classes (m,).

    The leaf with the largest gain is split first. Of equal splits of a leaf, the one by the first
    feature is taken, at its smallest value.
    """
    return _TreeBuilder(x, label, limits).build()


class _TreeBuilder:
    """Grows a tree. The `order` of a node, int32 (d, n), has its rows sorted by each feature."""

    def __init__(
        self, x: NDArray[np.float32], label: NDArray[np.int32], limits: TreeLimits
    ) -> None:
        self._columns = np.ascontiguousarray(x.T)
        self._labels, classes = np.unique(label, return_inverse=True)
        # NumPy sorts integers of up to 16 bits by radix.
        self._classes = classes.astype(np.min_scalar_type(len(self._labels)))
        self._limits = limits
        self._splittable: list[_SplittableLeaf] = []
        self._n_nodes = 0

    def build(self) -> TreeNode:
        """Return the root of the grown tree."""
        orders = [np.argsort(c, kind="stable").astype(np.int32) for c in self._columns]
        root = self._leaf(np.stack(orders), 0)
        for _ in range(self._limits.max_leaves - 1):
            if self._splittable:
                self._split(heapq.heappop(self._splittable))
        return root

    def _leaf(self, order: NDArray[np.int32], depth: int) -> TreeNode:
        """Return a new leaf; it can be split where a split is good enough."""
        counts = np.bincount(self._classes[order[0]], minlength=len(self._labels))
        node = TreeNode(int(self._labels[counts.argmax()]))
        self._n_nodes += 1
        split = self._best_split(order, counts) if depth < self._limits.max_depth else None
        if split is not None and split.gain >= self._limits.min_gain:
            leaf = _SplittableLeaf(-split.gain, self._n_nodes, split, node, order, depth)
            heapq.heappush(self._splittable, leaf)
        return node

    def _split(self, leaf: _SplittableLeaf) -> None:
        is_below = np.zeros(len(self._classes), bool)
        is_below[leaf.order[leaf.split.feature, : leaf.split.n_below]] = True
        goes_below = is_below[leaf.order]
        leaf.node.split = leaf.split
        leaf.node.children = tuple(
            self._leaf(leaf.order[goes].reshape(len(leaf.order), -1), leaf.depth + 1)
            for goes in (goes_below, ~goes_below)
        )

    def _best_split(self, order: NDArray[np.int32], counts: NDArray[np.int64]) -> BestSplit | None:
        """Return the split with the largest gain, or None where no split leaves enough rows."""
        n = order.shape[1]
        sizes = np.arange(self._limits.min_rows, n - self._limits.min_rows + 1)
        best, best_score = None, 0.0
        for feature, rows in enumerate(order):
            values = self._columns[feature, rows]
            if sizes.size == 0 or values[0] == values[-1]:
                continue
            below, above = _sums_of_squares(self._classes[rows], counts)
            scores = below[sizes - 1] / sizes + above[sizes - 1] / (n - sizes)
            scores[values[sizes - 1] == values[sizes]] = 0  # equal values stay together
            i = int(scores.argmax())
            if scores[i] > best_score:
                best, best_score = (feature, int(sizes[i]), values), float(scores[i])
        if best is None:
            return None
        feature, n_below, values = best
        gain = (best_score - float((counts * counts).sum()) / n) / len(self._classes)
        return BestSplit(gain, feature, n_below, float(values[n_below - 1]), float(values[n_below]))


def _sums_of_squares(
    classes: NDArray[np.unsignedinteger[Any]], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return Σ l_c² and Σ r_c² of the split behind each row, int64 (n,) each.

    Parameters
    ----------
    classes : unsigned integers (n,)
        Classes of the rows in their order.
    counts : int64 (K,)
        n_c, the number of rows of each class.
    """
    n_before = np.empty(len(classes), np.int64)  # earlier rows of the same class
    by_class = np.argsort(classes, kind="stable")
    n_before[by_class] = np.arange(len(classes)) - np.repeat(counts.cumsum() - counts, counts)
    below = (2 * n_before + 1).cumsum()
    above = int((counts * counts).sum()) - 2 * counts[classes].cumsum() + below
    return below, above
