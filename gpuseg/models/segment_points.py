"""What stands for the segments of a model: points in scaled units, to which distances are taken."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.core_samples import CoreSamples
from gpuseg.algorithms.kmeans.nearest_center import NearestCenter
from gpuseg.backends import registry
from gpuseg.backends.types import Centers
from gpuseg.runtime.executor import TaskContext

Points = Centers | CoreSamples


@dataclass(frozen=True)
class SegmentPoints:
    """Points of segments: one center of each, or several small segments or core rows.

    Attributes
    ----------
    points : Centers or CoreSamples
    segment_of : mapping of str to int32 (m,)
        The segment of each point, by the column of the output: ``segment``, and the levels of a
        hierarchy. Noise has no points.
    """

    points: Points
    segment_of: Mapping[str, NDArray[np.int32]]

    def of(self, column: str, segment: int) -> Points:
        """Return the points of one segment."""
        rows = self.segment_of[column] == segment
        if isinstance(self.points, CoreSamples):
            core = self.points
            return CoreSamples(core.x[rows], core.label[rows], core.params)
        return Centers(self.points.values[rows], self.points.shift)


def distances_to(
    points: Points, z: NDArray[np.float32], backend: str, context: TaskContext
) -> NDArray[np.float64]:
    """Return the distance of each row to the nearest point, float64 (n,).

    It has the same bits with every backend, and whatever other rows there are.

    Parameters
    ----------
    z : float32 (n, d)
        Rows that are transformed.
    """
    if isinstance(points, CoreSamples):
        return points.nearest_distance(z, backend, context)
    squares = NearestCenter(points, backend).squared_distances(z, context)
    roots: NDArray[np.float64] = np.sqrt(registry.get(backend).to_host(squares))
    return roots
