"""The bins of the features of a fit, from a sample of its raw rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.monitoring.reference import N_BINS


@dataclass(frozen=True)
class FeatureBins:
    """Bins of features; see `DriftReference` for edges, positions and std.

    Attributes
    ----------
    edges : float32 (d, 255)
    positions : float64 (d, 256)
    std : float64 (d,)
    """

    edges: NDArray[np.float32]
    positions: NDArray[np.float64]
    std: NDArray[np.float64]

    def take(self, features: list[int]) -> "FeatureBins":
        """Return the bins of some features."""
        return FeatureBins(self.edges[features], self.positions[features], self.std[features])


def bins_of_sample(x: NDArray[np.float32]) -> FeatureBins:
    """Return bins that have about as many rows of a sample (m, d) each; NaN is left out.

    Edge i of m values is the one at place ceil(i·m / 256) in their order, i = 1 … 255. Equal
    edges have empty bins between them. If the first two are the lowest value, the first one is put
    just below it: other rows may have lower values, and these then have a bin of their own. The
    position of an empty bin is its upper edge, and that of the last bin its lower one.
    """
    d = x.shape[1]
    edges = np.full((d, N_BINS - 1), np.inf, np.float32)
    positions, std = np.zeros((d, N_BINS)), np.zeros(d)
    for f in range(d):
        values = np.sort(x[:, f])[: len(x) - int(np.isnan(x[:, f]).sum())]  # NaN is last
        if values.size:
            places = -(-np.arange(1, N_BINS) * values.size // N_BINS) - 1
            edges[f] = values[places]
            if edges[f, 1] == values[0]:
                edges[f, 0] = _below(edges[f, 1])
            exact = values.astype(np.float64)
            ends = np.append(np.searchsorted(values, edges[f], side="right"), values.size)
            positions[f] = _positions(exact, ends, edges[f].astype(np.float64))
            std[f] = exact.std()
    return FeatureBins(edges, positions, std)


def _below(value: np.float32) -> np.float32:
    """Return the next lower float32 that is not subnormal: some processors take these for 0."""
    lower, least = np.nextafter(value, np.float32(-np.inf)), np.finfo(np.float32).tiny
    return lower if abs(lower) >= least or not np.isfinite(lower) else -least


def _positions(
    values: NDArray[np.float64], ends: NDArray[np.int64], edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the mean of the values of each bin; values are sorted, and bins end at `ends`."""
    rows = np.diff(ends, prepend=0)
    sums = np.bincount(np.repeat(np.arange(N_BINS), rows), values, N_BINS)
    upper = np.append(edges, edges[-1])
    positions = np.where(rows > 0, sums / np.maximum(rows, 1), upper)
    # Rounding may put the mean of a bin beyond its edges.
    positions[:-1] = np.minimum(positions[:-1], edges)
    positions[1:] = np.maximum(positions[1:], edges)
    return positions
