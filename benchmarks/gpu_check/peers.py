"""Other engines on a GPU, one a process, asked for the time of one k-means iteration.

    python -m gpu_check.peers torch_one_hot

An iteration is the difference between a fit of many iterations and one of few, by their number:
what is spent once (allocation, compilation, set-up) drops out. All get the same rows and centres,
around places so far apart that every engine must end at them.
"""

import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np

from gpu_check import facts, place, problems
from gpu_check.facts import Attempts
from gpu_check.place import Place
from gpu_check.problems import Case

FEW, MANY = 2, 12
REPEATS = 3

_CHUNK = 2**22
"""Rows of which torch has all distances at once."""

_NEAR = 0.1
"""An engine whose centres are farther from the places has computed something else."""

Fit = Callable[[int], Any]
"""Runs so many iterations from the given centres; returns the new ones."""


def main() -> None:
    """Time one engine in both cases."""
    parser = argparse.ArgumentParser(description="Time an iteration of another engine.")
    parser.add_argument("peer", choices=[*ENGINES])
    peer = parser.parse_args().peer
    package, make = ENGINES[peer]
    if not find_spec(package):
        facts.skip(f"{package} is not installed: there is nothing to compare with")
    at, attempt, took = place.taken(), Attempts(), []
    for case in problems.CASES:
        told = attempt(f"{peer}, {case.title}", measure, at, case, peer, make)
        took.append(f"{case.title}: {told['iteration_ms']} ms" if told else case.title)
    attempt.finish("; ".join(took))


def measure(at: Place, case: Case, peer: str, make: Callable[[Any, Any], Fit]) -> dict[str, Any]:
    """Time an iteration of an engine, and look at where it ends."""
    problem = problems.made(at.xp, case)
    fit = make(problem.x, problem.start.astype(np.float32))
    off = float(np.abs(_numbers(fit(FEW)) - problem.places).max())
    told = {"peer": peer, "case": case.title, "off": round(off, 4)}
    told["iteration_ms"] = round(1e3 * _difference(at, fit), 3)
    facts.say("peer", **told)
    assert off < _NEAR, f"its centres are {off:.3g} away from where they must be"
    return told


def _numbers(centers: Any) -> np.ndarray[Any, Any]:
    for name in ("get", "cpu"):
        if hasattr(centers, name):
            return np.asarray(getattr(centers, name)())
    return np.asarray(centers)


def _difference(at: Place, fit: Fit) -> float:
    times: dict[int, list[float]] = {FEW: [], MANY: []}
    for _ in range(REPEATS):
        for iterations, taken in times.items():
            at.clock.wait()
            began = time.perf_counter()
            fit(iterations)
            at.clock.wait()
            taken.append(time.perf_counter() - began)
    return (median(times[MANY]) - median(times[FEW])) / (MANY - FEW)


def flash_kmeans(x: Any, init: Any) -> Fit:
    """Return the Triton kernels of the package flash-kmeans."""
    import torch
    from flash_kmeans import batch_kmeans_Euclid

    rows, start = torch.from_dlpack(x)[None], torch.as_tensor(init, device="cuda")[None]

    def fit(iterations: int) -> Any:
        result = batch_kmeans_Euclid(
            rows, len(init), max_iters=iterations, tol=-1.0, init_centroids=start.clone()
        )
        return result[1][0]

    return fit


def cuml(x: Any, init: Any) -> Fit:
    """Return RAPIDS' k-means."""
    import cupy
    from cuml.cluster import KMeans

    start = cupy.asarray(init)
    return lambda iterations: KMeans(
        len(init), init=start, n_init=1, max_iter=iterations, tol=1e-30
    ).fit(x).cluster_centers_  # fmt: skip


def torch_index_add(x: Any, init: Any) -> Fit:
    """Return plain torch whose sums are additions at an index: atomics, slow for few centres."""
    import torch

    def sums(label: Any, part: Any, k: int) -> tuple[Any, Any]:
        total = torch.zeros((k, part.shape[1]), device="cuda")
        return total.index_add_(0, label, part), torch.bincount(label, minlength=k)

    return _torch(x, init, sums)


def torch_one_hot(x: Any, init: Any) -> Fit:
    """Return plain torch whose sums are a matrix product."""
    import torch

    def sums(label: Any, part: Any, k: int) -> tuple[Any, Any]:
        hot = (label[:, None] == torch.arange(k, device="cuda")).to(torch.float32)
        return hot.T @ part, hot.sum(0)

    return _torch(x, init, sums)


def _torch(x: Any, init: Any, sums: Callable[[Any, Any, int], tuple[Any, Any]]) -> Fit:
    """Return plain torch: distances of a chunk by a matrix product in float32, argmin, sums."""
    import torch

    rows = torch.from_dlpack(x)
    torch.backends.cuda.matmul.allow_tf32 = False

    def fit(iterations: int) -> Any:
        centers = torch.as_tensor(init, device="cuda")
        for _ in range(iterations):
            total, counts = torch.zeros_like(centers), torch.zeros(len(centers), device="cuda")
            norms = (centers * centers).sum(1)
            for part in rows.split(_CHUNK):
                label = torch.addmm(norms, part, centers.T, alpha=-2).argmin(1)
                more, number = sums(label, part, len(centers))
                total += more
                counts += number
            centers = total / counts[:, None].clamp(min=1)
        return centers

    return fit


ENGINES: dict[str, tuple[str, Callable[[Any, Any], Fit]]] = {
    "flash_kmeans": ("flash_kmeans", flash_kmeans),
    "torch_one_hot": ("torch", torch_one_hot),
    "torch_index_add": ("torch", torch_index_add),
    "cuml": ("cuml", cuml),
}
"""The package that each needs, and what makes its fit."""


if __name__ == "__main__":
    main()
