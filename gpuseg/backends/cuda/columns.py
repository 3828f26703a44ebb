"""Column kernels on a GPU; rows in host memory are handled there, by the numba backend."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.column_summary import KINDS, NO_ROW, ColumnSummary
from gpuseg.backends.cuda.launch_plans import SIMPLE_THREADS, plan_simple
from gpuseg.backends.cuda.launcher import Launcher
from gpuseg.backends.cuda.stream import on_stream
from gpuseg.backends.cuda.upload import upload
from gpuseg.backends.digest import digest_factors
from gpuseg.backends.feature_transform import FeatureTransform, Projection
from gpuseg.backends.numba.columns import NumbaColumns
from gpuseg.numerics.moments import N_EXPONENTS, Moments
from gpuseg.numerics.sort_keys import float32_from_keys
from gpuseg.numerics.sum_grid import STEPS

_N_HALF_KEYS = 2**16
"""Values of half a sort key."""


class CudaColumns:
    """See `backends.protocols.ColumnKernels`.

    Parameters
    ----------
    launcher : Launcher
    """

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._host = NumbaColumns()

    @on_stream
    def summarize(self, x: Any, transform: NDArray[np.int64], first_row: int) -> ColumnSummary:
        if isinstance(x, np.ndarray):
            return self._host.summarize(x, transform, first_row)
        launcher, (n, d) = self._launcher, x.shape
        if not n:
            return ColumnSummary.empty(d)
        sums = launcher.xp.zeros((3, d, N_EXPONENTS), np.uint64)
        counts = launcher.xp.zeros((len(KINDS), d), np.uint64)
        arrays = upload(
            launcher,
            {
                "transform": transform,
                "firsts": np.full((len(KINDS), d), NO_ROW, np.int64),
                "minimum": np.full(d, 2**32 - 1, np.uint32),
                "maximum": np.zeros(d, np.uint32),
            },
        )
        kernel, blocks = plan_simple("summarize", n * min(d, SIMPLE_THREADS), launcher.limits)
        arguments = [
            x,
            np.int64(n),
            np.int32(d),
            arrays["transform"],
            np.int64(first_row),
            counts,
            arrays["firsts"],
            arrays["minimum"],
            arrays["maximum"],
            *(sums[0], sums[1], sums[2]),
        ]
        launcher.launch(kernel, blocks, arguments)
        minimum, maximum = launcher.to_host(arrays["minimum"]), launcher.to_host(arrays["maximum"])
        empty = minimum > maximum
        return ColumnSummary(
            n,
            launcher.to_host(counts).view(np.int64),
            launcher.to_host(arrays["firsts"]),
            np.where(empty, np.inf, float32_from_keys(minimum).astype(np.float64) + 0.0),
            np.where(empty, -np.inf, float32_from_keys(maximum).astype(np.float64) + 0.0),
            Moments(*launcher.to_host(sums).view(np.int64)),
        )

    @on_stream
    def digest(self, x: Any, weight: Any, first_row: int) -> int:
        if isinstance(x, np.ndarray):
            return self._host.digest(x, weight, first_row)
        launcher, (n, d) = self._launcher, x.shape
        weight = None if weight is None else launcher.to_device(weight)
        total = launcher.xp.zeros(1, np.uint64)
        factors = launcher.to_device(digest_factors(d))
        kernel, blocks = plan_simple("digest", n, launcher.limits)
        arguments = [x, weight, np.int64(n), np.int32(d), factors, np.int64(first_row), total]
        launcher.launch(kernel, blocks, arguments)
        return int(launcher.to_host(total)[0])

    @on_stream
    def prepare(self, x: Any, transform: FeatureTransform) -> Any:
        if isinstance(x, np.ndarray):
            return self._host.prepare(x, transform)
        launcher, (n, d), t = self._launcher, x.shape, transform
        arrays = upload(
            launcher,
            {
                "fill": t.fill,
                "bounds": t.bounds(),
                "transform": t.transform,
                "power": t.powers(),
                "shift": t.shift,
                "scale": t.scale,
            },
        )
        kernel, blocks = plan_simple("prepare", n * d, launcher.limits)
        launcher.launch(kernel, blocks, [x, np.int64(n), np.int32(d), *arrays.values()])
        if t.projection is not None:
            x = self._project(x, t.projection)
        if t.unit:
            kernel, blocks = plan_simple("normalize", n, launcher.limits)
            launcher.launch(kernel, blocks, [x, np.int64(n), np.int32(t.n_columns)])
        return x

    def _project(self, x: Any, projection: Projection) -> Any:
        """Return the rows in the coordinates of their components, float32 (n, p)."""
        launcher, (n, d), p = self._launcher, x.shape, len(projection.components)
        projected = launcher.xp.empty((n, p), np.float32)
        arrays = upload(launcher, {"mean": projection.mean, "components": projection.components})
        kernel, blocks = plan_simple("project", n * p, launcher.limits)
        arguments = [x, np.int64(n), np.int32(d), *arrays.values(), np.int32(p), projected]
        launcher.launch(kernel, blocks, arguments)
        return projected

    @on_stream
    def gram(
        self, x: Any, mean: NDArray[np.float64], grids: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        if isinstance(x, np.ndarray):
            return self._host.gram(x, mean, grids)
        launcher, (n, d) = self._launcher, x.shape
        steps = launcher.xp.zeros(grids.shape, np.uint64)
        arrays = upload(launcher, {"mean": mean, "magic": grids})
        kernel, blocks = plan_simple("gram", n, launcher.limits)
        launcher.launch(kernel, blocks, [x, np.int64(n), np.int32(d), *arrays.values(), steps])
        return self._sums(steps, grids)

    @on_stream
    def power_sums(
        self,
        x: Any,
        feature: int,
        powers: NDArray[np.float64],
        origin: NDArray[np.float64],
        grids: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        if isinstance(x, np.ndarray):
            return self._host.power_sums(x, feature, powers, origin, grids)
        launcher, (n, d), m = self._launcher, x.shape, len(powers)
        steps = launcher.xp.zeros(grids.shape, np.uint64)
        arrays = upload(launcher, {"power": powers, "origin": origin, "magic": grids})
        kernel, blocks = plan_simple("power_sums", n, launcher.limits)
        blocks = -(-blocks // (m + 1)) * (m + 1)
        arguments = [
            x,
            np.int64(n),
            np.int32(d),
            np.int32(feature),
            arrays["power"],
            arrays["origin"],
            np.int32(m),
            arrays["magic"],
            steps,
        ]
        launcher.launch(kernel, blocks, arguments)
        return self._sums(steps, grids)

    @on_stream
    def key_histogram(
        self, x: Any, feature: int, prefixes: Sequence[int] | None
    ) -> NDArray[np.int64]:
        if isinstance(x, np.ndarray):
            return self._host.key_histogram(x, feature, prefixes)
        launcher, (n, d) = self._launcher, x.shape
        prefix = np.array([] if prefixes is None else prefixes, np.uint32)
        counts = launcher.xp.zeros((max(len(prefix), 1), _N_HALF_KEYS), np.uint64)
        kernel, blocks = plan_simple("histogram", n, launcher.limits)
        arguments = [
            x,
            np.int64(n),
            np.int32(d),
            np.int32(feature),
            launcher.to_device(prefix),
            np.int32(len(prefix)),
            counts,
        ]
        launcher.launch(kernel, blocks, arguments)
        histogram: NDArray[np.int64] = launcher.to_host(counts).view(np.int64)
        return histogram[0] if prefixes is None else histogram

    def _sums(self, steps: Any, grids: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sums that counts of grid steps represent."""
        counts: NDArray[np.int64] = self._launcher.to_host(steps).view(np.int64)
        return counts * (grids / STEPS)
