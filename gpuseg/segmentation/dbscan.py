"""DBSCAN as an algorithm of a job: cluster, and keep the core rows as the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from gpuseg.algorithms.dbscan.params import DBSCANParams
from gpuseg.errors import ConfigError, literal, set_key
from gpuseg.segmentation.base import (
    ColumnPlan,
    FitContext,
    MemoryNeeds,
    ProgressUnit,
    SegmentationAlgorithm,
    SegmentationResult,
    SegmentSpec,
)

if TYPE_CHECKING:
    from gpuseg.algorithms.dbscan.result import DBSCANFit
    from gpuseg.model_selection.k_distance import EpsEstimate
    from gpuseg.models.base import SegmentModel

_MAX_NOISE = 0.5
"""Share of noise from which on eps is probably too small."""

_LARGEST_SHARE = 0.95
"""Share of one segment from which on eps is probably too large."""

_BYTES_PER_ROW = 120
"""Positions, counts, bit sets, clusters and reduced distances."""


class DBSCANSpec(SegmentSpec, DBSCANParams):
    """Parameters of DBSCAN: those of the estimator, and a limit of its work.

    A job of more than `max_pairs` pairs of rows whose distance is computed is refused.
    """

    algorithm: Literal["dbscan"] = "dbscan"
    eps: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["auto"]  # type: ignore[assignment]
    max_pairs: Annotated[float, Field(gt=0)] = 1e13

    def params(self, eps: float | None = None) -> DBSCANParams:
        """Return the algorithm's parameters, with `eps` in place of "auto"."""
        values = self.model_dump(exclude={"algorithm", "max_pairs"})
        return DBSCANParams(**{**values, "eps": eps or values["eps"]})


class DBSCANSegmentation(SegmentationAlgorithm[DBSCANSpec]):
    """DBSCAN; see `algorithms.dbscan`."""

    name = "dbscan"
    title = "DBSCAN"
    spec = DBSCANSpec
    fit_modules = (
        "gpuseg.algorithms.dbscan.fit",
        "gpuseg.model_selection.k_distance",
        "gpuseg.models.dbscan",
        "gpuseg.models.core_sample_files",
    )

    def personal_kinds(self, spec: DBSCANSpec) -> Sequence[str]:
        """Allow latitudes and longitudes where the distance is between places."""
        from gpuseg.io.privacy.pii import LOCATION

        return (LOCATION,) if spec.metric == "haversine" else ()

    def check(self, spec: DBSCANSpec, columns: ColumnPlan) -> None:
        if spec.metric == "haversine":
            _check_haversine(columns)
        if spec.eps == "auto" and columns.weight is not None:
            raise ConfigError(
                "eps.auto_with_weights", "eps cannot be estimated for weighted rows", value="auto",
                parameter="eps", hint="set a number, or leave `weight` out",
            )  # fmt: skip

    def why_other_segments(self, spec: DBSCANSpec, model: SegmentModel) -> str:
        """Refuse other parameters than those of the model; an estimated eps may be another one."""
        from gpuseg.models.dbscan import DBSCANModel

        if not isinstance(model, DBSCANModel):
            return ""
        for name, before in model.params.model_dump().items():
            now = getattr(spec, name)
            if now not in (before, "auto"):
                return (
                    f"the job has {literal(f'{name} = {now!r}')}, and the older output has "
                    f"{literal(repr(before))}"
                )
        return ""

    def is_translation_invariant(self, spec: DBSCANSpec) -> bool:
        return spec.metric in ("euclidean", "manhattan", "chebyshev")

    def memory(self, spec: DBSCANSpec, n_values: int, n_workers: int) -> MemoryNeeds:
        """Return room for the rows in the order of their tiles.

        With several workers there are also the rows of a partition and of its halo.
        """
        copies = 1 if n_workers == 1 else 3
        return MemoryNeeds(4 * n_values * copies + _BYTES_PER_ROW, False, False)

    def progress(self, spec: DBSCANSpec, n_rows: int) -> ProgressUnit:
        from gpuseg.algorithms.dbscan.fit import SWEEPS

        return ProgressUnit("rows swept", SWEEPS * n_rows)

    def fit(self, spec: DBSCANSpec, context: FitContext) -> SegmentationResult:
        from gpuseg.algorithms.dbscan.core_samples import NOISE
        from gpuseg.algorithms.dbscan.fit import fit_dbscan
        from gpuseg.algorithms.segment_means import mean_rows
        from gpuseg.model_selection.k_distance import find_eps
        from gpuseg.models.core_sample_files import write_core_rows
        from gpuseg.models.dbscan import DBSCANModel
        from gpuseg.models.folder import ModelFolder

        executor, backend, estimate = context.executor, context.backend, None
        if spec.eps == "auto":
            context.stage.status("estimate eps")
            estimate = find_eps(executor, spec.min_samples, spec.metric, backend)
        params = spec.params(estimate.eps if estimate else None)
        fit = fit_dbscan(executor, params, backend, context.stage.status, max_pairs=spec.max_pairs)
        _check_eps(fit, params.eps, context.warn)
        files = executor.map(write_core_rows, context.staging, per_shard=range(executor.n_shards))
        sizes = np.append(fit.sizes, fit.n_noise)
        means = mean_rows(executor, backend, sizes, context.statistics)
        segments = [*range(fit.n_clusters), *([NOISE] if fit.n_noise else [])]
        model = DBSCANModel(
            replace(context.pipeline, metric=params.metric),
            params,
            tuple(files),
            fit.n_clusters,
            ModelFolder(context.published, f"{context.published.root}/_model"),
        )
        return SegmentationResult(
            segments,
            sizes[: len(segments)],
            means[segments],
            model,
            _facts(fit, params, estimate),
            files=files,
        )


def _check_haversine(columns: ColumnPlan) -> None:
    """Refuse other columns than a latitude and a longitude in radians."""
    if len(columns.features) != 2:
        raise ConfigError(
            "metric.haversine_features",
            f"takes two features, latitude and longitude in radians, not {len(columns.features)}",
            value="haversine",
            parameter="metric",
            hint="name the two in `features`",
        )
    prepare = columns.prepare
    if prepare.scale != "none" or prepare.transform != "none" or prepare.pca is not None:
        raise ConfigError(
            "metric.haversine_prepared", "takes latitude and longitude as they are",
            value="haversine", parameter="metric",
            hint=f"{set_key('scale', 'none')}, and leave `transform` and `pca` out",
        )  # fmt: skip


def _check_eps(fit: DBSCANFit, eps: float, warn: Callable[[str], None]) -> None:
    """Warn of an eps that is far too small or too large."""
    noise = fit.n_noise / fit.n_rows
    if noise > _MAX_NOISE:
        warn(f"{noise:.0%} of the rows are noise; try a larger segment.eps than {eps:g}")
    elif fit.n_clusters and fit.sizes.max() > _LARGEST_SHARE * fit.n_rows:
        share = fit.sizes.max() / fit.n_rows
        warn(f"one segment has {share:.0%} of the rows; try a smaller segment.eps than {eps:g}")


def _facts(fit: DBSCANFit, params: DBSCANParams, estimate: EpsEstimate | None) -> dict[str, Any]:
    return {
        "algorithm": "dbscan",
        "metric": params.metric,
        "eps": params.eps,
        "eps_reason": estimate.explain() if estimate else "requested",
        "eps_candidates": [asdict(candidate) for candidate in estimate.candidates]
        if estimate
        else [],
        "min_samples": params.min_samples,
        "n_clusters": fit.n_clusters,
        "core": fit.n_core,
        "border": fit.n_border,
        "noise": fit.n_noise,
        "cost_estimate": asdict(fit.estimate),
        "distances": sum(fit.distances_per_shard),
        "distances_per_shard": fit.distances_per_shard,
        "seconds_per_shard": fit.seconds_per_shard,
        "rows_per_shard": fit.rows_per_shard,
        "peak_rows_per_shard": fit.peak_rows_per_shard,
    }
