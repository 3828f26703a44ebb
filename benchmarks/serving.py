"""Requests per second and latencies of `gpuseg serve`, with a client that has real sockets.

The client shares the processors with the server. Its connections stay open, and each sends its
next request when it has the answer to the last one; or, with a rate, at fixed times, whether the
server keeps up or not: the time of an answer counts from when its request was due.

    python benchmarks/serving.py                   # all cases, a model of 16 columns
    python benchmarks/serving.py --workers 2 --only json-1 --seconds 10
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import uvloop

import gpuseg
from gpuseg.synthetic.customers import write_customers

ARROW = "application/vnd.apache.arrow.stream"

_ID = "customer_id"


@dataclass(frozen=True)
class LoadCase:
    """A load.

    Attributes
    ----------
    path, content_type : str
    bodies : list of bytes
        Sent in turn.
    rows : int
        Rows of each body.
    connections : int
    rate : float or None
        Requests per second; None sends as fast as answers come.
    """

    path: str
    content_type: str
    bodies: list[bytes]
    rows: int
    connections: int
    rate: float | None = None


@dataclass
class LoadResult:
    """What a load has seen, and the processor time that the server took for it."""

    seconds: float = 0.0
    server_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """Return a quantile of the latencies, in milliseconds."""
        ordered = sorted(self.latencies)
        return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class _Connection(asyncio.Protocol):
    """A connection that sends requests, one after the other, and reads their answers."""

    def __init__(self, requests: list[bytes], result: LoadResult, interval: float) -> None:
        self._requests, self._result, self._interval = requests, result, interval
        self._buffer, self._n_sent, self._expected = bytearray(), 0, -1
        self._is_stopped = False
        self.ended = asyncio.get_running_loop().create_future()

    def begin(self, due: float) -> None:
        """Send the first request."""
        self._due = due
        self._loop = asyncio.get_running_loop()
        self._loop.call_at(due, self._send)

    def stop(self) -> None:
        """Send no more requests."""
        self._is_stopped = True

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def _send(self) -> None:
        if not self._interval:
            self._due = self._loop.time()
        self._transport.write(self._requests[self._n_sent % len(self._requests)])
        self._n_sent += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._expected < 0:
            head = self._buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            assert self._buffer[9:12] == b"200", bytes(self._buffer[:600])
            at = self._buffer.index(b"content-length: ") + len(b"content-length: ")
            length = int(self._buffer[at : self._buffer.index(b"\r", at)])
            self._expected = head + 4 + length
        if len(self._buffer) < self._expected:
            return
        self._buffer, self._expected = bytearray(), -1
        now = self._loop.time()
        self._result.latencies.append(now - self._due)
        if self._is_stopped:
            self._transport.close()
            return
        self._due += self._interval
        if self._interval and self._due > now:
            self._loop.call_at(self._due, self._send)
        else:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def _run(port: int, case: LoadCase, seconds: float) -> LoadResult:
    requests = [
        b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b"
        % (case.path.encode(), case.content_type.encode(), len(body), body)
        for body in case.bodies
    ]
    result, loop = LoadResult(), asyncio.get_running_loop()
    interval = 0.0 if case.rate is None else case.connections / case.rate
    connections = []
    for i in range(case.connections):
        turned = requests[i % len(requests) :] + requests[: i % len(requests)]
        _, connection = await loop.create_connection(
            lambda turned=turned: _Connection(turned, result, interval), "127.0.0.1", port
        )
        connections.append(connection)
    start = loop.time() + 0.01
    for i, connection in enumerate(connections):
        connection.begin(start + i * interval / case.connections)
    await asyncio.sleep(seconds)
    n_answers = len(result.latencies)
    result.seconds = loop.time() - start
    for connection in connections:
        connection.stop()
    await asyncio.wait_for(asyncio.gather(*(c.ended for c in connections)), 60)
    del result.latencies[n_answers:]
    return result


def run_case(server: "RunningServer", case: LoadCase, seconds: float) -> LoadResult:
    """Return what a load of some seconds has seen."""
    before = server.processor_seconds()
    result = uvloop.run(_run(server.port, case, seconds))
    result.server_seconds = server.processor_seconds() - before
    return result


def bodies(table: pa.Table, kind: str, rows: int, n: int) -> list[bytes]:
    """Return bodies of a protocol with rows of a table, in turn."""
    parts = [table.slice(i * rows % (len(table) - rows), rows) for i in range(n)]
    return [_body(part, kind) for part in parts]


def _body(part: pa.Table, kind: str) -> bytes:
    if kind == "arrow":
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, part.schema) as writer:
            writer.write_table(part)
        return bytes(sink.getvalue())
    if kind == "infer":
        inputs = [
            {"name": name, "shape": [len(part)], "datatype": "FP64", "data": column.to_pylist()}
            for name, column in zip(part.column_names, part.columns, strict=True)
        ]
        return json.dumps({"inputs": inputs}).encode()
    if kind == "features":
        rows = zip(*(column.to_pylist() for column in part.columns), strict=True)
        return json.dumps({"instances": [{"features": list(row)} for row in rows]}).encode()
    return json.dumps({"rows": part.to_pylist()}).encode()


def cases(table: pa.Table, rate: float) -> dict[str, LoadCase]:
    """Return the cases by name; `rate` is that of the case with a rate."""
    plain = "application/json"
    one, many = bodies(table, "json", 1, 64), bodies(table, "json", 1000, 8)
    infer, infer_path = bodies(table, "infer", 1, 64), "/v2/models/segments/infer"
    features = bodies(table, "features", 1, 64)
    return {
        "json-1": LoadCase("/segments", plain, one, 1, 32),
        "json-1-alone": LoadCase("/segments", plain, one, 1, 1),
        "json-1-rate": LoadCase("/segments", plain, one, 1, 32, rate),
        "infer-1": LoadCase(infer_path, plain, infer, 1, 32),
        "invocations-1": LoadCase("/invocations", plain, features, 1, 32),
        "json-1000": LoadCase("/segments", plain, many, 1000, 4),
        "infer-1000": LoadCase(infer_path, plain, bodies(table, "infer", 1000, 8), 1000, 4),
        "arrow-1000": LoadCase("/segments", ARROW, bodies(table, "arrow", 1000, 8), 1000, 4),
    }


@dataclass(frozen=True)
class RunningServer:
    """A server with its workers."""

    process: psutil.Process
    port: int

    def processor_seconds(self) -> float:
        """Return the processor time of all its processes."""
        processes = [self.process, *self.process.children(recursive=True)]
        return sum(t.user + t.system for t in (p.cpu_times() for p in processes))


@contextmanager
def served(model: Path, workers: int) -> Iterator[RunningServer]:
    """Start a server."""
    command = [sys.executable, "-m", "gpuseg", "serve", str(model), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--workers", str(workers)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline().rpartition(":")[2])
        yield RunningServer(psutil.Process(process.pid), port)
    finally:
        process.terminate()
        process.wait(60)


def fitted_model(folder: Path, columns: int, n_clusters: int) -> tuple[Path, pa.Table]:
    """Fit a model of synthetic customers; return its output and the rows."""
    write_customers(
        folder / "in", rows=50_000, features=columns, segments=8, seed=0, files=1, truth=False,
        overwrite=True, report=lambda rows: None,
    )  # fmt: skip
    table = pq.read_table(folder / "in").drop([_ID])
    job: dict[str, Any] = {
        "input": {"path": str(folder / "in"), "id": _ID, "features": table.column_names},
        "segment": {"n_clusters": n_clusters},
        "output": {"path": str(folder / "out"), "overwrite": True},
    }
    gpuseg.run(job)
    return folder / "out", table


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each case: medians over the repeats."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--columns", type=int, default=16)
    parser.add_argument("--clusters", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1500.0, help="requests/s of json-1-rate")
    parser.add_argument("--only", nargs="*", default=None)
    options = parser.parse_args(arguments)
    print(f"{os.cpu_count()} processors, {options.workers} workers, {options.columns} columns")
    print(f"{'case':<16}{'requests/s':>12}{'rows/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs':>9}")
    with tempfile.TemporaryDirectory() as folder:
        model, table = fitted_model(Path(folder), options.columns, options.clusters)
        with served(model, options.workers) as server:
            for name, case in cases(table, options.rate).items():
                if options.only and name not in options.only:
                    continue
                run_case(server, case, 0.5)
                results = [run_case(server, case, options.seconds) for _ in range(options.repeats)]
                rate = statistics.median(len(r.latencies) / r.seconds for r in results)
                cpu = statistics.median(1e6 * r.server_seconds / len(r.latencies) for r in results)
                p50, p99 = (statistics.median(r.quantile(q) for r in results) for q in (0.5, 0.99))
                figures = f"{p50:>9.2f}{p99:>9.2f}{cpu:>9.0f}"
                print(f"{name:<16}{rate:>12,.0f}{rate * case.rows:>12,.0f}{figures}")
                time.sleep(0.2)


if __name__ == "__main__":
    main()
