"""DBSCAN as a job: cluster, find out where the clusters lie, keep the core rows as the model."""

from dataclasses import asdict
from typing import Any

import numpy as np

from gpuseg.algorithms.dbscan.core_samples import NOISE
from gpuseg.algorithms.dbscan.fit import fit_dbscan
from gpuseg.algorithms.dbscan.result import DBSCANFit
from gpuseg.algorithms.kmeans.statistics import DataStatistics
from gpuseg.algorithms.segment_means import mean_rows
from gpuseg.io.output.base import Staging
from gpuseg.io.storage import Storage
from gpuseg.model_selection.k_distance import profile_eps
from gpuseg.models.core_sample_files import write_core_rows
from gpuseg.models.dbscan import DBSCANModel
from gpuseg.preprocessing.pipeline import FeaturePipeline
from gpuseg.runtime.executor import Executor
from gpuseg.segmentation.base import SegmentationResult, Warn
from gpuseg.segmentation.specs import DBSCANSpec

_MAX_NOISE = 0.5
_LARGEST_SHARE = 0.95


def run_dbscan(
    executor: Executor,
    spec: DBSCANSpec,
    backend: str,
    replay: FeaturePipeline,
    measured: DataStatistics,
    staging: Staging,
    target: Storage,
    note: Warn,
    warn: Warn,
) -> SegmentationResult:
    """Cluster the placed shards, and write the core rows beside the model.

    `target` is where the staged files will be once they are published.
    """
    profile = None
    if spec.eps == "auto":
        note("choose eps")
        profile = profile_eps(executor, spec.min_samples, spec.metric, backend)
    params = spec.params(profile.eps if profile else None)
    fit = fit_dbscan(executor, params, backend, note, max_pairs=spec.max_pairs)
    _warn_of(fit, params.eps, warn)
    files = executor.map(write_core_rows, staging, per_shard=range(executor.n_shards))
    means = mean_rows(executor, backend, np.append(fit.sizes, fit.n_noise), measured)
    segments = [*range(fit.n_clusters), *([NOISE] if fit.n_noise else [])]
    model = DBSCANModel(
        replay, params, tuple(files), fit.n_clusters,
        lambda name: bytes(target.fs.cat_file(f"{target.root}/_model/{name}")),
    )  # fmt: skip
    result = {
        "algorithm": "dbscan",
        "title": "DBSCAN",
        "metric": params.metric,
        "eps": params.eps,
        "eps_reason": profile.why() if profile else "requested",
        "eps_candidates": [_with_distances(asdict(c)) for c in profile.choices] if profile else [],
        "min_samples": params.min_samples,
        "n_clusters": fit.n_clusters,
        "core": fit.n_core,
        "border": fit.n_border,
        "noise": fit.n_noise,
        "cost_estimate": _with_distances(asdict(fit.forecast)),
        "distances": sum(fit.looked),
        "distances_per_shard": fit.looked,
        "seconds_per_shard": fit.seconds,
        "rows_per_shard": fit.rows,
        "peak_rows_per_shard": fit.most_rows,
    }
    sizes = np.append(fit.sizes, fit.n_noise)[: len(segments)]
    return SegmentationResult(segments, sizes, means[segments], result, [model], files=files)


def _with_distances(pairs: dict[str, Any]) -> dict[str, Any]:
    return {"distances" if key == "pairs" else key: value for key, value in pairs.items()}


def _warn_of(fit: DBSCANFit, eps: float, warn: Warn) -> None:
    """Warn of an eps that is far too small or too large."""
    noise = fit.n_noise / fit.n_rows
    if noise > _MAX_NOISE:
        warn(f"{noise:.0%} of the rows are noise; try a larger segment.eps than {eps:g}")
    elif fit.n_clusters and fit.sizes.max() > _LARGEST_SHARE * fit.n_rows:
        share = fit.sizes.max() / fit.n_rows
        warn(f"one segment has {share:.0%} of the rows; try a smaller segment.eps than {eps:g}")
