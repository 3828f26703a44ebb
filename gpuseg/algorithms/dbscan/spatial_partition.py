"""The space cut into regions, one a shard, and who has to visit whom.

The cuts are those of a kd-tree over a hashed sample of the rows, each at the quantile that gives
both sides their share of rows and work. A region's box is that of its own rows; the rows of another
region within eps of the box are its visitors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.numerics.eps_bounds import EpsBounds

_ROWS_COUNT = (64.0, 4.0, 1.0, 0.5)
"""How much the number of rows counts beside the work, on trial; with the last one, too, no region
gets nearly all rows."""

_MAX_WORK = 1.2
"""Of a region, as a multiple of the mean; the sample's word for it may be a fifth off."""

_SLACK = 1 + 1e-9
"""More than the rounding of a size in float64."""


@dataclass(frozen=True)
class KDNode:
    """A node of the tree of cuts: rows whose feature is below `value` go left.

    Attributes
    ----------
    feature : int
    value : float
    left, right : Cut or int
        A number is that of a region.
    """

    feature: int
    value: float
    left: "KDNode | int"
    right: "KDNode | int"


def cut(
    sample: NDArray[Any], work: NDArray[np.float64], n_regions: int, first: int = 0
) -> KDNode | int:
    """Cut the space into regions of about the same work.

    Parameters
    ----------
    sample : float (m, d)
    work : float64 (m,)
        What each row of the sample stands for.
    """
    if n_regions == 1:
        return first
    n_left = n_regions // 2
    if not len(sample):
        sample, work = np.zeros((1, 1)), np.ones(1)
    feature = int(sample.astype(np.float64).var(axis=0).argmax())
    values = sample[:, feature]
    order = np.argsort(values, kind="stable")
    until = np.cumsum(work[order])
    at = int(np.searchsorted(until, until[-1] * n_left / n_regions, side="right"))
    value = values[order[min(at, len(order) - 1)]]
    left = values < value
    return KDNode(
        feature,
        float(value),
        cut(sample[left], work[left], n_left, first),
        cut(sample[~left], work[~left], n_regions - n_left, first + n_left),
    )


def balanced(sample: NDArray[Any], work: NDArray[np.float64], n_regions: int) -> KDNode | int:
    """Cut the space into regions of as many rows each, as far as the work allows.

    The more rows count beside the work, the evener is the memory: the first cuts are taken of
    which no region has much more than its share of the work, or else the last.
    """
    cuts: KDNode | int = 0
    for rows_count in _ROWS_COUNT:
        cuts = cut(sample, work + rows_count * work.mean() if len(work) else work, n_regions)
        share = np.bincount(home_of(sample, cuts), work, n_regions)
        if share.max() <= _MAX_WORK * share.mean():
            break
    return cuts


def home_of(points: NDArray[Any], node: KDNode | int) -> NDArray[np.int64]:
    """Return the region of each row, int64 (n,)."""
    regions = np.zeros(len(points), np.int64)
    todo = [(np.arange(len(points)), node)]
    while todo:
        rows, own = todo.pop()
        if isinstance(own, int):
            regions[rows] = own
            continue
        left = points[rows, own.feature] < own.value
        todo += [(rows[left], own.left), (rows[~left], own.right)]
    return regions


def within_reach(
    points: NDArray[Any], box: NDArray[np.float64], reach: EpsBounds
) -> NDArray[np.bool_]:
    """Return which rows may be within eps of a row in the box, float64 (2, d): its corners."""
    return sizes_to(points, box, reach.p) <= reach.rdist_limit * _SLACK


def sizes_to(points: NDArray[Any], box: NDArray[np.float64], p: int) -> NDArray[np.float64]:
    """Return how far each row is from a box, at least; infinite for an empty one."""
    total = np.zeros(len(points))
    for f in range(points.shape[1]):
        own = points[:, f].astype(np.float64)
        t = np.maximum(np.maximum(box[0, f] - own, own - box[1, f]), 0.0)
        total += t * t if p == 2 else t
    return total


def rounds_of(near: NDArray[np.int64], held: Sequence[int]) -> list[list[list[int]]]:
    """Plan the visits: in which round which regions send rows to which.

    Parameters
    ----------
    near : int64 (n_regions, n_regions)
        near[i, j] rows of region j are within reach of region i.
    held : sequence of int
        Rows of each region. It takes no more visitors at a time than that, unless one other
        region alone sends more.

    Returns
    -------
    list of rounds
        round[i] are the regions whose rows visit region i.
    """
    n = len(held)
    queues = []
    for i in range(n):
        batches: list[list[int]] = []
        room = 0
        for j in ((i + step) % n for step in range(1, n)):
            if near[i, j] == 0:
                continue
            if not batches or near[i, j] > room:
                batches.append([])
                room = held[i]
            batches[-1].append(j)
            room -= int(near[i, j])
        queues.append(batches)
    longest = max(map(len, queues))
    return [[own[r] if r < len(own) else [] for own in queues] for r in range(longest)]
