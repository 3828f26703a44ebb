"""Messages between partitions; arrays have one entry per row sent."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

M = TypeVar("M", bound=NamedTuple)


class PartitionRows(NamedTuple):
    """Step 2: rows on the way to their partition.

    Attributes
    ----------
    row_numbers : int64 (m,)
        Positions in the data, increasing.
    points : float32 or float64 (m, d)
    weight : int64 (m,) or None
        None where every row counts once.
    """

    row_numbers: NDArray[np.int64]
    points: NDArray[Any]
    weight: NDArray[np.int64] | None


class HaloRows(NamedTuple):
    """Step 4: rows that may be neighbors of the receiver's rows."""

    points: NDArray[Any]
    weight: NDArray[np.int64] | None


class HaloGroups(NamedTuple):
    """Step 6: core rows, and the group of each, int64 (m,): the row number of its root."""

    points: NDArray[Any]
    group: NDArray[np.int64]


class HaloClusters(NamedTuple):
    """Step 7: core rows, and the cluster of each, uint32 (m,)."""

    points: NDArray[Any]
    cluster: NDArray[np.uint32]


class NearestQuery(NamedTuple):
    """Step 8: rows that look for a nearer core row than one at `rdist`, float64 (m,)."""

    points: NDArray[Any]
    rdist: NDArray[np.float64]


class NearestReply(NamedTuple):
    """Step 8: the reduced distance to the nearest core row known so far, float64 (m,)."""

    rdist: NDArray[np.float64]


class RowLabels(NamedTuple):
    """Step 9: results on the way back to the shard of the rows.

    Attributes
    ----------
    row_numbers : int64 (m,)
    label : int32 (m,)
    core : bool (m,)
    rdist : float64 (m,) or None
        Reduced distance to the nearest core row, where it was computed.
    """

    row_numbers: NDArray[np.int64]
    label: NDArray[np.int32]
    core: NDArray[np.bool_]
    rdist: NDArray[np.float64] | None


def concatenate(messages: Sequence[M | None]) -> M | None:
    """Join messages of one kind in their order; return None where they hold no rows."""
    received = [message for message in messages if message is not None]
    if not sum(len(message[0]) for message in received):
        return None
    fields = (
        None if arrays[0] is None else np.concatenate(arrays)
        for arrays in zip(*received, strict=True)
    )
    return received[0]._make(fields)
