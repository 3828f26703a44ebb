"""The Open Inference Protocol, version 2: tensors as JSON, ``POST /v2/models/NAME/infer``."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from gpuseg.formatting import count
from gpuseg.output_columns import CONFIDENCE, DISTANCE, NEXT_SEGMENT, SEGMENT
from gpuseg.printable import printable_value
from gpuseg.serving.limits import RequestLimits
from gpuseg.serving.loaded_model import LoadedModel, RequestScores
from gpuseg.serving.protocols.answers import compact_json, in_place, wrong_rows
from gpuseg.serving.protocols.binary_tensors import TensorBytes, as_bytes, split_body
from gpuseg.serving.protocols.row_texts import rows_as_bytes, rows_as_list
from gpuseg.serving.request_columns import RequestColumn
from gpuseg.serving.request_errors import malformed
from gpuseg.serving.request_json import parsed_json
from gpuseg.serving.request_rows import Misfit, RequestRows
from gpuseg.serving.row_limit import shapes_of_long_inputs

_INTEGERS = {f"{sign}INT{bits}": (sign, bits) for sign in ("", "U") for bits in (8, 16, 32, 64)}

_FLOATS: dict[str, type[np.floating[Any]]] = {
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}

TENSOR_TYPES = ("BOOL", "BYTES", *_INTEGERS, *_FLOATS)
"""The datatypes of the protocol."""

DATATYPES = {
    "number": "FP64",
    "vector": "FP64",
    "text": "BYTES",
    "whole numbers": "INT64",
    "booleans": "BOOL",
    "no values": "BYTES",
}
"""The datatype of a column in the metadata, by its kind."""

_MAX_DIMENSIONS = 32
"""Most dimensions of a tensor; the product of many lengths would take long."""

_BATCH = -1
"""The length of a dimension that may be any."""


@dataclass(frozen=True)
class InferRequest:
    """What a request asks for.

    Attributes
    ----------
    rows : RequestRows
    outputs : tuple of str
        Names of the outputs, in their order.
    id : str or None
    binary : frozenset of str
        The outputs that are to be bytes behind the JSON.
    """

    rows: RequestRows
    outputs: tuple[str, ...]
    id: str | None
    binary: frozenset[str] = frozenset()

    @property
    def with_next(self) -> bool:
        """Whether the next segment is needed."""
        return not {NEXT_SEGMENT, CONFIDENCE}.isdisjoint(self.outputs)


@dataclass(frozen=True)
class _Tensor:
    """An input: its values one after the other, and the length of each dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[Any]


def metadata(model: LoadedModel, name: str) -> dict[str, Any]:
    """Return the metadata of the model: its inputs are the columns, one tensor each."""
    return {
        "name": name,
        "versions": [model.run_id],
        "platform": "gpuseg",
        "inputs": [
            {"name": c.name, "datatype": DATATYPES[c.kind], "shape": [_BATCH, *c.shape]}
            for c in model.columns
        ],
        "outputs": [
            {"name": output, "datatype": _datatype(output), "shape": [_BATCH]}
            for output in output_names(model)
        ],
    }


def output_names(model: LoadedModel) -> tuple[str, ...]:
    """Return the outputs that a request may name."""
    following = (NEXT_SEGMENT, CONFIDENCE) if model.model.runner_up() is not None else ()
    return (SEGMENT, DISTANCE, *following, *model.model.level_columns())


def read(
    body: bytes, model: LoadedModel, limits: RequestLimits, json_length: str = ""
) -> InferRequest:
    """Return what a request asks for.

    Its inputs are one tensor for each column, [n] or [n, 1] (a vector: [n, …] with its shape), or a
    single tensor of numbers [n, d] with the columns in their order.

    Parameters
    ----------
    json_length : str
        The header `binary_tensors.LENGTH_HEADER`; empty if the body is JSON alone.

    Raises
    ------
    RequestError
        For a body of another form, and for too many rows; a wrong value is one of the problems of
        the rows.
    """
    text, behind = split_body(body, json_length)
    for shape in shapes_of_long_inputs(text, limits):
        if _is_shape(shape):
            limits.check_rows(shape[0])
    content, content_bytes = parsed_json(text), TensorBytes(behind)
    if not isinstance(content, dict) or not isinstance(content.get("inputs"), list):
        raise malformed("body.wrong_form", 'the body must be an object {"inputs": [tensor, …]}')
    request_id = content.get("id")
    if request_id is not None and not _is_unicode(request_id):
        raise malformed("body.wrong_form", "id must be text in Unicode")
    tensors = [_tensor(item, content_bytes) for item in content["inputs"]]
    content_bytes.check_end()
    outputs = requested_outputs(content, model)
    return InferRequest(
        _rows(tensors, model, limits), outputs, request_id, _binary(content, outputs)
    )


def requested_outputs(content: Mapping[str, Any], model: LoadedModel) -> tuple[str, ...]:
    """Return the outputs that a request names, by default the segment and the distance.

    Raises
    ------
    RequestError
    """
    outputs = content.get("outputs")
    if not isinstance(outputs, list | None):
        raise malformed("body.wrong_form", 'outputs must be a list [{"name": …}, …]')
    if not outputs:
        return (SEGMENT, DISTANCE)
    known = output_names(model)
    names = []
    for output in outputs:
        name = output.get("name") if isinstance(output, dict) else None
        if name not in known:
            shown = printable_value(name)
            raise malformed("output.unknown", f"output {shown} is not one of {', '.join(known)}")
        names.append(name)
    return tuple(dict.fromkeys(names))


def _binary(content: Mapping[str, Any], outputs: Sequence[str]) -> frozenset[str]:
    """Return the outputs that are to be bytes: each says so, or the request says it of all."""
    is_default = _parameter(content, "binary_data_output") is True
    listed = content.get("outputs")
    items = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    given = {item.get("name"): _parameter(item, "binary_data") for item in items}
    return frozenset(
        name for name in outputs if (is_default if given.get(name) is None else given[name] is True)
    )


def _parameter(item: Mapping[str, Any], name: str) -> Any:
    parameters = item.get("parameters")
    return parameters.get(name) if isinstance(parameters, dict) else None


def write(
    scored: RequestScores, model: LoadedModel, name: str, asked: InferRequest
) -> tuple[bytes, int | None]:
    """Return ``{"model_name", "model_version", "id", "outputs": [tensor, …]}``.

    The version is the run. If rows are wrong, the keys ``error``, ``code``, ``wrong_rows`` and
    ``problems`` come first, and the outputs have null for these rows.

    Returns
    -------
    body : bytes
    json_length : int or None
        The length of the JSON, if tensors follow it as bytes; None if nothing follows.
    """
    head: dict[str, Any] = {} if not scored.n_wrong else wrong_rows(scored)
    head |= {"model_name": name, "model_version": model.run_id}
    if asked.id is not None:
        head["id"] = asked.id
    columns = scored.scores.columns()
    binary = frozenset[str]() if scored.n_wrong else asked.binary
    behind = {output: as_bytes(columns[output]) for output in asked.outputs if output in binary}
    tensors = [
        _output(output, columns[output], scored, behind.get(output)) for output in asked.outputs
    ]
    start = compact_json(head)
    text = f'{start[:-1]},"outputs":[{",".join(tensors)}]}}'.encode()
    return b"".join([text, *behind.values()]), len(text) if behind else None


def _output(name: str, values: NDArray[Any], scored: RequestScores, behind: bytes | None) -> str:
    """Return an output with its data, or with the number of its bytes behind the JSON."""
    if behind is not None:
        data = f'"parameters":{{"binary_data_size":{len(behind)}}}'
    elif scored.n_wrong:
        data = f'"data":[{",".join(in_place(rows_as_list([values], len(values)), scored))}]'
    else:
        data = f'"data":[{rows_as_bytes([values, ","], len(values))[:-1].decode()}]'
    return (
        f'{{"name":{json.dumps(name)},"datatype":"{_datatype(name)}","shape":[{scored.n_rows}],'
        f"{data}}}"
    )


def _datatype(output: str) -> str:
    return "FP32" if output in (DISTANCE, CONFIDENCE) else "INT32"


def _tensor(item: Any, content_bytes: TensorBytes) -> _Tensor:
    """Return an input whose shape suits its values.

    Raises
    ------
    RequestError
    """
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise malformed("input.wrong_form", "an input must be an object with a name")
    name, datatype, shape = item["name"], item.get("datatype"), item.get("shape")
    if datatype not in TENSOR_TYPES:
        raise malformed(
            "input.unknown_datatype",
            f"input {name!r}: datatype {printable_value(datatype)} is not one of the protocol's",
        )
    if not _is_shape(shape):
        rule = f"shape must be from 1 to {_MAX_DIMENSIONS} whole numbers"
        raise malformed("input.wrong_shape", f"input {name!r}: {rule}")
    data, size = item.get("data"), _parameter(item, "binary_data_size")
    if data is None and size is not None:
        data = content_bytes.take(name, datatype, size)
    if not isinstance(data, list):
        raise malformed("input.no_data", f"input {name!r}: data must be a list")
    flat = _flat(data, len(shape) - 1)
    if len(flat) != math.prod(shape):
        raise malformed(
            "input.wrong_shape",
            f"input {name!r}: has {count(len(flat), 'value')}, but its shape is {shape}",
        )
    return _Tensor(name, datatype, tuple(shape), flat)


def _is_unicode(value: Any) -> bool:
    """Return whether a value is text without halves of characters, which no answer can have."""
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


def _is_shape(shape: Any) -> TypeGuard[list[int]]:
    is_list = isinstance(shape, list) and 0 < len(shape) <= _MAX_DIMENSIONS
    return is_list and all(map(_is_length, shape))


def _is_length(length: Any) -> bool:
    return type(length) is int and length >= 0


def _flat(data: list[Any], n_inner: int) -> list[Any]:
    """Return the values of data that may be flat, or nested as the shape is."""
    for _ in range(n_inner):
        if not data or not all(isinstance(item, list) for item in data):
            break
        data = list(chain.from_iterable(data))
    return data


def _rows(tensors: Sequence[_Tensor], model: LoadedModel, limits: RequestLimits) -> RequestRows:
    limits.check_rows(max((tensor.shape[0] for tensor in tensors), default=0))
    by_name = {tensor.name: tensor for tensor in tensors}
    if len(by_name) < len(tensors):
        raise malformed("input.duplicate", "two inputs have the same name")
    if len(tensors) == 1 and not by_name.keys() & set(model.forms.names):
        return _rows_of_matrix(tensors[0], model)
    values, n_rows = [], None
    for column in model.columns:
        tensor = by_name.get(column.name)
        if tensor is None:
            raise malformed("column.missing", f"there is no input {column.name!r}")
        if (
            tensor.shape[1:] not in ((), (1,))
            if column.kind != "vector"
            else (tensor.shape[1:] != column.shape)
        ):
            wanted = ", ".join(map(str, ("n", *column.shape)))
            raise malformed(
                "input.wrong_shape",
                f"input {column.name!r}: shape {list(tensor.shape)} must be [{wanted}]",
            )
        if n_rows not in (None, tensor.shape[0]):
            raise malformed(
                "input.wrong_shape",
                f"input {column.name!r}: has {tensor.shape[0]:,} rows, others {n_rows:,}",
            )
        n_rows = tensor.shape[0]
        values.append(_column_values(column, tensor))
    return model.forms.of_values(list(zip(*values, strict=True)))


def _rows_of_matrix(tensor: _Tensor, model: LoadedModel) -> RequestRows:
    """Return the rows of a single tensor with all columns."""
    width = model.forms.width
    if tensor.datatype in ("BOOL", "BYTES") or len(tensor.shape) != 2 or tensor.shape[1] != width:
        raise malformed(
            "input.wrong_shape",
            f"input {tensor.name!r}: must be numbers of shape [n, {width}], in the order of the "
            f"columns, or there must be an input for each column: {', '.join(model.forms.names)}",
        )
    data = _values(tensor)
    values: list[list[Any]] = []
    at = 0
    for column in model.columns:
        part = [data[at + i :: width] for i in range(column.width)]
        at += column.width
        values += [list(map(list, zip(*part, strict=True)))] if column.kind == "vector" else part
    return model.forms.of_values(list(zip(*values, strict=True)))


def _column_values(column: RequestColumn, tensor: _Tensor) -> list[Any]:
    values = _values(tensor)
    if column.kind != "vector":
        return values
    n = column.width
    return [values[i : i + n] for i in range(0, len(values), n)]


def _values(tensor: _Tensor) -> list[Any]:
    """Return the values as the datatype has them: None for null, `Misfit` for what it has not."""
    kind = _FLOATS.get(tensor.datatype)
    if kind is not None and set(map(type, tensor.data)) <= {int, float}:
        if kind is np.float64:
            return tensor.data
        try:
            numbers = np.array(tensor.data, np.float64)
        except OverflowError:  # one of them is larger than any float64
            pass
        else:
            with np.errstate(over="ignore"):
                values: list[float] = numbers.astype(kind).astype(np.float64).tolist()
            return values
    if tensor.datatype in _INTEGERS and set(map(type, tensor.data)) == {int}:
        low, high = _range(tensor.datatype)
        if low <= min(tensor.data) and max(tensor.data) < high:
            return tensor.data
    return [_value(tensor.datatype, value) for value in tensor.data]


def _range(datatype: str) -> tuple[int, int]:
    """Return the lowest whole number of a datatype, and the first one above its range."""
    sign, bits = _INTEGERS[datatype]
    return (0, 2**bits) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1))


def _value(datatype: str, value: Any) -> Any:
    if value is None:
        return None
    try:
        if datatype in _FLOATS and type(value) in (int, float):
            with np.errstate(over="ignore"):
                return float(_FLOATS[datatype](float(value)))
    except OverflowError:
        pass
    if datatype in _INTEGERS and type(value) is int:
        low, high = _range(datatype)
        if low <= value < high:
            return value
    if datatype == "BOOL" and (value is True or value is False or value in (0, 1)):
        return bool(value)
    if datatype == "BYTES" and type(value) is str:
        return value
    return Misfit(value, f"must be a value of {datatype}, or null")
