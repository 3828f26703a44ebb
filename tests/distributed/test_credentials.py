"""Only the processes of a run reach its cluster, and foreign workers forget a killed run."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from distributed import Client, Security
from distributed.comm import connect

from gpuseg.jobs.workers import WORKER_MODULES
from gpuseg.runtime.cluster import ClusterSpec, open_executor
from gpuseg.runtime.dask import worker
from gpuseg.runtime.dask.credentials import new_credentials
from gpuseg.runtime.dask.executor import DaskExecutor
from gpuseg.runtime.executor import TaskContext

SECONDS = 60
"""Longest wait for something that takes a second."""


class Started(NamedTuple):
    """A cluster that was started for a run, and the ports on which its processes listen."""

    executor: DaskExecutor
    ports: list[int]
    folder: Path


def load(plan: int, context: TaskContext) -> int:
    return plan


def listening() -> dict[int, str]:
    """Return the ports and addresses on which this process and its children listen."""
    this = psutil.Process()
    return {
        connection.laddr.port: connection.laddr.ip
        for process in (this, *this.children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


@pytest.fixture(scope="module")
def started(
    tmp_path_factory: pytest.TempPathFactory,
    two_workers: dict[str, Any],  # if they started later, they would use the folder of this run
) -> Iterator[Started]:
    folder, before = tmp_path_factory.mktemp("scratch"), listening()
    spec = ClusterSpec("dask", 1, 1, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gpuseg.runtime.temporary_folder.scratch_folder", lambda: str(folder))
        with open_executor(spec, lambda rows: None, print, WORKER_MODULES) as executor:
            assert isinstance(executor, DaskExecutor)
            executor.load(load, [7])
            addresses = {port: ip for port, ip in listening().items() if port not in before}
            assert set(addresses.values()) == {"127.0.0.1"}
            yield Started(executor, sorted(addresses), folder)


def scheduler_of(started: Started) -> str:
    return str(started.executor._client.scheduler.address)


async def identity(address: str, security: Security, seconds: float = 2.0) -> Any:
    """Ask a scheduler or worker who it is."""
    arguments = security.get_connection_args("client")
    comm = await connect(address, timeout=seconds, **arguments)
    try:
        await comm.write({"op": "identity", "reply": True})
        return await comm.read()
    finally:
        comm.abort()


@pytest.mark.slow
def test_scheduler_and_workers_refuse_strangers(started: Started) -> None:
    for address in (scheduler_of(started), *started.executor.workers()):
        without_tls = address.replace("tls://", "tcp://")
        for security in (Security(), new_credentials()):
            with pytest.raises((OSError, TypeError)):  # TypeError: TLS without credentials
                asyncio.run(identity(address, security))
        with pytest.raises(OSError):
            asyncio.run(identity(without_tls, Security()))
        security = started.executor._client.security
        assert "id" in asyncio.run(identity(address, security, SECONDS))


@pytest.mark.slow
def test_no_port_answers_strangers(started: Started) -> None:
    assert started.ports
    for port in started.ports:
        speaks_http = http_status(port, "/") is not None
        for path in ("/", "/metrics", "/health", "/info/main/workers.html", "/json/counts.json"):
            assert http_status(port, path) == (404 if speaks_http else None), (port, path)
        for credentials in (None, new_credentials()):
            assert speaks_http or not answers(port, credentials)


def http_status(port: int, path: str) -> int | None:
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (HTTPException, OSError):
        return None
    finally:
        connection.close()


def answers(port: int, credentials: Security | None) -> bool:
    """Whether a process sends something to a client that trusts it, after the handshake of TLS."""
    if credentials is None:
        context = ssl.create_default_context()
        context.check_hostname = False
    else:
        context = credentials.get_connection_args("client")["ssl_context"]
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as plain,
            context.wrap_socket(plain) as encrypted,
        ):
            return bool(encrypted.recv(1))
    except OSError:
        return False


@pytest.mark.slow
def test_scratch_folder_is_closed_to_others(started: Started) -> None:
    (folder,) = started.folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


DRIVER = """
import sys, time
from gpuseg.runtime.cluster import ClusterSpec, open_executor

def load(plan, context):
    return bytes(1000)

spec = ClusterSpec(sys.argv[1], None, None, None)
with open_executor(spec, lambda rows: None, print) as executor:
    executor.load(load, [0, 1])
    print("loaded", flush=True)
    time.sleep(600)
"""


def stored() -> set[str]:
    return set(worker._SHARDS)


@pytest.mark.slow
def test_workers_forget_the_shards_of_a_killed_run(
    tmp_path: Path, two_workers: dict[str, Any]
) -> None:
    program = tmp_path / "driver.py"
    program.write_text(DRIVER)
    with Client(two_workers["cluster"], set_as_default=False) as client:
        before = client.run(stored)
        command = [sys.executable, program, two_workers["cluster"]]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as driver:
            assert driver.stdout is not None and driver.stdout.readline() == b"loaded\n"
            time.sleep(2)  # twice what a worker takes to look whether the run is alive
            loaded = client.run(stored)
            assert sum(len(keys - before[name]) for name, keys in loaded.items()) == 2
            driver.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + SECONDS
        while (left := client.run(stored)) != before and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left == before
