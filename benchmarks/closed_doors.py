"""What encryption costs: DBSCAN with large exchanges on two workers, over TLS and over plain TCP.

`cluster = "dask"` always uses TLS with credentials of the run; here the class that starts its
workers is replaced by one that leaves them out. Both clusters run all the time, and take turns. The
rows lie in no order, so that half of them move to the other worker, and their labels back. The last
case computes nothing: arrays move, and the seconds are those of a gigabyte.

    python benchmarks/closed_doors.py              all cases, nine times each
    python benchmarks/closed_doors.py --quick      a tenth of the rows, three times; writes nothing

Writes closed_doors.json to benchmarks/results.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
from dbscan import MIN_SAMPLES, blobs
from dbscan_work import uniform
from distributed import LocalCluster
from measure import save, spread
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.fit import fit_dbscan
from gpuseg.algorithms.dbscan.params import DBSCANParams
from gpuseg.runtime import cluster
from gpuseg.runtime.cluster import ClusterSpec, open_executor
from gpuseg.runtime.executor import Executor, TaskContext
from gpuseg.sharding.shard import Shard

WORKERS, REPEATS, QUICK_REPEATS, QUICK = 2, 9, 3, 0.1


@dataclass(frozen=True)
class ExchangeCase:
    """Rows to cluster."""

    title: str
    make: Callable[[int, int], NDArray[np.float32]]
    rows: int
    features: int
    eps: float


CASES = (
    ExchangeCase("blobs", blobs, 1_000_000, 8, 1.0),
    ExchangeCase("uniform", uniform, 2_000_000, 4, 0.005),
    ExchangeCase("wide", blobs, 500_000, 32, 2.0),
)

PIECE_BYTES = 500_000_000
"""Of each worker for the other one, in the case that computes nothing."""


@contextmanager
def opened(encrypted: bool) -> Iterator[Executor]:
    """Start two workers as a job does, or without encryption."""
    with ExitStack() as stack:
        if not encrypted:

            def plain(**options: Any) -> LocalCluster:
                return LocalCluster(**{**options, "protocol": "tcp", "security": None})

            stack.enter_context(patch.object(cluster, "_cluster_class", lambda spec: (plain, 0)))
        spec = ClusterSpec("dask", WORKERS, 1, None)
        yield stack.enter_context(open_executor(spec, lambda rows: None, print))


def load(place: tuple[str, int, int], context: TaskContext) -> Shard:
    """Read a shard from a file."""
    file, start, end = place
    return Shard(np.load(file, mmap_mode="r")[start:end].copy(), first_row=start)


def clustered(executor: Executor, case: ExchangeCase) -> None:
    """Cluster the rows that the workers have."""
    params = DBSCANParams(eps=case.eps, min_samples=MIN_SAMPLES)
    fit_dbscan(executor, params, "numba", distances=False)


def exchanged(executor: Executor) -> None:
    """Let each worker send its rows to the other one."""
    executor.shuffle(split_for_others, take_nothing)


def split_for_others(shard: Shard, context: TaskContext, n_shards: int) -> list[Any]:
    """Return the rows of a shard for the other one, which holds a file's other half."""
    is_first = shard.first_row == 0
    return [None, shard.x] if is_first else [shard.x, None]


def take_nothing(shard: Shard, context: TaskContext, pieces: list[Any]) -> int:
    """Return the bytes that arrived."""
    return sum(piece.nbytes for piece in pieces if piece is not None)


@dataclass(frozen=True)
class Turn:
    """Seconds of wall clock and of all processors, and megabytes over loopback."""

    wall: float
    cpu: float
    sent: float


def timed(executor: Executor, places: list[tuple[str, int, int]], act: Any) -> Turn:
    """Load rows and measure what follows."""
    executor.load(load, places)
    sent, cpu, started = sent_bytes(), cpu_seconds(), time.perf_counter()
    act(executor)
    wall = time.perf_counter() - started
    return Turn(wall, cpu_seconds() - cpu, (sent_bytes() - sent) / 1e6)


def sent_bytes() -> int:
    """Return the bytes that were sent over loopback, by all processes of the machine."""
    return int(psutil.net_io_counters(pernic=True)["lo"].bytes_sent)


def cpu_seconds() -> float:
    """Return the seconds that processors have spent on this process and its workers."""
    this = psutil.Process()
    times = [each.cpu_times() for each in (this, *this.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def measured(
    title: str, executors: dict[str, Executor], rows: NDArray[np.float32], act: Any, repeats: int
) -> dict[str, Any]:
    """Let the clusters take turns, after a turn that is not counted."""
    turns: dict[str, list[Turn]] = {name: [] for name in executors}
    with tempfile.TemporaryDirectory() as folder:
        file, half = str(Path(folder) / "rows.npy"), len(rows) // 2
        np.save(file, rows)
        places = [(file, 0, half), (file, half, len(rows))]
        for number in range(repeats + 1):
            # Each is first in every second turn.
            for name in sorted(executors, reverse=number % 2 == 1):
                turn = timed(executors[name], places, act)
                print(f"{number or 'warm-up'}: {title} {name} {turn}", flush=True)
                if number:
                    turns[name].append(turn)
    pairs = zip(turns["tls"], turns["tcp"], strict=True)
    result: dict[str, Any] = {"title": title}
    for name, each in turns.items():
        result[name] = {
            **spread([turn.wall for turn in each]),
            "cpu_s": round(median(turn.cpu for turn in each), 3),
            "sent_mb": round(median(turn.sent for turn in each)),
        }
    result["tls_over_tcp"] = round(result["tls"]["median_s"] / result["tcp"]["median_s"], 3)
    result["cpu_tls_over_tcp"] = round(result["tls"]["cpu_s"] / result["tcp"]["cpu_s"], 3)
    result["median_of_pairs"] = round(median(tls.wall / tcp.wall for tls, tcp in pairs), 3)
    return result


def main() -> None:
    """Measure all cases."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cases", default=",".join([*(case.title for case in CASES), "exchange"]))
    arguments = parser.parse_args()
    share, repeats = (QUICK, QUICK_REPEATS) if arguments.quick else (1, REPEATS)
    names = arguments.cases.split(",")
    chosen = [case for case in CASES if case.title in names]
    with opened(True) as tls, opened(False) as tcp:
        executors = {"tls": tls, "tcp": tcp}
        entries = [
            measured(
                f"{case.title}, {int(case.rows * share):,} × {case.features}, eps {case.eps:g}",
                executors,
                case.make(int(case.rows * share), case.features),
                partial(clustered, case=case),
                repeats,
            )
            for case in chosen
        ]
        if "exchange" in names:
            pieces = np.zeros((int(2 * PIECE_BYTES * share) // 4000, 1000), np.float32)
            entries.append(measured("exchange of 1 GB", executors, pieces, exchanged, repeats))
    for entry in entries:
        print(entry)
    if not arguments.quick:
        print(save("closed_doors", {"workers": WORKERS, "repeats": repeats, "cases": entries}))


if __name__ == "__main__":
    main()
