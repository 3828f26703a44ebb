"""k-means on a stream: each center is the mean of all rows that were ever assigned to it."""

from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.data_statistics import measure
from gpuseg.algorithms.kmeans.fit import initial_centers
from gpuseg.algorithms.kmeans.lloyd import iterate_once, normalize
from gpuseg.algorithms.kmeans.params import KMeansParams, check_n_rows
from gpuseg.backends.types import Centers
from gpuseg.numerics.sum_grid import AssignmentSums
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import row_passes as passes


class WeightedCenters(NamedTuple):
    """Centers, and the weight of the rows that each is the mean of, float64 (k,)."""

    centers: Centers
    weight: NDArray[np.float64]


@dataclass(frozen=True)
class PartialFitResult:
    """The model after a batch.

    Attributes
    ----------
    centers : Centers
    weight : float64 (k,)
        Weight of the rows that each center is the mean of.
    inertia : float
        Inertia of the batch by the new centers; its labels are stored in the shards.
    sizes : int64 (k,)
        Rows of the batch by the new centers.
    """

    centers: Centers
    weight: NDArray[np.float64]
    inertia: float
    sizes: NDArray[np.int64]


def partial_fit_kmeans(
    executor: Executor,
    params: KMeansParams,
    backend: str,
    before: WeightedCenters | None,
) -> PartialFitResult:
    """Update the centers with a batch, the rows of all shards.

    With W the weight before, and the batch's rows of weight w and sum S measured from the
    center itself, the mean of both is c + S / (W + w).

    Parameters
    ----------
    before : WeightedCenters or None
        The model before; None for the first batch.

    Raises
    ------
    DataError
        As `algorithms.kmeans.fit.sweep_kmeans`; the first batch needs n_clusters rows.
    """
    statistics = measure(executor, backend, params.metric)
    if before is None:
        check_n_rows(params.n_clusters, statistics.n_rows)
        start = initial_centers(executor, params, backend, statistics)
        before = WeightedCenters(start, np.zeros(params.n_clusters))
    executor.apply(passes.to_device, backend)
    centers, weight = before
    if params.metric == "cosine":
        centers = normalize(centers, centers)
    total = iterate_once(executor, backend, statistics, centers)
    batch_weight = total.weight.sum(axis=0)
    both = (weight + batch_weight)[:, None]
    shift = statistics.shift.astype(np.float64)
    sums = total.sums.sum(axis=0) + batch_weight[:, None] * (shift - centers.values)
    values = centers.values + sums / np.where(both > 0, both, 1.0)
    updated = Centers(values, statistics.shift)
    if params.metric == "cosine":
        updated = normalize(updated, centers)
    model = (updated, statistics.inertia_grid(updated.values))
    assignments = [sums for (sums,) in executor.apply(passes.assign, backend, [model], [0])]
    assigned = reduce(AssignmentSums.merge, assignments)
    return PartialFitResult(updated, weight + batch_weight, assigned.inertia, assigned.sizes)
