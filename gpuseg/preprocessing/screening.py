"""Screening of features that add no information, on a sample of the rows.

The sample is drawn by a hash of the row index, so it does not depend on the files. Shares and
correlations of 20,000 rows are accurate to about 0.01.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.numerics.hashing import hash_sample_mask
from gpuseg.preprocessing.correlations import Correlations
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import column_passes as columns

SAMPLE_ROWS = 65_536
"""Number of rows in the sample; smaller data is taken completely."""

_SAMPLE_VALUES, _MIN_SAMPLE_ROWS = 2**25, 1000
"""Values in the sample, 128 MiB, for wide rows; and rows that it has nevertheless."""

_SCREENING_ROWS = 20_000

_BLOCK_VALUES = 2**20
"""Values that are looked at together."""

NEAR_CONSTANT = 0.95
"""A feature is near-constant if at least this share of the rows has the same value."""


@dataclass(frozen=True)
class RowSample:
    """Raw rows, drawn by a hash.

    Attributes
    ----------
    index : int64 (m,)
        Index in the data, ascending.
    x : float32 (m, d)
        NaN marks a missing value.
    """

    index: NDArray[np.int64]
    x: NDArray[np.float32]

    def subsample(self, n_samples: int, n_total: int) -> NDArray[np.float32]:
        """Return about `n_samples` of the `n_total` rows of the data, copied."""
        return self.x[hash_sample_mask(self.index, n_samples, n_total)].copy()


def draw_sample(executor: Executor, backend: str, n_rows: int, n_features: int) -> RowSample:
    """Draw a sample of the rows of all shards, `n_rows` in total."""
    sample_rows = min(SAMPLE_ROWS, max(_SAMPLE_VALUES // n_features, _MIN_SAMPLE_ROWS))
    parts = executor.map(columns.sample_with_index, backend, sample_rows, n_rows)
    index, x = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return RowSample(index, x)


@dataclass(frozen=True)
class FeatureScreening:
    """Properties of the features, estimated from a sample.

    Attributes
    ----------
    mode_share : float64 (d,)
        Share of each feature's most frequent value.
    outlier_share : float64 (d,)
        Share of values beyond Tukey's outer fences, three interquartile ranges below the first
        or above the third quartile; 0 if that range is 0.
    correlations : Correlations
    """

    mode_share: NDArray[np.float64]
    outlier_share: NDArray[np.float64]
    correlations: Correlations


def screen_features(
    sample: RowSample, backend: str, n_rows: int, transform: FeatureTransform
) -> FeatureScreening:
    """Screen the features on a part of the sample, after a transform."""
    x = registry.get(backend).prepare(sample.subsample(_SCREENING_ROWS, n_rows), transform)
    columns = np.sort(x.T, axis=1)
    correlations = Correlations(x, backend)
    return FeatureScreening(_mode_share(columns), _outlier_share(columns), correlations)


def _mode_share(columns: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the share of the most frequent value of each column; columns (d, n) are sorted."""
    n_rows = columns.shape[1]
    if not n_rows:
        return np.zeros(len(columns))
    position = np.arange(1, n_rows, dtype=np.int32)
    step = max(_BLOCK_VALUES // n_rows, 1)
    longest = []
    for start in range(0, len(columns), step):
        values = columns[start : start + step]
        run_start = np.where(values[:, 1:] != values[:, :-1], position, np.int32(0))
        np.maximum.accumulate(run_start, axis=1, out=run_start)
        longest.append((position - run_start).max(axis=1, initial=0) + 1)
    shares: NDArray[np.float64] = np.concatenate(longest) / n_rows
    return shares


def _outlier_share(columns: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the share of values beyond the outer fences; columns (d, n) are sorted."""
    n_rows = columns.shape[1]
    if not n_rows:
        return np.zeros(len(columns))
    low, high = np.quantile(columns.astype(np.float64), [0.25, 0.75], axis=1)
    distance, shares = 3 * (high - low), np.zeros(len(columns))
    lower, upper = low - distance, high + distance
    is_beyond = (columns[:, 0] < lower) | (columns[:, -1] > upper)
    for f in np.flatnonzero(is_beyond & (distance > 0)).tolist():
        n_below = np.searchsorted(columns[f], lower[f], side="left")
        n_above = n_rows - np.searchsorted(columns[f], upper[f], side="right")
        shares[f] = (n_below + n_above) / n_rows
    return shares
