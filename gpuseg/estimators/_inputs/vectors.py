"""Frames and tables with columns of vectors: their shapes, and the names of their features."""

from __future__ import annotations

from collections.abc import Sequence
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
        return X.ndim == 2 and any(_has_vectors(X, i, dtype) for i, dtype in enumerate(X.dtypes))
    if not is_arrow(X) or not hasattr(X, "slice"):
        return False
    import pyarrow as pa

    try:
        schema = pa.RecordBatchReader.from_stream(X).schema
    except pa.ArrowInvalid:  # one column
        return False
    return any(is_vector(field.type) for field in schema)


def holds_vectors(column: Any) -> bool:
    """Return whether the first object of a column of pandas that is not missing is a vector."""
    present = column.notna().to_numpy()
    first = column.iloc[int(present.argmax())] if present.any() else None
    return isinstance(first, list | tuple) or (isinstance(first, np.ndarray) and first.ndim > 0)


def _has_vectors(X: Any, i: int, dtype: Any) -> bool:
    """Return whether column i of a frame of pandas has vectors."""
    if (kind := getattr(dtype, "pyarrow_dtype", None)) is not None:
        return is_vector(kind)
    return bool(dtype == np.dtype(object)) and holds_vectors(X.iloc[:, i])


def with_fixed_sizes(table: pa.Table) -> pa.Table:
    """Return a table whose vectors have their shape in the type, so that parts have it too.

    Raises
    ------
    DataError
        For vectors of several shapes.
    """
    for i, field in enumerate(table.schema):
        kind = field.type
        if not is_vector(kind):
            continue
        if _is_fixed(kind):
            check_shape(field.name, fixed_shape(kind) or ())
            continue
        chunks = table.column(i).chunks
        shapes = (first_shape(chunk) for chunk in chunks)
        shape = next((shape for shape in shapes if shape is not None), None)
        if shape is None:
            raise DataError(
                "vector.none",
                f"column {field.name!r} has no vector, only missing ones",
                rule="must have one, so that the length is known",
                hint="leave it out",
            )
        check_shape(field.name, shape)
        table = table.set_column(i, field.name, _of_shape(chunks, shape, field))
    return table


def _of_shape(chunks: Sequence[pa.Array], shape: Shape, field: pa.Field) -> pa.ChunkedArray:
    """Return vectors with a shape in their type; all chunks in one could have too many elements.

    Raises
    ------
    DataError
        For a vector of another shape.
    """
    import pyarrow as pa

    dtype = np.float32 if has_float32(field.type) else np.float64
    fixed, start = [], 0
    for chunk in chunks:
        try:
            x = as_matrix(chunk, shape)
        except WrongVector as error:
            raise error.in_row(field.name, f"row {start + error.row}") from None
        fixed.append(of_matrix(x.astype(dtype, copy=False), shape))
        start += len(chunk)
    return pa.chunked_array(fixed)


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
