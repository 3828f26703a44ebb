"""Rows drawn by a hash of their place, and what they tell of features that say nothing new.

A sample drawn like that does not depend on how the rows are filed. Shares and correlations of
20,000 rows are right to about a hundredth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.numerics.hashing import drawn
from gpuseg.preprocessing.pca import full, product_grids
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import column_passes as columns

SAMPLE_ROWS = 65_536
"""Rows that are drawn; data of no more are taken whole."""

_SURVEY_ROWS = 20_000
NEAR_CONSTANT = 0.95
"""A feature is near-constant where so many rows, or more, have one and the same value."""

CORRELATED = 0.95
"""Two features are strongly correlated from this |r| on, where nothing else is asked for."""


@dataclass(frozen=True)
class RowSample:
    """Rows as they came.

    Attributes
    ----------
    index : int64 (m,)
        Place in the data, rising.
    x : float32 (m, d)
        NaN where a value is missing.
    """

    index: NDArray[np.int64]
    x: NDArray[np.float32]

    def some(self, wanted: int, of: int) -> NDArray[np.float32]:
        """Return about `wanted` of all rows of the data, those drawn with the fewest."""
        return self.x[drawn(self.index, wanted, of)].copy()


def draw(executor: Executor, backend: str, rows: int) -> RowSample:
    """Draw rows of the placed shards, which have so many together."""
    parts = executor.map(columns.placed_sample, backend, SAMPLE_ROWS, rows)
    places, x = (np.concatenate(own) for own in zip(*parts, strict=True))
    return RowSample(places, x)


@dataclass(frozen=True)
class FeatureScreening:
    """What a sample of the rows tells about the features.

    Attributes
    ----------
    common : float64 (d,)
        The share of each feature's most frequent value.
    correlation : float64 (d, d)
        Pearson's r of the features after their transforms; 0 with a constant one.
    outliers : float64 (d,)
        The share of values beyond Tukey's outer fences, three interquartile ranges below the first
        or above the third quartile; 0 where that range is 0.
    """

    common: NDArray[np.float64]
    correlation: NDArray[np.float64]
    outliers: NDArray[np.float64]

    def pairs(self, threshold: float) -> list[tuple[int, int, float]]:
        """Return pairs of features i < j with |r| >= threshold, and their r."""
        found = np.argwhere(np.triu(np.abs(self.correlation) >= threshold, 1))
        return [(int(i), int(j), float(self.correlation[i, j])) for i, j in found]

    def repeats(self, threshold: float, left: Sequence[int]) -> dict[int, int]:
        """Return those of the features `left` that repeat one before them, which is kept."""
        found: dict[int, int] = {}
        for i, j, _ in self.pairs(threshold):
            if i in left and j in left and i not in found:
                found.setdefault(j, i)
        return found


def survey(
    sample: RowSample, backend: str, rows: int, preparation: FeatureTransform
) -> FeatureScreening:
    """Look at some rows that were drawn of so many, prepared."""
    x = registry.get(backend).prepare(sample.some(_SURVEY_ROWS, rows), preparation)
    return FeatureScreening(_most_common(x), _correlation(x, backend), _outliers(x))


def _most_common(x: NDArray[np.float32]) -> NDArray[np.float64]:
    if not len(x):
        return np.zeros(x.shape[1])
    return np.array([np.unique(own, return_counts=True)[1].max() / len(x) for own in x.T])


def _outliers(x: NDArray[np.float32]) -> NDArray[np.float64]:
    if not len(x):
        return np.zeros(x.shape[1])
    low, high = np.quantile(x.astype(np.float64), [0.25, 0.75], axis=0)
    reach = 3 * (high - low)
    beyond = (x < low - reach) | (x > high + reach)
    shares: NDArray[np.float64] = np.where(reach > 0, beyond.mean(axis=0), 0.0)
    return shares


def _correlation(x: NDArray[np.float32], backend: str) -> NDArray[np.float64]:
    """Return Pearson's r of each pair of columns, from sums that are the same on any processor."""
    if not len(x):
        return np.zeros((x.shape[1], x.shape[1]))
    rows = len(x)
    mean = x[0].astype(np.float64)
    reach = np.abs(x - mean).max(axis=0)
    ones = np.ones((rows, 1), np.float32)
    with_ones = np.column_stack([x, ones])
    own_mean, own_reach = np.append(mean, 0.0), np.append(reach, 1.0)
    parts = registry.get(backend).gram(with_ones, own_mean, product_grids(rows, own_reach))
    sums = full(parts)
    means = sums[:-1, -1] / rows
    covariance = sums[:-1, :-1] / rows - np.outer(means, means)
    size = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    scale = np.outer(size, size)
    result: NDArray[np.float64] = np.divide(
        covariance, scale, out=np.zeros_like(covariance), where=scale > 0
    )
    return result
