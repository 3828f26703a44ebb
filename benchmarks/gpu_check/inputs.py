"""Rows from wherever they may lie: each library's arrays, streams, memory of the host, threads.

Whatever X is, a fit has the CPU's bits, and what has one entry a row comes back where X lies.
"""

import os
from collections.abc import Callable
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

import gpuseg
from gpu_check import facts, place
from gpu_check.facts import Attempts
from gpu_check.place import Place
from gpuseg.backends import registry
from gpuseg.backends.types import Centers

_ROWS, _FEATURES = 20_000, 16
_BUSY = 200
"""So many kernels that a stream is still at work when the fit begins."""

_LARGE_BYTES = 90 * 2**20
"""Copied another way than less."""


class Rows:
    """Rows, weights, and what the CPU makes of them.

    Parameters
    ----------
    n : int
    """

    def __init__(self, n: int) -> None:
        random = np.random.default_rng(0)
        apart = 4 * random.integers(0, 2, (n, _FEATURES))
        self.x = (random.normal(size=apart.shape) + apart).astype(np.float32)
        self.weight = random.lognormal(0, 1, n)
        self._cpu = {metric: _model(metric, "numba").fit(self.x, sample_weight=self.weight)
                     for metric in ("euclidean", "cosine")}  # fmt: skip

    def check(self, x: Any, metric: str = "euclidean", weight: Any = None) -> str:
        """Fit, predict and transform rows that lie somewhere; return what the labels are in."""
        model, cpu = _model(metric, "auto"), self._cpu[metric]
        model.fit(x, sample_weight=self.weight if weight is None else weight)
        assert model.backend_ == "cuda", model.backend_why_
        same(model.cluster_centers_, cpu.cluster_centers_, "centres")
        assert model.inertia_ == cpu.inertia_, "another inertia"
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
    """Hold values, wherever they lie, against NumPy's."""
    values = registry.get("cuda").to_host(result)
    assert values.dtype == expected.dtype, f"{what}: {values.dtype}, not {expected.dtype}"
    assert values.tobytes() == expected.tobytes(), f"other {what}"


def main() -> None:
    """Try all that are there."""
    at, attempt = place.taken(place.parser(__doc__).parse_args().emulator), Attempts()
    rows = Rows(at.rows(_ROWS, 900))
    attempt("NumPy", rows.check, rows.x)
    attempt("NumPy, in Fortran order", rows.check, np.asfortranarray(rows.x))
    attempt("rows that stay on the host", staying, rows)
    attempt("blocks of the host", blocks, at, rows)
    attempt("DBSCAN", dbscan, at, rows)
    there = registry.get("cuda").to_device(rows.x)
    heavy = registry.get("cuda").to_device(rows.weight)
    for metric in ("euclidean", "cosine"):
        attempt(f"on the device, {metric}", rows.check, there, metric)
    attempt("on the device, weights too", rows.check, there, "euclidean", heavy)
    attempt(
        "what was there is unchanged", same, registry.get("cuda").to_host(there), rows.x, "rows"
    )
    if not at.emulated:
        for name, check in {**CUPY, **OTHERS}.items():
            if (package := name.partition(",")[0]) and find_spec(package):
                attempt(name, check, at, rows)
            else:
                facts.say(name, skipped=f"{package} is not installed")
    attempt.finish()


@contextmanager
def _no_room() -> Any:
    """Let the device have no room for rows."""
    backend: Any = registry.get("cuda")
    backend.has_room = lambda *_: False
    try:
        yield
    finally:
        del backend.has_room


def staying(rows: Rows) -> None:
    """Fit rows that stay on the host: in blocks, by threads, each with a stream."""
    x = np.concatenate([rows.x] * 20)  # several blocks
    cpu = gpuseg.KMeans(6, random_state=1, backend="numba", max_iter=3).fit(x)
    with _no_room():
        model = gpuseg.KMeans(6, random_state=1, n_threads=8, max_iter=3).fit(x)
    assert model.backend_ == "cuda", model.backend_why_
    same(model.cluster_centers_, cpu.cluster_centers_, "centres")
    same(model.labels_, cpu.labels_, "labels")


def blocks(at: Place, rows: Rows) -> None:
    """Move a large block there and back, and one in Fortran order; label one in Fortran order."""
    cuda, spec = registry.get("cuda"), registry.get("numpy")
    large = np.tile(rows.x, (at.rows(_LARGE_BYTES // rows.x.nbytes + 1, 2), 1))
    same(cuda.to_host(cuda.to_device(large)), large, "large block")
    if at.emulated:
        return  # it refuses what is not in C order, so that the engine never relies on this
    few = np.asfortranarray(rows.x[:1000])
    same(
        np.ascontiguousarray(cuda.to_host(cuda.to_device(few))), np.ascontiguousarray(few), "block"
    )
    centers = Centers(rows.x[:5].astype(np.float64), rows.x.mean(axis=0))
    labels = cuda.nearest(few, cuda.pack(centers))[0]
    same(labels, spec.nearest(few, spec.pack(centers))[0], "labels of rows in Fortran order")


def dbscan(at: Place, rows: Rows) -> None:
    """Cluster by density, from the host and from the device."""
    x = np.ascontiguousarray(rows.x[: at.rows(8000, 500), :3]) / 4
    for metric, eps in (("euclidean", 0.3), ("manhattan", 0.4)):
        gpu, cpu = (gpuseg.DBSCAN(eps, metric=metric, backend=name).fit(x)
                    for name in ("cuda", "numba"))  # fmt: skip
        same(gpu.labels_, cpu.labels_, f"labels, {metric}")
        there = gpuseg.DBSCAN(eps, metric=metric).fit(registry.get("cuda").to_device(x))
        same(there.labels_, cpu.labels_, f"labels on the device, {metric}")


def _fortran(at: Place, rows: Rows) -> str:
    return rows.check(at.xp.asfortranarray(at.xp.asarray(rows.x)))


def _every_other(at: Place, rows: Rows) -> str:
    return rows.check(at.xp.repeat(at.xp.asarray(rows.x), 2, axis=1)[:, ::2])


def _wide(at: Place, rows: Rows) -> str:
    return rows.check(at.xp.asarray(rows.x).astype(np.float64))


def _unaligned(at: Place, rows: Rows) -> str:
    memory = at.xp.zeros(rows.x.size + 1, np.float32)
    memory[1:] = at.xp.asarray(rows.x).ravel()
    return rows.check(memory[1:].reshape(rows.x.shape))


def _on_a_stream(at: Place, rows: Rows) -> str:
    there = at.xp.asarray(rows.x)
    with at.xp.cuda.Stream(non_blocking=True):
        late = at.xp.zeros_like(there)
        for _ in range(_BUSY):
            late += there / _BUSY
        late[:] = there
        return rows.check(late)


def _torch(at: Place, rows: Rows) -> str:
    import torch

    return rows.check(torch.from_numpy(rows.x).cuda())


def _torch_on_a_stream(at: Place, rows: Rows) -> str:
    import torch

    there, side = torch.from_numpy(rows.x).cuda(), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        late = torch.zeros_like(there)
        for _ in range(_BUSY):
            late += there / _BUSY
        late.copy_(there)
        return rows.check(late)


def _torch_with_gradients(at: Place, rows: Rows) -> str:
    """Take them, or refuse them in words of our own."""
    import torch

    there = torch.from_numpy(rows.x).cuda().requires_grad_()
    try:
        return rows.check(there)
    except gpuseg.errors.DataError as error:
        return f"refused: {error}"


def _numba(at: Place, rows: Rows) -> str:
    from numba import cuda

    return rows.check(cuda.to_device(rows.x))


def _jax(at: Place, rows: Rows) -> str:
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # else it takes most of the memory
    import jax

    return rows.check(jax.device_put(rows.x))


CUPY: dict[str, Callable[[Place, Rows], str]] = {
    "cupy, in Fortran order": _fortran,
    "cupy, every other column of a wider array": _every_other,
    "cupy, float64": _wide,
    "cupy, not aligned to 16 bytes": _unaligned,
    "cupy, on a stream of the caller's": _on_a_stream,
}
OTHERS: dict[str, Callable[[Place, Rows], str]] = {
    "torch": _torch,
    "torch, on a stream of the caller's": _torch_on_a_stream,
    "torch, with gradients": _torch_with_gradients,
    "numba": _numba,
    "jax": _jax,
}
"""What is tried where the package before the comma is installed."""


if __name__ == "__main__":
    main()
