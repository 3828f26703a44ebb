"""The preparation of rows that lie on the device, and the sums that it is found from."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.cuda.launch_plans import plan_simple
from gpuseg.backends.cuda.launcher import Launcher
from gpuseg.backends.cuda.upload import upload
from gpuseg.backends.feature_transform import FeatureTransform, Projection
from gpuseg.numerics.sum_grid import STEPS


def prepare(launcher: Launcher, x: Any, preparation: FeatureTransform) -> Any:
    """See `Backend.prepare`."""
    n, d = x.shape
    p = preparation
    values: dict[str, NDArray[Any]] = {
        "fill": p.fill, "bounds": p.bounds(), "transform": p.transform, "power": p.powers(),
        "shift": p.shift, "scale": p.scale,
    }  # fmt: skip
    small = upload(launcher, values)
    kernel, blocks = plan_simple("prepare", n * d, launcher.limits)
    launcher.launch(kernel, blocks, [x, np.int64(n), np.int32(d), *small.values()])
    if p.projection is not None:
        x = _projected(launcher, x, p.projection)
    if p.unit:
        kernel, blocks = plan_simple("normalize", n, launcher.limits)
        launcher.launch(kernel, blocks, [x, np.int64(n), np.int32(p.n_columns)])
    return x


def _projected(launcher: Launcher, x: Any, projection: Projection) -> Any:
    """Return the rows in the coordinates of their components, float32 (n, p)."""
    (n, d), p = x.shape, len(projection.components)
    projected = launcher.xp.empty((n, p), np.float32)
    small = upload(launcher, {"mean": projection.mean, "components": projection.components})
    kernel, blocks = plan_simple("project", n * p, launcher.limits)
    launcher.launch(
        kernel, blocks, [x, np.int64(n), np.int32(d), *small.values(), np.int32(p), projected]
    )
    return projected


def gram(
    launcher: Launcher, x: Any, mean: NDArray[np.float64], grids: NDArray[np.float64]
) -> NDArray[np.float64]:
    """See `Backend.gram`."""
    n, d = x.shape
    steps = launcher.xp.zeros(grids.shape, np.uint64)
    small = upload(launcher, {"mean": mean, "magic": grids})
    kernel, blocks = plan_simple("gram", n, launcher.limits)
    launcher.launch(kernel, blocks, [x, np.int64(n), np.int32(d), *small.values(), steps])
    return _sums(launcher, steps, grids)


def power_sums(
    launcher: Launcher,
    x: Any,
    feature: int,
    powers: NDArray[np.float64],
    origin: NDArray[np.float64],
    grids: NDArray[np.float64],
) -> NDArray[np.float64]:
    """See `Backend.power_sums`."""
    (n, d), m = x.shape, len(powers)
    steps = launcher.xp.zeros(grids.shape, np.uint64)
    small = upload(launcher, {"power": powers, "origin": origin, "magic": grids})
    kernel, blocks = plan_simple("power_sums", n, launcher.limits)
    blocks = -(-blocks // (m + 1)) * (m + 1)
    launcher.launch(kernel, blocks, [
        x, np.int64(n), np.int32(d), np.int32(feature), small["power"], small["origin"],
        np.int32(m), small["magic"], steps,
    ])  # fmt: skip
    return _sums(launcher, steps, grids)


def _sums(launcher: Launcher, steps: Any, grids: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what counts of steps of some grids stand for."""
    counts: NDArray[np.int64] = launcher.to_host(steps).view(np.int64)
    return counts * (grids / STEPS)
