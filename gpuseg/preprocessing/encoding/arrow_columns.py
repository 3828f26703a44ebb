"""Arrow columns as numbers, as text, and their missing values."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import decimals_to_numpy, from_numpy, is_text, to_numpy
from gpuseg.errors import DataError
from gpuseg.numerics.to_float32 import as_floats


def gaps(column: pa.Array) -> NDArray[np.bool_]:
    """Return where a column has no value (null or NaN), bool (rows,)."""
    missing: NDArray[np.bool_] = to_numpy(pc.is_null(column, nan_is_null=True))
    return missing


def is_number(kind: pa.DataType) -> bool:
    """Return whether values of a type can be a feature without encoding."""
    t = pa.types
    return bool(
        t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind) or t.is_boolean(kind)
    )


def as_numbers(column: pa.Array) -> NDArray[Any]:
    """Return an Arrow column as float32 or float64, NaN for null.

    Integers go by way of float64, with or without nulls (`numerics.to_float32`).
    """
    if pa.types.is_floating(column.type):
        return to_numpy(column)
    if pa.types.is_boolean(column.type):
        column = pc.cast(column, pa.int8())
    if pa.types.is_decimal(column.type):
        return decimals_to_numpy(column)
    if column.null_count > 0:
        column = pc.cast(column, pa.float64(), safe=False)
    return as_floats(to_numpy(column))


def as_text(column: pa.Array, name: str) -> tuple[str, pa.Array]:
    """Return the value type of a column of categories, and its values as text.

    Integers that are stored as floats, as pandas does if values are missing, count as integers.

    Returns
    -------
    value_type : {"text", "whole numbers", "booleans", ""}
        Empty if every value is missing.
    values : Arrow array of strings

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
    if is_text(kind):
        return "text", column.cast(pa.string())
    if t.is_boolean(kind):
        return "booleans", column.cast(pa.string())
    if t.is_integer(kind):
        return "whole numbers", column.cast(pa.string())
    if t.is_floating(kind):
        present = pc.if_else(from_numpy(gaps(column)), pa.scalar(None, kind), column)
        try:
            return "whole numbers", present.cast(pa.int64()).cast(pa.string())
        except pa.ArrowInvalid:
            pass
    raise DataError(
        "category.unsupported_type",
        f"column '{name}' has type {kind}",
        rule="categories must be text, whole numbers or booleans",
        hint="convert the column, or use it as a number",
        parameter="categorical",
    )
