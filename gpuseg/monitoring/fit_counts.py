"""Count the rows of a fit, and make of the counts what drift is measured against.

The first two functions are called as ``function(shard, context, ...)``, see `runtime.executor`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.monitoring.bin_counts import BinCounts
from gpuseg.monitoring.distance_histogram import DistanceHistogram
from gpuseg.monitoring.feature_bins import FeatureBins
from gpuseg.monitoring.reference import MAX_GROUPED_FEATURES, MAX_GROUPS, DriftReference
from gpuseg.monitoring.segment_sums import SegmentSums
from gpuseg.numerics.number_positions import NumberPositions
from gpuseg.runtime.executor import BLOCK_ROWS, CacheLost, TaskContext
from gpuseg.sharding.shard import Block, Shard

_FAR_ROWS = 1000
"""One row in so many of a segment is far."""

_ROWS_PER_SEGMENT = 16
"""Rows that are counted together, for each segment: sums of many segments take time, too."""


def count_features(
    shard: Shard, context: TaskContext, backend: str, edges: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Count all rows by feature and bin, int64 (d, 257)."""
    b = registry.get(backend)

    def count(block: Block) -> NDArray[np.int64]:
        counts = BinCounts.zeros(0, len(edges))
        counts.add_rows(block.x, edges, np.zeros(len(block.x), np.int32), b)
        return counts.total()

    return reduce(np.add, shard.map_blocks(context, count))


@dataclass
class FitCounts:
    """Rows of a fit by segment.

    Attributes
    ----------
    sums : SegmentSums
        Without rows that are far, which `distances` tells.
    distances : DistanceHistogram
    """

    sums: SegmentSums
    distances: DistanceHistogram = field(default_factory=DistanceHistogram)

    def merge(self, other: "FitCounts") -> "FitCounts":
        """Add the counts of other rows; return self."""
        self.sums.merge(other.sums)
        self.distances.merge(other.distances)
        return self


def count_segments(
    shard: Shard, context: TaskContext, segments: NumberPositions, rows: NDArray[np.int64]
) -> tuple[FitCounts, NDArray[np.int64]]:
    """Count all rows by segment, and return the positions of the segments of some rows.

    Parameters
    ----------
    segments : NumberPositions
        Noise, and then the segments of the model.

    Raises
    ------
    CacheLost
        If the shard was rebuilt since it has segments.
    """
    labels, distance = shard.labels, shard.distance
    if labels is None or distance is None:
        raise CacheLost
    k = len(segments) - 1
    far = np.full(k + 1, np.inf, np.float32)

    def count(start: int) -> FitCounts:
        counted = slice(start, start + step)
        counts, position = FitCounts(SegmentSums.zeros(k)), segments.of(labels[counted])
        counts.sums.add(position, distance[counted], far)
        counts.distances.add(position, distance[counted])
        return counts

    step = max(BLOCK_ROWS, _ROWS_PER_SEGMENT * k)
    parts = context.map(count, range(0, len(labels), step))
    return reduce(FitCounts.merge, parts, FitCounts(SegmentSums.zeros(k))), segments.of(
        labels[rows]
    )


@dataclass(frozen=True)
class SampledRows:
    """Raw rows of a sample of the fit, and the positions of their segments.

    Attributes
    ----------
    x : float32 (m, d)
    position : int64 (m,)
    """

    x: NDArray[np.float32]
    position: NDArray[np.int64]


def drift_reference(
    features: Sequence[str],
    bins: FeatureBins,
    counts: NDArray[np.int64],
    segments: NumberPositions,
    by_segment: FitCounts,
    sample: SampledRows,
    n_dropped: int,
) -> DriftReference:
    """Return what drift is measured against.

    Parameters
    ----------
    features : sequence of str
    bins : FeatureBins
    counts : int64 (d, 257)
        Of all rows.
    segments : NumberPositions
        Noise, and then the segments of the model.
    by_segment : FitCounts
        Of all rows.
    sample : SampledRows
    n_dropped : int
        Rows that were left out because a feature is missing.
    """
    sums = by_segment.sums
    far_distance, far = by_segment.distances.far(sums.sizes, _FAR_ROWS)
    n_groups = min(MAX_GROUPS, MAX_GROUPED_FEATURES // len(features))
    by_size = 1 + np.argsort(-sums.sizes[1:], kind="stable")[:n_groups]
    groups = segments.numbers[by_size[sums.sizes[by_size] > 0]].astype(np.int32)
    reference = DriftReference(
        features=tuple(features),
        edges=bins.edges,
        positions=bins.positions,
        std=bins.std,
        counts=counts,
        segments=segments.numbers.astype(np.int32),
        sizes=sums.sizes,
        mean_distance=_means(sums.distances.means(sums.sizes)),
        mean_square=_means(sums.squares.means(sums.sizes)),
        far_distance=far_distance,
        far=far,
        groups=np.sort(groups),
        group_counts=np.empty((0, len(features), counts.shape[1]), np.int64),
        dropped=np.array([n_dropped]),
    )
    in_groups = BinCounts.zeros(len(groups), len(features))
    group = reference.group_by_position()[sample.position]
    in_groups.add_rows(sample.x, bins.edges, group, registry.get("numba"))
    return reference.with_group_counts(in_groups.counts[:-1])


def _means(means: list[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if mean is None else mean for mean in means])
