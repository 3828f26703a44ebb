"""Compile the kernels that `gpuseg.accel` calls, so that no script has to wait for them."""

from __future__ import annotations

import numpy as np

from gpuseg.accel.engine import cluster_by_density, distance_sums_by_label, move_centers


def compile_kernels() -> None:
    """Call each of the engine's functions on some rows, as a script would."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 3))
    rows -= rows.mean(axis=0)
    labels = np.repeat([0, 1, 2], 100)
    for dtype in (np.float32, np.float64):
        X = rows.astype(dtype)
        for weight in (np.ones(300, dtype), np.full(300, 2, dtype)):
            move_centers(X, weight, X[:3], 20, 1e-4, 2)
            cluster_by_density(X, weight, 0.5, 5, "euclidean", 2)
        cluster_by_density(X, None, 0.5, 5, "manhattan", 2)
        list(distance_sums_by_label(X, labels, 3, 2))
