"""Dask arrays and frames: rows stay on the workers, results per row are lazy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils.validation import _check_feature_names

from gpuseg.errors import DataError
from gpuseg.estimators._inputs.arrays import as_weights, refuse_objects
from gpuseg.estimators._inputs.loaded_rows import LoadedRows
from gpuseg.estimators._inputs.origins import origin_of
from gpuseg.estimators._inputs.row_format import RowFormat
from gpuseg.numerics.origin import ColumnRanges
from gpuseg.optional import is_dask
from gpuseg.preprocessing.encoding.vectors import is_vector
from gpuseg.runtime.dask.collections import (
    compute_partitions,
    executor_for_partitions,
    map_partitions,
    partitions_of,
)
from gpuseg.sharding import row_passes as passes
from gpuseg.sharding.chunked_shard import Chunk, ChunkedShard

E = TypeVar("E")

_ROW_ATTRIBUTES = ("labels_", "core_sample_indices_")
"""Attributes of estimators with an entry per row of X; workers do not need them."""


@dataclass(frozen=True)
class CollectionRows(LoadedRows):
    """See `LoadedRows`; labels stay lazy."""

    @property
    def spare_bytes(self) -> int:
        return 0

    def like(self, values: NDArray[Any]) -> Any:
        return values

    def labels(self, model: int, predict: Callable[[Any], Any]) -> Any:
        return predict(self.X)


@contextmanager
def load_collection(
    estimator: Any, X: Any, sample_weight: Any, row_format: RowFormat, client: Any
) -> Iterator[CollectionRows]:
    """Load consecutive partitions as shards, one per worker; see `_inputs.load.load_rows`."""
    if getattr(X, "ndim", 2) != 2:
        raise DataError(
            "x.wrong_dimensions",
            f"X has {X.ndim} dimensions",
            rule="must be rows of features, (n, d)",
        )
    if hasattr(X, "columns"):
        refuse_objects(X._meta)
        _refuse_vectors(X._meta)
        _check_feature_names(estimator, X._meta, reset=True)
    estimator.n_features_in_ = len(X.columns) if hasattr(X, "columns") else int(X.shape[1])
    parts = partitions_of(X)
    weights = None if sample_weight is None else _weight_parts(sample_weight, len(parts))
    ranges = partial(_part_ranges, row_format=row_format, estimator=clone(estimator))
    row_format = row_format.with_origin(_find_origin(client, X, parts, ranges))
    read = partial(_read_part, row_format=row_format, estimator=clone(estimator))
    with executor_for_partitions(client, parts, weights, read, ChunkedShard) as executor:
        n_rows = executor.map(passes.n_rows)
        executor.apply(passes.set_first_row, per_shard=list(accumulate(n_rows, initial=0))[:-1])
        yield CollectionRows(X, executor, False, row_format.origin)


def _refuse_vectors(frame: Any) -> None:
    """Refuse columns of lists, whose lengths no part knows of the others."""
    for name, dtype in zip(frame.columns, frame.dtypes, strict=True):
        kind = getattr(dtype, "pyarrow_dtype", None)
        if kind is not None and is_vector(kind):
            raise DataError(
                "feature.vectors_in_collection",
                f"column {name!r} has vectors ({kind})",
                rule="the features of a Dask frame must be columns of numbers",
                hint="make a column of each element, or a Dask array",
            )


def _find_origin(
    client: Any, X: Any, parts: list[Any], ranges: Callable[[Any], ColumnRanges | None]
) -> NDArray[np.float64] | None:
    """Return the origin of each column of X; the first partition rules out nearly every X."""
    dtypes = list(X.dtypes) if hasattr(X, "dtypes") else [X.dtype]
    if all(dtype == np.float32 for dtype in dtypes):
        return None
    merged: ColumnRanges | None = None
    for some in (parts[:1], parts[1:]):
        for one in compute_partitions(client, some, ranges):
            if one is None:
                return None
            merged = one if merged is None else merged.merge(one)
    return origin_of(merged)


def _part_ranges(part: Any, row_format: RowFormat, estimator: Any) -> ColumnRanges | None:
    """Return the ranges of the columns of a partition, on a worker."""
    if len(part):
        return row_format.column_ranges(part, clone(estimator))
    return ColumnRanges.of(np.empty((0, part.shape[1])))


def map_collection(
    method: Callable[[Any, Any], Any], estimator: Any, X: Any, dtype: Any, width: int | None
) -> Any:
    """Return ``method(estimator, part)`` of each partition, lazily; see `_inputs.load.map_rows`."""
    return map_partitions(X, partial(method, without_row_attributes(estimator)), dtype, width)


def without_row_attributes(estimator: E) -> E:
    """Return a copy without the attributes that have an entry per row, to send to workers."""
    reduced = copy(estimator)
    for name in _ROW_ATTRIBUTES:
        reduced.__dict__.pop(name, None)
    return reduced


def _weight_parts(sample_weight: Any, n_parts: int) -> list[Any]:
    if not is_dask(sample_weight):
        raise DataError(
            "sample_weight.not_a_collection",
            f"a {type(sample_weight).__name__}, but X is a Dask collection",
            rule="must be a Dask collection with the same partitions",
            hint="use dask.array.from_array(sample_weight, chunks=(X.chunks[0],))",
            parameter="sample_weight",
        )
    parts = partitions_of(sample_weight)
    if len(parts) != n_parts:
        raise DataError(
            "sample_weight.other_partitions",
            f"{len(parts)} partitions, but X has {n_parts}",
            rule="must have the same partitions as X",
            parameter="sample_weight",
        )
    return parts


def _read_part(part: Any, weight: Any, row_format: RowFormat, estimator: Any) -> Chunk:
    """Return the rows and the weights of a partition, on a worker."""
    if len(part):
        x = row_format.on_one_thread().read(part, clone(estimator), reset=True)
    else:  # filters leave empty partitions
        x = np.empty((0, part.shape[1]), np.float32)
    return x, as_weights(weight, len(x))
