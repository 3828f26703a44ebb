"""One job on 1, 2, 4 and 8 ranks that are connected by a network of limited speed.

Each rank is a process in a network namespace of its own; a switch between them adds a delay and
limits the rate (`lan.py`; Linux, as root). All share this machine's processors, so the benchmark
measures messages, not a speed-up of the work: the time of a pass of k-means over few rows, where
nearly all of it is messages, and jobs of k-means and DBSCAN over more.

A model of the pass takes the time without limits, and predicts the other networks:

    seconds = without limits + 2 · levels · delay + (n - 1) · bytes · 8 / rate

A pass is one call on all ranks. It waits for a message and its answer on each of the `levels` of
the tree of calls (`gpuseg.runtime.dask.call_tree`); `bytes` are those of the centers that a rank
gets and of the sums that it sends back.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --quick        1 and 4 ranks, one repeat
    python benchmarks/scaling.py --exchange     only prints what an exchange takes, and what it took
                                                when each piece was a task of the scheduler

Writes scaling.json to benchmarks/results.
"""

import argparse
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from lan import Link, network
from measure import save

PASSES = 40
FEATURES, CLUSTERS = 16, 64


LINKS = {
    "no limit": Link(0.0, None),
    "1 Gbit/s, 0.1 ms": Link(1e-4, 1e9),
    "100 Mbit/s, 1 ms": Link(1e-3, 1e8),
}

JOBS = {
    "few rows": {
        "rows": 20_000,
        "segment": {"n_clusters": CLUSTERS, "max_iter": PASSES, "tol": 0.0},
    },
    "k-means": {
        "rows": 1_000_000,
        "segment": {"n_clusters": 16, "max_iter": PASSES, "tol": 0.0},
    },
    "DBSCAN": {
        "rows": 100_000,
        "segment": {"algorithm": "dbscan", "eps": 0.9, "min_samples": 10},
    },
}


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def job_of(name: str, data: str, output: str) -> dict[str, Any]:
    """Return the job of a case, on ranks; centers start from the first rows, for many passes."""
    segment = dict(JOBS[name]["segment"])
    if "n_clusters" in segment:
        rows = pq.ParquetFile(next(Path(data).glob("*.parquet"))).read().drop_columns("customer_id")
        segment["init"] = [
            list(row.values()) for row in rows.slice(0, segment["n_clusters"]).to_pylist()
        ]
    return {
        "input": {"path": data, "id": "customer_id"},
        "segment": segment,
        "runtime": {"cluster": "ranks", "backend": "numba", "threads_per_worker": 1},
        "output": {"path": output, "overwrite": True},
    }  # fmt: skip


def timed_ranks(names: Sequence[str], job: Path) -> dict[str, Any]:
    """Run a job on one rank for each namespace; return the manifest that rank 0 prints."""
    attempt = str(time.time_ns())
    command = [sys.executable, "-m", "gpuseg", "run", str(job), "--json"]
    ranks = [
        subprocess.Popen(
            ["ip", "netns", "exec", name, *command],
            env={
                **os.environ,
                "GPUSEG_RANK": str(i),
                "GPUSEG_SIZE": str(len(names)),
                "GPUSEG_ATTEMPT": attempt,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for i, name in enumerate(names)
    ]
    answers = [rank.communicate() for rank in ranks]
    for rank, (_, errors) in zip(ranks, answers, strict=True):
        if rank.returncode:
            raise RuntimeError(errors.decode())
    manifest: dict[str, Any] = json.loads(answers[0][0])
    return manifest


def seconds_per_outcome(shards: Sequence[int], repeats: int) -> dict[str, float]:
    """Return what an answer costs: seconds of a call on s shards of two workers, and per shard."""
    from gpuseg.runtime.cluster import ClusterSpec, open_executor

    spec = ClusterSpec("dask", 2, 1, None)
    seconds = {}
    with open_executor(spec, lambda rows: None, print) as executor:
        for n in shards:
            executor.load(_sums, [0] * n)
            executor.map(_answer)
            runs = []
            for _ in range(repeats):
                started = time.process_time()
                executor.map(_answer)
                runs.append(time.process_time() - started)
            seconds[n] = median(runs)
    slope, base = np.polyfit(list(seconds), list(seconds.values()), 1)
    return {
        "base": float(base),
        "outcome": float(slope),
        **{f"{n} shards": s for n, s in seconds.items()},
    }


def seconds_of_exchanges(n_shards: int) -> dict[str, float]:
    """Return the seconds of an exchange between the shards of two workers, in both ways."""
    from gpuseg.runtime.cluster import ClusterSpec, open_executor
    from gpuseg.runtime.dask.executor import DaskExecutor

    seconds = {}
    with open_executor(ClusterSpec("dask", 2, 1, None), lambda rows: None, print) as executor:
        assert isinstance(executor, DaskExecutor)
        executor.load(_sums, [0] * n_shards)
        executor.shuffle(_split, _take)
        for way, calls_directly in (("pieces", True), ("tasks", False)):
            executor._calls_directly = calls_directly
            started = time.perf_counter()
            executor.shuffle(_split, _take)
            seconds[way] = round(time.perf_counter() - started, 3)
        executor._calls_directly = True
    return seconds


def _split(shard: Any, context: Any, n_pieces: int) -> list[Any]:
    return [np.zeros(100) for _ in range(n_pieces)]


def _take(shard: Any, context: Any, pieces: Sequence[Any]) -> int:
    return len(pieces)


def _sums(plan: int, context: Any) -> Any:
    from gpuseg.numerics.sum_grid import LloydSums

    return LloydSums.zeros(2, CLUSTERS, FEATURES)


def _answer(shard: Any, context: Any) -> Any:
    return [shard]


def levels(n: int) -> int:
    """Return the levels of the tree of calls on n ranks."""
    from gpuseg.runtime.dask.call_tree import FAN_OUT

    reached, result = FAN_OUT, 1
    while reached < n:
        reached, result = reached * FAN_OUT + FAN_OUT, result + 1
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--exchange", action="store_true")
    options = parser.parse_args()
    if options.exchange:
        for n_shards in (8, 32, 64):
            print(n_shards, seconds_of_exchanges(n_shards))
        return
    sizes = (1, 4) if options.quick else (1, 2, 4, 8)
    repeats = 1 if options.quick else options.repeats
    centers = np.zeros((CLUSTERS, FEATURES))
    pass_bytes = len(pickle.dumps([_sums(0, None), centers]))
    result: dict[str, Any] = {
        "bytes_per_rank_and_pass": pass_bytes,
        "answer": seconds_per_outcome((2, 8, 32, 128), 5),
        "runs": [],
    }
    with TemporaryDirectory() as folder:
        for name, case in JOBS.items():
            data, output = f"{folder}/{name}", f"{folder}/out {name}"
            run(
                sys.executable, "-m", "gpuseg", "synth", data, "--rows", str(case["rows"]),
                "--features", "4" if name == "DBSCAN" else str(FEATURES), "--files", "8",
            )  # fmt: skip
            job = Path(folder, f"{name}.json.toml")
            job.write_text(_toml(job_of(name, data, output)))
        for turn in range(repeats):
            for link_name, link in LINKS.items():
                for n in sizes:
                    with network(n, link) as names:
                        for name in JOBS:
                            manifest = timed_ranks(names, Path(folder, f"{name}.json.toml"))
                            line = line_of(name, link_name, n, manifest)
                            print(turn, line, flush=True)
                            result["runs"].append(line)
    result["passes"] = predictions(result)
    for line in result["passes"]:
        print(line)
    save("scaling", result)


def line_of(name: str, link: str, n: int, manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a run."""
    seconds = manifest["seconds"]
    return {
        "job": name, "link": link, "ranks": n, "fit": seconds["fit"],
        "total": seconds["total"], "n_iter": manifest["result"].get("n_iter"),
    }  # fmt: skip


def predictions(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return measured and predicted seconds of a pass over few rows."""
    measured: dict[tuple[str, int], list[float]] = {}
    for line in result["runs"]:
        if line["job"] == "few rows":
            key = line["link"], line["ranks"]
            measured.setdefault(key, []).append(line["fit"] / line["n_iter"])
    size, lines = result["bytes_per_rank_and_pass"], []
    for (name, n), values in measured.items():
        link, free = LINKS[name], median(measured["no limit", n])
        sent = 0.0 if link.rate is None else (n - 1) * size * 8 / link.rate
        waits = 2 * levels(n) * link.delay if n > 1 else 0.0
        lines.append(
            {
                "link": name,
                "ranks": n,
                "ms_per_pass": round(median(values) * 1e3, 2),
                "predicted_ms": round((free + waits + sent) * 1e3, 2),
            }
        )
    return lines


def _toml(job: dict[str, Any]) -> str:
    lines = []
    for section, keys in job.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
