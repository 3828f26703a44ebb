"""Hostile requests to a server: it answers each with no fault of its own, and goes on."""

import http.client
import json
import random
import re
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from support.fitted_outputs import fitted, input_rows
from support.http_server import Server, serving
from support.json_rows import as_json

import gpuseg
from fuzzing.http_bodies import drawn_body
from fuzzing.http_requests import Request, drawn_request, whole_request

_OUTPUTS = ("all_steps", "hierarchy")
"""Cases of `support.fitted_outputs` that are served, each by a process of its own."""

_N_ROWS = 100

_LIMITS = ("--max-body", "8000000", "--max-seconds", "5")

_STATUSES = {
    200, 400, 401, 404, 405, 406, 408, 411, 413, 414, 415, 417, 431,
}  # fmt: skip
"""Statuses of an answer; none of them is a fault of the server."""

_SECONDS = 30.0
"""How long a server may take for a part of an answer."""

_MAX_ANSWER = 2**27

_LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT\S+ gpuseg serve: (?!500 ).{1,2000}")
"""A line of the log; 500 would be a fault of the server."""

_SECRETS = re.compile(
    r"Traceback|File \\?\"|\.py\b|site-packages|/tmp/|/home/|/root/|0x[0-9a-f]{8}"
)
"""What no answer may have: stacks, and names of this machine's files."""


@dataclass
class _Target:
    """A server, rows whose segments are known, and how much of its log has been read."""

    server: Server
    rows: list[dict[str, Any]]
    table: pa.Table
    segments: list[int]
    log: Path
    n_read: int = 0

    def new_lines(self) -> list[str]:
        """Return the lines that the log has since the last call."""
        with self.log.open("rb") as log:
            log.seek(self.n_read)
            content = log.read()
        whole = content[: content.rfind(b"\n") + 1]
        self.n_read += len(whole)
        return whole.decode().splitlines()


class ServingFuzzer:
    """Sends drawn requests to servers that run as long as the fuzzer."""

    seconds = 60.0

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._targets: dict[str, _Target] = {}

    def prepare(self, folder: Path) -> None:
        """Fit the models and start a server of each."""
        for name in _OUTPUTS:
            self._targets[name] = self._target(name, folder / f"{name}.log")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def try_case(self, draw: random.Random, folder: Path) -> None:
        """Draw a request, send it, and check the answer and that the server still is right."""
        target = self._targets[draw.choice(_OUTPUTS)]
        body = drawn_body(draw, target.rows, target.table, "segments")
        _check_answer(_sent(target.server, drawn_request(draw, body)), draw)
        _check_server(target, draw)

    def _target(self, name: str, log: Path) -> _Target:
        output = fitted(name)
        model = gpuseg.load_model(output)
        table = input_rows(name).select(model.pipeline.columns).slice(0, _N_ROWS)
        server = self._stack.enter_context(serving(output, *_LIMITS, log=log))
        return _Target(server, as_json(table), table, model.predict(table).tolist(), log)


def _sent(server: Server, request: Request) -> tuple[int, dict[str, str], bytes] | None:
    """Return status, headers and body of the answer; None if there was none, and need not be."""
    try:
        with socket.create_connection(("127.0.0.1", server.port), _SECONDS) as connection:
            for part in request.parts:
                try:
                    connection.sendall(part)
                except (BrokenPipeError, ConnectionResetError):
                    break  # it has been refused already, and the answer may be there
                time.sleep(request.pause)
            if request.ends_early:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
            return _answer(connection, "HEAD" if request.is_head else "POST")
    except (ConnectionError, http.client.HTTPException):
        if request.may_be_unanswered:
            return None
        raise


def _answer(connection: socket.socket, method: str) -> tuple[int, dict[str, str], bytes]:
    answer = http.client.HTTPResponse(connection, method=method)
    try:
        answer.begin()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read(_MAX_ANSWER)
    finally:
        answer.close()


def _check_answer(answer: tuple[int, dict[str, str], bytes] | None, draw: random.Random) -> None:
    if answer is None:
        return
    status, headers, body = answer
    assert status in _STATUSES, (status, body[:500])
    if status != 200:
        text = body.decode(errors="replace")  # it may be a stream of Arrow
        assert not _SECRETS.search(text), text[:2000]
    if headers.get("content-type") == "application/json" and body:
        content = json.loads(body, parse_constant=_refuse_constant)
        assert status == 200 or {"error", "code"} <= content.keys(), content


def _refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def _check_server(target: _Target, draw: random.Random) -> None:
    """Check that the server lives, is right, and has written one line for each failure."""
    assert target.server.process.poll() is None, target.log.read_text()[-2000:]
    start = draw.randrange(len(target.rows) - 5)
    rows = target.rows[start : start + 5]
    content = json.dumps({"rows": rows}).encode()
    request = Request([whole_request(("/segments", "application/json", content))])
    answer = _sent(target.server, request)
    assert answer is not None
    status, _, body = answer
    assert status == 200, body[:500]
    segments = [row["segment"] for row in json.loads(body)]
    assert segments == target.segments[start : start + 5], segments
    wrong = [line for line in target.new_lines() if not _LOG_LINE.fullmatch(line)]
    assert not wrong, wrong[:5]


def fuzzer() -> ServingFuzzer:
    """Make the fuzzer."""
    return ServingFuzzer()
