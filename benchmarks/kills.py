"""Kill jobs at random moments, run them again, and compare: the bits, and the work made again.

A job runs in a process that is killed (SIGKILL) after a random part of its time, and then the same
command runs again until it succeeds. Parts, models and features must be those of a run that nobody
has disturbed. The work is counted by the rows that calls on shards report, and by seconds without
the start of the process.

    python benchmarks/kills.py                       40 kills of each kind
    python benchmarks/kills.py --kills 4 --kinds kmeans,dbscan --rows 100_000
"""

import argparse
import json
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

SEGMENTS = {
    "kmeans": "n_clusters = 40\nn_init = 3\nmax_iter = 60\ntol = 0.0\n",
    "dbscan": "algorithm = 'dbscan'\neps = 0.7\nmin_samples = 8\n",
    "hierarchical": "algorithm = 'hierarchical'\nn_clusters = 6\n",
    "transactions": "n_clusters = 12\nmax_iter = 60\ntol = 0.0\n",
}

FILES = ("part-*", "_model/*.safetensors", "_models/*/*.safetensors", "_features/*")

LIMIT = 0.6
"""Most work that may be made again after a kill in the second half of a job."""

CHILD = """
import json, sys, time
import gpuseg
from gpuseg.progress import Progress

class Counting(Progress):
    rows_done = 0
    def advance(self, amount):
        Counting.rows_done += amount
        super().advance(amount)

started = time.perf_counter()
gpuseg.run(sys.argv[1], progress=Counting())
seconds = time.perf_counter() - started
print(json.dumps({"rows": Counting.rows_done, "seconds": seconds}))
"""


@dataclass(frozen=True)
class Kill:
    """One kill: at which share of the job, and what was made again as a share of the whole job."""

    at: float
    seconds_again: float
    rows_again: float
    is_equal: bool


def write_inputs(folder: Path, rows: int) -> None:
    """Write a table of customers and transaction lines."""
    from gpuseg.synthetic.customers import write_customers
    from gpuseg.synthetic.transactions import write_transactions

    write_customers(folder / "customers", rows=rows, features=6, files=4)
    write_transactions(folder / "lines", lines=4 * rows, customers=rows // 2, files=8)


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


def finish(job: Path) -> tuple[dict[str, float], float]:
    """Run a job to its end; return its figures, and the seconds of its process."""
    started = time.perf_counter()
    output, errors = (process := start(job)).communicate()
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}:\n{errors}")
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    return figures, time.perf_counter() - started


def bits(out: Path) -> dict[str, bytes]:
    """Return all files that must not depend on kills."""
    paths = [path for name in FILES for path in sorted(out.glob(name))]
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


def kill_once(
    job: Path, out: Path, whole: dict[str, float], lead: float, share: float, expected: Any
) -> Kill:
    """Kill a job after a share of its time, run it again, and compare.

    `lead` is the time of a process before the job begins.
    """
    process = start(job)
    time.sleep(lead + share * whole["seconds"])
    process.kill()
    process.communicate()
    had_ended = out.exists()
    if had_ended:
        again = {"seconds": 0.0, "rows": 0.0}
    else:
        again, _ = finish(job)
    is_equal = bits(out) == expected and not list(out.parent.glob(f".{out.name}.*"))
    shutil.rmtree(out)
    # What an undisturbed run would have had to do yet does not count as made again.
    seconds = again["seconds"] / whole["seconds"] - (1 - share)
    rows = again["rows"] / whole["rows"] - (1 - share)
    return Kill(share, 0.0 if had_ended else seconds, 0.0 if had_ended else rows, is_equal)


def try_kind(kind: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Kill a kind of job many times; return the figures."""
    draw, out = random.Random(options.seed), folder / kind
    job = write_job(kind, folder, options.cluster, out)
    for _ in range(2):  # the first one compiles kernels
        whole, seconds = finish(job)
        expected = bits(out)
        shutil.rmtree(out)
    lead = seconds - whole["seconds"]
    kills = []
    for number in range(options.kills):
        share = draw.uniform(0.5, 1.0) if number % 2 else draw.uniform(0.0, 0.5)
        kills.append(kill_once(job, out, whole, lead, share, expected))
        print(f"{kind}: {kills[-1]}", file=sys.stderr, flush=True)
    late = [kill for kill in kills if kill.at >= 0.5]
    return {
        "kind": kind,
        "kills": len(kills),
        "equal": sum(kill.is_equal for kill in kills),
        "seconds of the job": round(whole["seconds"], 2),
        "again, second half, seconds, median": _median([kill.seconds_again for kill in late]),
        "again, second half, seconds, most": _most([kill.seconds_again for kill in late]),
        "again, second half, rows, median": _median([kill.rows_again for kill in late]),
        "again, second half, rows, most": _most([kill.rows_again for kill in late]),
        "within the limit": sum(kill.seconds_again < LIMIT for kill in late),
        "late kills": len(late),
    }


def _median(shares: list[float]) -> float | None:
    return round(statistics.median(shares), 3) if shares else None


def _most(shares: list[float]) -> float | None:
    return round(max(shares), 3) if shares else None


def main() -> None:
    """Kill jobs of several kinds, and print a line of JSON for each kind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--kinds", default=",".join(SEGMENTS))
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--cluster", default="local")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, options.rows)
        for kind in options.kinds.split(","):
            print(json.dumps(try_kind(kind, options, folder)), flush=True)


if __name__ == "__main__":
    main()
