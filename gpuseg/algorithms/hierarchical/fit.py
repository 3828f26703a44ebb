"""Hierarchical segments over shards: many small segments by k-means, then Ward's merges of those.

1. Micro segments: the distinct rows, where those are few; otherwise k-means with many centers.
2. Merge: Ward's hierarchy of their centers, each with the weight of its rows (`ward`).
3. Cut: every row gets the segment of its micro segment, at each requested level.

Only k centers are merged in place of n rows (as in BIRCH: Zhang, Ramakrishnan and Livny, SIGMOD
1996), so any level can be cut without reading the rows again. Levels are nested.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.data_statistics import DataStatistics
from gpuseg.algorithms.hierarchical.params import HierarchicalParams
from gpuseg.algorithms.hierarchical.ward import Hierarchy, ward
from gpuseg.algorithms.kmeans.fit import KMeansFit, distinct_rows, fit_kmeans
from gpuseg.algorithms.kmeans.lloyd import OnIteration
from gpuseg.algorithms.kmeans.params import KMeansParams
from gpuseg.algorithms.segment_means import mean_rows
from gpuseg.backends.types import Centers
from gpuseg.errors import DataError
from gpuseg.formatting import count, count_with
from gpuseg.runtime.executor import CacheLost, Executor, TaskContext
from gpuseg.sharding.shard import Shard

_TOLERANCE = 1e-3
"""Tolerance of the k-means of the micro segments. They need not converge fully, since only their
means are merged."""


@dataclass(frozen=True)
class HierarchicalFit:
    """A hierarchy, and its cut at the finest level.

    Attributes
    ----------
    micro : Centers
        Centers of the micro segments.
    hierarchy : Hierarchy
        Merges of the micro segments.
    label : int32 (m,)
        The segment of each micro segment, at the finest level.
    sizes : int64 (k,)
        Rows of each segment.
    centers : float64 (k, d)
        Mean row of each segment, without weights.
    """

    micro: Centers
    hierarchy: Hierarchy
    label: NDArray[np.int32]
    sizes: NDArray[np.int64]
    centers: NDArray[np.float64]


def fit_hierarchy(
    executor: Executor,
    params: HierarchicalParams,
    backend: str,
    statistics: DataStatistics,
    on_iteration: OnIteration | None = None,
    spare_bytes: int = 0,
) -> HierarchicalFit:
    """Fit to the rows of all shards; each then has `labels`, and in `sweep` those of every level.

    The distance of a row is that to the center of its micro segment.

    Raises
    ------
    DataError
        For fewer distinct rows than segments.
    """
    rows = distinct_rows(executor, backend, params.micro_segments + 1)  # 1
    if len(rows) < params.finest:
        raise DataError(
            "n_clusters.too_few_distinct_rows",
            f"the data has only {count(len(rows), 'distinct row')} of positive weight, after "
            "preprocessing",
            value=params.finest,
            hint=f"use at most {count(len(rows), 'segment')}",
            parameter="n_clusters" if params.levels is None else "levels",
        )
    micro_params = _micro_params(params, rows)
    fit = fit_kmeans(executor, micro_params, backend, on_iteration, spare_bytes, statistics)
    has_rows = (fit.weight > 0) & (fit.sizes > 0)
    hierarchy = ward(fit.centers.values[has_rows], fit.weight[has_rows])  # 2
    return _cut(executor, params.cuts, backend, statistics, fit, has_rows, hierarchy)


def _micro_params(params: HierarchicalParams, rows: NDArray[np.float32]) -> KMeansParams:
    """Step 1: return the parameters of the k-means that finds the micro segments.

    `rows` are the distinct rows, up to one more than the number of micro segments.
    """
    if len(rows) <= params.micro_segments:
        return KMeansParams(
            n_clusters=len(rows),
            init=rows.astype(np.float64).tolist(),
            n_init=1,
            max_iter=1,
            tol=_TOLERANCE,
            random_state=params.random_state,
        )
    return KMeansParams(
        n_clusters=params.micro_segments,
        init="k-means++",
        n_init=1,
        max_iter=params.max_iter,
        tol=_TOLERANCE,
        random_state=params.random_state,
    )


def _cut(
    executor: Executor,
    cuts: Sequence[int],
    backend: str,
    statistics: DataStatistics,
    fit: KMeansFit,
    has_rows: NDArray[np.bool_],
    hierarchy: Hierarchy,
) -> HierarchicalFit:
    """Step 3."""
    if hierarchy.n_points < cuts[-1]:
        raise DataError(
            "n_clusters.too_few_micro_segments",
            f"only {count_with(hierarchy.n_points, 'micro segment', 'has', 'have')} rows",
            value=cuts[-1],
            hint=f"use at most {count(hierarchy.n_points, 'segment')}",
            parameter="n_clusters" if len(cuts) == 1 else "levels",
        )
    tables = []
    for k in cuts:
        table = np.full(len(has_rows), -1, np.int32)
        table[has_rows] = hierarchy.cut(k)
        tables.append(table)
    executor.apply(relabel, tables)
    finest = tables[-1]
    sizes = np.bincount(finest[has_rows], fit.sizes[has_rows], cuts[-1]).astype(np.int64)
    centers = mean_rows(executor, backend, sizes, statistics)
    micro = Centers(fit.centers.values[has_rows], fit.centers.shift)
    return HierarchicalFit(micro, hierarchy, finest[has_rows], sizes, centers)


def relabel(shard: Shard, context: TaskContext, tables: Sequence[NDArray[np.int32]]) -> None:
    """Replace the labels of micro segments by segments, at each level; the last are `labels`."""
    if shard.labels is None:
        raise CacheLost
    shard.labels_by_model = [table[shard.labels] for table in tables]
    shard.labels = shard.labels_by_model[-1]
