"""Apply a preprocessing that was fitted before, and measure the rows as a fit does."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.column_summary import KINDS, ColumnSummary
from gpuseg.backends.feature_transform import YEO_JOHNSON, FeatureTransform
from gpuseg.preprocessing.fit import PreprocessingFit, RawSummary
from gpuseg.preprocessing.pca import Components
from gpuseg.preprocessing.plan import PreprocessingPlan
from gpuseg.preprocessing.scaling import Statistics
from gpuseg.preprocessing.screening import screen_features
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import column_passes as columns

_MARGIN = 2.0**-20
"""How much wider extremes are that were measured in scaled float32, relative to their size."""


@dataclass(frozen=True)
class KeptPreprocessing:
    """A preprocessing that was fitted before.

    Attributes
    ----------
    feature_transform : FeatureTransform
    components : Components or None
        If it has principal components.
    """

    feature_transform: FeatureTransform
    components: Components | None = None


def keep_preprocessing(
    executor: Executor,
    backend: str,
    plan: PreprocessingPlan,
    summary: RawSummary,
    kept: KeptPreprocessing,
) -> PreprocessingFit:
    """Apply a preprocessing to all shards; return it with the statistics of these rows.

    1. Fill, clip, transform and scale.
    2. Project and normalize.

    Parameters
    ----------
    plan : PreprocessingPlan
        Of the features of the transform, in their order.
    summary : RawSummary
        Of the raw rows.
    kept : KeptPreprocessing
    """
    transform = kept.feature_transform
    raw, sample = summary.columns, summary.sample

    by_feature = replace(transform, projection=None, unit=False)
    executor.apply(columns.prepare, backend, by_feature)  # 1
    statistics = _statistics(executor, backend, raw, by_feature)

    if transform.projection is not None or transform.unit:  # 2
        identity = FeatureTransform.identity(len(plan.features))
        rest = replace(identity, projection=transform.projection, unit=transform.unit)
        executor.apply(columns.prepare, backend, rest)

    std = np.sqrt(statistics.variance)
    standardized = replace(by_feature, shift=statistics.mean, scale=np.where(std > 0, std, 1.0))
    screening = screen_features(sample, backend, raw.rows, standardized)
    return PreprocessingFit(
        transform,
        raw,
        statistics.mean,
        std,
        statistics.range,
        plan.features,
        list(range(len(plan.features))),
        screening.outlier_share,
        sample,
        components=kept.components,
    )


def _statistics(
    executor: Executor, backend: str, raw: ColumnSummary, transform: FeatureTransform
) -> Statistics:
    """Return the statistics of the features before scaling; the rows of the shards are scaled.

    Without gaps, clipping and powers they are those of the raw columns.
    """
    has_gaps = raw.counts[KINDS.index("missing")].any()
    if not has_gaps and transform.clip is None and YEO_JOHNSON not in transform.transform:
        return Statistics.from_summary(raw)
    none = np.zeros(len(transform.shift), np.int64)
    scaled = Statistics.from_summary(
        columns.merge_summaries(executor.map(columns.summarize, backend, none))
    )

    def unscaled(values: NDArray[np.float64], margin: float = 0.0) -> NDArray[np.float64]:
        wider: NDArray[np.float64] = values + margin * np.abs(values)
        return wider * transform.scale + transform.shift

    return Statistics(
        scaled.rows,
        unscaled(scaled.mean),
        scaled.variance * transform.scale**2,
        unscaled(scaled.minimum, -_MARGIN),
        unscaled(scaled.maximum, _MARGIN),
    )
