"""Dask arrays and frames: rows stay on the workers, results per row are lazy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from gpuseg.estimators._inputs.arrays import as_weights, refuse_other_types
from gpuseg.estimators._inputs.loaded_rows import LoadedRows
from gpuseg.estimators._inputs.origins import origin_of
from gpuseg.estimators._inputs.row_format import KMeansRows, RowFormat
from gpuseg.numerics.origin import ColumnRanges
from gpuseg.optional import is_dask
from gpuseg.preprocessing.encoding.vectors import is_vector
from gpuseg.runtime.dask.collections import (
    compute_partitions,
    executor_for_partitions,
    map_partitions,
    partitions_of,
)
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import row_passes as passes
from gpuseg.sharding.chunked_shard import Chunk, ChunkedShard

E = TypeVar("E")

_ROW_ATTRIBUTES = ("labels_", "core_sample_indices_")
"""Attributes of estimators with an entry per row of X; workers do not need them."""

_NUMBERS = KMeansRows(backend="numpy", metric="euclidean", n_threads=1)
"""Rows of numbers as they are."""


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
    read_header(X, estimator)
    parts = partitions_of(X)
    weights = None if sample_weight is None else _weight_parts(sample_weight, len(parts))
    ranges = partial(_part_ranges, row_format=row_format, estimator=clone(estimator))
    row_format = row_format.with_origin(_find_origin(client, X, parts, ranges))
    read = partial(_read_part, row_format=row_format, estimator=clone(estimator))
    with executor_for_partitions(client, parts, weights, read, ChunkedShard) as executor:
        _number_rows(executor)
        yield CollectionRows(X, executor, False, row_format.origin)


@contextmanager
def load_features(
    client: Any, X: Any, read: Callable[[Any], NDArray[np.float32]], n_features: int
) -> Iterator[Executor]:
    """Load ``read(partition)``, new arrays float32 (n, n_features), as shards, one per worker."""
    convert = partial(_read_features, read=read, n_features=n_features)
    with executor_for_partitions(client, partitions_of(X), None, convert, ChunkedShard) as executor:
        _number_rows(executor)
        yield executor


def read_header(X: Any, estimator: Any) -> None:
    """Give the estimator the width and the column names of X.

    Raises
    ------
    DataError
        For X that is not a table.
    """
    if getattr(X, "ndim", 2) != 2:
        raise DataError(
            "x.wrong_dimensions",
            f"X has {X.ndim} dimensions",
            rule="must be rows of features, (n, d)",
        )
    if not getattr(estimator, "categorical", None):
        refuse_other_types(X._meta if hasattr(X, "columns") else X)
    if hasattr(X, "columns"):
        _refuse_vectors(X._meta)
        _check_feature_names(estimator, X._meta, reset=True)
    estimator.n_features_in_ = len(X.columns) if hasattr(X, "columns") else int(X.shape[1])


def find_origin(client: Any, X: Any, estimator: Any) -> NDArray[np.float64] | None:
    """Return the origin of each column of X, float64 (d,); see `_inputs.origins.find_origin`."""
    ranges = partial(_part_ranges, row_format=_NUMBERS, estimator=clone(estimator))
    return _find_origin(client, X, partitions_of(X), ranges)


def map_present_partitions(client: Any, X: Any, function: Callable[[Any], E]) -> list[E]:
    """Return function(partition) of each partition with rows, called on the workers.

    Raises
    ------
    DataError
        For X without rows.
    """
    of_present = partial(_if_present, function=function)
    results = compute_partitions(client, partitions_of(X), of_present)
    present: list[E] = [result for result in results if result is not None]
    if not present:
        raise DataError("x.empty", "X has 0 rows", rule="must have at least one")
    return present


def _if_present(part: Any, function: Callable[[Any], E]) -> E | None:
    return function(part) if len(part) else None


def _number_rows(executor: Executor) -> None:
    """Tell each shard the number of its first row."""
    n_rows = executor.map(passes.n_rows)
    executor.apply(passes.set_first_row, per_shard=list(accumulate(n_rows, initial=0))[:-1])


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


def map_table(
    method: Callable[[Any, Any], NDArray[Any]],
    estimator: Any,
    X: Any,
    dtype: Any,
    names: Sequence[str],
) -> Any:
    """Return ``method(estimator, part)`` of each partition, lazily, as a collection as X is.

    Parameters
    ----------
    names : sequence of str
        Names of the columns of the result, where X is a frame.
    """
    reduced = without_row_attributes(estimator)
    if not hasattr(X, "columns"):
        return map_partitions(X, partial(method, reduced), dtype, len(names))
    frame = type(X._meta)
    meta = frame({name: np.empty(0, dtype) for name in names}, index=X._meta.index[:0])
    call = partial(_table_part, method=partial(method, reduced), meta=meta)
    return X.map_partitions(call, meta=meta)


def _table_part(part: Any, method: Callable[[Any], NDArray[Any]], meta: Any) -> Any:
    """Return a partition of the result of `map_table`, with the index of the rows."""
    if not len(part):
        return meta
    return type(meta)(method(part), index=part.index, columns=meta.columns)


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


def _read_features(
    part: Any, weight: None, read: Callable[[Any], NDArray[np.float32]], n_features: int
) -> Chunk:
    """Return the features of a partition, on a worker."""
    return (read(part) if len(part) else np.empty((0, n_features), np.float32)), None


def _read_part(part: Any, weight: Any, row_format: RowFormat, estimator: Any) -> Chunk:
    """Return the rows and the weights of a partition, on a worker."""
    if len(part):
        x = row_format.on_one_thread().read(part, clone(estimator), reset=True)
    else:  # filters leave empty partitions
        x = np.empty((0, part.shape[1]), np.float32)
    return x, as_weights(weight, len(x))
