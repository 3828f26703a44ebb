"""What k-means needs to know of the data before it begins: step 1 of `algorithms.kmeans.fit`."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.types import Centers
from gpuseg.errors import DataError
from gpuseg.numerics.reproducible_sums import finer_magic, grid_magic
from gpuseg.numerics.sum_grid import SumGrid
from gpuseg.preprocessing.fit import PreprocessingFit
from gpuseg.preprocessing.scaling import column_statistics
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import column_passes as columns
from gpuseg.sharding import row_passes as passes

_MIN_WEIGHT = 1e-30


@dataclass(frozen=True)
class DataStatistics:
    """What the data is like.

    Attributes
    ----------
    n_rows : int
    shift : float32 (d,)
        The mean; distances and sums are measured from it.
    reach : float64 (d,)
        max |x - shift|.
    mean_variance : float
        Mean over the features of their population variance.
    largest_weight : float
    squares : float
        Σ w·|x - shift|², for the estimate of the inertia.
    """

    n_rows: int
    shift: NDArray[np.float32]
    reach: NDArray[np.float64]
    mean_variance: float
    largest_weight: float
    squares: float

    def sum_grid(self) -> SumGrid:
        """Return the grids of a Lloyd pass."""
        n, heaviest = self.n_rows, self.largest_weight
        coarse = [grid_magic(n, r * heaviest) for r in (*self.reach.tolist(), 1.0)]
        magics = np.array([coarse, [finer_magic(n, magic) for magic in coarse]])
        return SumGrid(np.ascontiguousarray(magics[:, :-1]), magics[:, -1].copy(), n)

    def inertia_grid(self, centers: NDArray[np.float64]) -> tuple[float, ...]:
        """Return the grids for Σ w·d², coarse to fine; d_f <= max|x - shift| + max|c - shift|.

        Three of them reach about 158 - 2·log2(n) bits below n times the largest term that is
        possible: one extreme outlier does not cost the others their digits.
        """
        reach = self.reach + np.abs(centers - self.shift).max(axis=0)
        largest = math.fsum(reach * reach) * self.largest_weight
        grids = [grid_magic(self.n_rows, largest)]
        while len(grids) < 3:
            grids.append(finer_magic(self.n_rows, grids[-1]))
        return tuple(grids)


def measure(executor: Executor, backend: str, metric: str = "euclidean") -> DataStatistics:
    """Measure the placed shards.

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
            f"about {missing.max()} rows have no direction: with metric = 'cosine' none may be of "
            "zeros alone, and no value missing (NaN), infinite (inf) or beyond float32, since "
            "k-means needs finite values; drop those rows, or use metric = 'euclidean'"
        )
    if summary.rows == 0 or missing.any() or infinite.any():
        raise DataError(
            f"{missing.sum()} values are missing (NaN) and {infinite.sum()} are infinite (inf) or "
            f"beyond float32 in {summary.rows} prepared rows; k-means needs finite values and at "
            "least one row"
        )
    mean, variance = column_statistics(summary)
    shift = mean.astype(np.float32)
    reach = np.maximum(summary.maximum - shift, shift - summary.minimum)
    squares = summary.rows * float((variance + (mean - shift) ** 2).sum())
    return _weighed(executor, backend, DataStatistics(
        summary.rows, shift, reach, float(variance.mean()), 1.0, squares
    ))  # fmt: skip


def measured_as_prepared(
    executor: Executor, backend: str, prepared: PreprocessingFit
) -> DataStatistics:
    """Measure shards that have just been prepared, without another pass over the features.

    Scaling keeps the order of the values, rounding included, so the extremes of the prepared values
    are the prepared extremes. Mean and variance follow
    to rounding, which is all that a shift and a tolerance need. Rows of length one, principal
    components, and values that overflowed are measured as they are.
    """
    p, raw = prepared.feature_transform, prepared.raw
    low, high = (as_float32((extreme - p.shift) / p.scale) for extreme in prepared.extremes)
    if p.unit or p.projection is not None or not np.isfinite([low, high]).all():
        return measure(executor, backend, "cosine" if p.unit else "euclidean")
    shift = ((prepared.mean - p.shift) / p.scale).astype(np.float32)
    variance = (prepared.std / p.scale) ** 2
    reach = np.maximum(high - shift.astype(np.float64), shift - low.astype(np.float64))
    squares = raw.rows * float(variance.sum())
    return _weighed(executor, backend, DataStatistics(
        raw.rows, shift, reach, float(variance.mean()), 1.0, squares
    ))  # fmt: skip


def as_float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round to float32; what does not fit becomes infinite."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _weighed(executor: Executor, backend: str, measured: DataStatistics) -> DataStatistics:
    """Add what the weights change, where there are any."""
    weights = [w for w in executor.map(passes.max_weight, backend) if w is not None]
    if not weights:
        return measured
    largest = max(weights)
    if largest == 0:
        raise DataError("all weights are zero; at least one row needs a positive weight")
    if not _MIN_WEIGHT <= largest <= 1 / _MIN_WEIGHT:
        raise DataError(
            f"the largest weight is {largest:g}: must be between {_MIN_WEIGHT:g} and "
            f"{1 / _MIN_WEIGHT:g}; multiply all weights by one number"
        )
    measured = replace(measured, largest_weight=largest)
    center = Centers(measured.shift.astype(np.float64)[None], measured.shift)
    magic = measured.inertia_grid(center.values)[0]
    squares = sum(executor.map(passes.weighted_squares, backend, center, magic))
    return replace(measured, squares=squares)
