"""Load on `gpuseg serve` while outputs are published to its path and its workers are killed.

python benchmarks/serving_endurance.py --minutes 10

Every few seconds another job overwrites the output that the server has, and now and then one of the
server's workers is killed. Each answer names the run whose model has given it, and all its segments
are compared with those that this run's model gives here. The command fails if an answer is wrong,
or if a request fails that was not on a connection of a worker that was killed.
"""

import argparse
import http.client
import io
import json
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

import gpuseg

RUN_HEADER = "x-gpuseg-run"
ARROW = "application/vnd.apache.arrow.stream"
FEATURES = ("recency", "orders", "spend")
N_CUSTOMERS, N_QUERIES = 4_000, 512
BATCH = 64

JOBS: tuple[dict[str, Any], ...] = (
    {"segment": {"n_clusters": 3}},
    {"segment": {"n_clusters": 7}, "prepare": {"transform": "log1p"}},
    {"segment": {"n_clusters": 12}, "prepare": {"scale": "robust"}},
    {"segment": {"algorithm": "hierarchical", "levels": [4, 9], "micro_segments": 60}},
)
"""What is published in turn; all have the same columns, and segments that differ."""

Labels = np.ndarray[Any, np.dtype[np.int32]]
Answer = tuple[str, list[int], slice]
"""Run, segments, and which of the rows were asked for."""


def customers(n: int, seed: int) -> pa.Table:
    """Return customers whose features have no clear groups, so that models differ in many rows."""
    rng = np.random.default_rng(seed)
    columns = {name: rng.gamma(2.0, 10.0, n) for name in FEATURES}
    return pa.table({"customer": np.arange(n), **columns})


@dataclass
class EnduranceRecord:
    """What has happened.

    Attributes
    ----------
    answers : Counter
        Answers by route.
    n_rows : int
    pending : list of Answer
        Those of runs whose labels were not known at once.
    wrong : list of str
    failed : list of (time, port, text)
        Requests that failed, with the client's port.
    killed : list of (time, set of ports)
        Workers that were killed, with the clients' ports of their connections.
    """

    labels: dict[str, Labels] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    n_rows: int = 0
    pending: list[Answer] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    failed: list[tuple[float, int, str]] = field(default_factory=list)
    killed: list[tuple[float, frozenset[int]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, route: str, answer: Answer) -> None:
        """Count an answer, and check it if the labels of its run are known."""
        run, segments, _ = answer
        with self.lock:
            self.answers[route] += 1
            self.runs[run] += 1
            self.n_rows += len(segments)
        if run in self.labels:
            self.check(answer)
        else:
            with self.lock:
                self.pending.append(answer)

    def check(self, answer: Answer) -> None:
        """Compare segments with the labels of their run."""
        run, segments, rows = answer
        if run not in self.labels:
            self.wrong.append(f"an answer of run {run!r}, which was never published")
        elif self.labels[run][rows].tolist() != segments:
            self.wrong.append(f"rows {rows} of run {run}: {segments[:5]}…")

    def unexplained(self) -> list[str]:
        """Return the failures that no kill explains."""
        return [text for at, port, text in self.failed if not self._is_explained(at, port)]

    def _is_explained(self, at: float, port: int) -> bool:
        return any(port in ports and at >= killed_at - 1.0 for killed_at, ports in self.killed)


class LoadClient(threading.Thread):
    """Sends requests over one connection after the other, until it is told to stop."""

    def __init__(
        self, port: int, queries: pa.Table, record: EnduranceRecord, pause: float, seed: int
    ) -> None:
        super().__init__(daemon=True)
        self._port, self._queries, self._record, self._pause = port, queries, record, pause
        self._rows: list[dict[str, float]] = queries.to_pylist()
        self._draw = random.Random(seed)
        self.stopped = threading.Event()

    def run(self) -> None:
        """Send requests until `stopped` is set."""
        while not self.stopped.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            port = 0
            try:
                connection.connect()
                port = connection.sock.getsockname()[1]
                for _ in range(self._draw.choice((1, 20, 200))):
                    route, ask = self._draw.choice(self._routes())
                    self._record.take(route, ask(connection))
                    if self.stopped.wait(self._pause):
                        break
            except (OSError, http.client.HTTPException) as error:
                failure = (time.monotonic(), port, f"{type(error).__name__}: {error}")
                self._record.failed.append(failure)
            finally:
                connection.close()

    def _routes(self) -> Sequence[tuple[str, Callable[[http.client.HTTPConnection], Answer]]]:
        return (
            ("/segments, a row", self._single),
            ("/segments, JSON", self._batch),
            ("/segments, Arrow", self._arrow),
            ("/v2/…/infer", self._infer),
            ("/invocations, CSV", self._csv),
        )

    def _sent(
        self, connection: http.client.HTTPConnection, path: str, kind: str, body: bytes, accept: str
    ) -> tuple[str, bytes]:
        headers = {"Content-Type": kind, "Accept": accept}
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise http.client.HTTPException(f"status {answer.status}: {content[:200]!r}")
        return answer.headers[RUN_HEADER], content

    def _some(self, n: int) -> slice:
        start = self._draw.randrange(len(self._rows) - n + 1)
        return slice(start, start + n)

    def _json(self, connection: http.client.HTTPConnection, n: int) -> Answer:
        rows = self._some(n)
        body = json.dumps({"rows": self._rows[rows]}).encode()
        run, content = self._sent(connection, "/segments", "application/json", body, "*/*")
        return run, [row["segment"] for row in json.loads(content)], rows

    def _single(self, connection: http.client.HTTPConnection) -> Answer:
        return self._json(connection, 1)

    def _batch(self, connection: http.client.HTTPConnection) -> Answer:
        return self._json(connection, BATCH)

    def _arrow(self, connection: http.client.HTTPConnection) -> Answer:
        rows = self._some(BATCH)
        sink = io.BytesIO()
        table = self._queries.slice(rows.start, BATCH)
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        run, content = self._sent(connection, "/segments", ARROW, sink.getvalue(), ARROW)
        return run, pa.ipc.open_stream(content).read_all()["segment"].to_pylist(), rows

    def _infer(self, connection: http.client.HTTPConnection) -> Answer:
        rows = self._some(BATCH)
        data = [list(row.values()) for row in self._rows[rows]]
        tensor = {"name": "x", "shape": [BATCH, len(FEATURES)], "datatype": "FP64", "data": data}
        body = json.dumps({"inputs": [tensor]}).encode()
        path = "/v2/models/segments/infer"
        run, content = self._sent(connection, path, "application/json", body, "*/*")
        values = json.loads(content)
        if values["model_version"] != run:
            raise http.client.HTTPException("the body and the header name different runs")
        return run, values["outputs"][0]["data"], rows

    def _csv(self, connection: http.client.HTTPConnection) -> Answer:
        rows = self._some(BATCH)
        body = "\n".join(",".join(map(repr, row.values())) for row in self._rows[rows]).encode()
        run, content = self._sent(connection, "/invocations", "text/csv", body, "text/csv")
        return run, [int(float(line.split(b",")[0])) for line in content.splitlines()], rows


class Publisher(threading.Thread):
    """Publishes another output every few seconds."""

    def __init__(
        self, source: Path, target: Path, queries: pa.Table, record: EnduranceRecord, seconds: float
    ) -> None:
        super().__init__(daemon=True)
        self._source, self._target, self._queries = source, target, queries
        self._record, self._seconds = record, seconds
        self.stopped = threading.Event()
        self.has_ended_well = False
        self.n_published = 0

    def publish(self) -> None:
        """Publish the next output, and note what its model says of the queries."""
        job = JOBS[self.n_published % len(JOBS)]
        run = gpuseg.run({
            "input": {"path": str(self._source), "id": "customer", "features": list(FEATURES)},
            "runtime": {"threads_per_worker": 1},
            "output": {"path": str(self._target), "overwrite": True},
            **job,
        })  # fmt: skip
        model = gpuseg.load_model(self._target)
        self._record.labels[run.record.run_id] = model.predict(self._queries, n_threads=1)
        self.n_published += 1

    def run(self) -> None:
        """Publish until `stopped` is set."""
        next_time = time.monotonic()
        while not self.stopped.wait(max(0.0, next_time - time.monotonic())):
            self.publish()
            next_time += self._seconds
        self.has_ended_well = True


class Killer(threading.Thread):
    """Kills one of the workers every few seconds."""

    def __init__(self, server: int, record: EnduranceRecord, seconds: float) -> None:
        super().__init__(daemon=True)
        self._server, self._record, self._seconds = server, record, seconds
        self._draw = random.Random(7)
        self.stopped = threading.Event()

    def run(self) -> None:
        """Kill workers until `stopped` is set."""
        while not self.stopped.wait(self._seconds):
            worker = self._draw.choice(workers_of(self._server))
            worker.suspend()  # so that it takes no connection that is not listed
            connections = worker.net_connections("tcp")
            ports = frozenset(c.raddr.port for c in connections if c.raddr)
            self._record.killed.append((time.monotonic(), ports))
            worker.kill()


def workers_of(server: int) -> list[psutil.Process]:
    """Return the workers of a server."""
    children = psutil.Process(server).children(recursive=True)
    return [child for child in children if "gpuseg.serving.worker" in " ".join(child.cmdline())]


def started_server(output: Path, n_workers: int, log: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start a server that is ready, and return it and its port."""
    command = [sys.executable, "-m", "gpuseg", "serve", str(output), "--port", "0"]
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [*command, "--workers", str(n_workers)], stdout=stream, stderr=subprocess.STDOUT
        )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        if match := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text()):
            return server, int(match[1])
        time.sleep(0.05)
    raise SystemExit(f"the server did not start:\n{log.read_text()}")


def wait_for_workers(server: int, n_workers: int) -> None:
    """Wait until as many workers run as there should be."""
    deadline = time.monotonic() + 30
    while len(workers_of(server)) < n_workers and time.monotonic() < deadline:
        time.sleep(0.1)


def main() -> int:
    """Run the load; return 1 if something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--reload", type=float, default=5.0, help="seconds between two outputs")
    parser.add_argument("--kill", type=float, default=30.0, help="seconds between two kills")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--pause", type=float, default=0.002, help="seconds between two requests")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        return endure(Path(temporary), given)


def endure(folder: Path, given: argparse.Namespace) -> int:
    """Run the load in a folder of its own."""
    source, target, log = folder / "customers.parquet", folder / "output", folder / "server.log"
    pq.write_table(customers(N_CUSTOMERS, seed=0), source)
    queries = customers(N_QUERIES, seed=1).select(FEATURES)
    record = EnduranceRecord()
    publisher = Publisher(source, target, queries, record, given.reload)
    publisher.publish()
    server, port = started_server(target, given.workers, log)
    try:
        killer = Killer(server.pid, record, given.kill)
        clients = [
            LoadClient(port, queries, record, given.pause, seed) for seed in range(given.clients)
        ]
        threads = [publisher, killer, *clients]
        for thread in threads:
            thread.start()
        end = time.monotonic() + given.minutes * 60
        while time.monotonic() < end and publisher.is_alive() and server.poll() is None:
            time.sleep(0.5)
        for thread in (*clients, killer, publisher):
            thread.stopped.set()
            thread.join(timeout=90)
        wait_for_workers(server.pid, given.workers)
        n_workers = len(workers_of(server.pid)) if server.poll() is None else 0
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(timeout=60)
    for answer in record.pending:
        record.check(answer)
    return report(record, publisher, given, n_workers, code, log.read_text())


def report(
    record: EnduranceRecord,
    publisher: Publisher,
    given: argparse.Namespace,
    n_workers: int,
    code: int,
    log: str,
) -> int:
    """Print what has happened; return 1 if something was wrong."""
    unexplained = record.unexplained()
    result = {
        "minutes": given.minutes,
        "answers": sum(record.answers.values()),
        "answers by route": dict(sorted(record.answers.items())),
        "rows": record.n_rows,
        "outputs published": publisher.n_published,
        "runs that have answered": len(record.runs),
        "workers killed": len(record.killed),
        "workers at the end": n_workers,
        "requests that failed with their worker": len(record.failed) - len(unexplained),
        "other failures": len(unexplained),
        "wrong answers": len(record.wrong),
        "exit code of the server": code,
    }
    print(json.dumps(result, indent=1))
    for text in (*record.wrong[:10], *unexplained[:10]):
        print(text, file=sys.stderr)
    if "Traceback" in log:
        print(log[-3_000:], file=sys.stderr)
    is_good = (
        publisher.has_ended_well
        and not record.wrong
        and not unexplained
        and "Traceback" not in log
        and n_workers == given.workers
    )
    return 0 if is_good else 1


if __name__ == "__main__":
    socket.setdefaulttimeout(60)
    sys.exit(main())
