"""Whatever holds a table, as one matrix, float32 where nothing else is asked for: with no copy
where it is one already.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import _check_feature_names, _check_n_features, validate_data

from gpuseg.backends import registry
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.errors import ConfigError, DataError
from gpuseg.estimators._inputs.gpu import on_host, refuse_gradient
from gpuseg.preprocessing.encoding.arrow_columns import is_number
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Shard

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_AT_A_TIME = 16_384
"""Rows into which columns are written one by one while they stay in the cache."""


def plain(value: Any) -> Any:
    """Return Python's own number for a NumPy scalar: the rules are strict about types."""
    return value.item() if isinstance(value, np.generic) else value


def checked_threads(n_threads: Any) -> None:
    """Refuse what is not a number of threads.

    Raises
    ------
    ConfigError
    """
    if n_threads is not None and (not isinstance(n_threads, int) or n_threads < 1):
        raise ConfigError(f"n_threads = {n_threads!r}: must be None or an int >= 1")


def as_matrix(X: Any, estimator: Any, reset: bool, keep_float64: bool = False) -> NDArray[Any]:
    """Return X as float32 (n, d), C-order, and note or check its width and column names.

    A NumPy array that is that already is returned as it is. Frames and tables (pandas, Polars,
    pyarrow, and whatever else speaks the Arrow PyCapsule interface) are written into one
    matrix, column by column; nulls become NaN.

    Parameters
    ----------
    reset : bool
        Whether to note the width and names (fit) or to check them (predict).
    keep_float64 : bool
        Whether to return what is not float32 as float64.

    Raises
    ------
    DataError
        For columns that are not numbers, object arrays, tensors that require a gradient and
        values beyond float32.
    TypeError
        For sparse matrices.
    """
    refuse_gradient(X, "X")
    _refuse_objects(X)
    if hasattr(X, "__arrow_c_stream__") and not _is_plain_pandas(X):
        table = _as_table(X)
        _check_feature_names(estimator, table, reset=reset)
        matrix = table_to_matrix(table, _dtype_of(table) if keep_float64 else np.float32)
        _check_n_features(estimator, matrix, reset=reset)
        return matrix
    with np.errstate(over="ignore"):
        checked = validate_data(
            estimator,
            X,
            dtype=[np.float64, np.float32] if keep_float64 else np.float32,
            order="C",
            reset=reset,
            ensure_all_finite=False,
        )
    return np.asarray(checked)


def unit_rows(x: Any, backend: str, env: TaskContext) -> Any:
    """Return a copy with the rows scaled to length one; rows of zeros become NaN."""
    unit = replace(FeatureTransform.identity(x.shape[1]), unit=True)
    own = Shard(x.copy())
    own.transform_rows(env, lambda rows: registry.get(backend).prepare(rows, unit))
    return own.x


def refuse_not_finite(x: Any, metric: str) -> None:
    """Refuse rows that have no nearest centre.

    Raises
    ------
    DataError
    """
    if isinstance(x, np.ndarray) and np.isfinite(x).all():
        return  # without looking row by row, which takes longer
    bad = np.flatnonzero(on_host(~np.isfinite(x).all(axis=1)))
    if bad.size:
        zeros = " or, with metric = 'cosine', zeros alone" if metric == "cosine" else ""
        raise DataError(
            f"X has {bad.size} rows with NaN, infinity, values beyond float32{zeros}, first "
            f"row {bad[0]}: features must be finite; mend or drop those rows"
        )


def as_weights(weight: ArrayLike | None, n_rows: int) -> NDArray[np.float64] | None:
    """Return sample weights as float64 (n,), contiguous, or None.

    Raises
    ------
    DataError
        For another shape, and weights that are missing, infinite or negative.
    """
    if weight is None:
        return None
    refuse_gradient(weight, "sample_weight")
    w = np.asarray(on_host(weight), dtype=np.float64, order="C")
    if w.shape != (n_rows,):
        raise DataError(f"sample_weight has shape {w.shape}: must be ({n_rows},), one for each row")
    if not np.isfinite(w).all() or (w < 0).any():
        bad = int(np.flatnonzero(~(np.isfinite(w) & (w >= 0)))[0])
        raise DataError(f"sample_weight[{bad}] = {w[bad]}: must be finite and >= 0")
    return w


def table_to_matrix(table: pa.Table, dtype: Any = np.float32) -> NDArray[Any]:
    """Return the columns of an Arrow table as a matrix (n, d), C-order; nulls become NaN."""
    matrix = np.empty((table.num_rows, table.num_columns), dtype)
    start = 0
    for batch in table.to_batches(max_chunksize=_ROWS_AT_A_TIME):
        rows = matrix[start : start + batch.num_rows]
        for f, column in enumerate(batch.columns):
            with np.errstate(over="ignore"):
                rows[:, f] = _as_numbers(column)
        start += batch.num_rows
    return matrix


def _dtype_of(table: pa.Table) -> Any:
    """Return float32 where that holds every value of the columns' types, else float64."""
    import pyarrow as pa

    small = (pa.float32(), pa.float16(), pa.int16(), pa.uint16(), pa.int8(), pa.uint8(), pa.bool_())
    return np.float32 if all(field.type in small for field in table.schema) else np.float64


def _as_table(X: Any) -> pa.Table:
    import pyarrow as pa

    try:
        if type(X).__module__.startswith("pandas"):
            table = pa.Table.from_pandas(X, preserve_index=False)
        else:
            table = pa.RecordBatchReader.from_stream(X).read_all()
    except pa.ArrowInvalid as error:  # a stream of something else than rows
        raise DataError(
            f"X is one column, not a table of rows ({error}): must be 2D; select columns by a "
            "list of names"
        ) from None
    for field in table.schema:
        if not is_number(field.type):
            raise DataError(
                f"column {field.name!r} is {field.type}: features must be numbers; encode it or "
                "leave it out"
            )
    if table.num_rows == 0 or table.num_columns == 0:
        raise DataError(
            f"X has {table.num_rows} rows and {table.num_columns} columns: must have at least one "
            "of each"
        )
    return table


def _as_numbers(column: pa.Array) -> NDArray[Any]:
    """Return an Arrow column as numbers, NaN for null."""
    import pyarrow as pa

    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if pa.types.is_decimal(column.type) or (column.null_count and pa.types.is_integer(column.type)):
        column = column.cast(pa.float64())
    numbers: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return numbers


def _is_plain_pandas(X: Any) -> bool:
    """Whether X is pandas with NumPy columns only, or one column: those need no detour."""
    if not type(X).__module__.startswith("pandas"):
        return False
    return X.ndim != 2 or all(isinstance(dtype, np.dtype) for dtype in X.dtypes)


def _refuse_objects(X: Any) -> None:
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        kinds = list(zip(X.columns, X.dtypes, strict=False))
    else:
        kinds = [(None, getattr(X, "dtype", None))]
    for name, kind in kinds:
        if kind == np.dtype(object):
            what = "X" if name is None else f"column {name!r}"
            raise DataError(
                f"{what} has dtype object: features must be numbers; convert with "
                "X.astype('float32'), or encode what is not a number"
            )
