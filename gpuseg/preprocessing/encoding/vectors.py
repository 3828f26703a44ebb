"""Columns of vectors as matrices: lists of numbers, tensors, and the vectors of Spark ML.

A vector is one value of a column and several features. The elements of a list of lists or of a
tensor are in row-major order. A vector that is missing is a row of missing elements.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import to_numpy
from gpuseg.errors import DataError
from gpuseg.formatting import count
from gpuseg.preprocessing.encoding.arrow_columns import as_numbers, is_number

MAX_ELEMENTS = 100_000
"""Most elements of a vector."""

Shape = tuple[int, ...]

_SPARSE, _DENSE = 0, 1
"""Types of the vectors of Spark ML."""

_SPARK_FIELDS = {
    "type": pa.int64(),
    "size": pa.int64(),
    "indices": pa.list_(pa.int64()),
    "values": pa.list_(pa.float64()),
}
"""Fields of the vectors of Spark ML, and types that stand for those of a field that is all null.

Spark writes narrower types. Objects of Python that pandas holds have no types, and a size that is
missing in some rows is a float in the others.
"""


class WrongVector(Exception):
    """A vector that does not have the shape of the others.

    Attributes
    ----------
    row : int
        Its row in the column.
    problem : str
        What it has, and what it must have.
    """

    def __init__(self, row: int, problem: str) -> None:
        super().__init__(row, problem)
        self.row, self.problem = row, problem

    def in_row(self, column: str, row: str, parameter: str | None = None) -> DataError:
        """Return the error; `row` says where the vector is."""
        return DataError(
            "vector.wrong_shape",
            f"column '{column}': the vector in {row} {self.problem}",
            rule="the vectors of a column must have one length",
            hint="give them one length, or leave the column out",
            parameter=parameter,
        )


def is_vector(kind: pa.DataType) -> bool:
    """Return whether a column of this type has vectors of numbers."""
    return shape_of_type(kind) is not None


def shape_of_type(kind: pa.DataType) -> tuple[int | None, ...] | None:
    """Return the shape of the vectors of a type; None if it has no vectors of numbers.

    A length is None where the type leaves it open.
    """
    if isinstance(kind, pa.FixedShapeTensorType):
        return _tensor_shape(kind) if is_number(kind.value_type) else None
    if isinstance(kind, pa.BaseExtensionType):
        return shape_of_type(kind.storage_type)
    if _is_spark_vector(kind):
        return (None,)
    if not _is_list(kind):
        return None
    length = kind.list_size if pa.types.is_fixed_size_list(kind) else None
    if is_number(kind.value_type):
        return (length,)
    inner = shape_of_type(kind.value_type) if _is_list(kind.value_type) else None
    return None if inner is None else (length, *inner)


def type_of_elements(kind: pa.DataType) -> pa.DataType:
    """Return the type of the elements of vectors; other types as they are."""
    kind = getattr(kind, "storage_type", kind)
    if _is_spark_vector(kind):
        return kind.field("values").type.value_type
    return type_of_elements(kind.value_type) if _is_list(kind) else kind


def first_shape(column: pa.Array) -> Shape | None:
    """Return the shape of the first vector of a column that is not missing, or None.

    A type that has the shape needs no vector.
    """
    by_type = shape_of_type(column.type) or ()
    lengths = [length for length in by_type if length is not None]
    if len(lengths) == len(by_type):
        return tuple(lengths)
    column = _storage(column)
    for row in np.flatnonzero(to_numpy(column.is_valid())).tolist():
        value = column[row].as_py()
        if isinstance(value, dict):
            return (_spark_length(value),)
        if (shape := _shape_of_value(value, len(by_type))) is not None:
            return shape
    return None


def check_shape(column: str, shape: Shape, parameter: str | None = None) -> None:
    """Refuse vectors without elements, and those with too many.

    Raises
    ------
    DataError
    """
    if not 1 <= math.prod(shape) <= MAX_ELEMENTS:
        raise DataError(
            "vector.wrong_size",
            f"column '{column}' has vectors of {count(math.prod(shape), 'element')}",
            rule=f"must have 1 to {MAX_ELEMENTS:,}",
            hint="leave the column out",
            parameter=parameter,
        )


def element_names(column: str, shape: Shape) -> list[str]:
    """Return the names of the elements, such as "embedding[0]" and "image[0,1]"."""
    if len(shape) == 1:
        return [f"{column}[{i}]" for i in range(shape[0])]
    return [f"{column}[{','.join(map(str, index))}]" for index in np.ndindex(*shape)]


def as_matrix(column: pa.Array, shape: Shape) -> NDArray[Any]:
    """Return the elements of vectors, float32 or float64 (n, elements), NaN for missing ones.

    The result may be a view of the column, which must not be changed.

    Parameters
    ----------
    column : array of vectors (n,)
    shape : tuple of int
        The shape of each vector. Vectors with one dimension may have the elements of any shape.

    Raises
    ------
    WrongVector
    """
    kind, storage = column.type, _storage(column)
    by_type = shape_of_type(kind) or ()
    if len(by_type) == 1:
        shape = (math.prod(shape),)
    if len(by_type) != len(shape):
        raise WrongVector(0, f"has {count(len(by_type), 'dimension')}, not {len(shape)}")
    if isinstance(kind, pa.FixedShapeTensorType):
        if by_type != shape:
            raise WrongVector(0, f"has the shape {_in_words(by_type)}, not {_in_words(shape)}")
        return _in_logical_order(_elements(storage, (math.prod(shape),)), kind)
    if _is_spark_vector(storage.type):
        return _spark_elements(storage, shape[0])
    return _elements(storage, shape)


def missing_elements(column: pa.Array, shape: Shape) -> NDArray[np.bool_]:
    """Return where a vector, or an element of it, is missing, bool (n,).

    Raises
    ------
    WrongVector
    """
    if pa.types.is_null(column.type):
        return np.ones(len(column), bool)
    missing: NDArray[np.bool_] = np.isnan(as_matrix(column, shape)).any(axis=1)
    return missing


def of_matrix(x: NDArray[Any], shape: Shape) -> pa.Array:
    """Return the rows of a matrix (n, elements) as vectors of a fixed size."""
    values: pa.Array = pa.array(np.ascontiguousarray(x).ravel())
    for length in reversed(shape):
        values = pa.FixedSizeListArray.from_arrays(values, length)
    return values


def _elements(column: pa.Array, shape: Shape, level: int = 1) -> NDArray[Any]:
    """Return the elements of lists, (n, product of shape)."""
    is_there = np.ones(len(column), bool)
    if column.null_count:
        is_there = to_numpy(column.is_valid())
    if len(column):
        lengths = _lengths(column)
        wrong = np.flatnonzero((lengths != shape[0]) & is_there)
        if wrong.size:
            where = f" in dimension {level}" if level > 1 else ""
            n_elements = count(int(lengths[wrong[0]]), "element")
            raise WrongVector(int(wrong[0]), f"has {n_elements}{where}, not {shape[0]:,}")
    child = column.flatten()
    try:
        values = as_numbers(child) if len(shape) == 1 else _elements(child, shape[1:], level + 1)
    except WrongVector as error:
        row = np.flatnonzero(is_there)[error.row // shape[0]]
        raise WrongVector(int(row), error.problem) from None
    values = values.reshape(int(is_there.sum()), math.prod(shape))
    if is_there.all():
        return values
    result = np.full((len(column), values.shape[1]), np.nan, values.dtype)
    result[is_there] = values
    return result


def _spark_elements(column: pa.StructArray, length: int) -> NDArray[np.float64]:
    """Return the elements of dense and sparse vectors of Spark ML, float64 (n, length)."""
    is_there = to_numpy(column.is_valid())
    fields = dict(zip(_SPARK_FIELDS, _spark_fields(column), strict=True))
    kind, size = (_whole_numbers(fields[name], -1) for name in ("type", "size"))
    n_values, n_indices = (_lengths(fields[name]) for name in ("values", "indices"))
    is_sparse = kind == _SPARSE
    n_elements = np.where(is_sparse, size, n_values)
    for wrong, problem in (
        (is_there & ~is_sparse & (kind != _DENSE), "is neither dense nor sparse"),
        (is_there & (n_elements != length), "has {} elements, not " + f"{length:,}"),
        (is_sparse & (n_indices != n_values), "has other indices than values"),
    ):
        rows = np.flatnonzero(wrong)
        if rows.size:
            raise WrongVector(int(rows[0]), problem.format(f"{n_elements[rows[0]]:,}"))
    values = as_numbers(fields["values"].flatten()).astype(np.float64, copy=False)
    if (kind == _DENSE).all():
        return values.reshape(len(column), length)
    row = np.repeat(np.arange(len(column)), n_values)
    element = np.arange(len(row)) - np.repeat(np.cumsum(n_values) - n_values, n_values)
    of_sparse = is_sparse[row]
    indices = pc.filter(fields["indices"], pa.array(is_sparse)).flatten()
    element[of_sparse] = _whole_numbers(indices, -1)
    follows = np.diff(row, prepend=-1) == 0
    wrong = (element < 0) | (element >= length) | (follows & (np.diff(element, prepend=0) <= 0))
    if wrong.any():
        first = int(row[np.flatnonzero(wrong)[0]])
        raise WrongVector(first, f"has indices that do not rise from 0 to {length - 1:,}")
    result = np.full((len(column), length), np.nan)
    result[is_sparse] = 0.0
    result[row, element] = values
    return result


def _spark_length(vector: Mapping[str, Any]) -> int:
    """Return the number of elements of a vector of Spark ML; 0 if its size is no whole number."""
    if vector["type"] != _SPARSE:
        return len(vector["values"] or ())
    size = vector["size"]
    return int(size) if size is not None and float(size).is_integer() else 0


def _spark_fields(column: pa.StructArray) -> Sequence[pa.Array]:
    """Return the fields in the order of `_SPARK_FIELDS`, null where the vector is."""
    by_name = dict(zip((field.name for field in column.type), column.flatten(), strict=True))
    return [
        pa.nulls(len(column), kind) if pa.types.is_null(by_name[name].type) else by_name[name]
        for name, kind in _SPARK_FIELDS.items()
    ]


def _whole_numbers(column: pa.Array, null: int) -> NDArray[np.int64]:
    """Return numbers as int64, `null` for those that are missing; wrong ones are negative."""
    if pa.types.is_floating(column.type):
        values: NDArray[np.float64] = as_numbers(column).astype(np.float64)
        is_whole = (np.abs(values) <= MAX_ELEMENTS) & (values == np.rint(values))
        return np.where(is_whole, values, null).astype(np.int64)
    # What is beyond int64 wraps around.
    return np.asarray(to_numpy(pc.fill_null(column.cast(pa.int64(), safe=False), null)))


def _lengths(column: pa.Array) -> NDArray[np.int64]:
    """Return the lengths of lists, 0 for a missing one, int64 (n,)."""
    if pa.types.is_fixed_size_list(column.type):
        return to_numpy(column.is_valid()) * np.int64(column.type.list_size)
    return _whole_numbers(pc.list_value_length(column), 0)


def _shape_of_value(value: Any, n_dimensions: int) -> Shape | None:
    """Return the shape of nested lists; None if it cannot be known for missing ones."""
    shape = [len(value)]
    while len(shape) < n_dimensions and shape[-1]:
        value = next((item for item in value if item is not None), None)
        if value is None:
            return None
        shape.append(len(value))
    return tuple(shape + [0] * (n_dimensions - len(shape)))


def _tensor_shape(kind: pa.FixedShapeTensorType) -> tuple[int | None, ...]:
    """Return the shape of tensors as it is meant, whatever the order in memory."""
    shape = tuple(kind.shape)
    order = kind.permutation or range(len(shape))
    return tuple(shape[axis] for axis in order) or (1,)


def _in_logical_order(x: NDArray[Any], kind: pa.FixedShapeTensorType) -> NDArray[Any]:
    """Return the elements of tensors (n, elements) in the order of their indices."""
    if kind.permutation is None:
        return x
    stored = x.reshape(len(x), *kind.shape)
    return stored.transpose(0, *(axis + 1 for axis in kind.permutation)).reshape(x.shape)


def _in_words(shape: Sequence[int | None]) -> str:
    return " × ".join(f"{length:,}" for length in shape if length is not None)


def _storage(column: pa.Array) -> pa.Array:
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def _is_list(kind: pa.DataType) -> bool:
    t = pa.types
    return bool(
        t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind)
        or t.is_list_view(kind) or t.is_large_list_view(kind)
    )  # fmt: skip


def _is_spark_vector(kind: pa.DataType) -> bool:
    """Return whether a type is that of Spark ML's vectors, with numbers of any width."""
    if not pa.types.is_struct(kind) or kind.num_fields != len(_SPARK_FIELDS):
        return False
    types = {field.name: field.type for field in kind}
    if types.keys() != _SPARK_FIELDS.keys():
        return False
    indices, values = types["indices"], types["values"]
    has_indices = _is_list(indices) and _is_whole_or_null(indices.value_type)
    return (
        pa.types.is_integer(types["type"])
        and (_is_whole_or_null(types["size"]) or pa.types.is_floating(types["size"]))
        and (has_indices or pa.types.is_null(indices))
        and _is_list(values)
        and pa.types.is_floating(values.value_type)
    )


def _is_whole_or_null(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_null(kind))
