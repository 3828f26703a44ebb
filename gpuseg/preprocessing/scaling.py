"""Values that fill, clip, shift and scale each feature."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.column_summary import ColumnSummary
from gpuseg.backends.feature_transform import YEO_JOHNSON, FeatureTransform
from gpuseg.errors import DataError, set_key
from gpuseg.numerics.yeo_johnson import yeo_johnson
from gpuseg.preprocessing.plan import PreprocessingPlan
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import column_passes as columns
from gpuseg.sharding.quantiles import quantiles

_DIVISORS = {
    "standard": "the standard deviation",
    "robust": "the interquartile range",
    "minmax": "max - min",
}


def column_statistics(summary: ColumnSummary) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and population variance of each feature, each rounded once, float64 (d,)."""
    mean, variance = summary.moments.means_and_variances(summary.valid())
    return mean, variance


@dataclass(frozen=True)
class Statistics:
    """Number of rows, and statistics of each feature, float64 (d,); population variance."""

    rows: int
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]

    @classmethod
    def from_summary(cls, summary: ColumnSummary) -> "Statistics":
        """Return the statistics of a summary."""
        mean, variance = column_statistics(summary)
        return cls(summary.rows, mean, variance, summary.minimum, summary.maximum)

    @property
    def range(self) -> NDArray[np.float64]:
        """Minimum and maximum, float64 (2, d)."""
        return np.array([self.minimum, self.maximum])

    def take(self, features: NDArray[np.int64]) -> "Statistics":
        """Return the statistics of some of the features."""
        return Statistics(
            self.rows,
            self.mean[features],
            self.variance[features],
            self.minimum[features],
            self.maximum[features],
        )

    def with_features(self, features: NDArray[np.int64], other: "Statistics") -> "Statistics":
        """Return a copy with the statistics of some features replaced by those of `other`."""

        def replaced(values: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.float64]:
            result = values.copy()
            result[features] = new
            return result

        return Statistics(
            self.rows,
            replaced(self.mean, other.mean),
            replaced(self.variance, other.variance),
            replaced(self.minimum, other.minimum),
            replaced(self.maximum, other.maximum),
        )


def fill_values(
    executor: Executor, backend: str, plan: PreprocessingPlan, raw: ColumnSummary
) -> NDArray[np.float32]:
    """Return the values that replace missing ones, in raw units; NaN if they stay missing.

    Every number gets a value, even if none is missing here: one may be in rows scored later.
    """
    fill = np.full(len(plan.features), np.nan, np.float32)
    is_number = plan.is_number()
    numbers = np.flatnonzero(is_number).tolist()
    if plan.missing == "zero":
        fill[is_number] = 0
    elif plan.missing == "median" and numbers:
        fill[is_number] = quantiles(executor, backend, numbers, (0.5,))[:, 0]
    elif plan.missing == "mean":
        if any(name != "none" for name in plan.transform):
            no_transform = np.zeros(len(plan.features), np.int64)
            raw = columns.merge_summaries(executor.map(columns.summarize, backend, no_transform))
        fill[is_number] = column_statistics(raw)[0][is_number]
    return fill


def clip_bounds(
    executor: Executor, backend: str, plan: PreprocessingPlan
) -> NDArray[np.float32] | None:
    """Return the bounds at which numbers are clipped, float32 (2, d)."""
    numbers = np.flatnonzero(plan.is_number()).tolist()
    if plan.clip is None or not numbers:
        return None
    bounds = np.repeat(np.array([[-np.inf], [np.inf]], np.float32), len(plan.features), axis=1)
    bounds[:, numbers] = quantiles(executor, backend, numbers, plan.clip).T
    return bounds


def shift_and_scale(
    executor: Executor,
    backend: str,
    plan: PreprocessingPlan,
    statistics: Statistics,
    pending: FeatureTransform,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what is subtracted from each feature, and what it is then divided by, float64 (d,).

    The one-hot features of a category are scaled together, so that the category counts as much as
    one number: by the root of the sum of their variances, or with "minmax" by √2, which puts two
    categories at a distance of 1.

    Parameters
    ----------
    statistics : Statistics
        Of the features after their transforms.
    pending : FeatureTransform
        The transform that has not been applied to the rows of the shards yet.

    Raises
    ------
    DataError
        For features that would be divided by 0, unless the plan scales constants.
    """
    shift, scale = np.zeros(len(plan.features)), np.ones(len(plan.features))
    if plan.scale == "none":
        return shift, scale
    numbers = np.flatnonzero(plan.is_number())
    shift[numbers], scale[numbers] = _scale_numbers(
        executor, backend, plan, statistics, pending, numbers
    )
    for features in plan.categories():
        variance = sum(statistics.variance[features].tolist())
        if variance == 0:
            if not plan.scales_constants:
                raise _constant_category(plan, int(features[0]))
            variance = 1.0
        if plan.scale == "minmax":
            scale[features] = np.sqrt(2.0)
        else:
            shift[features], scale[features] = statistics.mean[features], np.sqrt(variance)
    return shift, scale


def _scale_numbers(
    executor: Executor,
    backend: str,
    plan: PreprocessingPlan,
    statistics: Statistics,
    pending: FeatureTransform,
    numbers: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if plan.scale == "minmax":
        shift = statistics.minimum[numbers]
        scale = (statistics.maximum - statistics.minimum)[numbers]
    elif plan.scale == "robust" and numbers.size:
        quartiles = quantiles(executor, backend, numbers.tolist(), (0.25, 0.5, 0.75))
        for i in np.flatnonzero(pending.transform[numbers] == YEO_JOHNSON).tolist():
            quartiles[i] = yeo_johnson(quartiles[i], float(pending.powers()[numbers[i]]))
        low, shift, high = quartiles.T
        scale = high - low
    else:
        shift, scale = statistics.mean[numbers], np.sqrt(statistics.variance[numbers])
    for i in np.flatnonzero(scale == 0).tolist():
        if not plan.scales_constants:
            raise _constant_feature(plan, statistics, int(numbers[i]), float(shift[i]))
        scale[i] = 1.0
    return shift, scale


def _constant_category(plan: PreprocessingPlan, f: int) -> DataError:
    return DataError(
        "feature.constant_category",
        f"feature '{plan.features[f]}' is the same for all rows",
        value=plan.scale,
        rule=f"{plan.scale!r} divides by its spread, which is 0",
        hint=f"{set_key('drop_near_constant', True)}, or leave its column out of `categorical`",
        parameter="scale",
    )


def _constant_feature(
    plan: PreprocessingPlan, statistics: Statistics, f: int, value: float
) -> DataError:
    is_constant = statistics.minimum[f] == statistics.maximum[f]
    origin = plan.origin()
    value += 0.0 if origin is None else float(origin[f])
    extent = "constant" if is_constant else "constant in its middle half"
    clipped = f" once clipped at the quantiles {list(plan.clip)}" if plan.clip else ""
    return DataError(
        "feature.constant",
        f"feature '{plan.features[f]}' is {extent}{clipped} (value {value:g})",
        value=plan.scale,
        rule=f"{plan.scale!r} divides by {_DIVISORS[plan.scale]}, which is 0",
        hint=f"{set_key('drop_near_constant', True)}, or leave it out of `features`"
        if is_constant
        else f"{set_key('scale', 'standard')}, or leave it out of `features`",
        parameter="scale",
    )
