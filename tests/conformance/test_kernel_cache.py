"""A kernel in numba's cache is loaded without the modules of numba's compiler."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

import gpuseg

FIT = """
import sys
import numpy as np
from gpuseg import KMeans

x = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
print(KMeans(3, n_init=1, random_state=0, backend="numba").fit(x).inertia_.hex())
unused = {"numba.np.arraymath", "numba.np.arrayobj", "numba.cpython.unicode"}
print(*sorted(unused & set(sys.modules)))
"""


def test_loaded_kernels_give_the_same_bits_and_import_nothing() -> None:
    x = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    model = gpuseg.KMeans(3, n_init=1, random_state=0, backend="numba").fit(x)  # compiles
    done = subprocess.run([sys.executable, "-c", FIT], capture_output=True, text=True, check=True)
    inertia, imported = done.stdout.split("\n")[:2]
    assert inertia == model.inertia_.hex()
    assert imported == ""
