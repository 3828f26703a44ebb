"""Columns of Arrow as numbers, as text, and where they have gaps."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gpuseg.errors import DataError
from gpuseg.numerics.to_float32 import as_floats


def gaps(column: pa.Array) -> NDArray[np.bool_]:
    """Return where a column has no value: null, or not a number; bool (rows,)."""
    missing: NDArray[np.bool_] = pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False)
    return missing


def is_number(kind: pa.DataType) -> bool:
    """Whether values of a type can be a feature as they are."""
    t = pa.types
    return bool(
        t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind) or t.is_boolean(kind)
    )


def as_numbers(column: pa.Array) -> NDArray[Any]:
    """Return an Arrow column as float32 or float64, NaN for null.

    Integers go by way of float64, with or without nulls (`numerics.to_float32`).
    """
    if pa.types.is_boolean(column.type):
        column = pc.cast(column, pa.int8())
    has_nulls = column.null_count > 0 and not pa.types.is_floating(column.type)
    if has_nulls or pa.types.is_decimal(column.type):
        column = pc.cast(column, pa.float64(), safe=False)
    return as_floats(column.to_numpy(zero_copy_only=False))


def as_text(column: pa.Array, name: str) -> tuple[str, pa.Array]:
    """Return what a column of categories holds, and its values as they are written.

    Whole numbers that are stored as floats, as pandas does beside gaps, count as whole numbers.

    Raises
    ------
    DataError
        For a type that cannot be a category.
    """
    t, kind = pa.types, column.type
    if t.is_dictionary(kind):
        return as_text(column.cast(kind.value_type), name)
    if gaps(column).all():
        return "", pa.nulls(len(column), pa.string())
    if t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind):
        return "text", column.cast(pa.string())
    if t.is_boolean(kind):
        return "booleans", column.cast(pa.string())
    if t.is_integer(kind):
        return "whole numbers", column.cast(pa.string())
    if t.is_floating(kind):
        present = pc.if_else(pa.array(gaps(column)), pa.scalar(None, kind), column)
        try:
            return "whole numbers", present.cast(pa.int64()).cast(pa.string())
        except pa.ArrowInvalid:
            pass
    raise DataError(
        f"column '{name}' holds {kind}: categories must be text, whole numbers or booleans; "
        "convert it, or use it as a number"
    )
