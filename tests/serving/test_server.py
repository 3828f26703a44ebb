"""A server process answers as the job does, by every protocol, and says what is wrong."""

from __future__ import annotations

import asyncio
import csv
import gc
import io
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.fitted_outputs import fitted, input_rows, job_labels
from support.http_server import ARROW, SECONDS, Answer, Server, answer_of, as_stream, serving
from support.json_rows import as_json
from uvicorn.server import ServerState

import gpuseg
from gpuseg.models.loading import load_output
from gpuseg.models.scores import Scores
from gpuseg.serving.bounded_http import BoundedHttp
from gpuseg.serving.http_messages import HttpAnswer, HttpRequest

CASE = "all_steps"
"""A model with every preparation and every kind of column."""

INFER = "/v2/models/segments/infer"

TOKEN = "correct horse"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of the model with all steps, with limits that tests can reach."""
    limits = ("--max-body", "300000", "--max-rows", "400", "--max-seconds", "2")
    with serving(
        fitted(CASE), "--token-env", "TOKEN_OF_TESTS", *limits, TOKEN_OF_TESTS=TOKEN
    ) as server:
        server.headers = {"authorization": f"Bearer {TOKEN}"}
        yield server


@pytest.fixture(scope="module")
def scores() -> Scores:
    """What the model says in this process."""
    return gpuseg.load_model(fitted(CASE)).score(input_rows(CASE))


def rows_of_case() -> list[dict[str, Any]]:
    return as_json(input_rows(CASE))


def float32(values: Any) -> bytes:
    return np.array(values, np.float64).astype(np.float32).tobytes()


def columns() -> tuple[str, ...]:
    return gpuseg.load_model(fitted(CASE)).pipeline.columns


def test_segments_are_those_of_the_job(server: Server, scores: Scores) -> None:
    answer = server.post("/segments", {"rows": rows_of_case()})
    assert answer.status == 200
    assert [row["segment"] for row in answer.json] == job_labels(CASE).segment.tolist()
    assert float32([row["distance"] for row in answer.json]) == scores.distance.tobytes()
    assert float32([row["confidence"] for row in answer.json]) == scores.confidence.tobytes()
    assert [row["next_segment"] for row in answer.json] == scores.next_segment.tolist()
    names = load_output(fitted(CASE)).segment_names
    assert all(row["name"] == names.get(row["segment"]) for row in answer.json)


def test_single_rows_on_many_connections_are_those_of_the_job(server: Server) -> None:
    rows, labels = rows_of_case(), job_labels(CASE).segment
    connections = [server.connect() for _ in range(20)]
    for start in range(0, 60, 20):
        for i, connection in enumerate(connections):
            connection.request(
                "POST",
                "/segments",
                json.dumps({"rows": [rows[start + i]]}),
                {**server.headers, "content-type": "application/json"},
            )
        answers = [answer_of(connection).json for connection in connections]
        assert [answer[0]["segment"] for answer in answers] == labels[start : start + 20].tolist()
    for connection in connections:
        connection.close()


@pytest.mark.parametrize("path", ["/segments", INFER])
def test_arrow_in_arrow_out(server: Server, scores: Scores, path: str) -> None:
    answer = server.post(path, as_stream(input_rows(CASE)), ARROW)
    assert (answer.status, answer.headers["content-type"]) == (200, ARROW)
    assert {"segment", "distance"} <= {*answer.table.column_names}
    for name in answer.table.column_names:
        assert answer.table[name].to_numpy().tobytes() == scores.columns()[name].tobytes()


def tensors(table: pa.Table) -> list[dict[str, Any]]:
    """Return an input for each column, in the datatype that the metadata names."""
    rows, n = as_json(table), len(table)
    result = []
    for name, kind in zip(columns(), datatypes().values(), strict=True):
        data = [row[name] for row in rows]
        shape = [n, len(data[0])] if isinstance(data[0], list) else [n, 1]
        result.append({"name": name, "shape": shape, "datatype": kind, "data": data})
    return result


def datatypes() -> dict[str, str]:
    types = {"text": "BYTES", "whole numbers": "INT64", "booleans": "BOOL"}
    encoders = gpuseg.load_model(fitted(CASE)).pipeline.encoders
    by_name = {encoder.column: types.get(encoder.value_type, "FP64") for encoder in encoders}
    return {name: by_name[name] for name in columns()}


def test_open_inference(server: Server, scores: Scores) -> None:
    metadata = server.get("/v2/models/segments").json
    assert {item["name"]: item["datatype"] for item in metadata["inputs"]} == datatypes()
    table = input_rows(CASE)
    names = [item["name"] for item in metadata["outputs"]]
    assert names == list(scores.columns())
    asked = [{"name": name} for name in reversed(names)]
    body = {"id": "a1", "inputs": tensors(table), "outputs": asked}
    answer = server.post(f"/v2/models/segments/versions/{metadata['versions'][0]}/infer", body)
    assert answer.status == 200
    assert (answer.json["id"], answer.json["model_name"]) == ("a1", "segments")
    assert answer.json["model_version"] == answer.headers["x-gpuseg-run"]
    assert [output["name"] for output in answer.json["outputs"]] == names[::-1]
    for output in answer.json["outputs"]:
        expected = scores.columns()[output["name"]]
        assert np.array(output["data"]).astype(expected.dtype).tobytes() == expected.tobytes()


def test_invocations_have_three_forms(server: Server, scores: Scores) -> None:
    every = rows_of_case()  # CSV does not tell an empty text from a missing one
    numbers = [i for i, row in enumerate(every) if row["city"]][:50]
    rows, segment, distance = [every[i] for i in numbers], scores.segment, scores.distance
    lists = [[row[name] for name in columns()] for row in rows]
    cells = io.StringIO()
    writer = csv.writer(cells)
    writer.writerows([flat(row) for row in lists])
    forms = {
        "application/json": json.dumps({"instances": [{"features": row} for row in lists]}),
        "application/json; charset=utf-8": json.dumps({"instances": rows}),
        "application/jsonlines": "\n".join(json.dumps({"features": row}) for row in lists),
        "text/csv": cells.getvalue(),
    }
    for content_type, body in forms.items():
        answer = server.post("/invocations", body, content_type)
        assert answer.status == 200, (content_type, answer)
        predictions = answer.json["predictions"]
        assert [p["closest_cluster"] for p in predictions] == segment[numbers].tolist()
        distances = [p["distance_to_cluster"] for p in predictions]
        assert float32(distances) == distance[numbers].tobytes()
    as_csv = server.post("/invocations", forms["text/csv"], "text/csv", accept="text/csv")
    pairs = np.array(list(csv.reader(io.StringIO(as_csv.body.decode()))), float)
    assert float32(pairs[:, 1]) == distance[numbers].tobytes()
    lines = server.post(
        "/invocations", forms["text/csv"], "text/csv", accept="application/jsonlines"
    )
    parsed = [json.loads(line) for line in lines.body.splitlines()]
    assert [line["closest_cluster"] for line in parsed] == segment[numbers].tolist()


def flat(row: list[Any]) -> list[Any]:
    """Return a row of CSV: the elements of a vector are cells."""
    cells: list[Any] = []
    for value in row:
        cells += value if isinstance(value, list) else ["" if value is None else value]
    return cells


def wrong_rows() -> list[Any]:
    """Return a right row, wrong ones, and a right one."""
    rows = rows_of_case()
    without = {name: value for name, value in rows[1].items() if name != "spend"}
    return [
        rows[0], {**rows[1], "spend": "x" * 10**5}, without, None,
        {**rows[1], "country": 5}, {**rows[1], "embedding": [1.0]}, rows[2],
    ]  # fmt: skip


WRONG_COLUMNS = ["spend", "spend", None, "country", "embedding"]


def test_a_wrong_row_is_named_and_the_others_are_answered(server: Server, scores: Scores) -> None:
    expected = [scores.segment[0], *[None] * 5, scores.segment[2]]
    answer = server.post("/segments", {"rows": wrong_rows()})
    check_problems(answer)
    assert [row and row["segment"] for row in answer.json["segments"]] == expected
    answer = server.post("/invocations", {"instances": wrong_rows()}, accept="text/csv")
    check_problems(answer)
    predictions = answer.json["predictions"]
    assert [p and p["closest_cluster"] for p in predictions] == expected


def check_problems(answer: Answer) -> None:
    assert (answer.status, answer.json["code"]) == (400, "rows.wrong")
    assert answer.json["wrong_rows"] == 5
    assert [p["row"] for p in answer.json["problems"]] == [1, 2, 3, 4, 5]
    assert [p["column"] for p in answer.json["problems"]] == WRONG_COLUMNS
    assert all(p["rule"] for p in answer.json["problems"])
    assert len(answer.body) < 5000


def test_wrong_values_of_tensors_and_tables(server: Server, scores: Scores) -> None:
    inputs = tensors(input_rows(CASE).slice(0, 3))
    spend = next(item for item in inputs if item["name"] == "spend")
    spend["data"] = [spend["data"][0], 1e39, spend["data"][2]]
    answer = server.post(INFER, {"inputs": inputs})
    assert answer.status == 400
    assert [(p["row"], p["column"]) for p in answer.json["problems"]] == [(1, "spend")]
    expected = [scores.segment[0], None, scores.segment[2]]
    assert answer.json["outputs"][0]["data"] == expected
    table = input_rows(CASE).slice(0, 3)
    values = pa.array(spend["data"], pa.float64())
    table = table.set_column(table.column_names.index("spend"), "spend", values)
    answer = server.post("/segments", as_stream(table), ARROW)
    assert answer.status == 400
    assert answer.table["segment"].to_pylist() == expected
    assert answer.table["problem"].is_valid().to_pylist() == [False, True, False]


def test_only_routes_of_the_model_have_versions(server: Server) -> None:
    run = server.get("/ping").headers["x-gpuseg-run"]
    assert server.get(f"/v2/models/segments/versions/{run}/ready").status == 200
    assert server.get(f"/versions/{run}/ping").status == 404


REFUSED: dict[str, tuple[int, str, str, Any, str]] = {
    "no path": (404, "GET", "/segment", None, ""),
    "other model": (404, "POST", "/v2/models/other/infer", b"{}", "application/json"),
    "other version": (404, "GET", "/v2/models/segments/versions/1", None, ""),
    "other method": (405, "GET", "/segments", None, ""),
    "other type": (415, "POST", "/segments", b"x", "image/png"),
    "no JSON": (400, "POST", "/segments", b"{", "application/json"),
    "no UTF-8": (400, "POST", "/segments", b'{"rows": "\xff"}', "application/json"),
    "deep": (400, "POST", "/segments", b"[" * 100_000, "application/json"),
    "no rows": (400, "POST", "/segments", {"row": []}, "application/json"),
    "no list": (400, "POST", "/segments", {"rows": 3}, "application/json"),
    "no inputs": (400, "POST", INFER, {}, "application/json"),
    "other datatype": (
        400, "POST", INFER,
        {"inputs": [{"name": "a", "datatype": "F", "shape": [1], "data": [1]}]},
        "application/json",
    ),
    "other shape": (
        400, "POST", INFER,
        {"inputs": [{"name": "a", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3]}]},
        "application/json",
    ),
    "no header": (400, "POST", "/invocations", b"a,b\n1,2\n", "text/csv; header=present"),
    "no Arrow": (400, "POST", "/segments", b"\0" * 100, ARROW),
    "no column": (400, "POST", "/segments", as_stream(pa.table({"a": [1]})), ARROW),
    "too many rows": (413, "POST", "/segments", {"rows": [{}] * 401}, "application/json"),
    "too large": (413, "POST", "/segments", b" " * 300_001, "application/json"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_requests(server: Server, name: str) -> None:
    status, method, path, body, content_type = REFUSED[name]
    answer = server.call(method, path, body, **{"content-type": content_type})
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json.keys() >= {"error", "code"}
    assert str(fitted(CASE)) not in answer.body.decode()
    assert (status == 405) == ("allow" in answer.headers)


def test_files_are_no_streams_of_arrow(server: Server) -> None:
    table = input_rows(CASE)
    feather, parquet = pa.BufferOutputStream(), pa.BufferOutputStream()
    with pa.ipc.new_file(feather, table.schema) as writer:
        writer.write_table(table)
    pq.write_table(table, parquet)
    for file, name in ((feather, "Feather"), (parquet, "a Parquet file")):
        answer = server.post("/segments", file.getvalue().to_pybytes(), ARROW)
        assert (answer.status, answer.json["code"]) == (400, "body.not_arrow")
        assert name in answer.json["error"]
        assert "new_stream" in answer.json["error"]


def test_compressed_arrow_is_refused(server: Server) -> None:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    answer = server.post("/segments", as_stream(input_rows(CASE), options=options), ARROW)
    assert (answer.status, answer.json["code"]) == (400, "body.not_arrow")


def test_a_dictionary_cannot_expand_beyond_the_limit(server: Server) -> None:
    table = input_rows(CASE).slice(0, 300)
    values = pa.DictionaryArray.from_arrays(pa.array([0] * len(table)), ["x" * 10**5])
    table = table.set_column(table.column_names.index("country"), "country", values)
    assert server.post("/segments", as_stream(table), ARROW).status == 413


@pytest.mark.parametrize("path", ["/metrics", "/v2/health/live", "/segments", "/nowhere"])
@pytest.mark.parametrize("header", [{}, {"authorization": "Bearer wrong"}])
def test_every_call_needs_the_token(server: Server, path: str, header: dict[str, str]) -> None:
    answer = Server(server.process, server.port).get(path, **header)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "x-gpuseg-run" not in answer.headers


def test_health_report_and_metrics(server: Server) -> None:
    for path in (
        "/ping",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/segments/ready",
    ):
        assert server.get(path).status == 200
    assert server.get("/report").body == (fitted(CASE) / "_report.html").read_bytes()
    before = metrics(server)
    rows = rows_of_case()[:2]
    rows[0]["country"] = "not a country"
    server.post("/segments", {"rows": [*rows, {}]})
    after = metrics(server)
    increased = {name: after[name] - before.get(name, 0) for name in after}
    assert increased['gpuseg_requests_total{route="/segments",status="400"}'] == 1
    assert increased["gpuseg_wrong_rows_total"] == 1
    assert sum(n for name, n in increased.items() if name.startswith("gpuseg_rows_total")) == 2
    assert increased['gpuseg_request_seconds_count{route="/segments"}'] == 1


def metrics(server: Server) -> dict[str, float]:
    lines = server.get("/metrics").body.decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


AUTHORIZATION = f"authorization: Bearer {TOKEN}\r\n".encode()

ENDED: dict[str, tuple[bytes, int]] = {
    "not HTTP": (b"\0\1\2\r\n\r\n", 400),
    "long headers": (b"GET / HTTP/1.1\r\nx: " + b"a" * 100_000, 431),
    "slow headers": (b"GET / HTT", 408),
    "slow headers behind a request": (b"GET /ping HTTP/1.1\r\n\r\nGET /pi", 408),
    "slow body": (
        b"POST /segments HTTP/1.1\r\n" + AUTHORIZATION + b"content-length: 9\r\n\r\n{", 408,
    ),
}  # fmt: skip
"""What clients send, and the status of the answer before their connections are closed."""


def test_connections_within_limits(server: Server) -> None:
    """All wait for the server at the same time."""
    unread = b"GET /ping HTTP/1.1\r\n" + AUTHORIZATION + b"content-length: 9\r\n\r\n"
    n_asked, ask = 200, b"GET /report HTTP/1.1\r\n" + AUTHORIZATION + b"\r\n"
    with ExitStack() as stack:
        connections = [
            stack.enter_context(
                socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS)
            )
            for _ in range(2 + len(ENDED))
        ]
        with_body, without_reader, *ended = connections
        without_reader.sendall(ask * n_asked)
        n_seconds = time.monotonic()
        with_body.sendall(unread)
        assert with_body.recv(1000).startswith(b"HTTP/1.1 200 ")
        with_body.sendall(b"x")
        for connection, (sent, _) in zip(ended, ENDED.values(), strict=True):
            connection.sendall(sent)
        for connection, (name, (_, status)) in zip(ended, ENDED.items(), strict=True):
            last_status, body = answers_on(connection)[-1]
            assert last_status == status, name
            assert json.loads(body).keys() >= {"error", "code"}, name
        while with_body.recv(1000):  # until the server closes
            pass
        time.sleep(max(0.0, n_seconds + 3 - time.monotonic()))
        n_bytes = 0
        with suppress(ConnectionResetError):
            while part := without_reader.recv(2**20):
                n_bytes += len(part)
    assert n_bytes < n_asked * (fitted(CASE) / "_report.html").stat().st_size


def exchange(server: Server, *sent: bytes, wait: float = 0.0) -> list[tuple[int, bytes]]:
    """Return status and body of each answer on a connection, whose last request closes it."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        for part in sent:
            connection.sendall(part)
            time.sleep(wait)
        return answers_on(connection)


def answers_on(connection: socket.socket) -> list[tuple[int, bytes]]:
    """Return status and body of each answer, until the server closes the connection."""
    answers = []
    with connection.makefile("rb") as file:
        while line := file.readline():
            length = 0
            while (header := file.readline().lower()) != b"\r\n":
                if header.startswith(b"content-length:"):
                    length = int(header.partition(b":")[2])
            answers.append((int(line.split()[1]), file.read(length)))
    return answers


def request_of(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"authorization: Bearer {TOKEN}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


LAST = "connection: close"


def test_requests_in_one_piece_are_answered_in_their_order(server: Server) -> None:
    body = json.dumps({"rows": rows_of_case()[:1]}).encode()
    length = f"content-length: {len(body)}"
    sent = [
        request_of("POST", "/segments", length, body=body),
        request_of("GET", "/ping"),
        request_of("GET", "/nowhere%2f"),
        request_of("POST", "/segments", length, LAST, body=body),
    ]
    first, ping, nowhere, last = exchange(server, b"".join(sent))
    assert (first[0], ping, nowhere[0]) == (200, (200, b"{}"), 404)
    assert first == last


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (b"\0\1\2\r\n\r\n", "request.not_http"),
        (request_of("GET", "/ping", "x: " + "a" * 100_000), "request.headers_too_long"),
        (request_of("GET", "/ping", *["xx: yy"] * 1000), "request.headers_too_long"),
        (request_of("POST", "/segments", "transfer-encoding: gzip"), "request.not_http"),
        (request_of("OPTIONS", "*", LAST), "route.unknown"),
    ],
    ids=["not HTTP", "long headers", "many headers", "other encoding", "no path"],
)
def test_what_is_no_request_is_answered_behind_the_others(
    server: Server, wrong: bytes, code: str
) -> None:
    body = json.dumps({"rows": rows_of_case()[:1]}).encode()
    post = request_of("POST", "/segments", f"content-length: {len(body)}", body=body)
    first, ping, last = exchange(server, post + request_of("GET", "/ping") + wrong)
    assert (first[0], ping) == (200, (200, b"{}"))
    assert json.loads(last[1])["code"] == code


def test_a_wrong_chunk_is_answered(server: Server) -> None:
    sent = request_of("POST", "/segments", "transfer-encoding: chunked") + b"zz\r\n"
    ((status, body),) = exchange(server, sent)
    assert (status, json.loads(body)["code"]) == (400, "request.not_http")


def test_trailers_have_a_limit(server: Server) -> None:
    sent = request_of("POST", "/segments", "transfer-encoding: chunked") + b"0\r\nx: "
    ((status, body),) = exchange(server, sent, b"a" * 2**15, b"a", wait=0.05)
    assert (status, json.loads(body)["code"]) == (431, "request.headers_too_long")


def test_requests_that_wait_have_a_limit(server: Server) -> None:
    *answers, (status, body) = exchange(server, b"GET /ping HTTP/1.1\r\n\r\n" * 400)
    assert {status for status, _ in answers} == {401}
    assert len(answers) < 400
    assert (status, json.loads(body)["code"]) == (503, "server.busy")


def test_a_target_may_name_the_host(server: Server) -> None:
    host = f"http://127.0.0.1:{server.port}"
    page, ping = exchange(
        server, request_of("GET", host) + request_of("GET", f"{host}/ping?x", LAST) + b"\0"
    )
    assert (page[0], page[1][:9].lower(), ping) == (200, b"<!doctype", (200, b"{}"))


def test_a_client_that_stops_sending_gets_its_answers(server: Server) -> None:
    body = json.dumps({"rows": rows_of_case()[:1]}).encode()
    post = request_of("POST", "/segments", f"content-length: {len(body)}", body=body)
    page = request_of("GET", "/")
    for sent, expected in ((page, [200]), (page + post, [200, 200]), (page + post[:-1], [200])):
        with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            assert [status for status, _ in answers_on(connection)] == expected


@pytest.mark.parametrize("wait", [0.0, 0.05])
def test_the_wish_for_another_protocol_is_ignored(server: Server, wait: float) -> None:
    body = json.dumps({"rows": rows_of_case()[:1]}).encode()
    headers = ("upgrade: h2c", "connection: upgrade", f"content-length: {len(body)}")
    head, ping = request_of("POST", "/segments", *headers), request_of("GET", "/ping", LAST)
    first, last = exchange(server, head, body + ping, wait=wait)
    assert (first[0], last) == (200, (200, b"{}"))


def test_a_body_that_may_not_come_ends_the_connection(server: Server) -> None:
    """A client that asked first does not send the body of a request that is refused."""
    asks = request_of("POST", "/nowhere", "expect: 100-continue", "content-length: 9")
    assert [status for status, _ in exchange(server, asks)] == [404]


def test_bodies_in_pieces(server: Server) -> None:
    body = json.dumps({"rows": rows_of_case()[:1]}).encode()
    whole = request_of("POST", "/segments", f"content-length: {len(body)}", LAST, body=body)
    (expected,) = exchange(server, whole)
    assert exchange(server, whole[:9], whole[9:-9], whole[-9:], wait=0.05) == [expected]
    chunks = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\nx: y\r\n\r\n" % (9, body[:9], len(body) - 9, body[9:])
    chunked = request_of("POST", "/segments", "transfer-encoding: chunked", LAST)
    assert exchange(server, chunked + chunks) == [expected]
    waits = request_of(
        "POST", "/segments", "transfer-encoding: chunked", "expect: 100-continue", LAST
    )
    assert exchange(server, waits, chunks, wait=0.05) == [(100, b""), expected]


def test_a_body_without_a_length_has_a_limit(server: Server) -> None:
    chunk = b"186a0\r\n" + b" " * 100_000 + b"\r\n"
    sent = request_of("POST", "/segments", "transfer-encoding: chunked") + chunk * 4
    ((status, body),) = exchange(server, sent)
    assert (status, json.loads(body)["code"]) == (413, "request.too_large")


def test_a_client_that_sends_on_gets_its_answer(server: Server) -> None:
    n_bytes = 5 * 10**6
    head = f"POST /segments HTTP/1.1\r\ncontent-length: {n_bytes}\r\n\r\n".encode()
    for sent, expected in ((head, 401), (b"\0" + head, 400)):
        answers = exchange(server, sent, b" " * n_bytes)
        assert [status for status, _ in answers] == [expected]


def test_a_request_that_fails_leaves_no_client_waiting() -> None:
    async def fail(request: HttpRequest) -> HttpAnswer:
        raise ArithmeticError

    async def send() -> None:
        loop, failures = asyncio.get_running_loop(), list[Any]()
        loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
        config, state = SimpleNamespace(loaded_app=fail), ServerState()
        listener = await loop.create_server(lambda: BoundedHttp(config, state, {}), "127.0.0.1", 0)
        async with listener:
            reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
            writer.write(request_of("GET", "/ping"))
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), SECONDS) == b""
            writer.close()
        gc.collect()
        assert [type(failure) for failure in failures] == [ArithmeticError]

    asyncio.run(send())


def test_connections_that_end_with_the_answer(server: Server) -> None:
    ping = request_of("GET", "/ping")
    assert exchange(server, ping.replace(b"HTTP/1.1", b"HTTP/1.0")) == [(200, b"{}")]
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(request_of("HEAD", "/ping", LAST))
        answer = connection.makefile("rb").read()
    assert b"content-length: 2\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")
