"""What is counted of the rows of each segment; the same in any order of the rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.monitoring.distance_sums import DistanceSums


@dataclass
class SegmentSums:
    """Counts of rows by segment: noise first, then the segments as the model counts them.

    Attributes
    ----------
    sizes : int64 (k + 1,)
    distances, squares : DistanceSums
        Of the distances, and of their squares.
    far : int64 (k + 1,)
        Rows whose distance is above the one that is far for their segment.
    """

    sizes: NDArray[np.int64]
    distances: DistanceSums
    squares: DistanceSums
    far: NDArray[np.int64]

    @classmethod
    def zeros(cls, n_clusters: int) -> "SegmentSums":
        """Return the counts of no rows."""
        n = n_clusters + 1
        sizes, far = np.zeros(n, np.int64), np.zeros(n, np.int64)
        return cls(sizes, DistanceSums(n), DistanceSums(n, power=2), far)

    def add(
        self,
        position: NDArray[np.int64],
        distance: NDArray[np.float32],
        far_distance: NDArray[np.float32],
    ) -> NDArray[np.bool_]:
        """Count more rows, and return which of them are far, bool (n,).

        Parameters
        ----------
        position : int64 (n,)
            0 for noise, and for a segment its position among those of the model plus 1.
        distance : float32 (n,)
        far_distance : float32 (k + 1,)
            See `monitoring.reference`.
        """
        n = len(self.sizes)
        self.sizes += np.bincount(position, minlength=n)
        self.distances.add(position, distance)
        self.squares.add(position, distance)
        is_far: NDArray[np.bool_] = distance > far_distance[position]
        self.far += np.bincount(position[is_far], minlength=n)
        return is_far

    def merge(self, other: "SegmentSums") -> None:
        """Add the counts of other rows."""
        self.sizes += other.sizes
        self.distances.merge(other.distances)
        self.squares.merge(other.squares)
        self.far += other.far
