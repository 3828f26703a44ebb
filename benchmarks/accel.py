"""scikit-learn scripts with and without `gpuseg.accel`: whole processes, imports included.

The kernels are compiled first: `gpuseg.accel` does nothing that would not pay for compiling them.
The two commands of a script run in turn, after one warm-up each. A script makes or loads its data,
and fits once. The processor time is that of all threads together; unlike the wall time it hardly
depends on what else the machine does.

    python benchmarks/accel.py                      all scripts, 5 repeats
    python benchmarks/accel.py --script iris …      these alone; the others keep their results
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from measure import RESULTS, save

_BLOBS = "from sklearn.datasets import make_blobs; X = make_blobs"

SCRIPTS = {
    "iris": "from sklearn.datasets import load_iris; X = load_iris().data; fit(3)",
    "digits": "from sklearn.datasets import load_digits; X = load_digits().data; fit(10)",
    "10k × 10": f"{_BLOBS}(10_000, 10, centers=8, random_state=0)[0]; fit(8)",
    "1M × 16, blobs": f"{_BLOBS}(1_000_000, 16, centers=8, random_state=0)[0]; fit(8)",
    "1M × 16, blobs, float32": f"{_BLOBS}(1_000_000, 16, centers=8, random_state=0)[0]"
    ".astype('float32'); fit(8)",
    "1M × 16, wide blobs": f"{_BLOBS}(1_000_000, 16, centers=8, cluster_std=6, random_state=0)[0];"
    " fit(8)",
    "1M × 16, no structure": "X = np.random.default_rng(0).normal(size=(1_000_000, 16)); fit(8)",
    "100k × 16, k = 100": f"{_BLOBS}(100_000, 16, centers=300, cluster_std=3, random_state=0)[0];"
    " fit(100)",
    "DBSCAN 10k × 10": f"{_BLOBS}(10_000, 10, centers=8, random_state=0)[0]; dbscan(3)",
    "DBSCAN 50k × 8": f"{_BLOBS}(50_000, 8, centers=20, random_state=0)[0]; dbscan(1.5)",
    "silhouette 2k × 10": f"{_BLOBS}(2_000, 10, centers=8, random_state=0)[0]; silhouette(8)",
    "silhouette 20k × 10": f"{_BLOBS}(20_000, 10, centers=8, random_state=0)[0]; silhouette(8)",
}

START = """
import numpy as np
from sklearn.cluster import DBSCAN, KMeans
from sklearn.metrics import silhouette_score

def fit(k):
    model = KMeans(k, random_state=0).fit(X)
    print(model.inertia_, model.n_iter_)

def dbscan(eps):
    print(DBSCAN(eps, min_samples=10).fit(X).labels_.max())

def silhouette(k):
    print(silhouette_score(X, KMeans(k, random_state=0).fit_predict(X)))

"""


@dataclass(frozen=True)
class ScriptRun:
    """One process."""

    seconds: float
    cpu_seconds: float
    output: str


def run(command: list[str]) -> ScriptRun:
    """Run a command to its end."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return ScriptRun(seconds, cpu, done.stdout.strip())


def compare(script: str, repeats: int) -> dict[str, Any]:
    """Return the medians of both commands, and their ratios."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "script.py"
        path.write_text(START + script)
        commands = {
            "scikit-learn": [sys.executable, str(path)],
            "accel": [sys.executable, "-m", "gpuseg.accel", str(path)],
        }
        runs: dict[str, list[ScriptRun]] = {name: [] for name in commands}
        for turn in range(repeats + 1):
            for name, command in commands.items():
                result = run(command)
                if turn:
                    runs[name].append(result)
    row: dict[str, Any] = {}
    for name, results in runs.items():
        row[name] = {
            "seconds": round(median(result.seconds for result in results), 3),
            "cpu_seconds": round(median(result.cpu_seconds for result in results), 3),
            "output": results[-1].output,
        }
    for kind in ("seconds", "cpu_seconds"):
        row[f"ratio_of_{kind}"] = round(row["accel"][kind] / row["scikit-learn"][kind], 3)
    return row


def main() -> None:
    """Run the scripts, and save what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--script", nargs="+", choices=SCRIPTS, default=list(SCRIPTS))
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    path = RESULTS / "accel.json"
    rows = json.loads(path.read_text())["scripts"] if path.exists() else {}
    run([sys.executable, "-m", "gpuseg.accel", "--compile"])
    for name in arguments.script:
        rows[name] = compare(SCRIPTS[name], arguments.repeats)
        print(name, json.dumps(rows[name], ensure_ascii=False), flush=True)
        save("accel", {"scripts": {name: rows[name] for name in SCRIPTS if name in rows}})


if __name__ == "__main__":
    main()
