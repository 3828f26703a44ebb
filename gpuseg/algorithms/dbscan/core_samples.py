"""Assign new rows to the cluster of their nearest core row within eps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.params import DBSCANParams
from gpuseg.backends import registry
from gpuseg.numerics.distance_metrics import dist_to_rdist, embed, minkowski_p, rdist_to_dist
from gpuseg.numerics.eps_bounds import EpsBounds, bounding_box, distance_of
from gpuseg.runtime.executor import TaskContext

NOISE = -1
"""Label of rows in no cluster."""

_ROUNDING = 1 + 1e-9
"""Factor above the rounding error of a root of the limit."""

_MIN_SIDE = 1e-150
"""Smallest distance with a square that still has all its bits."""


class _CoreIndex(NamedTuple):
    """Core rows in the layout of a backend, and the box of all rows within eps of one."""

    eps_bounds: EpsBounds
    index: Any
    box: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CoreSamples:
    """The core rows of a fitted DBSCAN.

    They are indexed at the first query, on a GPU in its memory, and stay indexed as long as this
    object lives: once per backend, and once more for float64 queries on float32 core rows.

    Attributes
    ----------
    x : float32 or float64 (m, d)
    label : int32 (m,)
    params : DBSCANParams
    """

    x: NDArray[Any]
    label: NDArray[np.int32]
    params: DBSCANParams
    _indexes: dict[tuple[str, Any], _CoreIndex] = field(
        init=False, repr=False, default_factory=dict
    )

    def assign(
        self, x: NDArray[Any], backend: str, context: TaskContext
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return label and distance of rows; -1 and infinity where no core row is within eps.

        Of core rows at the same distance the first one counts.

        Raises
        ------
        DataError
            For rows that the metric does not accept.
        """
        neighbors, points = registry.get_neighbors(backend), embed(x, self.params.metric)
        label, distance = np.full(len(x), NOISE, np.int32), np.full(len(x), np.inf)
        if not len(self.x):
            return label, distance
        dtype = np.result_type(self._points, points)
        core = self._core_index(backend, dtype, context)
        near = np.flatnonzero(((points >= core.box[0]) & (points <= core.box[1])).all(axis=1))
        queries = points[near].astype(dtype, copy=False)
        query_index = neighbors.build_index(
            queries, core.eps_bounds.extend(*bounding_box(queries)), context.map
        )
        rdist = np.full((len(near), 1), np.nextafter(core.eps_bounds.rdist_limit, np.inf))
        core_row = np.full((len(near), 1), -1)
        all_queries, all_core = np.ones(len(near), bool), np.ones(len(self.x), bool)
        neighbors.find_nearest(
            query_index, all_queries, core.index, all_core, rdist, core_row, context.map
        )
        within = core_row[:, 0] >= 0
        label[near[within]] = self.label[core_row[within, 0]]
        distance[near[within]] = rdist_to_dist(rdist[within, 0], self.params.metric)
        return label, distance

    def nearest_distance(
        self, x: NDArray[Any], backend: str, context: TaskContext
    ) -> NDArray[np.float64]:
        """Return the distance to the nearest core row, also beyond eps; infinite without core rows.

        Raises
        ------
        DataError
            For rows that the metric does not take.
        """
        neighbors, points = registry.get_neighbors(backend), embed(x, self.params.metric)
        rdist = np.full((len(x), 1), np.inf)
        if len(self.x):
            dtype = np.result_type(self._points, points)
            core = self._core_index(backend, dtype, context)
            queries = points.astype(dtype, copy=False)
            bounds = core.eps_bounds.extend(*bounding_box(queries))
            index = neighbors.build_index(queries, bounds, context.map)
            all_rows, all_core = np.ones(len(x), bool), np.ones(len(self.x), bool)
            row = np.full(rdist.shape, -1)
            neighbors.find_nearest(index, all_rows, core.index, all_core, rdist, row, context.map)
        return rdist_to_dist(rdist[:, 0], self.params.metric)

    @cached_property
    def _points(self) -> NDArray[Any]:
        return embed(self.x, self.params.metric)

    def _core_index(self, backend: str, dtype: Any, context: TaskContext) -> _CoreIndex:
        """Return the core rows as float32 or float64, indexed."""
        if (backend, dtype) not in self._indexes:
            metric, core = self.params.metric, self._points.astype(dtype, copy=False)
            limit, p = dist_to_rdist(self.params.eps, metric), minkowski_p(metric)
            low, high = bounding_box(core)
            eps_bounds = EpsBounds.from_ranges(low, high, limit, p)
            side = max(distance_of(limit, p) * _ROUNDING, _MIN_SIDE)
            with np.errstate(over="ignore"):
                lower = np.subtract(low, side, dtype=np.float64)
                upper = np.add(high, side, dtype=np.float64)
            index = registry.get_neighbors(backend).build_index(core, eps_bounds, context.map)
            box = np.array([lower, upper])
            self._indexes[backend, dtype] = _CoreIndex(eps_bounds, index, box)
        return self._indexes[backend, dtype]

    def __getstate__(self) -> Mapping[str, Any]:
        """Leave out indexes: they are larger than the rows, and may be on a device."""
        return {"x": self.x, "label": self.label, "params": self.params, "_indexes": {}}
