"""Any table in the memory of the host as one matrix; without a copy where it is one already."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.utils.validation import _check_feature_names, _check_n_features, check_array

from gpuseg.errors import DataError
from gpuseg.estimators._inputs.gpu import refuse_gradient, to_host
from gpuseg.estimators._inputs.vectors import (
    feature_names,
    fixed_shape,
    has_float32,
    has_vectors,
    holds_vectors,
    with_fixed_sizes,
)
from gpuseg.formatting import count
from gpuseg.numerics.to_float32 import as_floats, to_float32
from gpuseg.optional import is_arrow, is_pandas
from gpuseg.preprocessing.encoding.arrow_columns import as_numbers, is_number
from gpuseg.preprocessing.encoding.vectors import as_matrix as as_vectors
from gpuseg.preprocessing.encoding.vectors import is_vector

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_PER_BLOCK = 16_384
"""Rows into which the columns are written one by one, while the rows are in the cache."""


def as_matrix(X: Any, estimator: Any, reset: bool, keep_float64: bool = False) -> NDArray[Any]:
    """Return X as float32 (n, d), C-order; set or check the estimator's width and column names.

    A C-order float32 array is returned as it is. Frames and tables (pandas, Polars, pyarrow, and
    all others with the Arrow PyCapsule interface) are written into one matrix, column by column;
    nulls become NaN. Integers become float32 by way of float64 (`numerics.to_float32`).

    Parameters
    ----------
    reset : bool
        Whether the estimator gets width and names of X (fit), or they are checked (predict).
    keep_float64 : bool
        Whether numbers that are not float32 are returned as float64.

    Raises
    ------
    DataError
        For columns that are not numbers, object arrays, and tensors that require a gradient.
    TypeError
        For sparse matrices.
    """
    refuse_gradient(X, "X")
    refuse_other_types(X)
    if is_arrow(X) and not _is_plain_pandas(X):
        table = as_table(X)
        _check_feature_names(estimator, _named_columns(table), reset=reset)
        matrix = _table_to_matrix(table, _dtype_of(table) if keep_float64 else np.float32)
    else:
        _check_feature_names(estimator, X, reset=reset)
        matrix = _checked(X, estimator, keep_float64)
    _check_n_features(estimator, matrix, reset=reset)
    return matrix


def refuse_not_finite(x: Any, metric: str = "euclidean") -> None:
    """Refuse rows that have no distance to other rows.

    Raises
    ------
    DataError
    """
    if isinstance(x, np.ndarray) and np.isfinite(x).all():
        return  # a check per row would take longer
    bad = np.flatnonzero(to_host(~np.isfinite(x).all(axis=1)))
    if bad.size:
        zeros = " or, with metric='cosine', only zeros" if metric == "cosine" else ""
        raise DataError(
            "x.not_finite",
            f"X has {count(bad.size, 'row')} with NaN, infinity, values beyond float32{zeros}, "
            f"first row {bad[0]}",
            rule="features must be finite",
            hint="fix or drop those rows",
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
    w = np.asarray(to_host(weight), dtype=np.float64, order="C")
    if w.shape != (n_rows,):
        raise DataError(
            "sample_weight.wrong_shape",
            f"shape {w.shape}",
            rule=f"must be ({n_rows},), one weight per row",
            parameter="sample_weight",
        )
    if not np.isfinite(w).all() or (w < 0).any():
        bad = int(np.flatnonzero(~(np.isfinite(w) & (w >= 0)))[0])
        raise DataError(
            "sample_weight.invalid",
            f"row {bad} has weight {w[bad]}",
            rule="must be finite and >= 0",
            parameter="sample_weight",
        )
    return w


def _checked(X: Any, estimator: Any, keep_float64: bool) -> NDArray[Any]:
    """Return an array, a list or a pandas frame as a matrix, checked by scikit-learn."""
    dtype: Any = np.float32
    if keep_float64:
        dtype = [np.float64, np.float32]
    elif isinstance(X, list | tuple):
        dtype = np.float64
    else:
        X = _without_integers(X)
    try:
        with np.errstate(over="ignore"):
            matrix = check_array(
                X,
                dtype=dtype,
                order="C",
                ensure_all_finite=False,
                estimator=estimator,
                input_name="X",
            )
    except (ValueError, TypeError):
        _refuse_other_values(X)
        raise
    return np.asarray(matrix) if keep_float64 else to_float32(np.asarray(matrix))


def _without_integers(X: Any) -> Any:
    """Return X as float32 where it has integers; what is no array of numbers as it is."""
    if hasattr(X, "__array__") and not is_pandas(X) and not issparse(X):
        X = np.asarray(X)
    if isinstance(X, np.ndarray):
        return to_float32(X) if X.dtype.kind in "biu" else X
    if _is_plain_pandas(X) and X.ndim == 2:
        kinds = {dtype.kind for dtype in X.dtypes}
        if kinds == {"f"} or not kinds <= set("biuf"):
            return X
        if len(set(X.dtypes)) == 1:
            return to_float32(X.to_numpy())
        return _columns_to_matrix([X.iloc[:, f].to_numpy() for f in range(X.shape[1])], len(X))
    return X


def _columns_to_matrix(columns: Sequence[NDArray[Any]], n_rows: int) -> NDArray[np.float32]:
    """Return columns as a matrix, float32 (n, d), C-order."""
    matrix = np.empty((n_rows, len(columns)), np.float32)
    for start in range(0, n_rows, _ROWS_PER_BLOCK):
        rows = slice(start, start + _ROWS_PER_BLOCK)
        for f, column in enumerate(columns):
            with np.errstate(over="ignore"):
                matrix[rows, f] = as_floats(column[rows])
    return matrix


def _table_to_matrix(table: pa.Table, dtype: Any) -> NDArray[Any]:
    """Return the columns of an Arrow table as a matrix (n, d), C-order; nulls become NaN."""
    shapes = [fixed_shape(field.type) for field in table.schema]
    width = sum(math.prod(shape or ()) for shape in shapes)
    matrix = np.empty((table.num_rows, width), dtype)
    start = 0
    for batch in table.to_batches(max_chunksize=_ROWS_PER_BLOCK):
        rows, f = matrix[start : start + batch.num_rows], 0
        for column, shape in zip(batch.columns, shapes, strict=True):
            stop = f + math.prod(shape or ())
            with np.errstate(over="ignore"):
                rows[:, f:stop] = (
                    as_vectors(column, shape) if shape else as_numbers(column)[:, None]
                )
            f = stop
        start += batch.num_rows
    return matrix


def _named_columns(table: pa.Table) -> pa.Table:
    """Return a table with the names of the features, for scikit-learn."""
    if all(fixed_shape(field.type) is None for field in table.schema):
        return table
    import pyarrow as pa

    return pa.table({name: pa.nulls(0) for name in feature_names(table.schema)})


def _dtype_of(table: pa.Table) -> Any:
    """Return float32 where it holds every value of the columns' types, else float64."""
    return np.float32 if all(has_float32(field.type) for field in table.schema) else np.float64


def read_stream(X: Any) -> Any:
    """Return X so that it can be read twice, and a part of it alone.

    A stream of Arrow becomes a table, and so does a frame with vectors, whose parts then know the
    length. Others are returned as they are.
    """
    has_parts = hasattr(X, "slice") or hasattr(X, "iloc") or not is_arrow(X)
    return X if has_parts and not has_vectors(X) else as_table(X)


def as_table(X: Any) -> pa.Table:
    """Return a frame or a stream of Arrow as a table of numbers, and of vectors of fixed sizes.

    Raises
    ------
    DataError
        For columns that are not numbers, vectors of several lengths, and X without rows.
    """
    import pyarrow as pa

    try:
        if is_pandas(X):
            table = _table_of_pandas(X)
        else:
            table = pa.RecordBatchReader.from_stream(X).read_all()
    except pa.ArrowInvalid as error:  # the stream has no rows but, for example, one column
        raise DataError(
            "x.one_column",
            f"X is one column, not a table of rows ({error})",
            rule="must be 2D",
            hint="select columns by a list of names",
        ) from None
    for field in table.schema:
        refuse_not_number(field)
    if table.num_rows == 0 or table.num_columns == 0:
        raise DataError(
            "x.empty",
            f"X has {count(table.num_rows, 'row')} and {count(table.num_columns, 'column')}",
            rule="must have at least one of each",
        )
    return with_fixed_sizes(table)


def _table_of_pandas(X: Any) -> pa.Table:
    """Return a frame of pandas as a table; columns of objects hold vectors."""
    import pyarrow as pa

    try:
        return pa.Table.from_pandas(X, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            "column.mixed_types",
            f"a column cannot be read as one type ({error})",
            hint="convert its values to one type",
            parameter="X",
        ) from None


def refuse_not_number(field: pa.Field) -> None:
    """Refuse a column of an Arrow table that has neither numbers nor vectors, by its name.

    Raises
    ------
    DataError
    """
    import pyarrow as pa

    if is_number(field.type) or is_vector(field.type):
        return
    is_time, is_duration = pa.types.is_temporal(field.type), pa.types.is_duration(field.type)
    kind = "m" if is_duration else "M" if is_time else ""
    raise DataError(
        "feature.not_numeric",
        f"column {field.name!r} is {field.type}",
        rule="features must be numbers",
        hint=_NOT_NUMBERS.get(kind, _ENCODE),
    )


def _is_plain_pandas(X: Any) -> bool:
    """Whether X is pandas with only numbers of NumPy, or one column: Arrow would be a detour."""
    if not is_pandas(X):
        return False
    plain = (isinstance(dtype, np.dtype) and dtype != np.dtype(object) for dtype in X.dtypes)
    return X.ndim != 2 or all(plain)


_ENCODE = "leave it out, or encode it, for example by the parameter categorical of Preprocessor"

_NOT_NUMBERS = {
    "O": f"convert numbers with astype('float32'); {_ENCODE}",
    "M": "convert it to a number, such as days since a date, or leave it out",
    "m": "convert it to a number, such as days, or leave it out",
}
"""The next step for NumPy's kinds of values that are not numbers, some of which convert silently:
a time becomes its nanoseconds."""


def refuse_other_types(X: Any) -> None:
    """Refuse an array or a frame with columns that are not numbers, by their names.

    Columns of objects in a frame of pandas may have vectors.

    Raises
    ------
    DataError
    """
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        dtypes = list(zip(X.columns, X.dtypes, strict=False))
    else:
        dtypes = [(None, getattr(X, "dtype", None))]
    for i, (name, dtype) in enumerate(dtypes):
        kind = getattr(dtype, "kind", "") if isinstance(dtype, np.dtype) else ""
        if kind in _NOT_NUMBERS:
            if name is not None and is_pandas(X) and kind == "O" and holds_vectors(X.iloc[:, i]):
                continue
            raise DataError(
                "feature.not_numeric",
                f"{'X' if name is None else f'column {name!r}'} has dtype {dtype}",
                rule="features must be numbers",
                hint=_NOT_NUMBERS[kind],
            )


def _refuse_other_values(X: Any) -> None:
    """Refuse an array or lists with text or times, by the first such value.

    Raises
    ------
    DataError
    """
    rows = X if isinstance(X, list | tuple | np.ndarray) else ()
    for i, row in enumerate(rows):
        for f, value in enumerate(row if isinstance(row, list | tuple | np.ndarray) else ()):
            is_time = isinstance(value, date | timedelta | np.datetime64 | np.timedelta64)
            if is_time or (isinstance(value, str | bytes) and not _is_number_text(value)):
                raise DataError(
                    "feature.not_numeric",
                    f"X has {value!r} in row {i}, column {f}",
                    rule="features must be numbers",
                    hint=_NOT_NUMBERS["M" if is_time else "O"],
                )


def _is_number_text(text: str | bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
