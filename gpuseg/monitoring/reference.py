"""What drift is measured against: the rows of the fit, counted in bins that the model keeps."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gpuseg.numerics.number_positions import NumberPositions
from gpuseg.record import NOISE

N_BINS = 256
"""Bins of a feature. Their edges are quantiles of the fit."""

MISSING = N_BINS
"""The number that stands for the bin of a missing value."""

MAX_GROUPS = 64
"""Segments whose features are counted by themselves: the largest ones of the fit."""


MAX_GROUPED_FEATURES = 4096
"""Features of all these segments together: their counts take 8 MiB of the model."""


@dataclass(frozen=True)
class DriftReference:
    """The rows of a fit, counted.

    Attributes
    ----------
    features : tuple of str
        The features of the model's pipeline, before their transforms.
    edges : float32 (d, 255)
        Rising upper ends of all bins but the last, which belong to their bins. A value is in the
        bin whose number is that of the edges below the value. Infinite where there are no values.
    positions : float64 (d, 256)
        Where the values of a bin are: the mean of those in a sample of the fit; without such
        values an edge of the bin.
    std : float64 (d,)
        Standard deviation of the features in the sample; 0 without spread.
    counts : int64 (d, 257)
        Rows of the fit by bin; `MISSING` is last.
    segments : int32 (k + 1,)
        -1, noise, and then the model's `segment_ids`.
    sizes : int64 (k + 1,)
        Their rows.
    mean_distance, mean_square : float64 (k + 1,)
        Means of the distances of their rows, and of the squares; NaN without rows, where a
        distance is infinite, and after `without_distances`.
    far_distance : float32 (k + 1,)
        The distance that about 1 in 1,000 of their rows exceed; infinite where there is none.
    far : int64 (k + 1,)
        Rows beyond it.
    groups : int32 (g,)
        Segments whose features are counted by themselves, rising.
    group_counts : int64 (g, d, 257)
        Rows of a sample of the fit by bin, for these segments.
    dropped : int64 (1,)
        Rows that the fit has left out because a feature was missing; they are counted nowhere else.
    """

    features: tuple[str, ...]
    edges: NDArray[np.float32]
    positions: NDArray[np.float64]
    std: NDArray[np.float64]
    counts: NDArray[np.int64]
    segments: NDArray[np.int32]
    sizes: NDArray[np.int64]
    mean_distance: NDArray[np.float64]
    mean_square: NDArray[np.float64]
    far_distance: NDArray[np.float32]
    far: NDArray[np.int64]
    groups: NDArray[np.int32]
    group_counts: NDArray[np.int64]
    dropped: NDArray[np.int64]

    def group_by_position(self) -> NDArray[np.int32]:
        """Return the position in `groups` of each of the `segments`; g for those of no group."""
        groups = {number: group for group, number in enumerate(self.groups.tolist())}
        positions = [groups.get(number, len(groups)) for number in self.segments.tolist()]
        return np.array(positions, np.int32)

    def with_group_counts(self, group_counts: NDArray[np.int64]) -> "DriftReference":
        """Return the same with other counts of the groups."""
        return replace(self, group_counts=group_counts)

    def without_distances(self) -> "DriftReference":
        """Return the same for a model from which new rows are farther than those of the fit."""
        unknown = np.full(len(self.segments), np.nan)
        return replace(
            self,
            mean_distance=unknown,
            mean_square=unknown,
            far_distance=np.full(len(self.segments), np.inf, np.float32),
            far=np.zeros_like(self.far),
        )

    def renumbered(
        self, ids: NDArray[np.int32], order: NDArray[np.int64] | None = None
    ) -> "DriftReference":
        """Return the same with other numbers of the segments.

        Parameters
        ----------
        ids : int32 (k,)
            The number of each segment.
        order : int64 (k,), optional
            The positions of the segments in their new order; by default it stays.
        """
        numbers = np.append(np.int32(NOISE), ids)
        rows = np.append(0, 1 + (np.arange(len(ids)) if order is None else order))
        groups = numbers[NumberPositions(self.segments).of(self.groups)]
        rising = np.argsort(groups)
        return replace(
            self,
            segments=numbers[rows],
            sizes=self.sizes[rows],
            mean_distance=self.mean_distance[rows],
            mean_square=self.mean_square[rows],
            far_distance=self.far_distance[rows],
            far=self.far[rows],
            groups=groups[rising],
            group_counts=self.group_counts[rising],
        )
