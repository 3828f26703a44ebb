"""Tensors that no model has are refused, and soon."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.fitted_outputs import fitted

from gpuseg.models.loading import load_output
from gpuseg.serving.limits import RequestLimits
from gpuseg.serving.loaded_model import LoadedModel
from gpuseg.serving.protocols import open_inference
from gpuseg.serving.request_errors import RequestError

TENSOR = {"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    """A model of three numbers."""
    return LoadedModel(load_output(fitted("plain")))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"datatype": {}}, "input.unknown_datatype"),
        ({"datatype": [[]]}, "input.unknown_datatype"),
        ({"shape": [2**63 - 1] * 200_000}, "input.wrong_shape"),
        ({"shape": []}, "input.wrong_shape"),
        ({"shape": [True, 3]}, "input.wrong_shape"),
        ({"data": {}}, "input.no_data"),
    ],
)
def test_wrong_tensors_are_refused(model: LoadedModel, change: dict[str, Any], code: str) -> None:
    body = json.dumps({"inputs": [{**TENSOR, **change}]}).encode()
    with pytest.raises(RequestError) as caught:
        open_inference.read(body, model, RequestLimits())
    assert (caught.value.status, caught.value.code) == (400, code)


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        *(("INT8", 127, True), ("INT8", 128, False), ("INT8", -128, True), ("INT8", -129, False)),
        *(("UINT8", 255, True), ("UINT8", 256, False), ("UINT8", -1, False), ("UINT8", 0, True)),
    ],
)
def test_whole_numbers_are_within_their_datatype(
    model: LoadedModel, kind: str, value: int, fits: bool
) -> None:
    body = json.dumps({"inputs": [{**TENSOR, "datatype": kind, "data": [1, value, 3]}]}).encode()
    rows = open_inference.read(body, model, RequestLimits()).rows
    assert (model.score(rows, with_next=False).n_wrong == 0) == fits


@pytest.mark.parametrize("length", ["9" * 5000, "3", "-1", "²"])
def test_a_length_beyond_the_body_is_refused(model: LoadedModel, length: str) -> None:
    with pytest.raises(RequestError) as caught:
        open_inference.read(b"{}", model, RequestLimits(), length)
    assert caught.value.code == "body.wrong_form"


@pytest.mark.parametrize("request_id", ["\ud800", 1, {}])
def test_an_id_that_no_answer_can_have_is_refused(model: LoadedModel, request_id: Any) -> None:
    body = json.dumps({"inputs": [TENSOR], "id": request_id}).encode()
    with pytest.raises(RequestError) as caught:
        open_inference.read(body, model, RequestLimits())
    assert caught.value.code == "body.wrong_form"


def test_an_output_without_a_hashable_name_is_refused(model: LoadedModel) -> None:
    body = json.dumps({"inputs": [TENSOR], "outputs": [{"name": [{}]}]}).encode()
    with pytest.raises(RequestError) as caught:
        open_inference.read(body, model, RequestLimits())
    assert caught.value.code == "output.unknown"
