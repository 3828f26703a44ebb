"""The formula of squared distances, in float64 with the features in order."""

import numpy as np
from numpy.typing import NDArray


def squared_distances(x: NDArray[np.float32], centers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Σ (x_f - c_f)² of every row and center, float64 (n, k)."""
    total = np.zeros((x.shape[0], centers.shape[0]))
    for f in range(x.shape[1]):
        difference = x[:, f].astype(np.float64)[:, None] - centers[:, f]
        total += difference * difference
    return total
