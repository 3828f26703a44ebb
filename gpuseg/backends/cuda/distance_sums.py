"""Sums of distances from rows that lie on the device to a few points."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.cuda.launch_plans import plan_simple
from gpuseg.backends.cuda.launcher import Launcher
from gpuseg.backends.cuda.upload import upload
from gpuseg.numerics.sum_grid import STEPS


def distance_sums(
    launcher: Launcher,
    x: Any,
    starts: NDArray[np.int64],
    points: NDArray[np.float32],
    magic: float,
) -> NDArray[np.float64]:
    """See `Backend.distance_sums`."""
    (n, d), m, cells = x.shape, len(points), len(starts) - 1
    steps = launcher.xp.zeros((cells, m), np.uint64)
    cell = np.repeat(np.arange(cells, dtype=np.int32), np.diff(starts))
    small = upload(launcher, {"cell": cell, "points": np.ascontiguousarray(points.T)})
    kernel, blocks = plan_simple("distance_sums", n, launcher.limits)
    launcher.launch(kernel, blocks, [
        x, np.int64(n), np.int32(d), *small.values(), np.int32(m), np.float64(magic), steps,
    ])  # fmt: skip
    counts: NDArray[np.int64] = launcher.to_host(steps).view(np.int64)
    sums: NDArray[np.float64] = counts * np.float64(magic / STEPS)
    return sums
