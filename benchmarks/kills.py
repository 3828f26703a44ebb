"""Kill jobs at random moments, run them again, and compare: the bits, and the work made again.

A job runs in a process that is killed (SIGKILL) at a random moment of its seconds, and then the
same command runs again. Parts, models, features, and the segments of the manifest must be those of
a run that nobody has disturbed. The work is the seconds from the call of gpuseg.run on: those of
both attempts together, less those of an undisturbed run. Imports are part of it, so small jobs
repeat more.

    python benchmarks/kills.py                       40 kills of each kind, about half an hour
    python benchmarks/kills.py --kills 4 --kinds kmeans,dbscan --rows 100_000
    python benchmarks/kills.py --by bytes            kill at a random part of the journal's bytes,
                                                     where others use the machine, too

Without options it writes kills.json to benchmarks/results.
"""

import argparse
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import save

SEGMENTS = {
    "kmeans": "n_clusters = 40\nn_init = 3\nmax_iter = 60\ntol = 0.0\n",
    "dbscan": "algorithm = 'dbscan'\neps = 0.7\nmin_samples = 8\n",
    "hierarchical": "algorithm = 'hierarchical'\nn_clusters = 6\n",
    "transactions": "n_clusters = 12\nmax_iter = 60\ntol = 0.0\n",
}

ROWS = {
    "kmeans": 1_000_000,
    "dbscan": 4_000_000,
    "hierarchical": 1_000_000,
    "transactions": 1_000_000,
}
"""Customers, or a fourth of the lines: enough for jobs of some seconds."""

FILES = ("part-*", "_model/*.safetensors", "_models/*/*.safetensors", "_features/*")

LIMIT = 0.6
"""Most work that may be made again after a kill in the second half of a job."""

CHILD = """
import json, sys, time
import gpuseg
print("begins", flush=True)
started = time.perf_counter()
gpuseg.run(sys.argv[1])
print(json.dumps(time.perf_counter() - started), flush=True)
"""


@dataclass(frozen=True)
class Kill:
    """One kill: at which share of the job, and what was made again as a share of the whole job."""

    at: float
    again: float
    is_equal: bool


def write_input(kind: str, folder: Path, rows: int) -> None:
    """Write the table of customers or the transaction lines of a kind of job."""
    from gpuseg.synthetic.customers import write_customers
    from gpuseg.synthetic.transactions import write_transactions

    if kind == "transactions":
        write_transactions(folder / "lines", lines=4 * rows, customers=rows // 2, files=8)
    else:
        write_customers(folder / "customers", rows=rows, features=6, files=4)


def write_job(kind: str, folder: Path, cluster: str, out: Path) -> Path:
    """Write a job file."""
    source = f"[input]\npath = '{folder / 'customers'}'\nid = 'customer_id'\n"
    if kind == "transactions":
        source = (
            f"[transactions]\npath = '{folder / 'lines'}'\ncustomer = 'customer_id'\n"
            "time = 'time'\norder = 'order_id'\nproduct = 'product'\nquantity = 'quantity'\n"
            "price = 'price'\n"
        )
    file = out.with_suffix(".toml")
    file.write_text(
        f"{source}[segment]\n{SEGMENTS[kind]}[runtime]\ncluster = '{cluster}'\nn_workers = 2\n"
        f"[output]\npath = '{out}'\n"
    )
    return file


def start(job: Path) -> subprocess.Popen[str]:
    """Start a job in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(job)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip


def finish(job: Path, out: Path) -> tuple[float, int]:
    """Run a job to its end; return its seconds, and the bytes of its journal at the end."""
    process, n_bytes = start(job), 0
    while process.poll() is None:
        n_bytes = max(n_bytes, journal_bytes(out))
        time.sleep(0.002)
    output, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}:\n{errors}")
    return float(output.splitlines()[-1]), n_bytes


def journal_bytes(out: Path) -> int:
    """Return the bytes of the journal of a run; 0 if it has none."""
    try:
        return (out.with_name(f".{out.name}._run") / "checkpoint" / "journal").stat().st_size
    except FileNotFoundError:
        return 0


def bits(out: Path) -> dict[str, bytes]:
    """Return all files that must not depend on kills."""
    paths = [path for name in FILES for path in sorted(out.glob(name))]
    files = {str(path.relative_to(out)): path.read_bytes() for path in paths}
    manifest = json.loads((out / "_manifest.json").read_text())
    return {**files, "segments": json.dumps(manifest["segments"]).encode()}


def kill_once(
    job: Path, out: Path, seconds: float, at_seconds: float, at_bytes: float, expected: Any
) -> Kill:
    """Kill a job after some seconds, or when its journal has some bytes; run it again, compare."""
    process = start(job)
    assert process.stdout is not None
    process.stdout.readline()
    started = time.perf_counter()
    while process.poll() is None and not (
        time.perf_counter() - started >= at_seconds or journal_bytes(out) >= at_bytes
    ):
        time.sleep(0.002)
    process.kill()
    process.communicate()
    first = time.perf_counter() - started
    second = 0.0 if out.exists() else finish(job, out)[0]
    is_equal = bits(out) == expected and not list(out.parent.glob(f".{out.name}.*"))
    shutil.rmtree(out)
    return Kill(min(first / seconds, 1.0), max(first + second - seconds, 0.0) / seconds, is_equal)


def try_kind(kind: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Kill a kind of job many times; return the figures."""
    draw, out = random.Random(options.seed), folder / kind
    job = write_job(kind, folder, options.cluster, out)
    for _ in range(2):  # the first one compiles kernels
        seconds, n_bytes = finish(job, out)
        expected = bits(out)
        shutil.rmtree(out)
    kills = []
    for _ in range(options.kills):
        share = draw.random()
        by_time = options.by == "time"
        at_seconds = share * seconds if by_time else math.inf
        at_bytes = math.inf if by_time else share * n_bytes
        kills.append(kill_once(job, out, seconds, at_seconds, at_bytes, expected))
        print(f"{kind}: {kills[-1]}", file=sys.stderr, flush=True)
    late = [kill.again for kill in kills if kill.at >= 0.5]
    return {
        "kind": kind,
        "kills": len(kills),
        "equal": sum(kill.is_equal for kill in kills),
        "seconds of the job": round(seconds, 2),
        "made again, second half, median": _median(late),
        "made again, second half, most": _most(late),
        "second half": len(late),
        "within the limit": sum(share < LIMIT for share in late),
    }


def _median(shares: list[float]) -> float | None:
    return round(statistics.median(shares), 3) if shares else None


def _most(shares: list[float]) -> float | None:
    return round(max(shares), 3) if shares else None


def main() -> None:
    """Kill jobs of several kinds; print a line of JSON for each, and save the whole series."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--by", choices=("time", "bytes"), default="time")
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--kinds", default=",".join(SEGMENTS))
    parser.add_argument("--rows", type=int)
    parser.add_argument("--cluster", default="local")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    entries = []
    for kind in options.kinds.split(","):
        with tempfile.TemporaryDirectory() as name:
            rows = options.rows or ROWS[kind]
            write_input(kind, Path(name), rows)
            entries.append({"rows": rows, **try_kind(kind, options, Path(name))})
            print(json.dumps(entries[-1]), flush=True)
    if options == parser.parse_args([]):
        save("kills", {"limit": LIMIT, "kinds": entries})


if __name__ == "__main__":
    main()
