"""k-means on a stream: each centre is the mean of all rows that were ever assigned to it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.kmeans.fit import check_enough, first_centers
from gpuseg.algorithms.kmeans.lloyd import iterate_once, normalized
from gpuseg.algorithms.kmeans.statistics import measure
from gpuseg.algorithms.params import KMeansParams
from gpuseg.backends.types import Centers
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import row_passes as passes


@dataclass(frozen=True)
class PartialFitResult:
    """What a batch leaves behind.

    Attributes
    ----------
    centers : Centers
    weight : float64 (k,)
        Of the rows each centre is the mean of.
    inertia : float
        Of the batch, by the new centres; its labels are stored in the shards.
    """

    centers: Centers
    weight: NDArray[np.float64]
    inertia: float


def update(
    executor: Executor,
    params: KMeansParams,
    backend: str,
    before: tuple[Centers, NDArray[np.float64]] | None,
) -> PartialFitResult:
    """Take the placed shards, a batch, into the centres.

    With W the weight before, and the batch's rows of weight w and sum S measured from the
    centre itself, the mean of both is c + S / (W + w).

    Parameters
    ----------
    before : Centers and float64 (k,), or None
        The centres, and the weight of the rows each is the mean of; None for the first batch.

    Raises
    ------
    DataError
        As `algorithms.kmeans.fit.sweep_kmeans`; the first batch needs n_clusters rows.
    """
    measured = measure(executor, backend, params.metric)
    if before is None:
        check_enough(params.n_clusters, measured.n_rows)
        centers = first_centers(executor, params, backend, measured)
        before = centers, np.zeros(params.n_clusters)
    executor.apply(passes.to_device, backend)
    centers, weight = before
    if params.metric == "cosine":
        centers = normalized(centers, centers)
    total = iterate_once(executor, backend, measured, centers)
    own = total.weight.sum(axis=0)
    both = (weight + own)[:, None]
    shift = measured.shift.astype(np.float64)
    sums = total.sums.sum(axis=0) + own[:, None] * (shift - centers.values)
    values = centers.values + sums / np.where(both > 0, both, 1.0)
    moved = Centers(values, measured.shift)
    if params.metric == "cosine":
        moved = normalized(moved, centers)
    model = (moved, measured.inertia_grid(moved.values))
    outcome = [found for (found,) in executor.apply(passes.assign, backend, [model], [0])]
    inertia = sum(part.inertia for part in outcome)
    return PartialFitResult(moved, weight + own, inertia)
