"""A hierarchy as a job: fit, cut at the levels asked for, keep what any other cut needs."""

from typing import Any

import numpy as np

from gpuseg.algorithms.hierarchical.fit import HierarchicalFit, fit_hierarchy
from gpuseg.algorithms.kmeans.lloyd import OnIteration
from gpuseg.algorithms.kmeans.statistics import DataStatistics
from gpuseg.models.hierarchical import HierarchicalModel
from gpuseg.models.kmeans import KMeansModel
from gpuseg.preprocessing.pipeline import FeaturePipeline
from gpuseg.runtime.executor import Executor
from gpuseg.segmentation.base import SegmentationResult
from gpuseg.segmentation.specs import HierarchicalSpec

_HEIGHTS = 30


def run_hierarchy(
    executor: Executor,
    spec: HierarchicalSpec,
    backend: str,
    replay: FeaturePipeline,
    measured: DataStatistics,
    on_iteration: OnIteration,
    spare_bytes: int,
) -> SegmentationResult:
    """Cluster the placed shards."""
    fit = fit_hierarchy(executor, spec.params(), backend, measured, on_iteration, spare_bytes)
    model = HierarchicalModel(KMeansModel(replay, fit.micro), fit.hierarchy, tuple(spec.cuts))
    return SegmentationResult(
        range(spec.finest), fit.sizes, fit.centers, _result(spec, fit), [model],
        groups=fit.label, micro=fit.micro.values,
    )  # fmt: skip


def _result(spec: HierarchicalSpec, fit: HierarchicalFit) -> dict[str, Any]:
    """Return what the manifest says: the merges above the cut, and who is inside whom."""
    hierarchy, k = fit.hierarchy, spec.finest
    _, first = np.unique(fit.label, return_index=True)
    return {
        "algorithm": "hierarchical",
        "title": "Ward's hierarchy of small k-means segments",
        "n_clusters": k,
        "levels": spec.cuts,
        "micro_segments": hierarchy.n_points,
        "parents": {str(level): hierarchy.cut(level)[first].tolist() for level in spec.cuts[:-1]},
        "merges": hierarchy.above(k).tolist(),
        "last_heights": hierarchy.merges[-_HEIGHTS:, 2].tolist(),
    }
