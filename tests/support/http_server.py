"""A server process of `gpuseg serve`, and a client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

SECONDS = 60
"""How long a server may take to begin or to end, on a machine that is busy."""

ARROW = "application/vnd.apache.arrow.stream"


class Answer(NamedTuple):
    """An answer to a request."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as a value of JSON."""
        return json.loads(self.body)

    @property
    def table(self) -> pa.Table:
        """The body as a table."""
        return pa.ipc.open_stream(self.body).read_all()


class Server:
    """A server process that answers requests.

    Attributes
    ----------
    headers : dict
        Of every request.
    """

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port
        self.headers: dict[str, str] = {}

    def connect(self) -> HTTPConnection:
        """Return a connection of one's own."""
        return HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)

    def get(self, path: str, **headers: str) -> Answer:
        """Return the answer to a GET request."""
        return self.call("GET", path, None, **headers)

    def post(
        self, path: str, body: Any, content_type: str = "application/json", **headers: str
    ) -> Answer:
        """Return the answer to a POST request; a body that is no text or bytes becomes JSON."""
        return self.call("POST", path, body, **{"content-type": content_type, **headers})

    def call(self, method: str, path: str, body: Any, **headers: str) -> Answer:
        """Return the answer to a request on a connection of its own."""
        if body is not None and not isinstance(body, str | bytes):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        connection = self.connect()
        try:
            connection.request(method, path, body, {**self.headers, **headers})
            return answer_of(connection)
        finally:
            connection.close()

    def end(self, number: int = signal.SIGTERM) -> int:
        """End the server by a signal and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


def answer_of(connection: HTTPConnection) -> Answer:
    """Return the answer to the request that was sent last."""
    response = connection.getresponse()
    names = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, names, response.read())


@contextmanager
def serving(
    model: Path | str, *arguments: str, log: Path | None = None, **environment: str
) -> Iterator[Server]:
    """Start a server on a free port; it is killed at the end, if it has not ended.

    Parameters
    ----------
    log : Path, optional
        Where standard error goes.
    """
    command = [sys.executable, "-m", "gpuseg", "serve", str(model), "--port", "0", *arguments]
    errors = subprocess.DEVNULL if log is None else log.open("w")
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving"), line
        yield Server(process, int(line.rpartition(":")[2]))
    finally:
        process.kill()
        process.wait(SECONDS)
        if process.stdout is not None:
            process.stdout.close()
        if not isinstance(errors, int):
            errors.close()


def as_stream(table: pa.Table, **options: Any) -> bytes:
    """Return a table as a stream of Arrow IPC."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, **options) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
