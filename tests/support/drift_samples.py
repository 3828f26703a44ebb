"""Rows counted for drift in NumPy, step by step: the plain version of what a run counts."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gpuseg.monitoring.bin_counts import BinCounts
from gpuseg.monitoring.reference import MISSING, N_BINS, DriftReference
from gpuseg.monitoring.segment_sums import SegmentSums


def edges_of(column: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return quantiles of a feature as upper ends of bins, (255,)."""
    values = column[~np.isnan(column)]
    if not values.size:
        return np.full(N_BINS - 1, np.inf, np.float32)
    return np.quantile(values, np.arange(1, N_BINS) / N_BINS, method="inverted_cdf")


def bins_of(x: NDArray[np.float32], edges: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the bin of each value, int64 (n, d)."""
    bins = np.stack([np.searchsorted(e, c) for e, c in zip(edges, x.T, strict=True)], axis=1)
    return np.where(np.isnan(x), MISSING, bins)


def counts_of(bins: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows by feature and bin, int64 (d, 257)."""
    return np.stack([np.bincount(column, minlength=MISSING + 1) for column in bins.T])


def reference_of(
    features: Sequence[str],
    x: NDArray[np.float32],
    segment: NDArray[np.int32],
    distance: NDArray[np.float32],
) -> DriftReference:
    """Return what drift is measured against; segments are numbered from 0."""
    edges = np.stack([edges_of(column) for column in x.T])
    bins = bins_of(x, edges)
    positions = np.zeros((x.shape[1], N_BINS))
    for f, column in enumerate(x.T):
        last = -np.inf
        for b in range(N_BINS):
            values = column[bins[:, f] == b]
            last = (
                values.mean(dtype=np.float64) if values.size else max(last, edges[f, min(b, 254)])
            )
            positions[f, b] = last
    segments = np.arange(-1, segment.max() + 1, dtype=np.int32)
    members = [segment == s for s in segments]
    far_distance = np.array(
        [np.quantile(distance[m], 0.999) if m.any() else np.inf for m in members], np.float32
    )
    sums = sums_of(segment, distance, far_distance)
    to_nan = [np.nan if mean is None else mean for mean in sums.distances.means(sums.sizes)]
    squares = [np.nan if mean is None else mean for mean in sums.squares.means(sums.sizes)]
    return DriftReference(
        tuple(features), edges, positions, np.nan_to_num(np.nanstd(x, axis=0, dtype=np.float64)),
        counts_of(bins), segments, sums.sizes, np.array(to_nan), np.array(squares), far_distance,
        sums.far, segments[1:], np.stack([counts_of(bins[m]) for m in members[1:]]),
        np.zeros(1, np.int64),
    )  # fmt: skip


def sums_of(
    segment: NDArray[np.int32], distance: NDArray[np.float32], far_distance: NDArray[np.float32]
) -> SegmentSums:
    """Return the sums of rows."""
    sums = SegmentSums.zeros(len(far_distance) - 1)
    sums.add(segment.astype(np.int64) + 1, distance, far_distance)
    return sums


def bin_counts_of(
    reference: DriftReference, x: NDArray[np.float32], segment: NDArray[np.int32]
) -> BinCounts:
    """Return the counts of rows by segment, feature and bin."""
    bins = bins_of(x, reference.edges)
    groups = [segment == g for g in reference.groups]
    others = ~np.logical_or.reduce(groups)
    return BinCounts(np.stack([counts_of(bins[rows]) for rows in (*groups, others)]))
