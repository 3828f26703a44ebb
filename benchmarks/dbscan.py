"""DBSCAN on an array: gpuseg against scikit-learn, scikit-learn-intelex and PyPI's dbscan.

The data are twenty Gaussians of unequal spread and five per cent of uniform noise, float32;
min_samples is 10. Every engine runs in a process of its own on the same file with two threads,
in turn, after a warm-up on a tenth of the rows: gpuseg's kernels are compiled once. All
labels are compared, row by row, with those of scikit-learn on a float64 copy.

    python benchmarks/dbscan.py                 all cases
    python benchmarks/dbscan.py --case 2 5      these alone; the other cases keep their results
    python benchmarks/dbscan.py --quick         a tenth of the rows; results apart

A peer that takes over 20 s runs once, others and gpuseg three times; medians. Writes dbscan.json
and .md to benchmarks/results, after every case.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from measure import RESULTS, save

MIN_SAMPLES = 10
THREADS = 2
REPEATS = 3
SLOW_SECONDS = 20
QUICK = 10

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]
Clustering = Callable[[], npt.NDArray[Any]]
"""Clusters and returns the labels: what is timed."""


@dataclass(frozen=True)
class DBSCANCase:
    """A problem; floor and aim are times the best peer's speed, or seconds without a peer.

    Attributes
    ----------
    number : int, what ``--case`` takes
    rows, features : int
    eps : float
    floor, aim : float
    peers : tuple of str, the engines to compare with; "scikit-learn" checks the labels
    """

    number: int
    rows: int
    features: int
    eps: float
    floor: float
    aim: float
    peers: tuple[str, ...] = ("scikit-learn", "scikit-learn-intelex", "dbscan")

    @property
    def title(self) -> str:
        """What a reader of the table needs to know."""
        return f"{self.rows:,} × {self.features}, eps {self.eps:g}"


CASES = (
    DBSCANCase(1, 200_000, 2, 0.2, 5, 15),
    DBSCANCase(2, 200_000, 8, 1.5, 8, 20),
    DBSCANCase(3, 200_000, 16, 3.0, 5, 12),
    # The package `dbscan` takes up to 20 features.
    DBSCANCase(4, 200_000, 32, 6.0, 3, 8, ("scikit-learn", "scikit-learn-intelex")),
    DBSCANCase(5, 1_000_000, 8, 1.0, 90, 30, ("scikit-learn",)),
    DBSCANCase(6, 250_000, 4, 1.0, 0, 0, ("scikit-learn",)),
    DBSCANCase(7, 1_000_000, 4, 1.0 / math.sqrt(2), 0, 0, ("scikit-learn",)),
    DBSCANCase(8, 4_000_000, 4, 0.5, 0, 0, ()),
)
GROWTH = (6, 7, 8)
"""The same density: time should grow as N^1.15, at most as N^1.35."""


def blobs(rows: int, features: int) -> Floats:
    """Return the data of a case."""
    rng = np.random.default_rng(0)
    centers, spread = rng.uniform(-10, 10, (20, features)), rng.uniform(0.5, 1.5, 20)
    n_blobs = int(rows * 0.95)
    blob = rng.integers(0, 20, n_blobs)
    clustered = centers[blob] + rng.normal(size=(n_blobs, features)) * spread[blob, None]
    noise = rng.uniform(-12, 12, (rows - n_blobs, features))
    return rng.permutation(np.concatenate([clustered, noise])).astype(np.float32)


def gpuseg(x: Floats, eps: float) -> Clustering:
    """Return gpuseg's clustering."""
    from gpuseg import DBSCAN

    model = DBSCAN(eps, min_samples=MIN_SAMPLES, n_threads=THREADS, backend="numba")
    return lambda: model.fit(x).labels_


def scikit_learn(x: Floats, eps: float) -> Clustering:
    """Return scikit-learn's, on float64."""
    from sklearn.cluster import DBSCAN

    wide = x.astype(np.float64)
    return lambda: DBSCAN(eps=eps, min_samples=MIN_SAMPLES, n_jobs=THREADS).fit(wide).labels_


def intelex(x: Floats, eps: float) -> Clustering:
    """Return oneDAL's."""
    from sklearnex.cluster import DBSCAN

    model = DBSCAN(eps=eps, min_samples=MIN_SAMPLES, algorithm="brute", n_jobs=THREADS)
    return lambda: model.fit(x).labels_


def pypi(x: Floats, eps: float) -> Clustering:
    """Return that of the package dbscan (Wang, Gu and Shun), on float64."""
    here = str(Path(__file__).parent)  # where this file has the package's name
    sys.path = [path for path in sys.path if path != here]
    from dbscan import DBSCAN

    wide = x.astype(np.float64)
    return lambda: DBSCAN(wide, eps=eps, min_samples=MIN_SAMPLES)[0]


ENGINES = {
    "gpuseg": gpuseg,
    "scikit-learn": scikit_learn,
    "scikit-learn-intelex": intelex,
    "dbscan": pypi,
}


def run_engine(engine: str, file: str, eps: float, out: str) -> None:
    """Cluster the rows of a file; print the seconds, and save the labels."""
    x = np.load(file)
    ENGINES[engine](x[: len(x) // 10], eps)()
    cluster = ENGINES[engine](x, eps)
    started = time.perf_counter()
    labels = cluster()
    print(time.perf_counter() - started)
    np.save(out, np.asarray(labels, np.int32))


def timed(engine: str, file: Path, eps: float) -> tuple[float, Labels]:
    """Run an engine in a process of its own."""
    out = file.with_name(f"{engine}.npy")
    command = [sys.executable, __file__, "--engine", engine, str(file), repr(eps), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1]), np.load(out)


def measured(case: DBSCANCase) -> dict[str, Any]:
    """Run all engines on a case."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.npy"
        np.save(file, blobs(case.rows, case.features))
        seconds: dict[str, list[float]] = {name: [] for name in ("gpuseg", *case.peers)}
        labels_by_engine: dict[str, Labels] = {}
        for _ in range(REPEATS):
            for name, engine_seconds in seconds.items():
                if not engine_seconds or engine_seconds[0] < SLOW_SECONDS:
                    took, labels_by_engine[name] = timed(name, file, case.eps)
                    engine_seconds.append(took)
    labels = labels_by_engine["gpuseg"]
    entry: dict[str, Any] = {
        "title": case.title,
        "floor": case.floor,
        "aim": case.aim,
        "clusters": int(labels.max()) + 1,
        "noise": float((labels < 0).mean()),
        "seconds": seconds,
    }
    if "scikit-learn" in labels_by_engine:
        entry["rows_unlike_scikit_learn"] = {
            name: int((engine_labels != labels_by_engine["scikit-learn"]).sum())
            for name, engine_labels in labels_by_engine.items()
        }
    if len(case.peers) > 1:
        best = min(median(seconds[name]) for name in case.peers)
        entry["times_best_peer"] = best / median(seconds["gpuseg"])
    return entry


def markdown(entries: dict[str, Any]) -> str:
    """Return the table."""
    lines = [
        "| case | clusters, noise | gpuseg | scikit-learn | scikit-learn-intelex | dbscan | "
        "best peer ÷ gpuseg | rows unlike scikit-learn |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for entry in entries.values():
        cells = [entry["title"], f"{entry['clusters']}, {entry['noise']:.1%}"]
        for name in ("gpuseg", "scikit-learn", "scikit-learn-intelex", "dbscan"):
            seconds = entry["seconds"].get(name)
            cells.append(f"{median(seconds):.3g} s" if seconds else "–")
        ratio = entry.get("times_best_peer")
        cells.append(f"{ratio:.1f} (floor {entry['floor']}, aim {entry['aim']})" if ratio else "–")
        unlike = entry.get("rows_unlike_scikit_learn", {})
        cells.append(", ".join(f"{name} {n:,}" for name, n in unlike.items()
                               if name != "scikit-learn") or "–")  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    if growth := exponents(entries):
        lines += ["", f"Growth at the same density: {growth}"]
    return "\n".join(lines) + "\n"


def exponents(entries: dict[str, Any]) -> str:
    """Return by which power of the rows the time grows."""
    known = [(case.rows, entries[str(case.number)]["seconds"]["gpuseg"]) for case in CASES
             if case.number in GROWTH and str(case.number) in entries]  # fmt: skip
    parts = []
    for (n, before), (m, after) in pairwise(known):
        power = math.log(median(after) / median(before)) / math.log(m / n)
        parts.append(f"{n:,} → {m:,} rows: N^{power:.2f}")
    return ", ".join(parts)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--case", type=int, nargs="*", help="numbers of cases")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--engine", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.engine:
        engine, file, eps, out = asked.engine
        run_engine(engine, file, float(eps), out)
        return
    name = "dbscan-quick" if asked.quick else "dbscan"
    path = RESULTS / f"{name}.json"
    entries = json.loads(path.read_text())["cases"] if path.exists() else {}
    for case in CASES:
        if asked.case and case.number not in asked.case:
            continue
        rows = case.rows // QUICK if asked.quick else case.rows
        entries[str(case.number)] = measured(DBSCANCase(
            case.number, rows, case.features, case.eps, case.floor, case.aim, case.peers
        ))  # fmt: skip
        entries = dict(sorted(entries.items()))
        save(name, {"cases": entries})
        (RESULTS / f"{name}.md").write_text(markdown(entries))
        print(markdown({"": entries[str(case.number)]}).splitlines()[2], flush=True)
    print(markdown(entries))


if __name__ == "__main__":
    main()
