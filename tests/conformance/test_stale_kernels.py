"""Kernels compiled from older sources are removed from numba's cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpuseg.backends.numba.kmeans import lloyd
from gpuseg.backends.numba.stale_kernels import remove_stale_kernels
from gpuseg.backends.numba.transactions import aggregate

KERNELS = [lloyd.lloyd, aggregate.aggregate]


@pytest.mark.parametrize("kernel", KERNELS, ids=["kmeans", "transactions"])
def test_kernels_older_than_a_source_are_removed(kernel: object) -> None:
    folder = Path(kernel.stats.cache_path)  # type: ignore[attr-defined]
    folder.mkdir(parents=True, exist_ok=True)
    stale, fresh = folder / "test_stale-0.py311.nbi", folder / "test_fresh-0.py311.nbi"
    for path in (stale, fresh):
        path.touch()
    os.utime(stale, (0, 0))
    try:
        remove_stale_kernels()
        assert fresh.exists()
        assert not stale.exists()
    finally:
        fresh.unlink(missing_ok=True)


def test_the_cache_of_this_run_is_the_requested_folder() -> None:
    requested = Path(os.environ["NUMBA_CACHE_DIR"])
    for kernel in KERNELS:
        assert Path(kernel.stats.cache_path).is_relative_to(requested)
