"""The OpenAPI document: it is valid, its examples run, and answers follow it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from support.fitted_outputs import CASES, fitted
from support.helpers import THOROUGH
from support.http_server import ARROW, Answer, Server, as_stream, serving

JSON = "application/json"

NAMES = sorted(CASES) if THOROUGH else ("all_steps",)
"""Models of which a server is asked."""

TESTS = Path(__file__).parents[1]

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "response_headers_conformance", "negative_data_rejection"),
)
"""Of Schemathesis. That valid bodies are accepted is not one of them: the length of a tensor's data
and the cells of CSV have rules that a schema cannot have."""

TOKEN = {"GPUSEG_TEST_TOKEN": "a token for tests"}


@pytest.fixture(scope="module", params=NAMES)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of a model."""
    with serving(fitted(request.param)) as server:
        yield server


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    """The document of the server."""
    content: dict[str, Any] = server.get("/openapi.json").json
    return content


def follows(document: dict[str, Any], path: str, method: str, answer: Answer) -> None:
    """Check that the document has an answer with this status, type and content."""
    responses = document["paths"][path][method]["responses"]
    response = responses[str(answer.status)]
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    media_type = answer.headers["content-type"].partition(";")[0]
    schema = response["content"][media_type].get("schema")
    if schema is not None:
        value = answer.json if media_type == JSON else answer.body.decode()
        Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def bodies_of(document: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield path, media type and example of each body that has one."""
    for path, methods in document["paths"].items():
        body = methods.get("post", {}).get("requestBody", {"content": {}})
        for media_type, content in body["content"].items():
            if "example" in content:
                yield path, media_type, content["example"]


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document)
    json.dumps(document, allow_nan=False)


def test_examples_run_and_their_answers_follow_the_document(
    server: Server, document: dict[str, Any]
) -> None:
    examples = list(bodies_of(document))
    assert len(examples) == 5
    segments = set()
    for path, media_type, example in examples:
        answer = server.post(path, example, media_type, accept=JSON)
        assert answer.status == 200, answer.body
        follows(document, path, "post", answer)
        segments.add(_first_segment(answer.json))
    assert len(segments) == 1


def _first_segment(answer: Any) -> int:
    if isinstance(answer, list):
        return int(answer[0]["segment"])
    if "predictions" in answer:
        return int(answer["predictions"][0]["closest_cluster"])
    return int(answer["outputs"][0]["data"][0])


def test_pages_and_facts_follow_the_document(server: Server, document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        if "get" in methods:
            answer = server.get(path)
            assert answer.status == 200
            follows(document, path, "get", answer)


@pytest.mark.parametrize("kind", ["row", "body", "type"])
def test_refusals_follow_the_document(server: Server, document: dict[str, Any], kind: str) -> None:
    for path, media_type, example in bodies_of(document):
        match kind:
            case "row" if path == "/segments":
                rows = [example["rows"][0], {key: {} for key in example["rows"][0]}]
                answer = server.post(path, {"rows": rows}, media_type)
                assert answer.json["wrong_rows"] == 1
            case "body" | "row":
                answer = server.post(path, b"\xff{", media_type)
            case _:
                answer = server.post(path, b"", "application/x-unknown")
        assert answer.status in (400, 415)
        follows(document, path, "post", answer)


def test_arrow_bodies_are_documented(server: Server, document: dict[str, Any]) -> None:
    content = document["paths"]["/segments"]["post"]["requestBody"]["content"]
    assert ARROW in content
    row = content[JSON]["example"]["rows"][0]
    answer = server.post("/segments", as_stream(pa.Table.from_pylist([row])), ARROW)
    assert answer.status == 200
    follows(document, "/segments", "post", answer)


def test_without_the_token_there_is_a_page_that_asks_for_it() -> None:
    with serving(fitted("odd_names"), "--token-env", next(iter(TOKEN)), **TOKEN) as server:
        browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
        page, program = server.get("/", **browser), server.get("/")
        assert (page.status, program.status) == (401, 401)
        assert page.headers["content-type"].startswith("text/html")
        assert "script-src 'sha256-" in page.headers["content-security-policy"]
        assert "größe" not in page.body.decode()
        assert program.json["code"] == "request.unauthorized"
        headers = {"authorization": f"Bearer {TOKEN['GPUSEG_TEST_TOKEN']}"}
        assert "größe" in server.get("/", **browser, **headers).body.decode()
        document = server.get("/openapi.json", **headers).json
        assert document["security"] == [{"token": []}]


@pytest.mark.slow
@pytest.mark.skipif(not THOROUGH, reason="takes minutes")
def test_schemathesis_finds_no_fault(server: Server) -> None:
    command = shutil.which("schemathesis", path=str(Path(sys.prefix) / "bin"))
    if command is None:
        pytest.skip("Schemathesis is not installed")
    url = f"http://127.0.0.1:{server.port}/openapi.json"
    hooks = {"SCHEMATHESIS_HOOKS": "support.schemathesis_hooks", "PYTHONPATH": str(TESTS)}
    subprocess.run(
        [command, "run", url, "--checks", ",".join(CHECKS), "--max-examples", "100"],
        check=True, timeout=280, env={**os.environ, **hooks},
    )  # fmt: skip
