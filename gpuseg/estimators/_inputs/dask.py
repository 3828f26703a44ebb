"""Fitting and scoring Dask collections: rows stay on the workers, results stay lazy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils.validation import _check_feature_names

from gpuseg.algorithms.dbscan.collect_labels import labels_of
from gpuseg.algorithms.dbscan.partition import rows_of
from gpuseg.algorithms.kmeans.fit import KMeansFit, sweep_kmeans
from gpuseg.algorithms.kmeans.params import KMeansParams
from gpuseg.errors import DataError
from gpuseg.estimators._inputs.arrays import as_weights
from gpuseg.runtime.dask.collections import (
    executor_for_partitions,
    is_collection,
    map_partitions,
    partitions_of,
)
from gpuseg.runtime.executor import Executor, TaskContext
from gpuseg.sharding import row_passes as passes
from gpuseg.sharding.chunked_shard import Chunk, ChunkedShard
from gpuseg.sharding.shard import Shard

if TYPE_CHECKING:
    from gpuseg.estimators.kmeans import KMeans

__all__ = ["fit", "is_collection", "labelled", "light", "map_partitions", "shards_of"]

E = TypeVar("E")


def fit(
    estimators: Sequence[KMeans],
    models: Sequence[KMeansParams],
    X: Any,
    sample_weight: Any,
    client: Any,
    backend: str,
) -> list[KMeansFit]:
    """Fit models to a Dask array or frame; see `estimators.kmeans.fit_all`."""
    with shards_of(estimators[0], X, sample_weight, client, backend) as executor:
        for own in models:
            own.check_init(estimators[0].n_features_in_)
        return sweep_kmeans(executor, models, backend)


@contextmanager
def shards_of(
    estimator: Any, X: Any, sample_weight: Any, client: Any, backend: str
) -> Iterator[Executor]:
    """Note the width and the names of a Dask array or frame, and place its rows as shards.

    Raises
    ------
    DataError
        For X that is not rows of features, and weights that are not partitioned as X is.
    """
    if getattr(X, "ndim", 2) != 2:
        raise DataError(f"X has {X.ndim} dimensions: must be rows of features, (n, d)")
    if hasattr(X, "columns"):
        _check_feature_names(estimator, X._meta, reset=True)
    estimator.n_features_in_ = len(X.columns) if hasattr(X, "columns") else int(X.shape[1])
    weights = None
    if sample_weight is not None:
        if not is_collection(sample_weight):
            raise DataError(
                "sample_weight must be a Dask collection partitioned as X is; make it one with "
                "dask.array.from_array(sample_weight, chunks=(X.chunks[0],))"
            )
        weights = partitions_of(sample_weight)
    parts = partitions_of(X)
    if weights is not None and len(weights) != len(parts):
        raise DataError(
            f"sample_weight has {len(weights)} partitions and X has {len(parts)}: must be "
            "partitioned alike"
        )
    like = clone(estimator).set_params(backend=backend, n_threads=1)
    convert = partial(_converted, like=like)
    with executor_for_partitions(client, parts, weights, convert, ChunkedShard) as executor:
        sizes = executor.map(passes.n_rows)
        executor.apply(passes.set_first_row, per_shard=list(accumulate(sizes, initial=0))[:-1])
        yield executor


def light(estimator: E) -> E:
    """Return a copy without what has an entry for each row fitted, to send to workers."""
    own = copy(estimator)
    for name in ("labels_", "core_sample_indices_"):
        own.__dict__.pop(name, None)
    return own


def labelled(shard: Shard, env: TaskContext) -> tuple[NDArray[Any], ...]:
    """Return labels, flags of core rows, and the core rows."""
    x, _ = rows_of(shard)
    labels, core = labels_of(shard)
    return labels, core, x[core]


def _converted(part: Any, weight: Any, like: Any) -> Chunk:
    """Return a part as the rows that the estimator takes, and its weights."""
    if len(part):
        x = clone(like)._matrix(part, reset=True)
    else:  # as filtering may leave them
        x = np.empty((0, part.shape[1]), np.float32)
    return x, as_weights(weight, len(x))
