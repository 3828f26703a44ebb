"""Spatial partitioning: a k-d tree divides the space into one partition per shard.

The tree is built from a hashed sample of the rows. Each node splits at the quantile that gives
both sides their share of rows and work.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROW_WEIGHTS = (64.0, 4.0, 1.0, 0.5)
"""Weights of the number of rows relative to the work, tried in this order. The last one still
prevents that one partition gets nearly all rows."""

_MAX_WORK = 1.2
"""Maximum work of a partition, as a multiple of the mean; the sample's estimate can be off by a
fifth."""


@dataclass(frozen=True)
class KDNode:
    """A node of the k-d tree: rows with a feature below `value` go left.

    Attributes
    ----------
    feature : int
    value : float
    left, right : KDNode or int
        An int is the number of a partition.
    """

    feature: int
    value: float
    left: "KDNode | int"
    right: "KDNode | int"


def build_tree(
    sample: NDArray[Any], work: NDArray[np.float64], n_partitions: int, first: int = 0
) -> KDNode | int:
    """Divide the space into partitions of about the same work.

    Parameters
    ----------
    sample : float (m, d)
    work : float64 (m,)
        Work of each row of the sample.
    first : int
        Number of the leftmost partition.
    """
    if n_partitions == 1:
        return first
    n_left = n_partitions // 2
    if not len(sample):
        sample, work = np.zeros((1, 1)), np.ones(1)
    feature = int(sample.astype(np.float64).var(axis=0).argmax())
    values = sample[:, feature]
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(work[order])
    split = int(np.searchsorted(cumulative, cumulative[-1] * n_left / n_partitions, side="right"))
    value = values[order[min(split, len(order) - 1)]]
    left = values < value
    return KDNode(
        feature,
        float(value),
        build_tree(sample[left], work[left], n_left, first),
        build_tree(sample[~left], work[~left], n_partitions - n_left, first + n_left),
    )


def build_balanced_tree(
    sample: NDArray[Any], work: NDArray[np.float64], n_partitions: int
) -> KDNode | int:
    """Divide the space into partitions of about the same number of rows, as far as work allows.

    The more the number of rows counts relative to the work, the more even is the memory. The
    first tree is taken in which no partition has much more than its share of the work; if there
    is none, the last tree.
    """
    tree: KDNode | int = 0
    for row_weight in _ROW_WEIGHTS:
        cost = work + row_weight * work.mean() if len(work) else work
        tree = build_tree(sample, cost, n_partitions)
        share = np.bincount(find_partition(sample, tree), work, n_partitions)
        if share.max() <= _MAX_WORK * share.mean():
            break
    return tree


def find_partition(points: NDArray[Any], tree: KDNode | int) -> NDArray[np.int64]:
    """Return the partition of each row, int64 (n,)."""
    partition = np.zeros(len(points), np.int64)
    pending = [(np.arange(len(points)), tree)]
    while pending:
        rows, node = pending.pop()
        if isinstance(node, int):
            partition[rows] = node
            continue
        left = points[rows, node.feature] < node.value
        pending += [(rows[left], node.left), (rows[~left], node.right)]
    return partition
