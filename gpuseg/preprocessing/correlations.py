"""Correlated features of a sample, with the same decisions on any processor.

Matrix products are fast, and their last bits depend on the processor. They rule out nearly all
pairs. The few that are near the threshold, or are shown, are computed again from sums with the
same bits everywhere.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.preprocessing.pca import product_grids, symmetric

_DOUBTFUL = 1e-6
"""Distance of |r| from the threshold from which on a matrix product decides."""

_BLOCK = 128
"""Features that are compared with all later ones at once."""


@dataclass(frozen=True)
class Correlations:
    """Pearson's r of pairs of features, 0 with a constant one.

    Attributes
    ----------
    x : float32 (n, d)
        The features of the sample, after their transforms.
    backend : str
    """

    x: NDArray[np.float32]
    backend: str

    def exact(self, i: int, j: int) -> float:
        """Return r of two features, from sums with the same bits everywhere."""
        x = self.x[:, [i, j]]
        if not len(x):
            return 0.0
        rows = len(x)
        origin = x[0].astype(np.float64)
        max_deviation = np.abs(x - origin).max(axis=0)
        with_ones = np.column_stack([x, np.ones((rows, 1), np.float32)])
        grids = product_grids(rows, np.append(max_deviation, 1.0))
        b = registry.get(self.backend)
        sums = symmetric(b.gram(with_ones, np.append(origin, 0.0), grids))
        means = sums[:2, 2] / rows
        covariance = sums[:2, :2] / rows - np.outer(means, means)
        scale = float(np.multiply(*np.sqrt(np.maximum(np.diag(covariance), 0.0))))
        return float(covariance[0, 1]) / scale if scale > 0 else 0.0

    def pairs(self, features: Sequence[int], threshold: float) -> Iterator[tuple[int, int]]:
        """Yield the pairs of features i < j with |r| >= threshold, in their order.

        Parameters
        ----------
        features : sequence of int
            The features that are looked at, rising.
        """
        for i, others in self._by_feature(features, threshold):
            yield from ((i, j) for j in others)

    def repeated(self, features: Sequence[int], threshold: float) -> dict[int, int]:
        """Return features that are correlated with an earlier one, and the one that is kept."""
        kept_by_repeated: dict[int, int] = {}
        for i, others in self._by_feature(features, threshold, kept_by_repeated):
            kept_by_repeated |= {j: i for j in others if j not in kept_by_repeated}
        return kept_by_repeated

    def _by_feature(
        self, features: Sequence[int], threshold: float, skipped: dict[int, int] | None = None
    ) -> Iterator[tuple[int, list[int]]]:
        """Yield each feature that is not skipped, and the later ones correlated with it."""
        numbers = np.array(features, np.int64)
        for start in range(0, len(numbers) - 1, _BLOCK):
            block, later = numbers[start : start + _BLOCK], numbers[start:]
            products = np.abs(self._standardized[:, block].T @ self._standardized[:, later])
            is_pair = np.triu(products >= threshold - _DOUBTFUL, 1)
            is_sure = products >= threshold + _DOUBTFUL
            for row in np.flatnonzero(is_pair.any(axis=1)).tolist():
                i = int(block[row])
                if skipped and i in skipped:
                    continue
                others = [
                    int(later[column])
                    for column in np.flatnonzero(is_pair[row]).tolist()
                    if is_sure[row, column] or abs(self.exact(i, int(later[column]))) >= threshold
                ]
                yield i, others

    @cached_property
    def _standardized(self) -> NDArray[np.float64]:
        """The features minus their means, of length one, float64 (n, d); 0 for constant ones."""
        if not len(self.x):
            return np.zeros(self.x.shape)
        z = self.x.astype(np.float64)
        z -= z[0].copy()
        z -= z.mean(axis=0)
        length = np.sqrt(np.einsum("nf,nf->f", z, z))
        constant = (self.x == self.x[0]).all(axis=0) | (length == 0)
        z /= np.where(constant, 1.0, length)
        z[:, constant] = 0.0
        return z
