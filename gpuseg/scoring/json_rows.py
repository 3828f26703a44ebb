"""Rows of JSON as columns of the types that a model was fitted to.

JSON has no types of columns, so that each value is checked by itself: a row gives the same columns
beside any other rows, and the same ones as Parquet with the values as float64, text, int64 or
booleans. Columns are built in bulk; only a column that has a wrong value is read value by value.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.arrow import to_numpy
from gpuseg.preprocessing.encoding.vectors import Shape, WrongVector, as_matrix, of_matrix
from gpuseg.preprocessing.pipeline import FeaturePipeline
from gpuseg.preprocessing.row_problems import RowProblem

Values = Sequence[Any]
"""The values of a column, as a parser of JSON returns them."""

_INT64 = range(-(2**63), 2**63)

_BULK_ERRORS = (pa.ArrowException, TypeError, OverflowError, ValueError, WrongVector)
"""What is raised for values that are not all of one type or shape."""

_SPARK_VECTOR = pa.struct([
    ("type", pa.int8()), ("size", pa.int32()),
    ("indices", pa.list_(pa.int32())), ("values", pa.list_(pa.float64())),
])  # fmt: skip
"""The type of the vectors of Spark ML."""

_OBJECT = "must be an object with the columns of the model"
_PRESENT = "must be there; null says that the value is missing"
_TYPE_CHANGED = "as in the data of the fit"
_UNICODE = "must be text in Unicode"


class _WrongValue(Exception):
    """A value that its column cannot have.

    Attributes
    ----------
    rule : str
    """

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


@dataclass(frozen=True)
class JsonTable:
    """Rows of JSON as a table.

    Attributes
    ----------
    table : pyarrow.Table (m, d)
        The columns of the model, of the rows that have all of them in their types.
    rows : int64 (m,)
        The position of each row of the table among the rows read, increasing.
    problems : list of RowProblem
        One for each other row, by position: the first of its columns that is wrong. The column is
        empty where the row is not an object.
    """

    table: pa.Table
    rows: NDArray[np.int64]
    problems: list[RowProblem]


class JsonRowReader:
    """Reads rows of JSON as columns of a model.

    A row has each column of the model as a key. Other keys are ignored. Null is a missing value;
    what the model does with it is decided later, by `FeaturePipeline`. The types are those of the
    fit:

    * a number is a number, true (1) or false (0), also if it is a whole number of any length that
      float64 can hold;
    * a category is text, a whole number of 64 bits (1.0 is one), or true and false; one type never
      stands for another;
    * a vector is a list of numbers and nulls, nested where the fit had lists of lists.

    Values are what ``json.loads`` returns. The reader has no state, and may be used by several
    threads.

    Parameters
    ----------
    pipeline : FeaturePipeline
        Of the model.

    Examples
    --------
    >>> reader = JsonRowReader(model.pipeline)  # doctest: +SKIP
    >>> result = reader.read([{"spend": 12.5}, {"spend": "much"}])  # doctest: +SKIP
    >>> result.rows, result.problems[0].column  # doctest: +SKIP
    (array([0]), 'spend')
    """

    def __init__(self, pipeline: FeaturePipeline) -> None:
        self._columns = _column_types(pipeline)

    def read(self, rows: Sequence[Any]) -> JsonTable:
        """Return rows as columns, and what is wrong with the others.

        Parameters
        ----------
        rows : sequence of dict (n,)
            Items that are not dicts are rows with a problem.
        """
        problems: dict[int, RowProblem] = {}
        arrays = {}
        for column in self._columns:
            name = column.name
            try:
                arrays[name] = column.in_bulk([row[name] for row in rows])
            except (KeyError, AttributeError, IndexError, *_BULK_ERRORS):
                arrays[name] = column.one_by_one(rows, problems)
        table = pa.table(arrays)
        kept = np.arange(len(rows))
        if problems:
            is_kept = np.ones(len(rows), bool)
            is_kept[list(problems)] = False
            kept = np.flatnonzero(is_kept)
            table = table.take(pa.array(kept))
        return JsonTable(table, kept, [problems[row] for row in sorted(problems)])


@dataclass(frozen=True)
class _ColumnReader:
    """A column of the model, and how its values are read.

    Attributes
    ----------
    name : str
    in_bulk : callable
        Returns values as an Arrow array, or raises one of `_BULK_ERRORS`.
    convert : callable
        Returns one value as `in_bulk` takes it, or raises `_WrongValue`.
    """

    name: str
    in_bulk: Callable[[Values], pa.Array]
    convert: Callable[[Any], Any]

    def one_by_one(self, rows: Sequence[Any], problems: dict[int, RowProblem]) -> pa.Array:
        """Return the column, null for wrong values; add what is wrong with rows that were right."""
        values: list[Any] = []
        for position, row in enumerate(rows):
            if position in problems:  # one problem is enough, and nobody needs the value
                values.append(None)
                continue
            value, column = None, self.name
            try:
                if not isinstance(row, Mapping):
                    value, column = row, ""
                    raise _WrongValue(_OBJECT)
                if self.name not in row:
                    raise _WrongValue(_PRESENT)
                value = row[self.name]
                values.append(None if value is None else self.convert(value))
            except _WrongValue as error:
                values.append(None)
                problems[position] = RowProblem(position, column, value, error.rule)
        return self.in_bulk(values)


def _column_types(pipeline: FeaturePipeline) -> list[_ColumnReader]:
    """Return how each column of a pipeline is read."""
    kinds: dict[str, _ColumnReader] = {}
    for encoder in pipeline.encoders:
        if encoder.column not in pipeline.columns:
            continue
        name = encoder.column
        if encoder.kind in ("number", "vector", "is missing"):
            shape = encoder.shape
            if shape:
                column = _ColumnReader(
                    name, partial(_vectors, shape=shape), partial(_vector, shape)
                )
            else:
                column = _ColumnReader(name, _numbers, _number)
        else:
            in_bulk, convert = _CATEGORIES[encoder.value_type]
            column = _ColumnReader(name, in_bulk, convert)
        kinds.setdefault(name, column)
    return list(kinds.values())


def _numbers(values: Values) -> pa.Array:
    return pa.array(values, pa.float64())


def _number(value: Any) -> float:
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            raise _WrongValue("must be a number that float64 can hold") from None
    raise _WrongValue(f"must be a number, {_TYPE_CHANGED}")


def _texts(values: Values) -> pa.Array:
    return pa.array(values, pa.string())


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _WrongValue(f"must be text, {_TYPE_CHANGED}")
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a character, which JSON can write
        raise _WrongValue(_UNICODE) from None
    return value


def _whole_numbers(values: Values) -> pa.Array:
    _require_types(values, int)
    return pa.array(values, pa.int64())


def _whole_number(value: Any) -> int:
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not is_whole:
        raise _WrongValue(f"must be a whole number, {_TYPE_CHANGED}")
    if int(value) not in _INT64:
        raise _WrongValue("must be a whole number of at most 64 bits")
    return int(value)


def _booleans(values: Values) -> pa.Array:
    return pa.array(values, pa.bool_())


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _WrongValue(f"must be true or false, {_TYPE_CHANGED}")
    return value


def _nothing(values: Values) -> pa.Array:
    _require_types(values)
    return pa.nulls(len(values), pa.string())


def _no_value(value: Any) -> None:
    raise _WrongValue("must be null: the data of the fit has no value in this column")


_CATEGORIES: Mapping[str, tuple[Callable[[Values], pa.Array], Callable[[Any], Any]]] = {
    "text": (_texts, _text),
    "whole numbers": (_whole_numbers, _whole_number),
    "booleans": (_booleans, _boolean),
    "": (_nothing, _no_value),
}
"""By the type of the values at the fit: how a column and a value of it is read."""


def _vectors(values: Values, shape: Shape) -> pa.Array:
    """Return lists of numbers as vectors of float64; a missing vector has missing elements."""
    n_elements = math.prod(shape)
    if any(isinstance(value, Mapping) for value in values):
        return of_matrix(_elements_of_spark(values, n_elements), shape)
    gap = [None] * n_elements
    lists = [gap if value is None else value for value in values]
    _require_types(lists, list)
    if any(len(value) != n_elements for value in lists):
        raise ValueError
    x = to_numpy(pa.array(list(chain.from_iterable(lists)), pa.float64()))
    return of_matrix(x.reshape(len(values), n_elements), shape)


def _vector(shape: Shape, value: Any) -> list[float | None]:
    """Return the elements of a vector, which may be nested as the shape says."""
    n_elements = math.prod(shape)
    if isinstance(value, Mapping):
        return _spark_vector(value, n_elements)
    if isinstance(value, list) and len(value) == n_elements and not _has_lists(value):
        return [None if element is None else _number(element) for element in value]
    if len(shape) > 1 and isinstance(value, list) and len(value) == shape[0]:
        gap = [None] * (n_elements // shape[0])
        parts = [gap if part is None else _vector(shape[1:], part) for part in value]
        return list(chain.from_iterable(parts))
    raise _WrongValue(f"must be a list of {' × '.join(f'{n:,}' for n in shape)} numbers")


def _spark_vector(value: Mapping[str, Any], n_elements: int) -> list[float | None]:
    """Return the elements of a vector as Spark writes it to JSON."""
    try:
        elements: list[float | None] = _elements_of_spark([value], n_elements)[0].tolist()
    except WrongVector as error:
        raise _WrongValue(
            f"must be a vector of {n_elements:,} numbers, but {error.problem}"
        ) from None
    except _BULK_ERRORS:
        raise _WrongValue(f"must be a list of {n_elements:,} numbers") from None
    return elements


def _elements_of_spark(vectors: Values, n_elements: int) -> NDArray[Any]:
    return as_matrix(pa.array(vectors, _SPARK_VECTOR), (n_elements,))


def _has_lists(value: Sequence[Any]) -> bool:
    return any(isinstance(element, list) for element in value)


def _require_types(values: Values, *types: type) -> None:
    """Check that values have one of some types, or are None.

    Raises
    ------
    TypeError
    """
    if not {*map(type, values)} <= {*types, type(None)}:
        raise TypeError
