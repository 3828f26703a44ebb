"""k-means on an array: gpuseg against scikit-learn, scikit-learn-intelex and FAISS.

Every engine gets the same float32 rows, initial centers and number of threads, in one process;
they run in turn, after a warm-up. Each engine's inertia is computed again, in float64, from its
centers and labels. FAISS's centers are one step on from its last assignment, so inertias may
differ by an iteration: that is reported, not evened out.

    python benchmarks/kmeans.py                 all cases, 5 repeats
    python benchmarks/kmeans.py --case 2 5      these alone; the other cases keep their results
    python benchmarks/kmeans.py --quick         a tenth of the rows, 3 repeats; results apart

Writes kmeans.json, .md and .svg (with matplotlib) to benchmarks/results, after every case.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any, Generic, TypeVar

import numpy as np
import peers
from kmeans_report import table, write_markdown, write_picture
from measure import RESULTS, origin, save, spread
from peers import EngineResult, FitTask, Floats
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

SWEEP = range(2, 13)
SWEEP_STARTS = 4
QUICK = 10

_SEED = 3
"""With 0, a case converges in 5 iterations; with this one, all cases of 20 run them all."""

_START_ROWS = 10_000
"""Initial centers are among these first rows, so that --quick starts from the same."""

_PAUSE_SECONDS = 0.2
"""Between runs: OpenMP's threads spin for a while after their last work."""

T = TypeVar("T")


@dataclass(frozen=True)
class KMeansCase:
    """A problem, and how many times faster than the best peer gpuseg should be.

    Attributes
    ----------
    number : int, what ``--case`` takes
    rows, features, clusters : int
        In a sweep, `clusters` is how many the data has.
    floor, aim : float, times the best peer's speed: below `floor` is a failure
    separated : bool, default True
        Blobs around `clusters` centers, or else one Gaussian.
    max_iter : int, default 20
    tol : float, default 0
    sweep : bool, default False
        Fit every number of clusters of `SWEEP`, from `SWEEP_STARTS` seedings each.
    """

    number: int
    rows: int
    features: int
    clusters: int
    floor: float
    aim: float
    separated: bool = True
    max_iter: int = 20
    tol: float = 0.0
    sweep: bool = False

    @property
    def title(self) -> str:
        """What a reader of the table needs to know."""
        size = f"{self.rows:,} × {self.features}"
        if self.sweep:
            return f"{size}, k = {SWEEP[0]}…{SWEEP[-1]}, {SWEEP_STARTS} starts each"
        data = "" if self.separated else ", structureless"
        length = "to convergence" if self.tol else f"{self.max_iter} iterations"
        return f"{size}, k = {self.clusters}{data}, {length}"


CASES = [
    KMeansCase(1, 1_000_000, 16, 8, floor=2.5, aim=4),
    KMeansCase(2, 1_000_000, 16, 64, floor=2, aim=4),
    KMeansCase(3, 4_000_000, 8, 16, floor=2.5, aim=4),
    KMeansCase(4, 1_000_000, 64, 32, floor=1.5, aim=2.5),
    KMeansCase(5, 1_000_000, 16, 64, floor=1.2, aim=2, separated=False),
    KMeansCase(6, 1_000_000, 16, 32, floor=2.5, aim=5, max_iter=300, tol=1e-4),
    KMeansCase(7, 500_000, 16, 12, floor=4, aim=8, sweep=True),
]


@dataclass(frozen=True)
class Runs(Generic[T]):
    """The seconds of an engine's runs, and what the last one found."""

    seconds: list[float]
    last: T


def rows_of(case: KMeansCase) -> Floats:
    """Return the rows: blobs of unit spread around centers of N(0, 2²), or one Gaussian.

    Fewer rows are the first of more, for every part has a random stream of its own.
    """
    noise, places, members = (np.random.default_rng([_SEED, stream]) for stream in range(3))
    x = noise.standard_normal((case.rows, case.features), dtype=np.float32)
    if case.separated:
        centers = places.normal(scale=2, size=(case.clusters, case.features)).astype(np.float32)
        x += centers[members.integers(case.clusters, size=case.rows)]
    return x


def task_of(case: KMeansCase, x: Floats, n_threads: int) -> FitTask:
    """Return the problem; the initial centers are distinct random rows, whatever their number."""
    rng = np.random.default_rng([_SEED, 3])
    init = x[rng.choice(_START_ROWS, case.clusters, replace=False)]
    return FitTask(x, init, case.max_iter, case.tol, n_threads)


def in_turn(engines: Mapping[str, Callable[[], T]], repeats: int) -> dict[str, Runs[T]]:
    """Run the engines in turn, `repeats` times each after one warm-up that is not counted."""
    runs: dict[str, Runs[T]] = {}
    for turn in range(repeats + 1):
        for name, engine in engines.items():
            time.sleep(_PAUSE_SECONDS)
            started = time.perf_counter()
            outcome = engine()
            seconds = time.perf_counter() - started
            print(f"  {turn or 'warm-up'}: {name} {seconds:.3f} s", flush=True)
            before = runs[name].seconds if turn else []
            runs[name] = Runs([*before, seconds] if turn else [], outcome)
    return runs


def fits(case: KMeansCase, repeats: int, n_threads: int) -> tuple[dict[str, Any], dict[str, float]]:
    """Time one fit from given centers.

    Returns
    -------
    table : dict of engine -> figures; `inertia_ratio` is to the least of all engines
    medians : dict of engine -> seconds, not rounded
    """
    task = task_of(case, rows_of(case), n_threads)
    engines = {
        name: partial(engine.fit, task)
        for name, engine in peers.ENGINES.items()
        if name not in peers.absent() and (engine.has_tol or not case.tol)
    }
    runs = in_turn(engines, repeats)
    inertia = {name: peers.inertia(task.x, engine_runs.last) for name, engine_runs in runs.items()}
    least = min(inertia.values())
    figures = {
        name: {
            **spread(engine_runs.seconds),
            "n_iter": int(engine_runs.last.n_iter),
            "inertia": inertia[name],
            "inertia_ratio": inertia[name] / least,
        }
        for name, engine_runs in runs.items()
    }
    return figures, {name: median(engine_runs.seconds) for name, engine_runs in runs.items()}


def sweeps(case: KMeansCase, repeats: int) -> tuple[dict[str, Any], dict[str, float]]:
    """Time the choice among numbers of clusters; engines seed by themselves.

    Returns
    -------
    table : dict of engine -> figures
        `inertia_ratios` are to scikit-learn's, for each number of clusters; `inertia_ratio` is
        the worst of them.
    medians : dict of engine -> seconds, not rounded
    """
    x = rows_of(case)
    engines = {name: partial(sweep, x, SWEEP, SWEEP_STARTS) for name, sweep in peers.SWEEPS.items()}
    runs = in_turn(engines, repeats)
    inertia = {name: _inertias(x, engine_runs.last) for name, engine_runs in runs.items()}
    figures = {}
    for name, engine_runs in runs.items():
        ratios = {k: inertia[name][k] / inertia[peers.LLOYD][k] for k in SWEEP}
        figures[name] = {
            **spread(engine_runs.seconds),
            "n_iter": sum(int(outcome.n_iter) for outcome in engine_runs.last.values()),
            "inertia_ratio": max(ratios.values()),
            "inertia_ratios": ratios,
        }
    return figures, {name: median(engine_runs.seconds) for name, engine_runs in runs.items()}


def measured(case: KMeansCase, repeats: int, n_threads: int) -> dict[str, Any]:
    """Run one case and return its entry in the result, with what it depends on."""
    print(f"{case.number}. {case.title}", flush=True)
    if case.sweep:
        engines, medians = sweeps(case, repeats)
    else:
        engines, medians = fits(case, repeats, n_threads)
    ours = medians.pop(peers.OURS)
    best = min(medians, key=lambda name: medians[name])
    return {
        "case": case.number,
        "title": case.title,
        **{name: getattr(case, name) for name in ("rows", "features", "clusters")},
        **{name: getattr(case, name) for name in ("separated", "max_iter", "tol", "sweep")},
        "repeats": repeats,
        "n_threads": n_threads,
        "best_peer": best,
        "ratio": round(medians[best] / ours, 3),
        "floor": case.floor,
        "aim": case.aim,
        "met": medians[best] / ours >= case.floor,
        "engines": engines,
        "absent": peers.absent(),
        # Cases may come from different days and commits: --case keeps the others.
        **origin(),
        "versions": peers.versions(),
    }


def run(cases: list[KMeansCase], repeats: int, name: str) -> None:
    """Measure the cases, writing all results after each."""
    n_threads = len(os.sched_getaffinity(0))
    peers.versions()  # loads the libraries, for the limit reaches only those that are there
    threadpool_limits(n_threads)
    earlier = RESULTS / f"{name}.json"
    entries = json.loads(earlier.read_text())["cases"] if earlier.exists() else []
    done = {entry["case"]: entry for entry in entries}
    for case in cases:
        done[case.number] = measured(case, repeats, n_threads)
        ordered = [done[known.number] for known in CASES if known.number in done]
        path = save(name, {"cases": ordered})
        write_markdown(ordered, path.with_suffix(".md"))
        write_picture(ordered, path.with_suffix(".svg"))
    print(f"\n{table(ordered)}\n\n{path}")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    numbers = [case.number for case in CASES]
    parser.add_argument("--case", type=int, nargs="+", choices=numbers, default=numbers)
    parser.add_argument("--repeats", type=int, help="default 5, or 3 with --quick")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    arguments = parser.parse_args()
    cases = [case for case in CASES if case.number in arguments.case]
    if arguments.quick:
        cases = [replace(case, rows=case.rows // QUICK) for case in cases]
    repeats = arguments.repeats or (3 if arguments.quick else 5)
    run(cases, repeats, "kmeans-quick" if arguments.quick else "kmeans")


def _inertias(x: Floats, outcomes: dict[int, EngineResult]) -> dict[int, float]:
    return {k: peers.inertia(x, outcome) for k, outcome in outcomes.items()}


if __name__ == "__main__":
    main()
