"""Screening of features that add no information, on a sample of the rows.

The sample is drawn by a hash of the row index, so it does not depend on the files. Shares and
correlations of 20,000 rows are accurate to about 0.01.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.numerics.hashing import hash_sample_mask
from gpuseg.preprocessing.pca import product_grids, symmetric
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import column_passes as columns

SAMPLE_ROWS = 65_536
"""Number of rows in the sample; smaller data is taken completely."""

_SCREENING_ROWS = 20_000
NEAR_CONSTANT = 0.95
"""A feature is near-constant if at least this share of the rows has the same value."""

CORRELATED = 0.95
"""Two features are reported as correlated from this |r|."""


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


def draw_sample(executor: Executor, backend: str, n_rows: int) -> RowSample:
    """Draw a sample of the rows of all shards, `n_rows` in total."""
    parts = executor.map(columns.sample_with_index, backend, SAMPLE_ROWS, n_rows)
    index, x = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return RowSample(index, x)


@dataclass(frozen=True)
class FeatureScreening:
    """Properties of the features, estimated from a sample.

    Attributes
    ----------
    mode_share : float64 (d,)
        Share of each feature's most frequent value.
    correlation : float64 (d, d)
        Pearson's r of the features after their transforms; 0 with a constant one.
    outlier_share : float64 (d,)
        Share of values beyond Tukey's outer fences, three interquartile ranges below the first
        or above the third quartile; 0 if that range is 0.
    """

    mode_share: NDArray[np.float64]
    correlation: NDArray[np.float64]
    outlier_share: NDArray[np.float64]

    def correlated_pairs(self, threshold: float) -> list[tuple[int, int, float]]:
        """Return pairs of features i < j with |r| >= threshold, and their r."""
        pairs = np.argwhere(np.triu(np.abs(self.correlation) >= threshold, 1))
        return [(int(i), int(j), float(self.correlation[i, j])) for i, j in pairs]

    def repeated_features(self, threshold: float, candidates: Sequence[int]) -> dict[int, int]:
        """Return candidates that are correlated with an earlier one, and the one that is kept."""
        kept_by_repeated: dict[int, int] = {}
        for i, j, _ in self.correlated_pairs(threshold):
            if i in candidates and j in candidates and i not in kept_by_repeated:
                kept_by_repeated.setdefault(j, i)
        return kept_by_repeated


def screen_features(
    sample: RowSample, backend: str, n_rows: int, transform: FeatureTransform
) -> FeatureScreening:
    """Screen the features on a part of the sample, after a transform."""
    x = registry.get(backend).prepare(sample.subsample(_SCREENING_ROWS, n_rows), transform)
    columns = np.sort(x.T, axis=1)
    return FeatureScreening(_mode_share(columns), _correlation(x, backend), _outlier_share(columns))


def _mode_share(columns: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the share of the most frequent value of each column; columns (d, n) are sorted."""
    n_rows = columns.shape[1]
    if not n_rows:
        return np.zeros(len(columns))
    shares = []
    for values in columns:
        ends = np.append(np.flatnonzero(values[1:] != values[:-1]), n_rows - 1)
        shares.append(np.diff(ends, prepend=-1).max() / n_rows)
    return np.array(shares)


def _outlier_share(columns: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the share of values beyond the outer fences; columns (d, n) are sorted."""
    n_rows = columns.shape[1]
    if not n_rows:
        return np.zeros(len(columns))
    low, high = np.quantile(columns.astype(np.float64), [0.25, 0.75], axis=1)
    distance, shares = 3 * (high - low), np.zeros(len(columns))
    for f in np.flatnonzero(distance > 0).tolist():
        n_below = np.searchsorted(columns[f], low[f] - distance[f], side="left")
        n_above = n_rows - np.searchsorted(columns[f], high[f] + distance[f], side="right")
        shares[f] = (n_below + n_above) / n_rows
    return shares


def _correlation(x: NDArray[np.float32], backend: str) -> NDArray[np.float64]:
    """Return Pearson's r of each pair of columns, from sums with the same bits everywhere."""
    if not len(x):
        return np.zeros((x.shape[1], x.shape[1]))
    rows = len(x)
    origin = x[0].astype(np.float64)
    max_deviation = np.abs(x - origin).max(axis=0)
    with_ones = np.column_stack([x, np.ones((rows, 1), np.float32)])
    grids = product_grids(rows, np.append(max_deviation, 1.0))
    sums = symmetric(registry.get(backend).gram(with_ones, np.append(origin, 0.0), grids))
    means = sums[:-1, -1] / rows
    covariance = sums[:-1, :-1] / rows - np.outer(means, means)
    std = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    scale = np.outer(std, std)
    result: NDArray[np.float64] = np.divide(
        covariance, scale, out=np.zeros_like(covariance), where=scale > 0
    )
    return result
