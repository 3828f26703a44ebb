"""Client libraries of others, where ``pip install tritonclient[http] kserve`` has run."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from support.fitted_outputs import fitted, job_labels, kept_rows
from support.http_server import serving

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries

CASE = "plain"

NAME = "segments"


def columns() -> dict[str, np.ndarray]:
    table = kept_rows(CASE)
    return {name: table[name].to_numpy().astype(np.float64) for name in table.column_names}


@pytest.mark.parametrize("is_binary", [False, True])
def test_the_client_of_triton_gets_the_labels_of_the_job(is_binary: bool) -> None:
    client_library = pytest.importorskip("tritonclient.http")
    with serving(fitted(CASE)) as server:
        client = client_library.InferenceServerClient(f"127.0.0.1:{server.port}")
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(NAME)
        metadata = client.get_model_metadata(NAME)
        inputs, values = [], columns()
        for tensor in metadata["inputs"]:
            column = values[tensor["name"]]
            inputs.append(client_library.InferInput(tensor["name"], [len(column)], "FP64"))
            inputs[-1].set_data_from_numpy(column, binary_data=is_binary)
        outputs = [
            client_library.InferRequestedOutput(name, binary_data=is_binary)
            for name in ("segment", "distance")
        ]
        result = client.infer(NAME, inputs, outputs=outputs, request_id="7")
        client.close()
    expected = job_labels(CASE)
    assert result.get_response()["id"] == "7"
    np.testing.assert_array_equal(result.as_numpy("segment"), expected.segment)
    np.testing.assert_array_equal(result.as_numpy("distance"), expected.distance)


@pytest.mark.parametrize("is_binary", [False, True])
def test_the_client_of_kserve_gets_the_labels_of_the_job(is_binary: bool) -> None:
    kserve = pytest.importorskip("kserve")

    async def infer(url: str) -> Any:
        client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2"))
        assert await client.is_server_live(url) and await client.is_server_ready(url)
        assert await client.is_model_ready(url, NAME)
        inputs = []
        for name, column in columns().items():
            inputs.append(kserve.InferInput(name, [len(column)], "FP64"))
            inputs[-1].set_data_from_numpy(column, binary_data=is_binary)
        request = kserve.InferRequest(NAME, inputs, request_id="7")
        response = await client.infer(url, request, model_name=NAME)
        await client.close()
        return response

    with serving(fitted(CASE)) as server:
        response = asyncio.run(infer(f"http://127.0.0.1:{server.port}"))
    expected, outputs = job_labels(CASE), {output.name: output for output in response.outputs}
    assert response.id == "7"
    np.testing.assert_array_equal(outputs["segment"].as_numpy(), expected.segment)
    np.testing.assert_array_equal(outputs["distance"].as_numpy(), expected.distance)
