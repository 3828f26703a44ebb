"""The OpenAPI document of the server, made from the columns of its model."""

import csv
import io
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np

from gpuseg.output_columns import CONFIDENCE, DISTANCE, NEXT_SEGMENT, SEGMENT
from gpuseg.serving.form_fields import form_fields
from gpuseg.serving.limits import RequestLimits
from gpuseg.serving.loaded_model import LoadedModel
from gpuseg.serving.media_types import ARROW, CSV, HTML, JSON, JSON_LINES
from gpuseg.serving.protocols import open_inference
from gpuseg.serving.protocols.answers import WRONG_ROWS
from gpuseg.serving.request_columns import RequestColumn
from gpuseg.serving.row_schema import Schema, row_schema

_SEGMENT: Schema = {"type": "integer", "minimum": -1, "maximum": 2**31 - 1}
"""The number of a segment; -1 is noise, or that there is no next segment."""

_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}

_NUMBER_OR_NULL: Schema = {"type": ["number", "null"]}


def openapi_document(
    model: LoadedModel, name: str, limits: RequestLimits, *, needs_token: bool, version: str
) -> dict[str, Any]:
    """Return the document as values of JSON, in OpenAPI 3.1.

    Parameters
    ----------
    model : LoadedModel
    name : str
        The model's name in the routes of the Open Inference Protocol.
    limits : RequestLimits
    needs_token : bool
        Whether calls need a bearer token.
    version : str
        Version of gpuseg.
    """
    example = example_row(model)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "gpuseg: segments of customers",
            "version": version,
            "summary": "Finds the segment of new customers.",
            "description": _description(model, limits),
        },
        "paths": _paths(model, name, example),
        "components": {"schemas": _schemas(model, name, example), "responses": _responses()},
    }
    if needs_token:
        _need_token(document)
    return document


def _need_token(document: dict[str, Any]) -> None:
    """Say that each operation needs the token, and how it refuses a call without it."""
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    for methods in document["paths"].values():
        for operation in methods.values():
            operation["responses"] |= _refusals("401")
    page = document["components"]["responses"]["Error401"]["content"]
    document["paths"]["/"]["get"]["responses"]["401"] = {
        "description": "The page that asks for the token",
        "content": {**page, HTML: {"schema": _TEXT}},
    }


def example_row(model: LoadedModel) -> dict[str, Any]:
    """Return the row of a typical customer, as JSON has it."""
    fields = form_fields(model.model, model.manifest)
    return {field.column: json.loads(field.start_json) for field in fields}


def _description(model: LoadedModel, limits: RequestLimits) -> str:
    columns = f"{len(model.columns):,} column{'s' * (len(model.columns) != 1)}"
    return (
        f"A row is a customer with {columns}. A request may have {limits.rows:,} rows and "
        f"{limits.body_bytes:,} bytes. If rows are wrong, the answer has status 400, says what is "
        "wrong with each of them, and has the segments of all others. The header `x-gpuseg-run` "
        "names the run whose model has answered."
    )


def _paths(model: LoadedModel, name: str, example: Mapping[str, Any]) -> dict[str, Any]:
    base = f"/v2/models/{quote(name, safe='')}"
    paths: dict[str, Any] = {
        "/": {"get": _get("page", "The page with the segments and a form", {HTML: _TEXT})},
        "/segments": {"post": _segments(example)},
        "/invocations": {"post": _invocations(model, example)},
        "/ping": {"get": _get("ping", "Whether the server is ready", {JSON: _object()})},
        "/v2": {"get": _get("server", "What the server is", {JSON: _ref("Server")})},
        "/v2/health/live": {"get": _get("live", "Whether the server lives", {JSON: _object()})},
        "/v2/health/ready": {
            "get": _get("ready", "Whether the server is ready", {JSON: _object()})
        },
        base: {"get": _get("model", "The inputs and outputs", {JSON: _ref("Model")})},
        f"{base}/ready": {"get": _get("modelReady", "Whether it is ready", {JSON: _object()})},
        f"{base}/infer": {"post": _infer(model, example)},
        "/metrics": {"get": _get("metrics", "Counts for Prometheus", {"text/plain": _TEXT})},
        "/openapi.json": {"get": _get("openapi", "This document", {JSON: _object()})},
    }
    if model.report is not None:
        paths["/report"] = {"get": _get("report", "The report of the run", {HTML: _TEXT})}
    return paths


_TEXT: Schema = {"type": "string"}


def _get(operation: str, summary: str, content: Mapping[str, Schema]) -> dict[str, Any]:
    answers = {"200": {"description": summary, "content": _content(content)}}
    return {"operationId": operation, "summary": summary, "responses": answers}


def _segments(example: Mapping[str, Any]) -> dict[str, Any]:
    bodies = {
        JSON: {"schema": _ref("Rows"), "example": {"rows": [example]}},
        ARROW: _BINARY,
    }
    answers = {JSON: {"schema": {"type": "array", "items": _ref("Score")}}, ARROW: _BINARY}
    wrong = {JSON: {"schema": _one_of("WrongRows", "Error")}, ARROW: _BINARY}
    return _scoring("segments", "Find the segments of rows", bodies, answers, wrong)


def _invocations(model: LoadedModel, example: Mapping[str, Any]) -> dict[str, Any]:
    line = json.dumps(example, ensure_ascii=False)
    bodies = {
        JSON: {"schema": _ref("Instances"), "example": {"instances": [example]}},
        JSON_LINES: {"schema": _TEXT, "example": f"{line}\n"},
        CSV: {"schema": _TEXT, "example": _csv(model, example)},
    }
    answers = {
        JSON: {"schema": _ref("Predictions")},
        JSON_LINES: {"schema": _TEXT},
        CSV: {"schema": _TEXT},
    }
    wrong = {JSON: {"schema": _one_of("WrongInstances", "Error")}}
    return _scoring("invocations", "Find the segments, as SageMaker asks", bodies, answers, wrong)


def _infer(model: LoadedModel, example: Mapping[str, Any]) -> dict[str, Any]:
    inputs = [_tensor_of(column, example[column.name]) for column in model.columns]
    bodies = {JSON: {"schema": _ref("InferRequest"), "example": {"id": "1", "inputs": inputs}}}
    answers = {JSON: {"schema": _ref("InferAnswer")}}
    wrong = {JSON: {"schema": _one_of("WrongTensors", "Error")}}
    summary = "Find the segments, as the Open Inference Protocol asks"
    return _scoring("infer", summary, bodies, answers, wrong)


_BINARY: dict[str, Any] = {}
"""The content of a body of bytes, such as a stream of Arrow IPC."""


def _scoring(
    operation: str,
    summary: str,
    bodies: Mapping[str, Any],
    answers: Mapping[str, Any],
    wrong: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": summary,
        "requestBody": {"required": True, "content": dict(bodies)},
        "responses": {
            "200": {"description": "The segments", "content": dict(answers)},
            "400": {"description": "The body or some rows are wrong", "content": dict(wrong)},
            **_refusals("406", "408", "413", "415", "503"),
        },
    }


_ERRORS = {
    "401": "The token is missing or wrong",
    "406": "The route has no answer of the types that the request accepts",
    "408": "The body came too slowly",
    "413": "The body is too long, or has too many rows",
    "415": "The route reads no body of this type",
    "503": "The server is ending, or has too many requests at once",
}


def _responses() -> dict[str, Any]:
    content = _content({JSON: _ref("Error")})
    return {
        f"Error{status}": {"description": text, "content": content}
        for status, text in _ERRORS.items()
    }


def _refusals(*statuses: str) -> dict[str, Any]:
    return {status: {"$ref": f"#/components/responses/Error{status}"} for status in statuses}


def _content(schemas: Mapping[str, Schema]) -> dict[str, Any]:
    return {media_type: {"schema": schema} for media_type, schema in schemas.items()}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _one_of(*names: str) -> Schema:
    return {"anyOf": [_ref(name) for name in names]}


def _object(**properties: Schema) -> Schema:
    """Return the schema of an object in which all these properties are."""
    if not properties:
        return {"type": "object"}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _schemas(model: LoadedModel, name: str, example: Mapping[str, Any]) -> dict[str, Schema]:
    columns = row_schema(model, example)
    score = _score(model)
    prediction = _object(closest_cluster={"type": "number"}, distance_to_cluster=_NUMBER_OR_NULL)
    tensor = _object(
        name=_TEXT,
        datatype={"enum": ["INT32", "FP32"]},
        shape={"type": "array", "items": {"type": "integer", "minimum": 0}},
        data={"type": "array", "items": _NUMBER_OR_NULL},
    )
    instances = {"type": "array", "items": _instance(list(columns.values()))}
    error = _object(error=_TEXT, code=_TEXT)
    answer = _object(
        model_name={"const": name},
        model_version=_TEXT,
        outputs={"type": "array", "items": _ref("Output")},
    )
    answer["properties"]["id"] = _TEXT
    return {
        "Row": _object(**columns),
        "Rows": _object(rows={"type": "array", "items": _ref("Row")}),
        "Score": score,
        "Instances": {"anyOf": [_object(instances=instances), instances]},
        "Prediction": prediction,
        "Predictions": _object(predictions={"type": "array", "items": _ref("Prediction")}),
        "InferRequest": _infer_request(model),
        "Output": tensor,
        "InferAnswer": answer,
        "Server": _object(name=_TEXT, version=_TEXT, extensions={"type": "array", "items": _TEXT}),
        "Model": _object(
            name={"const": name},
            versions={"type": "array", "items": _TEXT},
            platform=_TEXT,
            inputs={"type": "array", "items": _metadata_tensor()},
            outputs={"type": "array", "items": _metadata_tensor()},
        ),
        "Error": error,
        "RowProblem": _object(
            row={"type": "integer", "minimum": 0},
            column={"type": ["string", "null"]},
            value={"type": ["string", "null"]},
            rule=_TEXT,
        ),
        "SomeWrong": _object(
            error=_TEXT,
            code={"const": WRONG_ROWS},
            wrong_rows={"type": "integer", "minimum": 1},
            problems={"type": "array", "items": _ref("RowProblem")},
        ),
        "WrongRows": _wrong(segments={"type": "array", "items": _or_null("Score")}),
        "WrongInstances": _wrong(predictions={"type": "array", "items": _or_null("Prediction")}),
        "WrongTensors": {"allOf": [_ref("SomeWrong"), _ref("InferAnswer")]},
    }


def _wrong(**answers: Schema) -> Schema:
    return {"allOf": [_ref("SomeWrong"), _object(**answers)]}


def _or_null(name: str) -> Schema:
    return {"anyOf": [_ref(name), {"type": "null"}]}


def _score(model: LoadedModel) -> Schema:
    levels = model.model.level_columns()
    has_next = model.model.runner_up() is not None
    return _object(**{
        SEGMENT: _SEGMENT,
        "name": {"type": ["string", "null"]},
        DISTANCE: _NUMBER_OR_NULL,
        NEXT_SEGMENT: _SEGMENT if has_next else {"type": "null"},
        CONFIDENCE: _SHARE if has_next else {"type": "null"},
        **dict.fromkeys(levels, _SEGMENT),
    })  # fmt: skip


def _instance(values: list[Schema]) -> Schema:
    """Return the schema of a row in any of its forms, from those of its values."""
    listed = {
        "type": "array", "prefixItems": values, "items": False,
        "minItems": len(values), "maxItems": len(values),
    }  # fmt: skip
    nested = _object(data=_object(features=_object(values=listed)))
    return {"anyOf": [_ref("Row"), listed, _object(features=listed), nested]}


def _infer_request(model: LoadedModel) -> Schema:
    outputs = open_inference.output_names(model)
    request = _object(inputs={"type": "array", "items": _input_tensor(), "minItems": 1})
    request["properties"]["id"] = {"type": ["string", "null"]}
    request["properties"]["outputs"] = {
        "type": ["array", "null"],
        "items": _object(name={"enum": list(outputs)}),
    }
    return request


def _input_tensor() -> Schema:
    sizes = {"type": "integer", "minimum": 0}
    return _object(
        name=_TEXT,
        datatype={"enum": list(open_inference.TENSOR_TYPES)},
        shape={"type": "array", "items": sizes, "minItems": 1},
        data={"type": "array"},
    )


def _metadata_tensor() -> Schema:
    return _object(
        name=_TEXT,
        datatype={"enum": list(open_inference.TENSOR_TYPES)},
        shape={"type": "array", "items": {"type": "integer", "minimum": -1}},
    )


def _tensor_of(column: RequestColumn, value: Any) -> dict[str, Any]:
    """Return the input of one row with this value."""
    return {
        "name": column.name,
        "datatype": open_inference.DATATYPES[column.kind],
        "shape": [1, *column.shape],
        "data": [value],
    }


def _csv(model: LoadedModel, example: Mapping[str, Any]) -> str:
    """Return the example as a line of CSV below its header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for column in model.columns for name in column.flat_names])
    writer.writerow([
        "" if cell is None else str(cell).lower() if isinstance(cell, bool) else cell
        for column in model.columns
        for cell in _flat(example[column.name], column)
    ])  # fmt: skip
    return text.getvalue()


def _flat(value: Any, column: RequestColumn) -> list[Any]:
    """Return the numbers of a vector, or the value itself."""
    if column.kind != "vector":
        return [value]
    numbers: list[Any] = np.ravel(value).tolist()
    return numbers
