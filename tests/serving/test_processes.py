"""New outputs, workers that are killed, signals, and starts that fail."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil
import pytest
from support.errors import raises
from support.fitted_outputs import fitted, input_rows, job_of
from support.helpers import THOROUGH, call, manifest_of, write_files
from support.http_server import SECONDS, Server, serving
from support.json_rows import as_json

import gpuseg
from gpuseg.serving.access_token import token_from
from gpuseg.serving.listener import bound_socket, listen
from gpuseg.serving.supervisor import interpreter

CASE = "plain"

POLL = ("--poll-seconds", "0.1")


def labels_of(output: Path) -> tuple[str, list[int]]:
    """Return the run of an output, and its segments of the first rows."""
    rows = input_rows(CASE).slice(0, 5)
    return manifest_of(output)["run_id"], gpuseg.load_model(output).predict(rows).tolist()


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so, for a limited time."""
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Client(Thread):
    """Sends requests on one connection until it is stopped."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.stopped, self.answers = Event(), dict[tuple[str, str], int]()
        self._server, self.failures = server, 0

    def run(self) -> None:
        """Send requests; a connection that is lost is opened again."""
        body = json.dumps({"rows": as_json(input_rows(CASE).slice(0, 5))})
        connection = self._server.connect()
        while not self.stopped.is_set():
            try:
                connection.request("POST", "/segments", body, {"content-type": "application/json"})
                response = connection.getresponse()
                rows = json.loads(response.read())
            except (OSError, HTTPException):
                self.failures += 1
                connection.close()
                continue
            assert response.status == 200
            key = response.headers["x-gpuseg-run"], json.dumps([row["segment"] for row in rows])
            self.answers[key] = self.answers.get(key, 0) + 1
        connection.close()

    def stop(self) -> dict[str, list[int]]:
        """Return the segments by run."""
        self.stopped.set()
        self.join()
        assert len({run for run, _ in self.answers}) == len(self.answers)
        return {run: json.loads(segments) for run, segments in self.answers}


def publish(output: Path, folder: Path, n_clusters: int) -> None:
    """Replace an output by that of another job."""
    source = folder / "in"
    if not source.exists():
        write_files(source, [input_rows(CASE)])
    job = job_of(CASE, source, output)
    job["segment"] |= {"n_clusters": n_clusters}
    job["output"] |= {"overwrite": True}
    gpuseg.run(job)


@pytest.mark.slow
def test_a_new_output_is_taken_and_a_damaged_one_is_not(tmp_path: Path) -> None:
    output, log = tmp_path / "out", tmp_path / "log"
    shutil.copytree(fitted(CASE), output)
    expected = dict([labels_of(output)])
    with serving(output, *POLL, log=log) as server:
        client = Client(server)
        client.start()
        publish(output, tmp_path, 3)
        run, segments = labels_of(output)
        expected[run] = segments
        wait_until(lambda: server.get("/ping").headers["x-gpuseg-run"] == run)
        tensors = output / "_model" / "model.safetensors"
        whole = tensors.read_bytes()
        tensors.write_bytes(whole[:-100])
        manifest = manifest_of(output) | {"run_id": "20300101T000000-abcdef"}
        (output / "_manifest.json").write_text(json.dumps(manifest))
        wait_until(lambda: "not taken" in log.read_text())
        assert server.get("/ping").headers["x-gpuseg-run"] == run
        tensors.write_bytes(whole)
        wait_until(lambda: server.get("/ping").headers["x-gpuseg-run"] == manifest["run_id"])
        expected[manifest["run_id"]] = segments
        wait_until(lambda: {run for run, _ in list(client.answers)} >= expected.keys())
        assert client.stop() == expected
        assert client.failures == 0
        assert server.post("/segments", {"rows": [{}]}).status == 400
        wait_until(lambda: "400 POST /segments: rows.wrong, 1 of 1 row\n" in log.read_text())
    lines = log.read_text().splitlines()
    assert sum("not taken" in line for line in lines) == 1
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    with serving(fitted(CASE), "--workers", "2", log=tmp_path / "log") as server:
        workers = psutil.Process(server.process.pid).children()
        assert len(workers) == 2
        clients = [Client(server) for _ in range(4)]
        for client in clients:
            client.start()
        before = n_requests(server)
        workers[0].kill()
        wait_until(lambda: "signal 9" in (tmp_path / "log").read_text())
        wait_until(lambda: n_living(server) == 2)
        run, segments = labels_of(fitted(CASE))
        wait_until(lambda: n_requests(server) > before + 50)
        for client in clients:
            assert client.stop() == {run: segments}
            assert client.failures <= 1
        assert server.end() == 0
        assert all(not process.is_running() for process in workers)


def n_living(server: Server) -> float:
    """Return how many workers have a model."""
    return numbers(server, "gpuseg_model_workers")


def n_requests(server: Server) -> float:
    """Return how many requests all workers have answered."""
    return numbers(server, "gpuseg_requests_total")


def numbers(server: Server, family: str) -> float:
    lines = server.get("/metrics").body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(family))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), *[(signal.SIGINT, 130)] * THOROUGH]
)
def test_a_request_that_has_begun_is_answered(number: int, code: int) -> None:
    body = json.dumps({"rows": as_json(input_rows(CASE).slice(0, 5))}).encode()
    with (
        serving(fitted(CASE)) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as connection,
    ):
        head = f"POST /segments HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body[:10])
        wait_until(lambda: numbers(server, "gpuseg_requests_in_flight") == 2)
        server.process.send_signal(number)
        time.sleep(0.3)
        connection.sendall(body[10:])
        answer = connection.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert server.process.wait(SECONDS) == code


@pytest.mark.skipif(not THOROUGH, reason="starts two workers")
def test_workers_end_with_their_supervisor() -> None:
    with serving(fitted(CASE), "--workers", "2") as server:
        workers = psutil.Process(server.process.pid).children()
        server.process.kill()
        gone, alive = psutil.wait_procs(workers, SECONDS)
        assert (len(gone), alive) == (2, [])


def test_starts_that_fail(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(fitted(CASE))
    monkeypatch.setenv("EMPTY_TOKEN", " ")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments: list[tuple[int, list[Any]]] = [
            (3, [tmp_path]),
            (2, [model, "--token-env", "EMPTY_TOKEN"]),
            (2, [model, "--name", "a/b"]),
            (2, [model, "--workers", "0"]),
            (2, [model, "--host", "no host"]),
            (4, [model, "--port", port]),
        ]
        for code, options in arguments:
            outcome = call(capfd, "serve", *map(os.fspath, options))
            assert outcome.code == code, outcome
            assert len(outcome.err.splitlines()) == 1


def test_a_port_that_another_process_takes_meanwhile() -> None:
    with (
        bound_socket("127.0.0.1", 0) as first,
        bound_socket("127.0.0.1", first.getsockname()[1]) as second,
    ):
        listen(first)
        with raises("port.taken"):
            listen(second)


def test_workers_import_nothing_from_a_folder_that_the_server_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in sys.path if path])
    (tmp_path / "uvicorn.py").touch()
    command = [*interpreter(), "-c", "import uvicorn; print(uvicorn.__file__)"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert not printed.startswith(str(tmp_path))


def test_a_token_of_any_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODD_TOKEN", os.fsdecode(b"\xff\xe9"))
    assert token_from("ODD_TOKEN") == b"\xff\xe9"


@pytest.mark.skipif(not THOROUGH, reason="starts two workers")
def test_workers_that_cannot_begin(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    outcome = call(capfd, "serve", tmp_path, "--workers", "2", "--port", "0")
    assert outcome.code == 3
    assert len(outcome.err.splitlines()) == 1
