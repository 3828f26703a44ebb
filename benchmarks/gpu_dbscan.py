"""DBSCAN on a GPU: against the CPU, cuML where it is installed, and the bound of all pairs.

    python benchmarks/gpu_dbscan.py            1,000,000 × 16
    python benchmarks/gpu_dbscan.py --quick    a twentieth of the rows, results apart

Labels must be those of the CPU. The bound is what reading and writing a byte of an adjacency
matrix for every pair would take at the copy bandwidth measured in the same run: what an engine
without pruning cannot beat. Results go to benchmarks/results/gpu-dbscan.json.
"""

import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import Any

import cupy
from dbscan import MIN_SAMPLES, blobs
from gpu import QUICK, ceilings
from measure import save

from gpuseg import DBSCAN
from gpuseg.backends.cuda import device

ROWS, FEATURES, EPS = 1_000_000, 16, 3.0
REPEATS = 3


def seconds(cluster: Callable[[], Any]) -> tuple[float, Any]:
    """Return the median time of a call after one that is not counted, and what it returned."""
    cluster()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        found = cluster()
        cupy.cuda.Device().synchronize()
        times.append(time.perf_counter() - started)
    return median(times), found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the rows")
    quick = parser.parse_args().quick
    if lacking := device.missing():
        raise SystemExit(f"benchmarks/gpu_dbscan.py: {lacking.what}; {lacking.step}")
    x = blobs(ROWS // QUICK if quick else ROWS, FEATURES)

    def labels(backend: str) -> Callable[[], Any]:
        return lambda: DBSCAN(EPS, min_samples=MIN_SAMPLES, backend=backend).fit(x).labels_

    took: dict[str, float] = {}
    took["gpuseg, cuda"], there = seconds(labels("cuda"))
    took["gpuseg, numba"], here = seconds(labels("numba"))
    if find_spec("cuml"):
        from cuml.cluster import DBSCAN as CumlDBSCAN

        rows = cupy.asarray(x)
        model = CumlDBSCAN(eps=EPS, min_samples=MIN_SAMPLES)
        took["cuml"], _ = seconds(lambda: model.fit_predict(rows))
    took["all pairs, a byte each"] = len(x) ** 2 / ceilings()["bytes_a_second"]
    content = {
        "gpu": device.devices(),
        "case": f"{len(x):,} × {FEATURES}, eps {EPS:g}",
        "seconds": took,
        "same_labels": bool((there == here).all()),
    }
    save("gpu-dbscan-quick" if quick else "gpu-dbscan", content)
    for name, value in took.items():
        print(f"{name}: {value:.3f} s, {value / took['gpuseg, cuda']:.2f} ×")
    print(f"the same labels on GPU and CPU: {content['same_labels']}")


if __name__ == "__main__":
    main()
