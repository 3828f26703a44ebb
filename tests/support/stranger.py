"""Another user of this machine, who tries to reach a run: its ports, sockets, files and processes.

``python -m support.stranger`` starts as root, reads a `Targets` as JSON, tries all of it once as
root, so that nothing is left to import, gives up its rights, tries again, and prints as JSON what
it has reached.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from distributed import Security
from distributed.comm.core import connect

from gpuseg.runtime.dask.credentials import new_credentials

NOBODY = 65534
"""User and group of the stranger."""

SECONDS = 20.0
"""Longest wait for an answer; those who refuse close the connection at once."""

_ALERT = b"\x15"
"""The first byte with which TLS says that it refuses; it tells nothing else."""

_OF_PROCESS = ("environ", "mem", "fd", "cwd")


@dataclass(frozen=True)
class Targets:
    """What to try: addresses of TCP, paths of Unix sockets, files and folders, and processes."""

    ports: list[tuple[str, int]] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)


def reached_by_stranger(targets: Targets) -> set[str]:
    """Return what the process of another user reaches, as texts such as ``path /tmp/a``."""
    done = subprocess.run(
        [sys.executable, "-m", "support.stranger"], cwd=Path(__file__).parents[1],
        input=json.dumps(asdict(targets)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def _attempts(targets: Targets) -> Iterator[tuple[str, Callable[[], bool]]]:
    """Yield the name of each attempt, and a function that returns whether it succeeds."""
    contexts = {"without a certificate": ssl.create_default_context(), "with its own": _self_made()}
    contexts["without a certificate"].check_hostname = False
    security = {"plain": Security(), "with its own certificate": new_credentials()}
    arguments = {how: each.get_connection_args("client") for how, each in security.items()}
    for host, port in targets.ports:
        where = f"{host}:{port}"
        yield f"port {where} as HTTP", lambda at=(host, port): _answers_http(at)
        for how, context in contexts.items():
            context.verify_mode = ssl.CERT_NONE
            yield (
                f"port {where} by TLS {how}",
                lambda at=(host, port), context=context: _answers_tls(at, context),
            )
        for how, each in arguments.items():
            scheme = "tcp" if how == "plain" else "tls"
            yield (
                f"port {where} as Dask, {how}",
                lambda address=f"{scheme}://{where}", each=each: _answers_dask(address, each),
            )
    for path in targets.sockets:
        yield f"socket {path}", lambda path=path: _accepts(path)
    for path in targets.paths:
        yield f"path {path}", lambda path=path: _opens(path) or os.access(path, os.W_OK)
    for pid in targets.pids:
        for name in _OF_PROCESS:
            yield f"process {pid} {name}", lambda path=f"/proc/{pid}/{name}": _opens(path)


def _self_made() -> ssl.SSLContext:
    context: ssl.SSLContext = new_credentials().get_connection_args("client")["ssl_context"]
    return context


def _answers_http(at: tuple[str, int]) -> bool:
    with socket.create_connection(at, timeout=SECONDS) as plain:
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = plain.recv(1)
    return answer not in (b"", _ALERT)


def _answers_tls(at: tuple[str, int], context: ssl.SSLContext) -> bool:
    """Whether a server sends something after the handshake; servers of Dask begin to talk."""
    with (
        socket.create_connection(at, timeout=SECONDS) as plain,
        context.wrap_socket(plain) as encrypted,
    ):
        return encrypted.recv(1) != b""


def _answers_dask(address: str, arguments: dict[str, Any]) -> bool:
    async def identity() -> Any:
        comm = await connect(address, timeout=2, **arguments)
        try:
            await comm.write({"op": "identity", "reply": True})
            return await comm.read()
        finally:
            comm.abort()

    return "id" in asyncio.run(identity())


def _accepts(path: str) -> bool:
    name = f"\0{path[1:]}" if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS)
        client.connect(name)
    return True


def _opens(path: str) -> bool:
    """Whether a file can be read or a folder listed."""
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    return True


def _reached(attempts: list[tuple[str, Callable[[], bool]]]) -> list[str]:
    reached = []
    for name, attempt in attempts:
        with suppress(OSError, TypeError, ValueError):
            if attempt():
                reached.append(name)
    return reached


if __name__ == "__main__":
    attempts = list(_attempts(Targets(**json.load(sys.stdin))))
    _reached(attempts)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    print(json.dumps(_reached(attempts)))
