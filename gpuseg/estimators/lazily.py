"""Fitting and scoring Dask collections: rows stay on the workers, results stay lazy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import _check_feature_names

from gpuseg.engine import passes
from gpuseg.engine.chunks import Chunk, ChunkedShard
from gpuseg.engine.kmeans import KMeansFit, sweep_kmeans
from gpuseg.engine.params import KMeansParams
from gpuseg.errors import DataError
from gpuseg.estimators.inputs import as_matrix, as_weights, unit_rows
from gpuseg.estimators.on_gpu import gpu_matrix, is_on_gpu
from gpuseg.runtime.collection import is_collection, mapped, on_workers, parts_of
from gpuseg.runtime.executor import Env

if TYPE_CHECKING:
    from gpuseg.estimators.kmeans import KMeans

__all__ = ["fit", "is_collection", "mapped"]


def fit(
    estimators: Sequence[KMeans],
    models: Sequence[KMeansParams],
    X: Any,
    sample_weight: Any,
    client: Any,
    backend: str,
) -> list[KMeansFit]:
    """Fit models to a Dask array or frame; see `estimators.kmeans.fit_all`."""
    first = estimators[0]
    if getattr(X, "ndim", 2) != 2:
        raise DataError(f"X has {X.ndim} dimensions: must be rows of features, (n, d)")
    if hasattr(X, "columns"):
        _check_feature_names(first, X._meta, reset=True)
    first.n_features_in_ = len(X.columns) if hasattr(X, "columns") else int(X.shape[1])
    for own in models:
        own.check_init(first.n_features_in_)
    weights = None
    if sample_weight is not None:
        if not is_collection(sample_weight):
            raise DataError(
                "sample_weight must be a Dask collection partitioned as X is; make it one with "
                "dask.array.from_array(sample_weight, chunks=(X.chunks[0],))"
            )
        weights = parts_of(sample_weight)
    parts = parts_of(X)
    if weights is not None and len(weights) != len(parts):
        raise DataError(
            f"sample_weight has {len(weights)} partitions and X has {len(parts)}: must be "
            "partitioned alike"
        )
    convert = partial(_converted, backend=backend, metric=models[0].metric)
    with on_workers(client, parts, weights, convert, ChunkedShard) as executor:
        sizes = executor.run(passes.n_rows)
        executor.update(passes.number, each=list(accumulate(sizes, initial=0))[:-1])
        return sweep_kmeans(executor, models, backend)


def _converted(part: Any, weight: Any, backend: str, metric: str) -> Chunk:
    """Return a part as float32 rows, scaled to length one for the cosine, and its weights."""
    from gpuseg.estimators.kmeans import KMeans

    if not len(part):  # as filtering may leave them
        return np.empty((0, part.shape[1]), np.float32), as_weights(weight, 0)
    if is_on_gpu(part):
        x = gpu_matrix(part, KMeans(), backend, reset=True)
    else:
        x = as_matrix(part, KMeans(), reset=True)
    if metric == "cosine":
        x = unit_rows(x, backend, Env())
    return x, as_weights(weight, len(x))
