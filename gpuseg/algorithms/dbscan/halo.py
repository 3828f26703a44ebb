"""Halo exchange: partitions send each other the rows within eps of the receiver's bounding box.

Where eps covers few rows of other partitions, one round is enough (a halo). Where it covers nearly
all of them, as with many features, the rounds become a schedule of block pairs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.partition_state import Partition
from gpuseg.numerics.distance_metrics import MAXIMUM
from gpuseg.numerics.eps_bounds import EpsBounds

M = TypeVar("M")

_SLACK = 1 + 1e-9
"""Factor above the rounding error of a reduced distance in float64."""

Box = NDArray[np.float64]
"""Lower and upper corner of some rows, (2, d)."""


@dataclass(frozen=True)
class HaloRound:
    """One round of the exchange.

    Attributes
    ----------
    sources : sequence of sequences of int
        ``sources[i]`` are the partitions that send rows to partition i.
    boxes : sequence of float64 (2, d)
        Bounding box of each partition.
    eps_bounds : EpsBounds
    """

    sources: Sequence[Sequence[int]]
    boxes: Sequence[Box]
    eps_bounds: EpsBounds

    def one_way(self) -> "HaloRound":
        """Return the round with one direction of each pair of partitions, see `is_sender`."""
        n = len(self.boxes)
        return replace(
            self,
            sources=[
                [source for source in sources if is_sender(source, target, n)]
                for target, sources in enumerate(self.sources)
            ],
        )


def is_sender(source: int, target: int, n_partitions: int) -> bool:
    """Decide which of two partitions sends its rows to the other, where one direction is enough.

    A search for pairs of rows within eps finds the same pairs from either side. So one partition
    of each pair sends its rows, and the other one does the work. To share the work evenly, think
    of the partitions as a ring: a partition sends its rows to those behind it and receives rows
    from those ahead of it, up to half of the ring. So every partition receives rows from about
    (n - 1) / 2 others. If n is even, a pair can be exactly opposite: then the lower number
    receives. For each pair exactly one of ``is_sender(a, b, n)`` and ``is_sender(b, a, n)`` is
    true. (If only one of the two has rows near the other's box, no rows of the pair are within
    eps, and it does not matter whether a message is sent.)
    """
    ahead = (source - target) % n_partitions
    behind = (target - source) % n_partitions
    return (ahead, target) < (behind, source)


def plan_rounds(n_near: NDArray[np.int64], n_rows: Sequence[int]) -> list[list[list[int]]]:
    """Plan the rounds: which partitions send rows to which.

    Parameters
    ----------
    n_near : int64 (n_partitions, n_partitions)
        ``n_near[i, j]`` rows of partition j are near partition i.
    n_rows : sequence of int
        Rows of each partition. A partition receives at most this many rows in a round, unless a
        single other partition sends more.

    Returns
    -------
    list of rounds
        ``rounds[r][i]`` are the partitions that send rows to partition i in round r.
    """
    n = len(n_rows)
    batches_by_target = []
    for i in range(n):
        batches: list[list[int]] = []
        room = 0
        for j in ((i + step) % n for step in range(1, n)):
            if n_near[i, j] == 0:
                continue
            if not batches or n_near[i, j] > room:
                batches.append([])
                room = n_rows[i]
            batches[-1].append(j)
            room -= int(n_near[i, j])
        batches_by_target.append(batches)
    n_rounds = max(map(len, batches_by_target))
    return [
        [batches[r] if r < len(batches) else [] for batches in batches_by_target]
        for r in range(n_rounds)
    ]


def send_halo(
    partition: Partition,
    halo_round: HaloRound,
    pack: Callable[[NDArray[np.bool_]], M],
    rows: NDArray[np.bool_] | None = None,
) -> list[M | None]:
    """Return the message to each partition, None where this partition sends nothing.

    Parameters
    ----------
    pack : callable
        Makes the message with some of the rows, bool (n,).
    rows : bool (n,), optional
        Rows that may be sent; all by default.
    """
    messages: list[M | None] = []
    for sources, box in zip(halo_round.sources, halo_round.boxes, strict=True):
        if partition.number not in sources:
            messages.append(None)
            continue
        near = is_near_box(partition.points, box, halo_round.eps_bounds)
        messages.append(pack(near if rows is None else near & rows))
    return messages


def is_near_box(points: NDArray[Any], box: Box, eps_bounds: EpsBounds) -> NDArray[np.bool_]:
    """Return which rows may be within eps of a row inside the box, bool (n,)."""
    return rdist_to_box(points, box, eps_bounds.p) <= eps_bounds.rdist_limit * _SLACK


def rdist_to_box(points: NDArray[Any], box: Box, p: int) -> NDArray[np.float64]:
    """Return the reduced distance of each row to a box, float64 (n,); infinite for an empty box."""
    total = np.zeros(len(points))
    for f in range(points.shape[1]):
        values = points[:, f].astype(np.float64)
        _add_gap(total, np.maximum(box[0, f] - values, values - box[1, f]), p)
    return total


def rdist_between(one: Box, other: Box, p: int) -> float:
    """Return the reduced distance between two boxes: 0 if they meet, infinite if one is empty."""
    total = np.zeros(1)
    for f in range(one.shape[1]):
        gap = np.maximum(other[:1, f] - one[1:, f], one[:1, f] - other[1:, f])
        _add_gap(total, gap, p)
    return float(total[0])


def _add_gap(total: NDArray[np.float64], gap: NDArray[np.float64], p: int) -> None:
    """Add the gap along one feature, 0 where it is negative, to reduced distances."""
    t = np.maximum(gap, 0.0)
    if p == MAXIMUM:
        np.maximum(total, t, out=total)
    else:
        total += t * t if p == 2 else t
