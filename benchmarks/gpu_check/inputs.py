"""Fit rows from all sources: arrays of each library, streams, memory of the host, threads.

For any X, a fit has the bits of the CPU, and results with one entry per row are where X is.
"""

import os
from collections.abc import Callable
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

import gpuseg
from gpu_check import facts, targets
from gpu_check.facts import Attempts
from gpu_check.targets import Target
from gpuseg.backends import registry
from gpuseg.backends.types import Centers

_ROWS, _FEATURES = 20_000, 16
_BUSY = 200
"""Number of kernels that keep a stream busy when the fit begins."""

_LARGE_BYTES = 90 * 2**20
"""Larger blocks are copied by another path."""


class CheckRows:
    """Rows, weights, and their fits on the CPU.

    Parameters
    ----------
    n : int
    """

    def __init__(self, n: int) -> None:
        random = np.random.default_rng(0)
        means = 4 * random.integers(0, 2, (n, _FEATURES))
        self.x = (random.normal(size=means.shape) + means).astype(np.float32)
        self.weight = random.lognormal(0, 1, n)
        self._cpu = {metric: _model(metric, "numba").fit(self.x, sample_weight=self.weight)
                     for metric in ("euclidean", "cosine")}  # fmt: skip

    def check(self, x: Any, metric: str = "euclidean", weight: Any = None) -> str:
        """Fit, predict and transform rows; return the library of the labels."""
        model, cpu = _model(metric, "auto"), self._cpu[metric]
        model.fit(x, sample_weight=self.weight if weight is None else weight)
        assert model.backend_ == "cuda", model.backend_reason_
        same(model.cluster_centers_, cpu.cluster_centers_, "centers")
        assert model.inertia_ == cpu.inertia_, "inertia"
        for name, result, expected in (
            ("labels", model.labels_, cpu.labels_),
            ("predict's labels", model.predict(x), cpu.predict(self.x)),
            ("distances", model.transform(x), cpu.transform(self.x)),
        ):
            same(result, expected, name)
        return type(model.labels_).__module__


def _model(metric: str, backend: str) -> gpuseg.KMeans:
    return gpuseg.KMeans(6, metric=metric, random_state=1, backend=backend, max_iter=10)


def same(result: Any, expected: np.ndarray[Any, Any], what: str) -> None:
    """Compare values, on the host or the device, with an array of NumPy."""
    values = registry.get("cuda").to_host(result)
    assert values.dtype == expected.dtype, f"{what}: {values.dtype}, not {expected.dtype}"
    assert values.tobytes() == expected.tobytes(), f"different {what}"


def main() -> None:
    """Check all sources whose packages are installed."""
    target, attempt = targets.open_target(targets.parser(__doc__).parse_args().emulator), Attempts()
    rows = CheckRows(target.rows(_ROWS, 900))
    attempt("NumPy", rows.check, rows.x)
    attempt("NumPy, in Fortran order", rows.check, np.asfortranarray(rows.x))
    attempt("rows that stay on the host", rows_on_host, rows)
    attempt("blocks of the host", blocks, target, rows)
    attempt("DBSCAN", dbscan, target, rows)
    cuda = registry.get("cuda")
    device_x, device_weight = cuda.to_device(rows.x), cuda.to_device(rows.weight)
    for metric in ("euclidean", "cosine"):
        attempt(f"on the device, {metric}", rows.check, device_x, metric)
    attempt("on the device, weights too", rows.check, device_x, "euclidean", device_weight)
    attempt("rows on the device are unchanged", same, device_x, rows.x, "rows")
    if not target.emulated:
        for name, check in {**CUPY, **OTHERS}.items():
            if (package := name.partition(",")[0]) and find_spec(package):
                attempt(name, check, target, rows)
            else:
                facts.record(name, skipped=f"{package} is not installed")
    attempt.finish()


@contextmanager
def _no_device_memory() -> Any:
    """Pretend that rows do not fit on the device."""
    backend: Any = registry.get("cuda")
    fits, backend.fits = backend.fits, lambda *_: False
    try:
        yield
    finally:
        backend.fits = fits


def rows_on_host(rows: CheckRows) -> None:
    """Fit rows that stay on the host: in blocks, by several threads with a stream each."""
    x = np.concatenate([rows.x] * 20)  # several blocks
    cpu = gpuseg.KMeans(6, random_state=1, backend="numba", max_iter=3).fit(x)
    with _no_device_memory():
        model = gpuseg.KMeans(6, random_state=1, n_threads=8, max_iter=3).fit(x)
    assert model.backend_ == "cuda", model.backend_reason_
    same(model.cluster_centers_, cpu.cluster_centers_, "centers")
    same(model.labels_, cpu.labels_, "labels")


def blocks(target: Target, rows: CheckRows) -> None:
    """Copy a large block and one in Fortran order both ways; label one in Fortran order."""
    cuda, spec = registry.get("cuda"), registry.get("numpy")
    large = np.tile(rows.x, (target.rows(_LARGE_BYTES // rows.x.nbytes + 1, 2), 1))
    same(cuda.to_host(cuda.to_device(large)), large, "large block")
    if target.emulated:
        return  # it refuses other orders than C, so that the engine never relies on them
    few = np.asfortranarray(rows.x[:1000])
    same(
        np.ascontiguousarray(cuda.to_host(cuda.to_device(few))), np.ascontiguousarray(few), "block"
    )
    centers = Centers(rows.x[:5].astype(np.float64), rows.x.mean(axis=0))
    labels = cuda.nearest(few, cuda.pack(centers))[0]
    same(labels, spec.nearest(few, spec.pack(centers))[0], "labels of rows in Fortran order")


def dbscan(target: Target, rows: CheckRows) -> None:
    """Run DBSCAN on rows of the host and of the device."""
    x = np.ascontiguousarray(rows.x[: target.rows(8000, 500), :3]) / 4
    for metric, eps in (("euclidean", 0.3), ("manhattan", 0.4), ("chebyshev", 0.2)):
        gpu, cpu = (gpuseg.DBSCAN(eps, metric=metric, backend=name).fit(x)
                    for name in ("cuda", "numba"))  # fmt: skip
        same(gpu.labels_, cpu.labels_, f"labels, {metric}")
        on_device = gpuseg.DBSCAN(eps, metric=metric).fit(registry.get("cuda").to_device(x))
        same(on_device.labels_, cpu.labels_, f"labels on the device, {metric}")


def _fortran(target: Target, rows: CheckRows) -> str:
    return rows.check(target.xp.asfortranarray(target.xp.asarray(rows.x)))


def _every_second_column(target: Target, rows: CheckRows) -> str:
    return rows.check(target.xp.repeat(target.xp.asarray(rows.x), 2, axis=1)[:, ::2])


def _wide(target: Target, rows: CheckRows) -> str:
    return rows.check(target.xp.asarray(rows.x).astype(np.float64))


def _unaligned(target: Target, rows: CheckRows) -> str:
    memory = target.xp.zeros(rows.x.size + 1, np.float32)
    memory[1:] = target.xp.asarray(rows.x).ravel()
    return rows.check(memory[1:].reshape(rows.x.shape))


def _on_a_stream(target: Target, rows: CheckRows) -> str:
    x = target.xp.asarray(rows.x)
    with target.xp.cuda.Stream(non_blocking=True):
        late = target.xp.zeros_like(x)
        for _ in range(_BUSY):
            late += x / _BUSY
        late[:] = x
        return rows.check(late)


def _torch(target: Target, rows: CheckRows) -> str:
    import torch

    return rows.check(torch.from_numpy(rows.x).cuda())


def _torch_on_a_stream(target: Target, rows: CheckRows) -> str:
    import torch

    x, side = torch.from_numpy(rows.x).cuda(), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        late = torch.zeros_like(x)
        for _ in range(_BUSY):
            late += x / _BUSY
        late.copy_(x)
        return rows.check(late)


def _torch_with_gradients(target: Target, rows: CheckRows) -> str:
    """Fit the tensor, or refuse it with an error of gpuseg."""
    import torch

    x = torch.from_numpy(rows.x).cuda().requires_grad_()
    try:
        return rows.check(x)
    except gpuseg.errors.DataError as error:
        return f"refused: {error}"


def _numba(target: Target, rows: CheckRows) -> str:
    from numba import cuda

    return rows.check(cuda.to_device(rows.x))


def _jax(target: Target, rows: CheckRows) -> str:
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # by default it takes most of the memory
    import jax

    return rows.check(jax.device_put(rows.x))


CUPY: dict[str, Callable[[Target, CheckRows], str]] = {
    "cupy, in Fortran order": _fortran,
    "cupy, every other column of a wider array": _every_second_column,
    "cupy, float64": _wide,
    "cupy, not aligned to 16 bytes": _unaligned,
    "cupy, on a stream of the caller's": _on_a_stream,
}
OTHERS: dict[str, Callable[[Target, CheckRows], str]] = {
    "torch": _torch,
    "torch, on a stream of the caller's": _torch_on_a_stream,
    "torch, with gradients": _torch_with_gradients,
    "numba": _numba,
    "jax": _jax,
}
"""Checks for arrays of the package before the comma, if it is installed."""


if __name__ == "__main__":
    main()
