"""The cluster of a new row: that of the nearest core row within eps, if there is one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.backends.reach import Reach, corners
from gpuseg.engine.metrics import distance_of, limit_of, points_of, power
from gpuseg.engine.params import DBSCANParams
from gpuseg.runtime.executor import Env

NOISE = -1

_ROUNDING = 1 + 1e-9
"""More than a root of the limit may be off by."""


@dataclass(frozen=True)
class _Laid:
    """Core rows laid out for questions, and the box that rows within eps of one are in."""

    reach: Reach
    layout: Any
    box: NDArray[np.float64]
    dtype: Any


@dataclass(frozen=True, eq=False)
class CoreRows:
    """The core rows of a fitted DBSCAN; laid out once, for the first rows that ask.

    Attributes
    ----------
    x : float32 or float64 (m, d)
    label : int32 (m,)
    params : DBSCANParams
    """

    x: NDArray[Any]
    label: NDArray[np.int32]
    params: DBSCANParams
    _laid: dict[tuple[str, Any], _Laid] = field(init=False, repr=False, default_factory=dict)

    def assign(
        self, x: NDArray[Any], backend: str, env: Env
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return label and distance of rows; -1 and infinity where no core row is within eps.

        Of core rows that are equally near the first one counts.

        Raises
        ------
        DataError
            For rows that the metric does not take.
        """
        b, points = registry.get_neighbors(backend), points_of(x, self.params.metric)
        label, distance = np.full(len(x), NOISE, np.int32), np.full(len(x), np.inf)
        if not len(self.x):
            return label, distance
        laid = self._laid_out(backend, points.dtype, env)
        near = np.flatnonzero(((points >= laid.box[0]) & (points <= laid.box[1])).all(axis=1))
        asking = b.lay_out(points[near].astype(laid.dtype, copy=False), laid.reach, env.map)
        best = np.full((len(near), 1), np.nextafter(laid.reach.limit, np.inf))
        row = np.full((len(near), 1), -1)
        everyone, all_core = np.ones(len(near), bool), np.ones(len(self.x), bool)
        b.find_nearest(asking, everyone, laid.layout, all_core, best, row, env.map)
        found = row[:, 0] >= 0
        label[near[found]] = self.label[row[found, 0]]
        distance[near[found]] = distance_of(best[found, 0], self.params.metric)
        return label, distance

    def _laid_out(self, backend: str, dtype: Any, env: Env) -> _Laid:
        """Return the core rows in the wider of the dtypes, laid out."""
        metric = self.params.metric
        core = points_of(self.x, metric)
        kind = np.result_type(core, dtype)
        key = (backend, kind)
        if key not in self._laid:
            limit, p = limit_of(self.params.eps, metric), power(metric)
            core = core.astype(kind, copy=False)
            low, high = corners(core).astype(np.float64)
            side = limit ** (1 / p) * _ROUNDING
            with np.errstate(over="ignore"):
                box = np.array([low - side, high + side])
            finite = np.clip(box, -np.finfo(kind).max / 4, np.finfo(kind).max / 4).astype(kind)
            reach = Reach.of(finite[0], finite[1], limit, p)
            layout = registry.get_neighbors(backend).lay_out(core, reach, env.map)
            self._laid[key] = _Laid(reach, layout, box, kind)
        return self._laid[key]

    def __getstate__(self) -> Mapping[str, Any]:
        return {**self.__dict__, "_laid": {}}
