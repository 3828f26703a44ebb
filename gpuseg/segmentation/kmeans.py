"""k-means as an algorithm of a job: one number of clusters, a sweep, or a selection among them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, WrapValidator, model_validator

from gpuseg.algorithms.kmeans.params import KMeansParams, check_n_rows
from gpuseg.algorithms.params import MAX_CLUSTERS, MAX_SWEEP, NClusters
from gpuseg.errors import DataError
from gpuseg.formatting import count
from gpuseg.progress import iteration_callback
from gpuseg.segmentation.base import (
    ColumnPlan,
    FitContext,
    OlderSegments,
    SegmentationAlgorithm,
    SegmentationResult,
    SegmentSpec,
)
from gpuseg.segmentation.initial_centers import SEEDINGS, InitialCenters, parse_init
from gpuseg.validation import broken_rule

if TYPE_CHECKING:
    from gpuseg.algorithms.kmeans.fit import KMeansFit
    from gpuseg.model_selection.select_k import KSelection
    from gpuseg.models.base import SegmentModel

_COUNTS_RULE = (
    f"must be a whole number from 1 to {MAX_CLUSTERS:,}, 'auto', the [first, last] of a range, or "
    f"a list of at least three increasing numbers; at most {MAX_SWEEP:,} numbers in all"
)
_NOT_SEPARATED = (
    "the data has no well-separated segments, and their boundaries are arbitrary; see "
    "result.selection in the manifest"
)


def _counts(value: Any, parse: Callable[[Any], Any]) -> int | list[int] | str:
    if value == "auto":
        return "auto"
    try:
        counts = parse(value)
    except ValueError:
        raise ValueError(_COUNTS_RULE) from None
    if isinstance(counts, int):
        return counts
    if not isinstance(counts, list) or len(counts) < 2 or counts != sorted(set(counts)):
        raise ValueError(_COUNTS_RULE)
    n_counts = counts[1] - counts[0] + 1 if len(counts) == 2 else len(counts)
    if n_counts > MAX_SWEEP:
        raise ValueError(_COUNTS_RULE)
    return counts


Counts = Annotated[NClusters | list[NClusters] | Literal["auto"], WrapValidator(_counts)]


Init = Annotated[str | list[list[float]] | list[dict[str, float]], BeforeValidator(parse_init)]


class KMeansSpec(SegmentSpec, KMeansParams):
    """Parameters of k-means: those of the estimator, and several numbers of clusters.

    Several numbers of clusters make a sweep: two numbers are the first and the last of a range,
    more are a list. "auto" selects among the numbers from 2 to `max_clusters`.

    Initial centers are in the units of the input, unlike those of the estimator: as lists with the
    features in their order, as tables of features, or as the path of an earlier output.
    """

    algorithm: Literal["kmeans"] = "kmeans"
    n_clusters: Counts = 8  # type: ignore[assignment]
    init: Init = "k-means++"  # type: ignore[assignment]
    max_clusters: Annotated[int, Field(ge=3, le=MAX_SWEEP)] = 15

    @model_validator(mode="after")
    def _centers_for_one_count(self) -> KMeansSpec:
        if self.has_initial_centers and not isinstance(self.n_clusters, int):
            raise broken_rule(
                "init.several_n_clusters",
                "initial centers are for one n_clusters only",
                "init",
                "set one, or leave init out",
            )
        return self

    @property
    def has_initial_centers(self) -> bool:
        """Whether the centers do not come from the data."""
        return self.init not in SEEDINGS

    def counts(self) -> list[int]:
        """Return the numbers of clusters, in increasing order."""
        if isinstance(self.n_clusters, int):
            return [self.n_clusters]
        if self.n_clusters == "auto":
            return list(range(2, self.max_clusters + 1))
        if len(self.n_clusters) == 2:
            return list(range(self.n_clusters[0], self.n_clusters[1] + 1))
        return self.n_clusters

    def models(self, centers: list[list[float]] | None = None) -> list[KMeansParams]:
        """Return the algorithm's parameters for each number of clusters.

        Parameters
        ----------
        centers : list of lists of float, optional
            Initial centers as rows that are clustered; required if there are initial centers.
        """
        values = self.model_dump(exclude={"algorithm", "n_clusters", "max_clusters", "init"})
        init: Any = self.init if centers is None else centers
        return [KMeansParams(n_clusters=k, init=init, **values) for k in self.counts()]


class KMeansSegmentation(SegmentationAlgorithm[KMeansSpec]):
    """k-means; see `algorithms.kmeans`."""

    name = "kmeans"
    title = "k-means"
    spec = KMeansSpec
    has_confidence = True
    fit_modules = (
        "gpuseg.algorithms.kmeans.fit",
        "gpuseg.model_selection.select_k",
        "gpuseg.models.kmeans",
    )

    def check(self, spec: KMeansSpec, columns: ColumnPlan) -> None:
        if not spec.has_initial_centers:
            # "auto" tries fewer where there are fewer rows.
            counts = [2] if spec.n_clusters == "auto" else spec.counts()
            if columns.n_rows is not None:
                check_n_rows(max(counts), columns.n_rows)
            return
        centers = InitialCenters.read(spec.init)
        rows, width = centers.rows, len(centers.rows[0])
        if columns.n_columns is not None:  # otherwise the features are known once they are encoded
            rows, width = centers.ordered(columns.features), len(columns.features)
        spec.models(rows)[0].check_init(width)

    def why_other_segments(self, spec: KMeansSpec, model: SegmentModel) -> str:
        """Refuse another number of segments than the model has, if it is known what a fit has."""
        k = model.n_clusters
        if spec.n_clusters == "auto":
            if k <= spec.max_clusters:
                return ""
            asked = f"at most {count(spec.max_clusters, 'segment')}"
        else:
            n_clusters = max(spec.counts())
            if n_clusters == k:
                return ""
            asked = count(n_clusters, "segment")
        return f"the job asks for {asked}, and the older output has {k:,}"

    def why_not_warm(self, spec: KMeansSpec, model: SegmentModel) -> str:
        return self.why_other_segments(spec, model)

    def unit_rows(self, spec: KMeansSpec) -> bool:
        return spec.metric == "cosine"

    def is_translation_invariant(self, spec: KMeansSpec) -> bool:
        return spec.metric == "euclidean"

    def load_kernels(self, spec: KMeansSpec, backend: str) -> None:
        if backend == "numba":
            from gpuseg.backends.numba.kmeans_kernels import load_kernels

            load_kernels(seeds=not spec.has_initial_centers)

    def fit(self, spec: KMeansSpec, context: FitContext) -> SegmentationResult:
        from gpuseg.algorithms.kmeans.fit import sweep_kmeans
        from gpuseg.model_selection.select_k import fit_and_select
        from gpuseg.models.kmeans import KMeansModel

        if context.older is not None:
            update = _refit if context.older.weight is None else _append
            return update(spec, context, context.older)
        models, backend = _models(spec, context), context.backend
        callback, selection = iteration_callback(context.stage), None
        if spec.n_clusters == "auto":
            fits, selection = fit_and_select(
                context.executor, backend, models, context.statistics, callback,
                context.bounds_bytes,
            )  # fmt: skip
        else:
            fits = sweep_kmeans(
                context.executor, models, backend, callback, context.bounds_bytes,
                context.statistics,
            )  # fmt: skip
        by_k = {len(fit.sizes): fit for fit in fits}
        fit = fits[-1] if selection is None else by_k[selection.n_clusters]
        _log_choice(fit, len(fits), selection, context)
        _check_fits(fits, spec, context.warn)
        all_models = {k: KMeansModel(context.pipeline, one.centers) for k, one in by_k.items()}
        model = all_models[len(fit.sizes)]
        return SegmentationResult(
            range(len(fit.sizes)),
            fit.sizes,
            fit.centers.values,
            model,
            _facts(fit, spec, selection),
            alternatives=all_models if len(fits) > 1 else {},
            sweep=[_sweep_line(one) for one in fits] if len(fits) > 1 else [],
            selected_n_clusters=selection is not None,
            runner_up=model.runner_up(),
        )


def _refit(spec: KMeansSpec, context: FitContext, older: OlderSegments) -> SegmentationResult:
    """Iterate from older centers on; also from new ones if that may be better.

    The number of clusters stays.
    """
    from gpuseg.algorithms.kmeans.fit import assign_rows, sweep_kmeans
    from gpuseg.models.kmeans import KMeansModel

    executor, backend = context.executor, context.backend
    warm_start = _older_centers(context, older)
    if spec.has_initial_centers and not older.may_seed:
        context.log("the fit starts from the older centers; segment.init was for the first one")
    params = _models(spec.model_copy(update={"n_clusters": len(warm_start)}), context)[0]

    def fitted(starts: list[list[NDArray[np.float64]]] | None) -> KMeansFit:
        return sweep_kmeans(
            executor, [params], backend, iteration_callback(context.stage), context.bounds_bytes,
            context.statistics, starts=starts,
        )[0]  # fmt: skip

    fit, reason, is_warm = fitted([[warm_start]]), "from the older centers on", True
    if fit.converged and fit.n_iter == 1:  # it moved them by tol at most
        fit, reason = _unmoved(context, fit, warm_start), "the older centers need not move"
    if older.may_seed:
        fresh = fitted(None)
        is_warm, reason = _choose_start(fit, fresh, params, warm_start, context, older)
        if is_warm:
            assign_rows(executor, backend, context.statistics, fit.centers)
        else:
            fit = fresh
    _check_fits([fit], spec, context.warn)
    result = KMeansModel(context.pipeline, fit.centers)
    return SegmentationResult(
        range(len(fit.sizes)),
        fit.sizes,
        fit.centers.values,
        result,
        _facts(fit, spec, None),
        runner_up=result.runner_up(),
        start=reason,
        is_warm=is_warm,
    )


def _unmoved(context: FitContext, fit: KMeansFit, centers: NDArray[np.float64]) -> KMeansFit:
    """Return the fit with the centers that it started from: no row changes where no data has."""
    from gpuseg.algorithms.kmeans.fit import assign_rows
    from gpuseg.backends.types import Centers

    unmoved = Centers(centers, context.statistics.shift)
    sums = assign_rows(context.executor, context.backend, context.statistics, unmoved)
    return replace(fit, centers=unmoved, inertia=sums.inertia, sizes=sums.sizes)


def _older_centers(context: FitContext, older: OlderSegments) -> NDArray[np.float64]:
    """Return the older centers as rows that are clustered, float64 (k, d)."""
    from gpuseg.models.kmeans import KMeansModel

    model = older.model
    if not isinstance(model, KMeansModel):
        raise TypeError(f"a model of {model.name} has no centers to start from")
    centers = InitialCenters(model.cluster_centers_.tolist(), model.features, model)
    return np.array(centers.prepared(context.pipeline))


def _append(spec: KMeansSpec, context: FitContext, older: OlderSegments) -> SegmentationResult:
    """Update older centers once by the rows, which are only new ones.

    Each center becomes the mean of its older rows and of the new ones that are nearest to it
    (MacQueen, 1967; Sculley, "Web-scale k-means clustering", WWW 2010).
    """
    from gpuseg.algorithms.kmeans.partial_fit import WeightedCenters, partial_fit_kmeans
    from gpuseg.backends.types import Centers
    from gpuseg.models.kmeans import KMeansModel

    start, weight = _older_centers(context, older), older.weight
    assert weight is not None  # as the caller has checked
    params = spec.model_copy(update={"n_clusters": len(start), "init": "k-means++"}).models()[0]
    before = WeightedCenters(Centers(start, context.statistics.shift), weight)
    fit = partial_fit_kmeans(context.executor, params, context.backend, before)
    model = KMeansModel(context.pipeline, fit.centers)
    return SegmentationResult(
        range(len(start)),
        fit.sizes,
        fit.centers.values,
        model,
        {
            "algorithm": spec.algorithm,
            "metric": spec.metric,
            "n_clusters": len(start),
            "n_iter": 1,
            "converged": False,
            "inertia": fit.inertia,
            "weight": fit.weight,
        },
        runner_up=model.runner_up(),
        start="the rows have updated the older centers once",
        is_warm=True,
    )


def _choose_start(
    warm: KMeansFit,
    fresh: KMeansFit,
    params: KMeansParams,
    warm_start: NDArray[np.float64],
    context: FitContext,
    older: OlderSegments,
) -> tuple[bool, str]:
    """Return whether the older centers are the better start, and why.

    A fresh fit is taken if its inertia is lower by at least the required share, and if two halves
    of the rows agree on its segments as well as on those from the older centers.
    """
    from gpuseg.model_selection.select_k import measure_stability

    gain = 1 - fresh.inertia / warm.inertia if warm.inertia else 0.0
    if gain < older.min_improvement:
        lower = f"{gain:.1%} lower" if gain > 0 else "not lower"
        return True, (
            f"the inertia of a fresh fit is {lower}; it must be at least "
            f"{older.min_improvement:.1%} lower"
        )
    from_older = params.model_copy(update={"init": warm_start.tolist(), "n_init": "auto"})
    of_warm, of_fresh = (
        measure_stability(context.executor, context.backend, [one], context.statistics)[0]
        for one in (from_older, params)
    )
    numbers = f"its stability is {of_fresh:.2f}, that from the older centers {of_warm:.2f}"
    if math.isnan(of_fresh) or math.isnan(of_warm):
        numbers = "there are too few rows to compare the stability of the two"
    if of_fresh < of_warm:
        return True, f"the inertia of a fresh fit is {gain:.1%} lower, but {numbers}"
    return False, f"the inertia of a fresh fit is {gain:.1%} lower, and {numbers}"


def _models(spec: KMeansSpec, context: FitContext) -> list[KMeansParams]:
    """Return the parameters of the fits, with the initial centers as rows that are clustered."""
    if not spec.has_initial_centers:
        return spec.models()
    centers, features = InitialCenters.read(spec.init), context.pipeline.features
    spec.models(centers.ordered(features))[0].check_init(len(features))
    return spec.models(centers.prepared(context.pipeline))


def _log_choice(
    fit: KMeansFit, n_fits: int, selection: KSelection | None, context: FitContext
) -> None:
    """Say which of several numbers of clusters is written."""
    if selection is not None:
        context.log(selection.reason)
        if not selection.well_separated:
            context.warn(_NOT_SEPARATED)
    elif n_fits > 1:
        context.log(
            f"the segments of n_clusters = {len(fit.sizes)}, the largest, are written; all models "
            "are in _models, their inertia in the manifest"
        )


def _check_fits(fits: Sequence[KMeansFit], spec: KMeansSpec, warn: Callable[[str], None]) -> None:
    """Refuse data of too few distinct rows, and warn of fits that have not converged."""
    for fit in fits:
        k = len(fit.sizes)
        if fit.n_distinct < k:
            raise DataError(
                "n_clusters.too_few_distinct_rows",
                f"the data has only {count(fit.n_distinct, 'distinct row')} (of positive weight, "
                "after preprocessing)",
                value=k,
                parameter="n_clusters",
                hint=f"use `n_clusters` <= {fit.n_distinct}",
            )
        if not fit.converged:
            subject = f"n_clusters = {k}: " if len(fits) > 1 else ""
            warn(
                f"{subject}not converged after {count(fit.n_iter, 'iteration')}; use a "
                f"higher segment.max_iter than {spec.max_iter}, or a higher segment.tol "
                f"than {spec.tol:g}"
            )


def _facts(fit: KMeansFit, spec: KMeansSpec, selection: KSelection | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "algorithm": spec.algorithm,
        "metric": spec.metric,
        "n_clusters": len(fit.sizes),
        "n_iter": fit.n_iter,
        "converged": fit.converged,
        "inertia": fit.inertia,
    }
    if selection is not None:
        facts["selection"] = {
            "well_separated": selection.well_separated,
            "reason": selection.reason,
            "elbow": selection.elbow,
            "table": selection.table,
        }
    return facts


def _sweep_line(fit: KMeansFit) -> dict[str, Any]:
    return {
        "n_clusters": len(fit.sizes),
        "inertia": fit.inertia,
        "n_iter": fit.n_iter,
        "converged": fit.converged,
        "smallest": int(fit.sizes.min()),
        "thread_seconds": round(fit.seconds, 3),
    }
