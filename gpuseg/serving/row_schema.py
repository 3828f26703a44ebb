"""The JSON schema of a row: its columns, and what the model makes of missing values."""

from collections.abc import Mapping, Sequence
from typing import Any

from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.serving.loaded_model import LoadedModel
from gpuseg.serving.request_columns import RequestColumn
from gpuseg.serving.request_rows import RequestRows

Schema = dict[str, Any]

_MAX_EXAMPLES = 100
"""Categories of a column that its schema names as examples."""

_INT64 = {"minimum": -(2**63), "maximum": 2**63 - 1}

_FLOAT32 = {"exclusiveMinimum": -float(2**128 - 2**103), "exclusiveMaximum": float(2**128 - 2**103)}
"""From here on numbers are rounded to an infinite float32."""

_NULL: Schema = {"type": "null"}

_ABOVE_LOG1P = -1.0
"""A number that is refused only where log1p is applied to it."""


def row_schema(model: LoadedModel, example: Mapping[str, Any]) -> dict[str, Schema]:
    """Return the schema of each column.

    Which columns may be null, and which have a lower bound, is asked of the model.

    Parameters
    ----------
    model : LoadedModel
    example : mapping
        A row that the model can score.
    """
    optional = _accepted(model, example, None)
    numbers = [column for column in model.columns if column.kind == "number"]
    below = {column.name for column in numbers} & _accepted(model, example, _ABOVE_LOG1P)
    encoders = {encoder.column: encoder for encoder in model.model.pipeline.encoders[::-1]}
    return {
        column.name: _value(
            column,
            encoders[column.name],
            is_optional=column.name in optional,
            is_bounded=column.name not in below,
        )
        for column in model.columns
    }


def _accepted(model: LoadedModel, example: Mapping[str, Any], value: Any) -> set[str]:
    """Return the columns in which the example may have this value."""
    names = model.forms.names
    scored = model.score(RequestRows([{**example, name: value} for name in names]), with_next=False)
    return {names[row] for row in scored.rows.tolist()}


def _value(
    column: RequestColumn, encoder: Encoder, *, is_optional: bool, is_bounded: bool
) -> Schema:
    """Return the schema of a value of a column."""
    match column.kind:
        case "number":
            bound = {"exclusiveMinimum": _ABOVE_LOG1P} if is_bounded else {}
            schema: Schema = {"type": ["number", "boolean"], **_FLOAT32, **bound}
        case "text" | "whole numbers" | "booleans":
            schema = _category(column, encoder, is_optional)
        case "vector":
            schemas = [_vector(column.shape, is_optional)]
            if len(column.shape) > 1:
                schemas.append(_vector((column.width,), is_optional))
            return {"anyOf": [*schemas, _NULL]} if is_optional else {"anyOf": schemas}
        case _:
            return _NULL
    return {**schema, "type": _with_null(schema["type"])} if is_optional else schema


def _with_null(types: str | list[str]) -> list[str]:
    return [*([types] if isinstance(types, str) else types), "null"]


def _category(column: RequestColumn, encoder: Encoder, is_optional: bool) -> Schema:
    """Return the schema of a category; those that the model knows are examples, or all there are.

    An ordinal category that is not known counts as missing.
    """
    kinds = {"text": "string", "whole numbers": "integer", "booleans": "boolean"}
    schema: Schema = {"type": kinds[column.kind]}
    known: list[Any] = list(encoder.categories)
    if column.kind == "whole numbers":
        schema |= _INT64
        known = [int(category) for category in known]
    if column.kind == "booleans":
        known = [category == "true" for category in known]
    if encoder.kind == "ordinal" and not is_optional:
        return {**schema, "enum": known}
    return {**schema, "examples": known[:_MAX_EXAMPLES]} if known else schema


def _vector(shape: Sequence[int], is_optional: bool) -> Schema:
    """Return the schema of a list of numbers, nested as the shape is."""
    null = [_NULL] if is_optional else []
    items: Schema = {"type": ["number", "boolean"]}  # not every element is a feature
    if len(shape) > 1:
        items = _vector(shape[1:], is_optional)
    return {
        "type": "array", "items": {"anyOf": [items, *null]},
        "minItems": shape[0], "maxItems": shape[0],
    }  # fmt: skip
