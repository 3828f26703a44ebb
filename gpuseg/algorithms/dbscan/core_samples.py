"""The cluster of a new row: that of the nearest core row within eps, if there is one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.params import DBSCANParams
from gpuseg.backends import registry
from gpuseg.numerics.distance_metrics import dist_to_rdist, embed, minkowski_p, rdist_to_dist
from gpuseg.numerics.eps_bounds import EpsBounds, bounding_box
from gpuseg.runtime.executor import TaskContext

NOISE = -1
"""Label of rows in no cluster."""

_ROUNDING = 1 + 1e-9
"""More than a root of the limit may be off by."""

_MIN_SIDE = 1e-150
"""Of shorter ones the square has lost its bits."""


@dataclass(frozen=True)
class _Target:
    """Core rows laid out for questions, and the box that rows within eps of one are in."""

    reach: EpsBounds
    layout: Any
    box: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CoreRows:
    """The core rows of a fitted DBSCAN.

    They are laid out when rows first ask, on a GPU in its memory, and stay so as long as this
    lives: once for each backend, and for float64 rows beside float32 core rows once more.

    Attributes
    ----------
    x : float32 or float64 (m, d)
    label : int32 (m,)
    params : DBSCANParams
    """

    x: NDArray[Any]
    label: NDArray[np.int32]
    params: DBSCANParams
    _targets: dict[tuple[str, Any], _Target] = field(init=False, repr=False, default_factory=dict)

    def assign(
        self, x: NDArray[Any], backend: str, env: TaskContext
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return label and distance of rows; -1 and infinity where no core row is within eps.

        Of core rows that are equally near the first one counts.

        Raises
        ------
        DataError
            For rows that the metric does not take.
        """
        b, points = registry.get_neighbors(backend), embed(x, self.params.metric)
        label, distance = np.full(len(x), NOISE, np.int32), np.full(len(x), np.inf)
        if not len(self.x):
            return label, distance
        kind = np.result_type(self._points, points)
        target = self._target(backend, kind, env)
        near = np.flatnonzero(((points >= target.box[0]) & (points <= target.box[1])).all(axis=1))
        asking = points[near].astype(kind, copy=False)
        own = b.lay_out(asking, target.reach.extend(*bounding_box(asking)), env.map)
        best = np.full((len(near), 1), np.nextafter(target.reach.rdist_limit, np.inf))
        row = np.full((len(near), 1), -1)
        everyone, all_core = np.ones(len(near), bool), np.ones(len(self.x), bool)
        b.find_nearest(own, everyone, target.layout, all_core, best, row, env.map)
        found = row[:, 0] >= 0
        label[near[found]] = self.label[row[found, 0]]
        distance[near[found]] = rdist_to_dist(best[found, 0], self.params.metric)
        return label, distance

    @cached_property
    def _points(self) -> NDArray[Any]:
        return embed(self.x, self.params.metric)

    def _target(self, backend: str, kind: Any, env: TaskContext) -> _Target:
        """Return the core rows as float32 or float64, laid out."""
        if (backend, kind) not in self._targets:
            metric, core = self.params.metric, self._points.astype(kind, copy=False)
            limit, p = dist_to_rdist(self.params.eps, metric), minkowski_p(metric)
            low, high = bounding_box(core)
            reach = EpsBounds.from_ranges(low, high, limit, p)
            side = max(limit ** (1 / p) * _ROUNDING, _MIN_SIDE)
            with np.errstate(over="ignore"):
                box = np.array([np.subtract(low, side, dtype=np.float64),
                                np.add(high, side, dtype=np.float64)])  # fmt: skip
            layout = registry.get_neighbors(backend).lay_out(core, reach, env.map)
            self._targets[backend, kind] = _Target(reach, layout, box)
        return self._targets[backend, kind]

    def __getstate__(self) -> Mapping[str, Any]:
        """Leave out layouts: they are larger than the rows, and may be on a device."""
        return {"x": self.x, "label": self.label, "params": self.params, "_targets": {}}
