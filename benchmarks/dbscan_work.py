"""What DBSCAN reckons with and what it does: forecasts, work and rows of shards, memory.

Each data set is clustered in one process with two threads, as one shard and as four, on which
threads work one after the other: their shares of the work and the rows are those of four workers.
Half of the rows of the skewed ones lie at a thousandth of the spread of the others.

    python benchmarks/dbscan_work.py            all data sets, then the memory of 2M × 8
    python benchmarks/dbscan_work.py --quick    a tenth of the rows; no result is written

Writes dbscan_work.json and .md to benchmarks/results.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from dbscan import MIN_SAMPLES, QUICK, THREADS, Floats, blobs
from measure import RESULTS, measure, save

from gpuseg.algorithms.dbscan.fit import fit_dbscan
from gpuseg.algorithms.dbscan.params import DBSCANParams
from gpuseg.algorithms.dbscan.result import DBSCANFit
from gpuseg.runtime.executor import LocalExecutor
from gpuseg.sharding.shard import Shard

SHARDS = 4
MEMORY_ROWS, MEMORY_FEATURES, MEMORY_EPS = 2_000_000, 8, 1.0


def uniform(rows: int, features: int) -> Floats:
    """Return rows without clusters."""
    return np.random.default_rng(0).random((rows, features), np.float32)


def skewed(rows: int, features: int) -> Floats:
    """Return blobs of which one has half of the rows at a thousandth of the spread."""
    x, rng = blobs(rows, features), np.random.default_rng(1)
    x[: rows // 2] = x[0] + rng.normal(size=(rows // 2, features)) / 1000
    return rng.permutation(x)


@dataclass(frozen=True)
class DataSet:
    """Rows to cluster; a job asks for distances to the nearest core row, `DBSCAN.fit` does not."""

    title: str
    make: Callable[[int, int], Floats]
    rows: int
    features: int
    eps: float
    distances: bool = True


DATA = (
    DataSet("blobs", blobs, 200_000, 2, 0.2, False),
    DataSet("blobs", blobs, 2_000_000, 2, 0.06, False),
    DataSet("uniform", uniform, 500_000, 2, 0.002, False),
    DataSet("blobs", blobs, 200_000, 2, 0.2),
    DataSet("blobs", blobs, 1_000_000, 4, 0.7),
    DataSet("uniform", uniform, 200_000, 5, 0.08),
    DataSet("blobs", blobs, 200_000, 8, 1.5),
    DataSet("blobs", blobs, 2_000_000, 8, 1.0),
    DataSet("blobs", blobs, 200_000, 16, 3.0),
    DataSet("blobs", blobs, 200_000, 32, 6.0),
    DataSet("skewed", skewed, 200_000, 6, 1.0),
    DataSet("skewed", skewed, 400_000, 8, 1.5),
)


def clustered(data: DataSet, x: Floats, shards: int) -> tuple[DBSCANFit, float]:
    """Cluster, and return what was found and the seconds."""
    bounds = np.linspace(0, len(x), shards + 1).astype(int).tolist()
    executor = LocalExecutor(THREADS)
    executor.load(
        lambda shard, env: shard,
        [Shard(x[i:j], first_row=i) for i, j in pairwise(bounds)],
    )
    started = time.perf_counter()
    params = DBSCANParams(eps=data.eps, min_samples=MIN_SAMPLES)
    fit = fit_dbscan(executor, params, "numba", distances=data.distances)
    return fit, time.perf_counter() - started


def figures(data: DataSet, rows: int) -> dict[str, Any]:
    """Return forecasts over what was measured, and how even the shards are."""
    x = data.make(rows, data.features)
    clustered(data, x[: rows // 10], 1)
    fit, seconds = clustered(data, x, 1)
    parts, _ = clustered(data, x, SHARDS)
    return {
        "title": f"{data.title}, {rows:,} × {data.features}, eps {data.eps:g}"
        + (", distances" if data.distances else ""),
        "noise": fit.n_noise / fit.n_rows,
        "pairs": sum(fit.distances_per_shard),
        "seconds": seconds,
        "forecast_over_pairs": fit.estimate.distances / sum(fit.distances_per_shard),
        "forecast_over_seconds": fit.estimate.seconds / seconds,
        "busiest_over_mean_work": max(parts.seconds_per_shard) / mean(parts.seconds_per_shard),
        "busiest_over_mean_pairs": max(parts.distances_per_shard) / mean(parts.distances_per_shard),
        "rows_per_shard": parts.rows_per_shard,
        "peak_rows_per_shard": parts.peak_rows_per_shard,
    }


def peak_megabytes(rows: int) -> float:
    """Return the resident memory of a process that reads and clusters so many rows, at most."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.npy"
        np.save(file, blobs(rows, MEMORY_FEATURES))
        return measure([sys.executable, __file__, "--fit", str(file)]).peak_bytes / 1e6


def fit_alone(file: str) -> None:
    """Cluster the rows of a file, with the distances that a job asks for."""
    clustered(DataSet("", blobs, 0, MEMORY_FEATURES, MEMORY_EPS), np.load(file), 1)


def markdown(entries: list[dict[str, Any]], peak: float) -> str:
    """Return the table."""
    lines = [
        "| data | noise | pairs | seconds | forecast ÷ pairs | forecast ÷ seconds | "
        "busiest ÷ mean work, of four | rows of four shards | with visitors, at most |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in entries:
        cells = [
            entry["title"], f"{entry['noise']:.0%}", f"{entry['pairs']:.2g}",
            f"{entry['seconds']:.2g}",
            f"{entry['forecast_over_pairs']:.2f}", f"{entry['forecast_over_seconds']:.2f}",
            f"{entry['busiest_over_mean_work']:.2f}",
            " ".join(f"{n:,}" for n in entry["rows_per_shard"]),
            " ".join(f"{n:,}" for n in entry["peak_rows_per_shard"]),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"2M × 8 in one process, with distances: at most {peak:,.0f} MB resident", ""]
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--fit", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.fit:
        fit_alone(asked.fit)
        return
    shrink = QUICK if asked.quick else 1
    entries = []
    for data in DATA:
        entries.append(figures(data, data.rows // shrink))
        print(json.dumps(entries[-1]), flush=True)
    peak = peak_megabytes(MEMORY_ROWS // shrink)
    if not asked.quick:
        save("dbscan_work", {"data": entries, "peak_mb": round(peak)})
        (RESULTS / "dbscan_work.md").write_text(markdown(entries, peak))
    print(markdown(entries, peak))


if __name__ == "__main__":
    main()
