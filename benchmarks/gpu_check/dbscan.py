"""DBSCAN on a GPU against the CPU's, whose labels it must have, and cuML's.

    python -m gpu_check.dbscan           this engine on the GPU, and on the CPU with two threads
    python -m gpu_check.dbscan --cuml    cuML

The bound is what reading and writing a byte of an adjacency matrix for every pair would take at
the copy bandwidth measured in the same run: what an engine without pruning cannot beat.
"""

import time
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import Any

from dbscan import MIN_SAMPLES, THREADS, blobs

from gpu_check import ceilings, facts, place
from gpu_check.facts import Attempts
from gpu_check.inputs import same
from gpu_check.place import Place
from gpuseg import DBSCAN

_ROWS, _FEATURES, _EPS = 1_000_000, 16, 3.0
_FEW_ROWS = 2000
_REPEATS = 3


def main() -> None:
    """Cluster, and tell how long that took."""
    parser = place.parser(__doc__)
    parser.add_argument("--cuml", action="store_true", help="time cuML's")
    asked = parser.parse_args()
    if asked.cuml and not find_spec("cuml"):
        facts.skip("cuml is not installed: there is nothing to compare with")
    at, attempt = place.taken(asked.emulator), Attempts()
    told = attempt("DBSCAN", cuml if asked.cuml else against_the_cpu, at)
    if told is None:
        attempt.finish()
        return
    attempt.finish(at.figures(", ".join(f"{name}: {value}" for name, value in told.items())))


def against_the_cpu(at: Place) -> dict[str, Any]:
    """Cluster on the GPU and on the CPU; return the seconds."""
    x = blobs(at.rows(_ROWS, _FEW_ROWS), _FEATURES)
    gpu, there = _seconds(at, lambda: _labels(x, "cuda", None), _REPEATS)
    _labels(x[: len(x) // 10], "numba", THREADS)  # compiles
    cpu, here = _seconds(at, lambda: _labels(x, "numba", THREADS), 1)
    pairs = len(x) ** 2 / ceilings.measured(at).copy
    told = {
        "case": f"{len(x):,} × {_FEATURES}, eps {_EPS:g}",
        "gpu_s": round(gpu, 4),
        "cpu_s": round(cpu, 3),
        "cpu_threads": THREADS,
        "times_faster": round(cpu / gpu, 1),
        "all_pairs_s": round(pairs, 4),
    }
    facts.say("dbscan", **told)
    same(there, here, "labels")
    return told


def cuml(at: Place) -> dict[str, Any]:
    """Return the seconds of cuML's."""
    from cuml.cluster import DBSCAN as Peer

    rows = at.xp.asarray(blobs(_ROWS, _FEATURES))
    model = Peer(eps=_EPS, min_samples=MIN_SAMPLES)
    told = {"cuml_s": round(_seconds(at, lambda: model.fit_predict(rows), _REPEATS)[0], 4)}
    facts.say("dbscan", **told)
    return told


def _labels(x: Any, backend: str, threads: int | None) -> Any:
    model = DBSCAN(_EPS, min_samples=MIN_SAMPLES, backend=backend, n_threads=threads)
    return model.fit(x).labels_


def _seconds(at: Place, cluster: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Return the median time of a call, and what it returned; the first of several is left out."""
    times, labels = [], None
    for _ in range(repeats + (repeats > 1)):
        began = time.perf_counter()
        labels = cluster()
        at.clock.wait()
        times.append(time.perf_counter() - began)
    return median(times[repeats > 1 :]), labels


if __name__ == "__main__":
    main()
