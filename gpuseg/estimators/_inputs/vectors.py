"""Frames and tables with columns of vectors: their shapes, and the names of their features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gpuseg.errors import DataError
from gpuseg.optional import is_arrow, is_pandas
from gpuseg.preprocessing.encoding.vectors import (
    Shape,
    WrongVector,
    as_matrix,
    check_shape,
    element_names,
    first_shape,
    is_vector,
    of_matrix,
    shape_of_type,
    type_of_elements,
)

if TYPE_CHECKING:
    import pyarrow as pa


def has_vectors(X: Any) -> bool:
    """Return whether a frame or a table has columns of vectors.

    In pandas they are columns of Arrow's lists, or of objects: arrays, lists and tuples.
    """
    if is_pandas(X):
        return X.ndim == 2 and any(_is_vector_dtype(X.iloc[:, i]) for i in range(X.shape[1]))
    if not is_arrow(X) or not hasattr(X, "slice"):
        return False
    import pyarrow as pa

    try:
        schema = pa.RecordBatchReader.from_stream(X).schema
    except pa.ArrowInvalid:  # one column
        return False
    return any(is_vector(field.type) for field in schema)


def holds_vectors(column: Any) -> bool:
    """Return whether the first object of a column of pandas is a vector."""
    present = (value for value in column if value is not None and value is not np.nan)
    first = next(present, None)
    return isinstance(first, list | tuple) or (isinstance(first, np.ndarray) and first.ndim > 0)


def _is_vector_dtype(column: Any) -> bool:
    kind = getattr(column.dtype, "pyarrow_dtype", None)
    if kind is not None:
        return is_vector(kind)
    return bool(column.dtype == np.dtype(object) and holds_vectors(column))


def with_fixed_sizes(table: pa.Table) -> pa.Table:
    """Return a table whose vectors have their shape in the type, so that parts have it too.

    Raises
    ------
    DataError
        For vectors of several shapes.
    """
    import pyarrow as pa

    for i, field in enumerate(table.schema):
        kind = field.type
        if not is_vector(kind):
            continue
        if _is_fixed(kind):
            check_shape(field.name, fixed_shape(kind) or ())
            continue
        column = table.column(i).combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = column.chunk(0)
        shape = first_shape(column)
        if shape is None:
            raise DataError(
                "vector.none",
                f"column {field.name!r} has no vector, only missing ones",
                rule="must have one, so that the length is known",
                hint="leave it out",
            )
        check_shape(field.name, shape)
        try:
            x = as_matrix(column, shape)
        except WrongVector as error:
            raise error.in_row(field.name, f"row {error.row}") from None
        if has_float32(kind):
            x = x.astype(np.float32, copy=False)
        table = table.set_column(i, field.name, of_matrix(x, shape))
    return table


def feature_names(schema: pa.Schema) -> list[str]:
    """Return the names of the features of columns whose vectors have fixed sizes."""
    names: list[str] = []
    for field in schema:
        shape = fixed_shape(field.type)
        names += [field.name] if shape is None else element_names(field.name, shape)
    return names


def fixed_shape(kind: pa.DataType) -> Shape | None:
    """Return the shape of the vectors of a type, or None for a column of numbers."""
    shape = shape_of_type(kind)
    return None if shape is None else tuple(length for length in shape if length is not None)


def has_float32(kind: pa.DataType) -> bool:
    """Return whether float32 holds every value of a type of numbers or vectors."""
    import pyarrow as pa

    small = (pa.float32(), pa.float16(), pa.int16(), pa.uint16(), pa.int8(), pa.uint8(), pa.bool_())
    return type_of_elements(kind) in small


def _is_fixed(kind: pa.DataType) -> bool:
    import pyarrow as pa

    while pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_floating(kind))
