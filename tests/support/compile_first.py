"""Compile most of numba's kernels before the tests begin, each process of xdist a part of them.

Without this, all processes would begin with tests that need the same kernels, and each would
compile all of them. xdist gives out tests only after all processes have collected them, so all
parts are ready then, and each process loads what the others have compiled.
"""

import datetime
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

import gpuseg

ROWS = np.random.default_rng(0).normal(size=(300, 3))


def compile_part(process: int, n_processes: int, quick: bool) -> None:
    """Compile every n-th group of kernels, if this cache of numba's does not have them.

    Few of the tests of a quick run need kernels for float64. Without those, both processes have as
    much to compile, so the kernels of transactions are left to the test that needs them first.
    """
    cache = os.environ.get("NUMBA_CACHE_DIR")
    if cache is None:
        return
    newest = max(path.stat().st_mtime for path in Path(gpuseg.__file__).parent.rglob("*.py"))
    # The groups have no kernels in common: numba does not lock the files of its cache.
    groups: tuple[Callable[[], None], ...] = (_kmeans_and_preprocessing, _dbscan)
    if not quick:
        groups = (_kmeans_and_preprocessing, _dbscan_of_all_dtypes, _transactions)
    for group in groups[process::n_processes]:
        done = Path(cache, f"{group.__name__}.done")
        if not done.exists() or done.stat().st_mtime < newest:  # then old kernels are removed
            group()
            done.touch()


def _kmeans_and_preprocessing() -> None:
    gpuseg.KMeans(3, n_init=1, random_state=0, backend="numba").fit(ROWS.astype(np.float32))
    gpuseg.Preprocessor(transforms="yeo-johnson", pca=2).fit_transform(abs(ROWS))


def _dbscan(dtype: type = np.float32) -> None:
    for n_features in (3, 2):  # tiles, and cells of a grid
        gpuseg.DBSCAN(0.5, backend="numba").fit(ROWS[:, :n_features].astype(dtype))


def _dbscan_of_all_dtypes() -> None:
    for dtype in (np.float32, np.float64):
        _dbscan(dtype)


def _transactions() -> None:
    lines = pa.table({"who": [1], "paid": [1.0], "at": [datetime.date(2025, 1, 1)]})
    gpuseg.features.from_transactions(lines, customer="who", time="at", amount="paid")
