"""A hierarchy of segments over shards: many small ones by k-means, then Ward's merges of those.

1. Small segments: the distinct rows, where they are few; else k-means with many centres.
2. Merge: Ward's hierarchy of their centres, each with the weight of its rows (`ward`).
3. Cut: every row gets the segment of its small one, at each level asked for.

What is merged are k centres in place of n rows (as in BIRCH: Zhang, Ramakrishnan and Livny, SIGMOD
1996), so that any level can be cut without looking at a row again. Levels are nested.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.hierarchical.ward import Hierarchy, ward
from gpuseg.algorithms.kmeans.fit import KMeansFit, distinct_rows, fit_kmeans
from gpuseg.algorithms.kmeans.lloyd import OnIteration
from gpuseg.algorithms.kmeans.statistics import DataStatistics
from gpuseg.algorithms.params import HierarchicalParams, KMeansParams
from gpuseg.algorithms.segment_means import mean_rows
from gpuseg.backends.types import Centers
from gpuseg.errors import DataError
from gpuseg.runtime.executor import CacheLost, Executor, TaskContext
from gpuseg.sharding.shard import Shard

_TOLERANCE = 1e-3
"""Small segments need not be settled to the last: what is merged are their means."""


@dataclass(frozen=True)
class HierarchicalFit:
    """A hierarchy, cut.

    Attributes
    ----------
    micro : Centers
        Of the small segments.
    hierarchy : Hierarchy
        Of the small segments.
    label : int32 (m,)
        The segment of each, at the finest level.
    sizes : int64 (k,)
        Rows of each segment.
    centers : float64 (k, d)
        Mean row of each segment; weights do not enter.
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
    measured: DataStatistics,
    on_iteration: OnIteration = lambda n_iter, inertia, change: None,
    spare_bytes: int = 0,
) -> HierarchicalFit:
    """Fit to the placed shards; each then has `labels`, and in `sweep` those of every level.

    The distance of a row is that to the centre of its small segment.

    Raises
    ------
    DataError
        For fewer distinct rows than segments.
    """
    rows = distinct_rows(executor, backend, params.micro_segments + 1)  # 1
    if len(rows) < params.finest:
        raise DataError(
            f"{params.finest} segments, but the data has only {len(rows)} distinct rows (of "
            f"positive weight, after preparation); use at most {len(rows)}"
        )
    few = len(rows) <= params.micro_segments
    quick = KMeansParams(
        n_clusters=len(rows) if few else params.micro_segments,
        init=rows.astype(np.float64).tolist() if few else "k-means++",
        n_init=1,
        max_iter=1 if few else params.max_iter,
        tol=_TOLERANCE,
        random_state=params.random_state,
    )
    fit = fit_kmeans(executor, quick, backend, on_iteration, spare_bytes, measured)
    there = (fit.weight > 0) & (fit.sizes > 0)
    hierarchy = ward(fit.centers.values[there], fit.weight[there])  # 2
    return _cut(executor, params.cuts, backend, measured, fit, there, hierarchy)


def _cut(
    executor: Executor,
    cuts: Sequence[int],
    backend: str,
    measured: DataStatistics,
    fit: KMeansFit,
    there: NDArray[np.bool_],
    hierarchy: Hierarchy,
) -> HierarchicalFit:
    """Step 3."""
    if hierarchy.n_points < cuts[-1]:
        raise DataError(
            f"{cuts[-1]} segments, but only {hierarchy.n_points} small ones have rows; use at most "
            f"{hierarchy.n_points}"
        )
    tables = []
    for k in cuts:
        table = np.full(len(there), -1, np.int32)
        table[there] = hierarchy.cut(k)
        tables.append(table)
    executor.apply(relabel, tables)
    finest = tables[-1]
    sizes = np.bincount(finest[there], fit.sizes[there], cuts[-1]).astype(np.int64)
    centers = mean_rows(executor, backend, sizes, measured)
    micro = Centers(fit.centers.values[there], fit.centers.shift)
    return HierarchicalFit(micro, hierarchy, finest[there], sizes, centers)


def relabel(shard: Shard, env: TaskContext, tables: Sequence[NDArray[np.int32]]) -> None:
    """Give rows the segments of their present ones, at each level; the last are `labels`."""
    if shard.labels is None:
        raise CacheLost
    shard.labels_by_model = [table[shard.labels] for table in tables]
    shard.labels = shard.labels_by_model[-1]
