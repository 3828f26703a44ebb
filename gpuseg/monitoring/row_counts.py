"""Count the rows that a model scores, as the rows of its fit were counted."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.monitoring.bin_counts import BinCounts
from gpuseg.monitoring.reference import DriftReference
from gpuseg.monitoring.segment_sums import SegmentSums
from gpuseg.numerics.number_positions import NumberPositions
from gpuseg.record import NOISE


@dataclass
class RowCounts:
    """Counts of rows; the same in any order of the rows.

    Attributes
    ----------
    sums : SegmentSums
    bins : BinCounts or None
        None if the model has no reference.
    """

    sums: SegmentSums
    bins: BinCounts | None

    def merge(self, other: "RowCounts") -> None:
        """Add the counts of other rows."""
        self.sums.merge(other.sums)
        if self.bins is not None and other.bins is not None:
            self.bins.merge(other.bins)

    @classmethod
    def merged(cls, parts: Iterable["RowCounts"]) -> "RowCounts":
        """Return the counts of all rows, of which there is at least one part."""
        total, *others = parts
        for other in others:
            total.merge(other)
        return total


class RowCounter:
    """Counts the rows that a model scores.

    Parameters
    ----------
    segment_ids : int32 (k,)
        Numbers of the segments, as the model counts them.
    reference : DriftReference or None
        None for no counts of bins, and of distances that are far.
    backend : str
        Imported when the first rows are counted, if it is not.
    """

    def __init__(
        self, segment_ids: NDArray[np.int32], reference: DriftReference | None, backend: str
    ) -> None:
        self.segments = NumberPositions(np.append(np.int64(NOISE), segment_ids))
        self._reference, self._backend = reference, backend
        self._far_distance = np.full(len(self.segments), np.inf, np.float32)
        if reference is not None:
            self._far_distance = reference.far_distance
            self._group = reference.group_by_position()

    def zeros(self) -> RowCounts:
        """Return the counts of no rows."""
        sums, reference = SegmentSums.zeros(len(self.segments) - 1), self._reference
        if reference is None:
            return RowCounts(sums, None)
        return RowCounts(sums, BinCounts.zeros(len(reference.groups), len(reference.features)))

    def bins(self, x: NDArray[np.float32]) -> NDArray[np.uint16] | None:
        """Return the bins of raw rows (n, d), which a preparation may then overwrite."""
        if self._reference is None:
            return None
        bins: NDArray[np.uint16]
        bins = registry.get(self._backend).bin_rows(x, self._reference.edges)
        return bins

    def add(
        self,
        counts: RowCounts,
        segment: NDArray[np.int32],
        distance: NDArray[np.float32],
        bins: Any,
    ) -> NDArray[np.bool_]:
        """Count more rows, and return which of them are far, bool (n,).

        Parameters
        ----------
        counts : RowCounts
        segment : int32 (n,)
        distance : float32 (n,)
        bins : uint16 (n, d) or None
            Of `bins`; may be on the device of the backend.
        """
        position = self.segments.of(segment)
        is_far = counts.sums.add(position, distance, self._far_distance)
        if counts.bins is not None:
            counts.bins.add(bins, self._group[position], registry.get(self._backend))
        return is_far
