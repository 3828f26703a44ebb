"""A hierarchy as an algorithm of a job: fit, cut at each level, keep what other cuts need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gpuseg.algorithms.hierarchical.params import HierarchicalParams
from gpuseg.formatting import listing
from gpuseg.progress import iteration_callback
from gpuseg.segmentation.base import (
    FitContext,
    SegmentationAlgorithm,
    SegmentationResult,
    SegmentSpec,
)

if TYPE_CHECKING:
    from gpuseg.algorithms.hierarchical.fit import HierarchicalFit
    from gpuseg.models.base import SegmentModel

_HEIGHTS = 30
"""Heights of the last merges in the manifest."""


class HierarchicalSpec(SegmentSpec, HierarchicalParams):
    """Parameters of a hierarchy."""

    algorithm: Literal["hierarchical"] = "hierarchical"

    def params(self) -> HierarchicalParams:
        """Return the algorithm's parameters."""
        return HierarchicalParams(**self.model_dump(exclude={"algorithm"}))


class HierarchicalSegmentation(SegmentationAlgorithm[HierarchicalSpec]):
    """Ward's hierarchy of small segments; see `algorithms.hierarchical`."""

    name = "hierarchical"
    title = "Ward's hierarchy of small k-means segments"
    spec = HierarchicalSpec
    has_confidence = True
    fit_modules = (
        "gpuseg.algorithms.hierarchical.fit",
        "gpuseg.models.hierarchical",
        "gpuseg.models.kmeans",
    )

    def is_translation_invariant(self, spec: HierarchicalSpec) -> bool:
        return True

    def why_other_segments(self, spec: HierarchicalSpec, model: SegmentModel) -> str:
        """Refuse other levels than those of the model."""
        from gpuseg.models.hierarchical import HierarchicalModel

        if isinstance(model, HierarchicalModel) and tuple(spec.cuts) != model.levels:
            now, before = (listing(list(map(str, each))) for each in (spec.cuts, model.levels))
            return f"the job asks for {now} segments, and the older output has {before}"
        return ""

    def extra_columns(self, spec: HierarchicalSpec) -> list[str]:
        """Return a column for each level, if there are several."""
        return [f"segment_{k}" for k in spec.cuts] if len(spec.cuts) > 1 else []

    def fit(self, spec: HierarchicalSpec, context: FitContext) -> SegmentationResult:
        from gpuseg.algorithms.hierarchical.fit import fit_hierarchy
        from gpuseg.models.hierarchical import HierarchicalModel
        from gpuseg.models.kmeans import KMeansModel

        fit = fit_hierarchy(
            context.executor, spec.params(), context.backend, context.statistics,
            iteration_callback(context.stage), context.bounds_bytes,
        )  # fmt: skip
        micro = KMeansModel(context.pipeline, fit.micro)
        model = HierarchicalModel(micro, fit.hierarchy, tuple(spec.cuts))
        return SegmentationResult(
            range(spec.finest),
            fit.sizes,
            fit.centers,
            model,
            _facts(spec, fit),
            runner_up=model.runner_up(),
        )


def _facts(spec: HierarchicalSpec, fit: HierarchicalFit) -> dict[str, Any]:
    """Return the merges above the cut, and the segment of each coarser level around each."""
    hierarchy, k = fit.hierarchy, spec.finest
    _, first = np.unique(fit.label, return_index=True)
    return {
        "algorithm": spec.algorithm,
        "n_clusters": k,
        "levels": spec.cuts,
        "micro_segments": hierarchy.n_points,
        "parents": {str(level): hierarchy.cut(level)[first].tolist() for level in spec.cuts[:-1]},
        "merges": hierarchy.above(k).tolist(),
        "last_heights": hierarchy.merges[-_HEIGHTS:, 2].tolist(),
    }
