"""What a job imports and loads while it waits for rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.helpers import customers, cut, job, toml, write_files

_RUN = """
import sys
from functools import partial
from gpuseg.backends.numba import kernel
from gpuseg.backends.numba.kmeans_kernels import load_kernels
from gpuseg.jobs.import_later import import_later
from gpuseg.jobs.run import run
from gpuseg.segmentation.kmeans import KMeansSegmentation

loaded = []
load = kernel._KernelCache.load_overload
def record(cache, signature, target):
    loaded.append(cache._cache_file._index_name.split("-")[0])
    return load(cache, signature, target)

kernel._KernelCache.load_overload = record
import_later(KMeansSegmentation.fit_modules, partial(load_kernels, seeds=True))
n_kernels, modules = len(loaded), set(sys.modules)
run(sys.argv[1])
print("kernels", n_kernels, loaded[n_kernels:])
print("modules", sorted(m for m in set(sys.modules) - modules if m.startswith("gpuseg")))
"""


@pytest.mark.slow
def test_a_job_needs_no_other_kernel_and_no_other_module(tmp_path: Path) -> None:
    """numba loads a kernel at its first call, and all threads wait."""
    table = customers(600)
    source = write_files(tmp_path / "in", cut(table, 300))
    values = job(source, tmp_path / "out", segment={"n_clusters": 3})
    file = tmp_path / "job.toml"
    file.write_text(toml(values))
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(file)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["kernels 13 []", "modules []"], done.stdout
