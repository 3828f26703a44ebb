"""Whole fits with many clusters: gpuseg against scikit-learn, both from their own seedings.

Both get the same float32 rows and as many threads, and run in turn in one process, after a fit of
each that is not counted. Inertia is computed again, in float64, from centers and labels.

    python benchmarks/large_k.py                            all shapes and k, then the inertia
    python benchmarks/large_k.py --shape 2 --clusters 500   these alone; others keep their results
    python benchmarks/large_k.py --only inertia             5 kinds of data × 5 seeds

The largest case takes scikit-learn minutes. Beside the seconds there are seconds of all processors
together, which depend less on what else the machine does; scikit-learn's include those in which its
threads wait for each other. Where others use the machine, ``taskset -c 1`` in front gives both one
thread, and the seconds of CPU count. Writes large_k.json and .md to benchmarks/results, after every
case.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import peers
from measure import RESULTS, origin, save
from peers import EngineResult, Floats
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

SHAPES = [(50_000, 50), (100_000, 2), (250_000, 2), (20_000, 600)]
CLUSTERS = [500, 1000, 2000, 5000, 10_000]
FLOOR, AIM = 2, 5

KINDS = ["blobs", "one Gaussian", "uniform", "log-normal", "curved surface"]
INERTIA_ROWS, INERTIA_CLUSTERS, INERTIA_FEATURES = 10_000, 500, [2, 10, 50]
SEEDS = range(5)

_BLOBS = 50

Fit = Callable[[Floats, int, int], EngineResult]
"""Takes rows, the number of clusters and the seed."""


def gpuseg_fit(x: Floats, n_clusters: int, seed: int) -> EngineResult:
    """Fit gpuseg."""
    import gpuseg

    model = gpuseg.KMeans(n_clusters, random_state=seed).fit(x)
    return EngineResult(model.cluster_centers_, model.labels_, model.n_iter_)


def scikit_learn_fit(x: Floats, n_clusters: int, seed: int) -> EngineResult:
    """Fit scikit-learn."""
    from sklearn.cluster import KMeans

    model = KMeans(n_clusters, n_init="auto", random_state=seed).fit(x)
    return EngineResult(model.cluster_centers_, model.labels_, model.n_iter_)


OURS, PEER = "gpuseg", "scikit-learn"
FITS: dict[str, Fit] = {PEER: scikit_learn_fit, OURS: gpuseg_fit}


def rows_of(n_rows: int, n_features: int, kind: str = KINDS[0]) -> Floats:
    """Return rows of a kind: float32 (n_rows, n_features)."""
    rng = np.random.default_rng(KINDS.index(kind))
    noise = rng.standard_normal((n_rows, n_features))
    if kind == "blobs":
        places = 3 * rng.standard_normal((_BLOBS, n_features))
        noise += places[rng.integers(_BLOBS, size=n_rows)]
    elif kind == "uniform":
        noise = rng.random((n_rows, n_features))
    elif kind == "log-normal":
        mixed = noise @ rng.standard_normal((n_features, n_features))
        noise = np.exp(mixed / np.sqrt(n_features))
    elif kind == "curved surface":
        directions = rng.standard_normal((3, n_features))
        noise = np.sin(2 * rng.standard_normal((n_rows, 3)) @ directions) + noise / 20
    return noise.astype(np.float32)


def measure_case(n_rows: int, n_features: int, n_clusters: int, repeats: int) -> dict[str, Any]:
    """Time fits of both in turn."""
    print(f"{n_rows:,} × {n_features}, k = {n_clusters:,}", flush=True)
    x = rows_of(n_rows, n_features)
    engines: dict[str, dict[str, list[float]]] = {
        name: {"seconds": [], "cpu_seconds": [], "n_iter": [], "inertia": []} for name in FITS
    }
    for seed in range(repeats):
        for name, fit in FITS.items():
            started, cpu_started = time.perf_counter(), time.process_time()
            result = fit(x, n_clusters, seed)
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu_started
            figures = [seconds, cpu, result.n_iter, peers.inertia(x, result)]
            for values, figure in zip(engines[name].values(), figures, strict=True):
                values.append(figure)
            print(f"  {name} {seconds:.2f} s, {cpu:.2f} s of CPU", flush=True)
    ours, peer = engines[OURS], engines[PEER]
    ratio, cpu_ratio = (median(peer[key]) / median(ours[key]) for key in ("seconds", "cpu_seconds"))
    return {
        "rows": n_rows, "features": n_features, "clusters": n_clusters, "engines": engines,
        "ratio": round(ratio, 2), "cpu_ratio": round(cpu_ratio, 2),
        "inertia_ratio": round(mean(ours["inertia"]) / mean(peer["inertia"]), 5),
        "n_threads": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0],
        "met": ratio >= FLOOR, **origin(),
    }  # fmt: skip


def measure_inertia(n_features: int) -> dict[str, Any]:
    """Compare the inertia of both, for each kind of data the mean over the seeds."""
    ratios = {}
    for kind in KINDS:
        x = rows_of(INERTIA_ROWS, n_features, kind)
        ours, peer = (
            mean(peers.inertia(x, FITS[name](x, INERTIA_CLUSTERS, seed)) for seed in SEEDS)
            for name in (OURS, PEER)
        )
        ratios[kind] = round(ours / peer, 5)
        print(f"{n_features} features, {kind}: {ratios[kind]}", flush=True)
    return {"features": n_features, "ratios": ratios, "mean": round(mean(ratios.values()), 5)}


def write_markdown(cases: Sequence[dict[str, Any]], inertia: Sequence[dict[str, Any]]) -> Path:
    """Write the tables."""
    lines = _table(
        ["case", "threads", "scikit-learn", "gpuseg", "ratio", "CPU: scikit-learn", "CPU: gpuseg",
         "ratio of CPU", "inertia ratio"],
        (
            [
                f"{case['rows']:,} × {case['features']}, k = {case['clusters']:,}",
                str(case["n_threads"]),
                *(f"{median(case['engines'][e]['seconds']):.3g} s" for e in (PEER, OURS)),
                f"{case['ratio']:.1f}",
                *(f"{median(case['engines'][e]['cpu_seconds']):.3g} s" for e in (PEER, OURS)),
                f"{case['cpu_ratio']:.1f}", f"{case['inertia_ratio']:.4f}",
            ]
            for case in cases
        ),
    )  # fmt: skip
    more = _table(
        ["features", *KINDS, "mean"],
        (
            [str(one["features"]), *(f"{one['ratios'][kind]:.4f}" for kind in KINDS),
             f"{one['mean']:.4f}"]
            for one in inertia
        ),
    )  # fmt: skip
    path = RESULTS / "large_k.md"
    path.write_text(
        "# k-means with many clusters: gpuseg against scikit-learn\n\n" + "\n".join(lines) + "\n\n"
        "Medians. Ratio: scikit-learn's time ÷ gpuseg's. Inertia ratio: gpuseg's inertia ÷ "
        "scikit-learn's.\n\n"
        f"Inertia ratios of {INERTIA_ROWS:,} rows, k = {INERTIA_CLUSTERS:,}, means over "
        f"{len(SEEDS)} seeds:\n\n" + "\n".join(more) + "\n\nMade by benchmarks/large_k.py.\n"
    )
    return path


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [_line(head), "|" + "---|" * len(head), *map(_line, rows)]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Parse the command line, and measure; results are written after each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    numbers = range(1, len(SHAPES) + 1)
    parser.add_argument("--shape", type=int, nargs="+", choices=numbers, default=[*numbers])
    parser.add_argument("--clusters", type=int, nargs="+", default=CLUSTERS)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", choices=["time", "inertia"])
    arguments = parser.parse_args()
    peers.versions()  # loads the libraries, for the limit reaches only those that are there
    threadpool_limits(len(os.sched_getaffinity(0)))
    for fit in FITS.values():
        fit(rows_of(4000, 4), 300, 0)
    path = RESULTS / "large_k.json"
    known = json.loads(path.read_text()) if path.exists() else {"cases": [], "inertia": []}
    cases = {(c["clusters"], c["rows"], c["features"]): c for c in known["cases"]}
    inertia = {one["features"]: one for one in known["inertia"]}

    def keep() -> None:
        results = [[d[key] for key in sorted(d)] for d in (cases, inertia)]  # type: ignore[attr-defined]
        save("large_k", {"cases": results[0], "inertia": results[1]})
        write_markdown(*results)

    if arguments.only != "inertia":
        for n_clusters in arguments.clusters:
            for n_rows, n_features in (SHAPES[number - 1] for number in arguments.shape):
                cases[n_clusters, n_rows, n_features] = measure_case(
                    n_rows, n_features, n_clusters, arguments.repeats
                )
                keep()
    if arguments.only != "time":
        for n_features in INERTIA_FEATURES:
            inertia[n_features] = measure_inertia(n_features)
            keep()


if __name__ == "__main__":
    main()
