"""Compare DBSCAN on a GPU with the CPU, which must give the same labels, and with cuML.

    python -m gpu_check.dbscan           this engine on the GPU, and on the CPU with two threads
    python -m gpu_check.dbscan --cuml    cuML

The bound is the time to read and write one byte of an adjacency matrix for every pair, at the copy
bandwidth measured in the same run. An engine without pruning cannot be faster.
"""

import time
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import Any

from dbscan import MIN_SAMPLES, THREADS, blobs

from gpu_check import ceilings, facts, targets
from gpu_check.facts import Attempts
from gpu_check.inputs import same
from gpu_check.targets import Target
from gpuseg import DBSCAN

_ROWS, _FEATURES, _EPS = 1_000_000, 16, 3.0
_FEW_ROWS = 2000
_REPEATS = 3


def main() -> None:
    """Cluster, and report the time."""
    parser = targets.parser(__doc__)
    parser.add_argument("--cuml", action="store_true", help="time cuML")
    arguments = parser.parse_args()
    if arguments.cuml and not find_spec("cuml"):
        facts.skip("cuml is not installed")
    target, attempt = targets.open_target(arguments.emulator), Attempts()
    values = attempt("DBSCAN", cuml if arguments.cuml else against_the_cpu, target)
    if values is None:
        attempt.finish()
        return
    attempt.finish(target.figures(", ".join(f"{name}: {value}" for name, value in values.items())))


def against_the_cpu(target: Target) -> dict[str, Any]:
    """Cluster on the GPU and on the CPU; return the seconds."""
    x = blobs(target.rows(_ROWS, _FEW_ROWS), _FEATURES)
    gpu, gpu_labels = _seconds(target, lambda: _labels(x, "cuda", None), _REPEATS)
    _labels(x[: len(x) // 10], "numba", THREADS)  # compiles
    cpu, cpu_labels = _seconds(target, lambda: _labels(x, "numba", THREADS), 1)
    pairs = len(x) ** 2 / ceilings.measured(target).copy
    values = {
        "case": f"{len(x):,} × {_FEATURES}, eps {_EPS:g}",
        "gpu_s": round(gpu, 4),
        "cpu_s": round(cpu, 3),
        "cpu_threads": THREADS,
        "times_faster": round(cpu / gpu, 1),
        "all_pairs_s": round(pairs, 4),
    }
    facts.record("dbscan", **values)
    same(gpu_labels, cpu_labels, "labels")
    return values


def cuml(target: Target) -> dict[str, Any]:
    """Return the seconds of cuML."""
    from cuml.cluster import DBSCAN as Peer

    rows = target.xp.asarray(blobs(_ROWS, _FEATURES))
    model = Peer(eps=_EPS, min_samples=MIN_SAMPLES)
    values = {"cuml_s": round(_seconds(target, lambda: model.fit_predict(rows), _REPEATS)[0], 4)}
    facts.record("dbscan", **values)
    return values


def _labels(x: Any, backend: str, threads: int | None) -> Any:
    model = DBSCAN(_EPS, min_samples=MIN_SAMPLES, backend=backend, n_threads=threads)
    return model.fit(x).labels_


def _seconds(target: Target, cluster: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Return the median time of a call, and its result; the first of several is a warm-up."""
    times, labels = [], None
    for _ in range(repeats + (repeats > 1)):
        began = time.perf_counter()
        labels = cluster()
        target.clock.wait()
        times.append(time.perf_counter() - began)
    return median(times[repeats > 1 :]), labels


if __name__ == "__main__":
    main()
