"""Grow a decision tree for classes, the best split first (CART; Breiman et al. 1984).

scikit-learn's tree is not used, because its import takes longer than all other imports of a job
together, and it sorts the rows at each node. Here they are sorted once. Tests compare the two.

With n_c rows of class c among n rows, the Gini impurity is 1 − Σ (n_c / n)². A split into l rows
below and r rows above decreases the impurity of all N rows by

    gain = (Σ l_c² / l + Σ r_c² / r − Σ n_c² / n) / N.

All backends give the same bits, since the sums are of integers.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.numerics.sort_keys import sorted_rows


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
        self._classes = classes.astype(np.int32)
        self._kernels = registry.get_trees("numba")
        self._limits = limits
        self._splittable: list[_SplittableLeaf] = []
        self._n_nodes = 0

    def build(self) -> TreeNode:
        """Return the root of the grown tree."""
        orders = [sorted_rows(values) for values in self._columns]
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
        scores, sizes = self._kernels.best_splits(
            self._columns, order, self._classes, counts, self._limits.min_rows
        )
        f = int(scores.argmax())
        if scores[f] == 0:
            return None
        n_below = int(sizes[f])
        low, high = self._columns[f, order[f, n_below - 1 : n_below + 1]].tolist()
        impurity = float((counts * counts).sum()) / order.shape[1]
        gain = (float(scores[f]) - impurity) / len(self._classes)
        return BestSplit(gain, f, n_below, low, high)
