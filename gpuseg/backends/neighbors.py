"""The primitives of DBSCAN: who is within eps of whom.

They look from the rows of one layout at those of another, or at those of the same one (`other`
is then `own` itself). Arrays have an entry for each row, in the order that `lay_out` was given,
and `each` spreads work over threads. Results are those of `numpy_neighbors`, the specification,
whatever the order of the work; only the number of pairs that were looked at depends on it, which
every primitive returns, but `lay_out`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gpuseg.numerics.eps_bounds import EpsBounds

NO_CLUSTER = 2**32 - 1
"""Claimed by no core row; above all clusters, uint32. As int32 it is -1, the label of noise."""


class ParallelMap(Protocol):
    """Calls a function on each item, maybe on several threads; results in the items' order.

    `rows` is how many rows the items are together, in a sweep over rows that look at each other.
    """

    def __call__(
        self, function: Callable[[Any], Any], items: Sequence[Any], rows: int = 0
    ) -> Iterable[Any]: ...


def swept(own: Any, other: Any, rows: int, each: ParallelMap) -> None:
    """Tell that so many rows have looked at each other, where that is done in one piece."""
    if own is other:
        list(each(int, [0], rows))


def claimants(
    own: Any, asked: NDArray[np.bool_], other: Any, cluster: NDArray[np.uint32]
) -> NDArray[np.bool_]:
    """Return which of the other rows claim: among the same rows, none that are asked for."""
    core: NDArray[np.bool_] = cluster != NO_CLUSTER
    return core & ~asked if own is other else core


class Neighbors(Protocol):
    """See above."""

    name: str

    def lay_out(self, points: NDArray[Any], reach: EpsBounds, each: ParallelMap) -> Any:
        """Lay out rows, float32 or float64 (n, d), for the calls below; n may be 0."""
        ...

    def in_grid(self, own: Any, each: ParallelMap) -> bool:
        """Whether the rows look at each other in a grid, which makes a row cost a tenth."""
        ...

    def count_within(
        self,
        own: Any,
        other: Any,
        weight: NDArray[np.int64] | None,
        least: int,
        found: NDArray[Any],
        each: ParallelMap,
    ) -> int:
        """Add to `found`, (n,), the weight of the other rows within eps of each own row.

        `found` is int64, or int32 where that has room for the weight of all rows. `weight`, int64
        (n_other,), is >= 0; None: ones. Only up to `least` has to be counted; rows that begin
        with so much may be left with anything.
        """
        ...

    def link(
        self, own: Any, core: NDArray[np.bool_], each: ParallelMap
    ) -> tuple[NDArray[np.int32], int]:
        """Return for each core row the lowest row of its cluster, -1 for the others, int32 (n,).

        Core rows within eps of each other are in the same cluster.
        """
        ...

    def link_across(
        self,
        own: Any,
        group: NDArray[np.int64],
        other: Any,
        other_group: NDArray[np.int64],
        n_groups: int,
        each: ParallelMap,
    ) -> tuple[NDArray[np.int64], int]:
        """Join the groups that have rows within eps of each other, one own and one of the other.

        Groups are numbers below `n_groups`, those of `own` others than those of `other`; -1 is a
        row of none. Returns for each group the lowest one it is joined with, int64 (n_groups,).
        """
        ...

    def claim(
        self,
        own: Any,
        asked: NDArray[np.bool_],
        other: Any,
        cluster: NDArray[np.uint32],
        claimed: NDArray[np.uint32],
        each: ParallelMap,
    ) -> int:
        """Lower `claimed`, uint32 (n,), of rows asked for to the lowest cluster within eps.

        `cluster` is that of each other row, `NO_CLUSTER` for those that do not claim. Where the
        others are the same rows, those asked for do not claim, and `claimed` may be `cluster`.
        """
        ...

    def find_nearest(
        self,
        own: Any,
        asked: NDArray[np.bool_],
        other: Any,
        core: NDArray[np.bool_],
        best: NDArray[np.float64],
        row: NDArray[np.int64],
        each: ParallelMap,
    ) -> int:
        """Find the k nearest of the other's core rows for the rows asked for.

        Brings `best` and `row`, (n, k), up to date: the exact sizes (`numerics.eps_bounds`) in
        rising order, and the rows; of equally near ones the lowest. Nothing that is not smaller
        than what `best` holds on entry is found.
        """
        ...
