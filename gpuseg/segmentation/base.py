"""What an algorithm of a job hands over to manifest, report and model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.kmeans.fit import KMeansFit
from gpuseg.errors import DataError
from gpuseg.model_selection.select_k import KSelection
from gpuseg.models.dbscan import DBSCANModel
from gpuseg.models.hierarchical import HierarchicalModel
from gpuseg.models.kmeans import KMeansModel
from gpuseg.preprocessing.pipeline import FeaturePipeline
from gpuseg.segmentation.specs import KMeansSpec

AnyModel = KMeansModel | DBSCANModel | HierarchicalModel

Warn = Callable[[str], None]

UNCLEAR = (
    "no clear segments: the customers are a continuum, and the segments cut it; see "
    "result.selection in the manifest"
)


@dataclass(frozen=True)
class SegmentationResult:
    """Segments, and how they came about.

    Attributes
    ----------
    segments : sequence of int
        -1 is noise, and the last one where there is any.
    sizes : int64 (n,)
    centers : float64 (n, d)
        In scaled units; NaN for a segment without rows.
    result : mapping
        What the manifest says of the run of the algorithm.
    sweep : sequence of mappings
        A line for each number of clusters, where there are several.
    models : sequence
        The last is that of the segments written.
    files : sequence of str
        Those that workers have written for the model.
    groups, micro : int32 (m,) and float64 (m, d), or None
        Of a hierarchy: the segment of each small segment, and its centre.
    """

    segments: Sequence[int]
    sizes: NDArray[np.int64]
    centers: NDArray[np.float64]
    result: Mapping[str, Any]
    models: Sequence[AnyModel]
    sweep: Sequence[Mapping[str, Any]] = ()
    files: Sequence[str] = field(default_factory=tuple)
    groups: NDArray[np.int32] | None = None
    micro: NDArray[np.float64] | None = None

    @property
    def nearest(self) -> tuple[NDArray[np.float64], NDArray[np.int32] | None]:
        """The centres of which the nearest tells the segment, and the segment of each."""
        return (self.centers if self.micro is None else self.micro), self.groups


def of_kmeans(
    fits: Sequence[KMeansFit],
    rules: KMeansSpec,
    replay: FeaturePipeline,
    warn: Warn,
    choice: KSelection | None = None,
) -> SegmentationResult:
    """Return the outcome of k-means; warn of what did not converge.

    The segments are those of the fit that was chosen, else of the last.

    Raises
    ------
    DataError
        For fewer distinct rows than clusters.
    """
    last = fits[-1]
    if choice is not None:
        last = next(fit for fit in fits if len(fit.sizes) == choice.n_clusters)
    in_order, fits = fits, [*(fit for fit in fits if fit is not last), last]
    for fit in in_order:
        _refuse_few_distinct(fit)
        if not fit.converged:
            whose = f"n_clusters = {len(fit.sizes)}: " if len(fits) > 1 else ""
            warn(
                f"{whose}not converged after {fit.n_iter} iterations; raise "
                f"segment.max_iter = {rules.max_iter}, or segment.tol = {rules.tol:g}"
            )
    result: dict[str, Any] = {
        "algorithm": "kmeans",
        "title": "k-means",
        "metric": rules.metric,
        "n_clusters": len(last.sizes),
        "n_iter": last.n_iter,
        "converged": last.converged,
        "inertia": last.inertia,
    }
    if choice is not None:
        result["selection"] = {
            "well_separated": choice.clear,
            "reason": choice.why,
            "elbow": choice.elbow,
            "table": [_selection_row(row) for row in choice.table],
        }
    models = [KMeansModel(replay, fit.centers) for fit in fits]
    return SegmentationResult(
        range(len(last.sizes)), last.sizes, last.centers.values, result, models, _sweep(in_order)
    )


def _selection_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"ambiguous_share" if k == "doubtful_share" else k: v for k, v in row.items()}


def _sweep(fits: Sequence[KMeansFit]) -> list[dict[str, Any]]:
    if len(fits) == 1:
        return []
    return [
        {
            "n_clusters": len(fit.sizes),
            "inertia": fit.inertia,
            "n_iter": fit.n_iter,
            "converged": fit.converged,
            "smallest": int(fit.sizes.min()),
            "thread_seconds": round(fit.seconds, 3),
        }
        for fit in fits
    ]


def _refuse_few_distinct(fit: KMeansFit) -> None:
    n_clusters = len(fit.sizes)
    if fit.n_distinct < n_clusters:
        raise DataError(
            f"segment.n_clusters = {n_clusters}, but the data has only {fit.n_distinct} distinct "
            "rows (of positive weight, after preparation); use n_clusters <= "
            f"{fit.n_distinct}"
        )
