"""The cluster of a new row: that of the nearest core row within eps, if there is one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.backends.reach import Reach
from gpuseg.engine.metrics import distance_of, limit_of, points_of, power
from gpuseg.engine.params import DBSCANParams
from gpuseg.runtime.executor import Env

NOISE = -1


@dataclass(frozen=True)
class CoreRows:
    """The core rows of a fitted DBSCAN.

    Attributes
    ----------
    x : float32 or float64 (m, d)
    label : int32 (m,)
    params : DBSCANParams
    """

    x: NDArray[Any]
    label: NDArray[np.int32]
    params: DBSCANParams

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
        b, metric = registry.get_neighbors(backend), self.params.metric
        limit = limit_of(self.params.eps, metric)
        points, core = points_of(x, metric), points_of(self.x, metric)
        best = np.full((len(x), 1), np.nextafter(limit, np.inf))
        row = np.full((len(x), 1), -1)
        if len(core) and len(points):
            kind = np.result_type(points, core)
            points, core = points.astype(kind, copy=False), core.astype(kind, copy=False)
            low = np.minimum(points.min(axis=0), core.min(axis=0))
            high = np.maximum(points.max(axis=0), core.max(axis=0))
            reach = Reach.of(low, high, limit, power(metric))
            there = b.lay_out(core, reach, env.map)
            asking = b.lay_out(points, reach, env.map)
            everyone, all_core = np.ones(len(points), bool), np.ones(len(core), bool)
            b.find_nearest(asking, everyone, there, all_core, best, row, env.map)
        found = row[:, 0] >= 0
        label = np.full(len(x), NOISE, np.int32)
        label[found] = self.label[row[found, 0]]
        return label, np.where(found, distance_of(best[:, 0], metric), np.inf)
