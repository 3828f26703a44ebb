"""Which numbers fill, bound, shift and scale each feature."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.column_summary import ColumnSummary
from gpuseg.backends.feature_transform import YEO_JOHNSON, FeatureTransform
from gpuseg.errors import DataError
from gpuseg.numerics.moments import mean_and_variance
from gpuseg.numerics.yeo_johnson import yeo_johnson
from gpuseg.preprocessing.plan import NUMBER, PreprocessingPlan
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import column_passes as columns
from gpuseg.sharding.quantiles import quantiles


def column_statistics(summary: ColumnSummary) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and population variance of each feature, each rounded once, float64 (d,)."""
    pairs = [
        mean_and_variance(*summary.moments.totals(f), count)
        for f, count in enumerate(summary.valid().tolist())
    ]
    mean, variance = np.array(pairs, dtype=np.float64).T
    return mean, variance


@dataclass(frozen=True)
class Statistics:
    """Of each feature after its transform, float64 (d,); population variance."""

    rows: int
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]

    @classmethod
    def of_summary(cls, summary: ColumnSummary) -> "Statistics":
        """Return the statistics that a summary holds."""
        mean, variance = column_statistics(summary)
        return cls(summary.rows, mean, variance, summary.minimum, summary.maximum)

    def take(self, features: NDArray[np.int64]) -> "Statistics":
        """Return those of some of the features."""
        own = (a[features] for a in (self.mean, self.variance, self.minimum, self.maximum))
        return Statistics(self.rows, *own)


def fill_values(
    executor: Executor, backend: str, recipe: PreprocessingPlan, raw: ColumnSummary
) -> NDArray[np.float32]:
    """Return what replaces missing values, in raw units; NaN where nothing does.

    Every number gets a value, also those that lack none here: customers scored later may.
    """
    fill = np.full(len(recipe.features), np.nan, np.float32)
    numbers = recipe.numbers()
    if recipe.missing == "zero":
        fill[numbers] = 0
    elif recipe.missing == "median":
        every = np.flatnonzero(numbers).tolist()
        fill[numbers] = quantiles(executor, backend, every, (0.5,))[:, 0] if every else []
    elif recipe.missing == "mean":
        untransformed = np.zeros(len(recipe.features), np.int64)
        if any(name != "none" for name in recipe.transform):
            raw = columns.merged(executor.map(columns.summarize, backend, untransformed))
        fill[numbers] = column_statistics(raw)[0][numbers]
    return fill


def bounds(
    executor: Executor, backend: str, recipe: PreprocessingPlan
) -> NDArray[np.float32] | None:
    """Return between what numbers are clipped, float32 (2, d)."""
    every = np.flatnonzero(recipe.numbers()).tolist()
    if recipe.clip is None or not every:
        return None
    ends = np.repeat(np.array([[-np.inf], [np.inf]], np.float32), len(recipe.features), axis=1)
    ends[:, every] = quantiles(executor, backend, every, recipe.clip).T
    return ends


def shift_and_scale(
    executor: Executor,
    backend: str,
    recipe: PreprocessingPlan,
    known: Statistics,
    rest: FeatureTransform,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what is subtracted from each feature, and what it is then divided by, float64 (d,).

    Columns of a category are scaled together, so that it counts as much as one number: by √Σ var
    of them, or with minmax by √2, which puts two categories at a distance of 1.

    Parameters
    ----------
    rest : Preparation
        What is still to be done to the rows as they are placed.

    Raises
    ------
    DataError
        For features that would be divided by 0.
    """
    shift, scale = np.zeros(len(recipe.features)), np.ones(len(recipe.features))
    if recipe.scale == "none":
        return shift, scale
    kind = recipe.kind()
    numbers = np.flatnonzero(kind == NUMBER)
    shift[numbers], scale[numbers] = _of_numbers(executor, backend, recipe, known, rest, numbers)
    for block in range(int(kind.max(initial=-1)) + 1):
        own = np.flatnonzero(kind == block)
        whole = sum(known.variance[own].tolist())
        if whole == 0 and own.size:
            raise DataError(
                f"feature '{recipe.features[own[0]]}': the same for all rows, and {recipe.keys}"
                f"scale = '{recipe.scale}' divides by its spread, which is 0; leave its column out "
                f"of {recipe.keys}categorical"
            )
        if recipe.scale == "minmax":
            scale[own] = np.sqrt(2.0)
        else:
            shift[own], scale[own] = known.mean[own], np.sqrt(whole)
    return shift, scale


def _of_numbers(
    executor: Executor,
    backend: str,
    recipe: PreprocessingPlan,
    known: Statistics,
    rest: FeatureTransform,
    numbers: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if recipe.scale == "minmax":
        shift, scale = known.minimum[numbers], (known.maximum - known.minimum)[numbers]
        rule = f"{recipe.keys}scale = 'minmax' divides by max - min"
    elif recipe.scale == "robust" and numbers.size:
        found = quantiles(executor, backend, numbers.tolist(), (0.25, 0.5, 0.75))
        for i in np.flatnonzero(rest.transform[numbers] == YEO_JOHNSON).tolist():
            found[i] = yeo_johnson(found[i], float(rest.powers()[numbers[i]]))
        low, shift, high = found.T
        scale = high - low
        rule = f"{recipe.keys}scale = 'robust' divides by the interquartile range"
    else:
        shift, scale = known.mean[numbers], np.sqrt(known.variance[numbers])
        rule = f"{recipe.keys}scale = 'standard' divides by the standard deviation"
    for i in np.flatnonzero(scale == 0).tolist():
        f = numbers.tolist()[i]
        constant = known.minimum[f] == known.maximum[f]
        what = "constant" if constant else "constant in its middle half"
        what += f" once clipped at the quantiles {list(recipe.clip)}" if recipe.clip else ""
        raise DataError(
            f"feature '{recipe.features[f]}': {what} (value {shift[i]:g}), and {rule}, "
            f"which is 0; leave it out of {recipe.columns} or set {recipe.keys}scale = "
            + ("'none'" if constant else "'standard'")
        )
    return shift, scale
