"""Time one k-means iteration of other engines on a GPU, one engine per process.

    python -m gpu_check.peers torch_one_hot

The time of an iteration is the difference between a fit of many iterations and one of few, divided
by their number, so that allocation, compilation and set-up cancel out. All engines get the same
rows and centers; the blobs are so far apart that every engine must end at their means.
"""

import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np

from gpu_check import facts, problems, targets
from gpu_check.facts import Attempts
from gpu_check.problems import ProblemSize
from gpu_check.targets import Target

FEW, MANY = 2, 12
REPEATS = 3

_CHUNK = 2**22
"""Rows whose distances torch computes at a time."""

_TOLERANCE = 0.1
"""Maximum distance of an engine's centers from the means of the blobs."""

Fit = Callable[[int], Any]
"""Runs that many iterations from the start centers; returns the new centers."""


def main() -> None:
    """Time one engine in both cases."""
    parser = argparse.ArgumentParser(description="Time an iteration of another engine.")
    parser.add_argument("peer", choices=[*ENGINES])
    peer = parser.parse_args().peer
    package, make = ENGINES[peer]
    if not find_spec(package):
        facts.skip(f"{package} is not installed")
    target, attempt, took = targets.open_target(), Attempts(), []
    for case in problems.CASES:
        values = attempt(f"{peer}, {case.title}", measure, target, case, peer, make)
        took.append(f"{case.title}: {values['iteration_ms']} ms" if values else case.title)
    attempt.finish("; ".join(took))


def measure(
    target: Target, case: ProblemSize, peer: str, make: Callable[[Any, Any], Fit]
) -> dict[str, Any]:
    """Time an iteration of an engine, and check its centers."""
    problem = problems.make_problem(target.xp, case)
    fit = make(problem.x, problem.start.astype(np.float32))
    error = float(np.abs(_numbers(fit(FEW)) - problem.means).max())
    values = {"peer": peer, "case": case.title, "error": round(error, 4)}
    values["iteration_ms"] = round(1e3 * _difference(target, fit), 3)
    facts.record("peer", **values)
    assert error < _TOLERANCE, f"its centers are {error:.3g} away from the means"
    return values


def _numbers(centers: Any) -> np.ndarray[Any, Any]:
    for name in ("get", "cpu"):
        if hasattr(centers, name):
            return np.asarray(getattr(centers, name)())
    return np.asarray(centers)


def _difference(target: Target, fit: Fit) -> float:
    times: dict[int, list[float]] = {FEW: [], MANY: []}
    for _ in range(REPEATS):
        for iterations, seconds in times.items():
            target.clock.wait()
            began = time.perf_counter()
            fit(iterations)
            target.clock.wait()
            seconds.append(time.perf_counter() - began)
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
    """Return plain torch with sums by index_add_: atomics, slow for few centers."""
    import torch

    def sums(label: Any, part: Any, k: int) -> tuple[Any, Any]:
        total = torch.zeros((k, part.shape[1]), device="cuda")
        return total.index_add_(0, label, part), torch.bincount(label, minlength=k)

    return _torch(x, init, sums)


def torch_one_hot(x: Any, init: Any) -> Fit:
    """Return plain torch with sums by a matrix product."""
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
"""The package of each engine, and the function that makes its fit."""


if __name__ == "__main__":
    main()
