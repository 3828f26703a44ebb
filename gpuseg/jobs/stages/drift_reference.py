"""Count the rows of the fit: a model keeps the counts, and drift is measured against them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from gpuseg.jobs.context import RunContext
from gpuseg.jobs.positions import rows_by_shard
from gpuseg.monitoring.feature_bins import FeatureBins, bins_of_sample
from gpuseg.monitoring.fit_counts import (
    FitCounts,
    SampledRows,
    count_features,
    count_segments,
    drift_reference,
)
from gpuseg.numerics.number_positions import NumberPositions
from gpuseg.preprocessing.fit import PreprocessingFit
from gpuseg.preprocessing.screening import RowSample
from gpuseg.record import NOISE
from gpuseg.segmentation.base import SegmentationResult

_STAGE = "count for drift"


@dataclass(frozen=True)
class RawCounts:
    """All rows by feature and bin, before any step changed them.

    Attributes
    ----------
    bins : FeatureBins
    counts : int64 (d, 257)
    n_dropped : int
        Rows that were left out before, because a feature is missing.
    """

    bins: FeatureBins
    counts: NDArray[np.int64]
    n_dropped: int

    def take(self, features: list[int]) -> RawCounts:
        """Return the counts of some features."""
        return RawCounts(self.bins.take(features), self.counts[features], self.n_dropped)


def count_raw_rows(ctx: RunContext, sample: RowSample, n_dropped: int) -> RawCounts:
    """Count the rows of all shards in bins that a sample of them fixes.

    Rows count, whatever their weights are.
    """
    with ctx.reporter.stage(_STAGE):
        bins = bins_of_sample(sample.x)
        counts = ctx.executor.map(count_features, ctx.backend, bins.edges)
        return RawCounts(bins, reduce(np.add, counts), n_dropped)


def with_reference(
    ctx: RunContext, fit: PreprocessingFit, raw_counts: RawCounts, result: SegmentationResult
) -> SegmentationResult:
    """Return the result with a model that knows the rows of its fit.

    Models of plug-ins that have no place for it are returned as they are.

    Parameters
    ----------
    raw_counts : RawCounts
        Of the features that the fit has kept.

    Raises
    ------
    CacheLost
        When a worker was lost with the segments of its rows.
    """
    model = result.model
    if not model.keeps_reference:
        return result
    segments = NumberPositions(np.append(np.int64(NOISE), model.segment_ids))
    sample = fit.sample
    with ctx.reporter.stage(_STAGE):
        per_shard = rows_by_shard(ctx.executor, sample.index)
        counted = ctx.executor.map(count_segments, segments, per_shard=per_shard)
        by_segment, positions = zip(*counted, strict=True)
        reference = drift_reference(
            fit.features,
            raw_counts.bins,
            raw_counts.counts,
            segments,
            reduce(FitCounts.merge, by_segment),
            SampledRows(sample.x, np.concatenate(positions)),
            raw_counts.n_dropped,
        )
    if model.keeps_rows:
        reference = reference.without_distances()
    return result.with_model(model.with_reference(reference))
