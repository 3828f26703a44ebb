"""Compile numba's kernels before the tests begin, each process of xdist a part of them.

Without this, all processes would begin with tests that need the same kernels, and each would
compile all of them. What one process has compiled, the others load.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROWS = np.random.default_rng(0).normal(size=(300, 3))


def compile_part(process: int, n_processes: int) -> None:
    """Compile every n-th group of kernels, if this cache of numba's does not have them."""
    for group in GROUPS[process::n_processes]:
        done = Path(os.environ["NUMBA_CACHE_DIR"], f"{group.__name__}.done")
        if not done.exists():
            group()
            done.touch()


def _kmeans() -> None:
    import gpuseg

    gpuseg.KMeans(3, n_init=1, random_state=0, backend="numba").fit(ROWS.astype(np.float32))


def _dbscan_float32() -> None:
    _dbscan(ROWS.astype(np.float32))


def _dbscan_float64() -> None:
    _dbscan(ROWS)


def _grid_and_features() -> None:
    import gpuseg

    for dtype in (np.float32, np.float64):
        _dbscan(ROWS[:, :2].astype(dtype))
    gpuseg.Preprocessor(transforms="yeo-johnson", pca=2).fit_transform(abs(ROWS))


def _dbscan(x: np.ndarray) -> None:
    import gpuseg

    gpuseg.DBSCAN(0.5, backend="numba").fit(x)


GROUPS: tuple[Callable[[], None], ...] = (
    _kmeans,
    _dbscan_float32,
    _dbscan_float64,
    _grid_and_features,
)
