"""Statistics of the data that k-means needs: step 1 of `algorithms.kmeans.fit`."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.types import Centers
from gpuseg.errors import DataError, set_key
from gpuseg.formatting import count, count_with
from gpuseg.numerics.reproducible_sums import finer_magic, finer_magics, grid_magic, grid_magics
from gpuseg.numerics.sum_grid import SumGrid
from gpuseg.preprocessing.fit import PreprocessingFit
from gpuseg.preprocessing.scaling import column_statistics
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import column_passes as columns
from gpuseg.sharding import row_passes as passes

_MIN_WEIGHT = 1e-30


@dataclass(frozen=True)
class DataStatistics:
    """Statistics of the rows of all shards.

    Attributes
    ----------
    n_rows : int
    shift : float32 (d,)
        The mean; distances and sums are measured from it.
    max_deviation : float64 (d,)
        max |x - shift|.
    mean_variance : float
        Mean over the features of their population variance.
    max_weight : float
    squares : float
        Σ w·|x - shift|², for the estimate of the inertia.
    """

    n_rows: int
    shift: NDArray[np.float32]
    max_deviation: NDArray[np.float64]
    mean_variance: float
    max_weight: float
    squares: float

    def sum_grid(self) -> SumGrid:
        """Return the grids of a Lloyd pass."""
        n, heaviest = self.n_rows, self.max_weight
        coarse = grid_magics(n, np.append(self.max_deviation, 1.0) * heaviest)
        magics = np.array([coarse, finer_magics(n, coarse)])
        return SumGrid(np.ascontiguousarray(magics[:, :-1]), magics[:, -1].copy(), n)

    def inertia_grid(self, centers: NDArray[np.float64]) -> tuple[float, ...]:
        """Return the grids for Σ w·d², coarse to fine; d_f <= max|x - shift| + max|c - shift|.

        Three of them cover about 158 - 2·log2(n) bits below n times the largest possible term:
        one extreme outlier does not cost the other rows their digits.
        """
        largest_difference = self.max_deviation + np.abs(centers - self.shift).max(axis=0)
        largest = math.fsum(largest_difference * largest_difference) * self.max_weight
        grids = [grid_magic(self.n_rows, largest)]
        while len(grids) < 3:
            grids.append(finer_magic(self.n_rows, grids[-1]))
        return tuple(grids)


def measure(executor: Executor, backend: str, metric: str = "euclidean") -> DataStatistics:
    """Measure the rows of all shards.

    Raises
    ------
    DataError
        For values that are not finite, no rows, and weights that are all zero or extreme.
    """
    n_features = executor.map(passes.n_features)[0]
    no_transform = np.zeros(n_features, np.int64)
    summary = columns.merge_summaries(executor.map(columns.summarize, backend, no_transform))
    missing, infinite = summary.counts[0], summary.counts[1]
    if metric == "cosine" and missing.any():
        raise DataError(
            "features.no_direction",
            f"about {count_with(int(missing.max()), 'row', 'has', 'have')} no direction",
            rule="with metric = 'cosine' a row must have a value that is not zero, and all values "
            "must be finite: not missing (NaN), infinite (inf) or beyond float32",
            hint=f"drop those rows, or {set_key('metric', 'euclidean')}",
        )
    if missing.any() or infinite.any():
        raise DataError(
            "features.not_finite",
            f"{count_with(int(missing.sum()), 'value', 'is', 'are')} missing (NaN) and "
            f"{count_with(int(infinite.sum()), 'value', 'is', 'are')} infinite (inf) or beyond "
            f"float32 in {count(summary.rows, 'prepared row')}",
            rule="all values must be finite",
        )
    if summary.rows == 0:
        raise DataError("rows.none", "there are no rows", rule="k-means needs at least one row")
    mean, variance = column_statistics(summary)
    shift = mean.astype(np.float32)
    statistics = DataStatistics(
        n_rows=summary.rows,
        shift=shift,
        max_deviation=np.maximum(summary.maximum - shift, shift - summary.minimum),
        mean_variance=float(variance.mean()),
        max_weight=1.0,
        squares=summary.rows * float((variance + (mean - shift) ** 2).sum()),
    )
    return _with_weights(executor, backend, statistics)


def measure_prepared(
    executor: Executor, backend: str, prepared: PreprocessingFit
) -> DataStatistics:
    """Measure shards right after preprocessing, without another pass over the features.

    Scaling keeps the order of the values, rounding included, so the scaled extremes are the
    extremes of the scaled values. Mean and variance are right up to rounding, which is enough for
    a shift and a tolerance. Rows of length one, principal components, and values that overflowed
    are measured by a pass.
    """
    p, raw = prepared.feature_transform, prepared.raw
    low, high = (as_float32((extreme - p.shift) / p.scale) for extreme in prepared.extremes)
    if p.unit or p.projection is not None or not np.isfinite([low, high]).all():
        return measure(executor, backend, "cosine" if p.unit else "euclidean")
    shift = ((prepared.mean - p.shift) / p.scale).astype(np.float32)
    variance = (prepared.std / p.scale) ** 2
    above, below = high - shift.astype(np.float64), shift - low.astype(np.float64)
    statistics = DataStatistics(
        n_rows=raw.rows,
        shift=shift,
        max_deviation=np.maximum(above, below),
        mean_variance=float(variance.mean()),
        max_weight=1.0,
        squares=raw.rows * float(variance.sum()),
    )
    return _with_weights(executor, backend, statistics)


def as_float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round to float32; values beyond its range become infinite."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _with_weights(executor: Executor, backend: str, statistics: DataStatistics) -> DataStatistics:
    """Return the statistics with the effect of the weights, if there are any."""
    weights = [w for w in executor.map(passes.max_weight, backend) if w is not None]
    if not weights:
        return statistics
    largest = max(weights)
    if largest == 0:
        raise DataError(
            "weight.all_zero", "all weights are zero", rule="at least one row must have weight > 0"
        )
    if not _MIN_WEIGHT <= largest <= 1 / _MIN_WEIGHT:
        raise DataError(
            "weight.out_of_range",
            f"the largest weight is {largest:g}",
            rule=f"must be between {_MIN_WEIGHT:g} and {1 / _MIN_WEIGHT:g}",
            hint="multiply all weights by the same number",
        )
    statistics = replace(statistics, max_weight=largest)
    center = Centers(statistics.shift.astype(np.float64)[None], statistics.shift)
    magic = statistics.inertia_grid(center.values)[0]
    squares = sum(executor.map(passes.weighted_squares, backend, center, magic))
    return replace(statistics, squares=squares)
