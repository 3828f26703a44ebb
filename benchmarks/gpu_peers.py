"""Other engines on a GPU, each asked for the time of one k-means iteration.

An iteration is the difference between a fit of many iterations and one of few, by their number:
what is spent once (allocation, compilation, set-up) drops out.
"""

import time
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import Any

import cupy

FEW, MANY = 2, 12
REPEATS = 3

Fit = Callable[[int], Any]
"""Runs so many iterations from the given centres."""


def seconds_an_iteration(x: Any, init: Any) -> tuple[dict[str, float], dict[str, str]]:
    """Return the seconds of an iteration of each engine that is installed, and who failed.

    Parameters
    ----------
    x : float32 (n, d), CuPy
    init : float32 (k, d), NumPy
    """
    makers = {"flash_kmeans": _flash, "cuml": _cuml, "torch": _torch}
    seconds, failed = {}, {}
    for name, make in makers.items():
        if not find_spec(name):
            continue
        try:
            seconds[name] = _difference(make(x, init))
        except Exception as error:  # noqa: BLE001 – whatever one raises, the others are asked
            failed[name] = f"{type(error).__name__}: {error}"
    return seconds, failed


def _difference(fit: Fit) -> float:
    fit(FEW)
    times: dict[int, list[float]] = {FEW: [], MANY: []}
    for _ in range(REPEATS):
        for iterations, own in times.items():
            cupy.cuda.Device().synchronize()
            started = time.perf_counter()
            fit(iterations)
            cupy.cuda.Device().synchronize()
            own.append(time.perf_counter() - started)
    return (median(times[MANY]) - median(times[FEW])) / (MANY - FEW)


def _flash(x: Any, init: Any) -> Fit:
    import torch
    from flash_kmeans import batch_kmeans_Euclid

    rows, start = torch.from_dlpack(x)[None], torch.as_tensor(init, device="cuda")[None]
    return lambda iterations: batch_kmeans_Euclid(
        rows, init.shape[0], max_iters=iterations, tol=-1.0, init_centroids=start.clone()
    )


def _cuml(x: Any, init: Any) -> Fit:
    from cuml.cluster import KMeans

    start = cupy.asarray(init)
    return lambda iterations: KMeans(
        init.shape[0], init=start, n_init=1, max_iter=iterations, tol=1e-30
    ).fit(x)


def _torch(x: Any, init: Any) -> Fit:
    """Plain torch: distances of a chunk by a matrix product, argmin, index_add."""
    import torch

    rows, step = torch.from_dlpack(x), 2**22
    torch.backends.cuda.matmul.allow_tf32 = False

    def fit(iterations: int) -> Any:
        centers = torch.as_tensor(init, device="cuda")
        for _ in range(iterations):
            sums = torch.zeros_like(centers)
            counts = torch.zeros(len(centers), device="cuda")
            norms = (centers * centers).sum(1)
            for own in rows.split(step):
                label = torch.addmm(norms, own, centers.T, alpha=-2).argmin(1)
                sums.index_add_(0, label, own)
                counts += torch.bincount(label, minlength=len(centers))
            centers = sums / counts[:, None].clamp(min=1)
        return centers

    return fit
