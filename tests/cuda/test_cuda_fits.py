"""Complete fits on a device, with rows from all sources: with ``--gpu`` on the GPU.

Fits on the emulator are small; those on a GPU are large enough that blocks and streams overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest
from emulator.build import unavailable
from emulator.strict_arrays import DeviceArray
from support.helpers import ON_GPU, Array

import gpuseg
from gpuseg.backends import registry
from gpuseg.backends.backend import Backend
from gpuseg.backends.cuda import gpus
from gpuseg.backends.types import Centers, PackedRun
from gpuseg.errors import DataError
from gpuseg.numerics.reproducible_sums import finer_magic, grid_magic
from gpuseg.numerics.sum_grid import SumGrid

EMULATED = not ON_GPU
pytestmark = pytest.mark.skipif(EMULATED and unavailable() is not None, reason=str(unavailable()))
on_a_gpu = pytest.mark.skipif(EMULATED, reason="needs a GPU")

ROWS = 700 if EMULATED else 400_000

Put = Callable[[Backend, Array], Any]
"""Copies rows to the device, in some layout."""


def _wider(cuda: Backend, x: Array) -> Any:
    return cuda.to_device(np.repeat(x, 2, axis=1))[:, ::2]


def _unaligned(cuda: Backend, x: Array) -> Any:
    return cuda.to_device(np.append(np.float32(7), x))[1:].reshape(*x.shape)


LAYOUTS: dict[str, Put] = {
    "C order": lambda cuda, x: cuda.to_device(x),
    "Fortran order": lambda cuda, x: cuda.to_device(x.T.copy()).T,
    "columns of a wider matrix": _wider,
    "not aligned": _unaligned,
    "float64": lambda cuda, x: cuda.to_device(x.astype(np.float64)),
}


@pytest.fixture(autouse=True)
def _pretend_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "unavailable", lambda: None)


@pytest.fixture(params=["default stream", pytest.param("side stream", marks=on_a_gpu)])
def stream(request: pytest.FixtureRequest) -> AbstractContextManager[Any]:
    """The current stream of the calling thread."""
    if request.param == "default stream":
        return nullcontext()
    import cupy

    side: AbstractContextManager[Any] = cupy.cuda.Stream(non_blocking=True)
    return side


def rows(n: int = ROWS, d: int = 4) -> tuple[Array, Array]:
    """Return rows in blobs, float32, and weights, some of them 0."""
    rng = np.random.default_rng(d)
    x = (rng.normal(size=(n, d)) + 4 * rng.integers(0, 2, (n, d))).astype(np.float32)
    return x, np.floor(rng.lognormal(0, 1, n))


def models(**options: Any) -> tuple[gpuseg.KMeans, gpuseg.KMeans]:
    """Return the same model on the device and on the CPU."""
    settings = {"n_clusters": 6, "random_state": 1, "max_iter": 8, **options}
    on_gpu, on_cpu = (gpuseg.KMeans(backend=name, **settings) for name in ("cuda", "numba"))
    return on_gpu, on_cpu


def same_fit(cuda: Backend, on_gpu: gpuseg.KMeans, on_cpu: gpuseg.KMeans) -> None:
    assert on_gpu.backend_ == "cuda"
    assert on_gpu.cluster_centers_.tobytes() == on_cpu.cluster_centers_.tobytes()
    assert cuda.to_host(on_gpu.labels_).tobytes() == on_cpu.labels_.tobytes()
    assert (on_gpu.inertia_, on_gpu.n_iter_) == (on_cpu.inertia_, on_cpu.n_iter_)


def same_predictions(
    cuda: Backend, fits: tuple[gpuseg.KMeans, ...], on_device: Any, x: Array
) -> None:
    on_gpu, on_cpu = fits
    assert cuda.to_host(on_gpu.predict(on_device)).tobytes() == on_cpu.predict(x).tobytes()
    assert cuda.to_host(on_gpu.transform(on_device)).tobytes() == on_cpu.transform(x).tobytes()
    assert on_gpu.score(on_device) == on_cpu.score(x)


OPTIONS = pytest.mark.parametrize("options", [
    {}, {"metric": "cosine"}, {"n_init": 3}, {"init": "random", "n_clusters": 20},
], ids=str)  # fmt: skip


@pytest.mark.slow
@OPTIONS
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_of_the_host(cuda: Backend, options: dict[str, Any], weighted: bool) -> None:
    x, weight = rows()
    on_gpu, on_cpu = (
        model.fit(x, sample_weight=weight if weighted else None) for model in models(**options)
    )
    same_fit(cuda, on_gpu, on_cpu)
    assert isinstance(on_gpu.labels_, np.ndarray)
    same_predictions(cuda, (on_gpu, on_cpu), x, x)


@pytest.mark.slow
@OPTIONS
def test_rows_of_the_host_in_many_blocks(
    cuda: Backend, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """Several streams work at the same time, each with its copies and kernels."""
    monkeypatch.setattr(cuda, "fits", lambda *_: False)
    monkeypatch.setattr(cuda, "block_rows", lambda *_: ROWS // 12 + 1)
    x, weight = rows(d=4 if EMULATED else 16)  # on a GPU, blocks beyond _LARGE_BYTES
    on_gpu, on_cpu = models(**options)
    on_gpu.set_params(n_threads=4 if EMULATED else 16)
    for model in (on_gpu, on_cpu):
        model.fit(x, sample_weight=weight)
    same_fit(cuda, on_gpu, on_cpu)
    same_predictions(cuda, (on_gpu, on_cpu), x, x)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_rows_on_the_device(
    cuda: Backend, stream: AbstractContextManager[Any], layout: str, metric: str
) -> None:
    x, weight = rows()
    on_gpu, on_cpu = models(metric=metric)
    on_cpu.fit(x, sample_weight=weight)
    with stream:
        on_device = LAYOUTS[layout](cuda, x)
        on_gpu.fit(on_device, sample_weight=cuda.to_device(weight))
        assert type(on_gpu.labels_) is type(on_device)
        same_fit(cuda, on_gpu, on_cpu)
        same_predictions(cuda, (on_gpu, on_cpu), on_device, x)
        assert cuda.to_host(on_device).tobytes() == x.astype(on_device.dtype).tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 3, 16])
def test_rows_on_the_device_of_many_widths(cuda: Backend, d: int) -> None:
    x, _ = rows(ROWS // 2, d)
    on_gpu, on_cpu = models()
    same_fit(cuda, on_gpu.fit(_unaligned(cuda, x)), on_cpu.fit(x))


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev", "cosine"])
def test_dbscan(cuda: Backend, stream: AbstractContextManager[Any], metric: str) -> None:
    x = rows(ROWS if EMULATED else 20_000, 2)[0]
    eps = {"cosine": 1e-5}.get(metric, 0.3 if EMULATED else 0.05)
    on_gpu, on_cpu = (
        gpuseg.DBSCAN(eps, metric=metric, backend=name).fit(x) for name in ("cuda", "numba")
    )
    assert on_cpu.n_clusters_ > 1
    assert on_gpu.labels_.tobytes() == on_cpu.labels_.tobytes()
    assert on_gpu.predict(x).tobytes() == on_cpu.predict(x).tobytes()
    with stream:
        on_device = LAYOUTS["Fortran order"](cuda, x)
        labels = gpuseg.DBSCAN(eps, metric=metric, backend="cuda").fit(on_device).labels_
        assert type(labels) is type(on_device)
        assert cuda.to_host(labels).tobytes() == on_cpu.labels_.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_silhouettes(cuda: Backend, metric: str) -> None:
    x, weight = rows()
    labels = weight.astype(np.int64) % 5
    options: dict[str, Any] = {"metric": metric, "sample_size": 200, "random_state": 0}
    expected = gpuseg.silhouette_score(x, labels, backend="numpy", **options)
    for put in (x, cuda.to_device(x)):
        score = gpuseg.silhouette_score(put, labels, backend="cuda", **options)
        assert (score, score.error) == (expected, expected.error)


@pytest.mark.slow
def test_a_function_of_initial_centers_gets_the_rows_of_the_device(cuda: Backend) -> None:
    x, _ = rows()
    on_device, seen = cuda.to_device(x), []

    def init(X: Any, n_clusters: int, random_state: Any) -> Any:
        seen.append(X)
        return x[:n_clusters]

    on_gpu = gpuseg.KMeans(4, init=init, n_init=1, backend="cuda").fit(on_device)
    on_cpu = gpuseg.KMeans(4, init=x[:4], backend="numpy").fit(x)
    assert seen[0] is on_device
    assert on_gpu.cluster_centers_.tobytes() == on_cpu.cluster_centers_.tobytes()


@pytest.mark.slow
def test_concurrent_fits(cuda: Backend) -> None:
    """Several models at a time, of rows on the device and on the host."""
    x, _ = rows(ROWS // 3)
    on_device, (_, on_cpu) = cuda.to_device(x), models()
    on_cpu.fit(x)

    def fit(i: int) -> gpuseg.KMeans:
        return models(n_threads=1)[0].fit(on_device if i % 2 else x)

    with ThreadPoolExecutor(6) as pool:
        for on_gpu in pool.map(fit, range(6 if EMULATED else 24)):
            same_fit(cuda, on_gpu, on_cpu)


@on_a_gpu
def test_more_than_two_billion_values_on_the_device(cuda: Backend) -> None:
    """Repeated rows: each copy has the same labels, and adds the same sums."""
    import cupy

    n, d, k = 2**17, 16, 8
    times = 2**31 // (n * d) + 3
    x = rows(n, d)[0]
    on_device = cupy.tile(cuda.to_device(x), (times, 1))
    assert on_device.size > 2**31
    spec = registry.get("numba")
    centers = Centers(x[:k].astype(np.float64), x.mean(axis=0))
    labels, squares = cuda.nearest(on_device, cuda.pack(centers))
    expected = spec.nearest(x, spec.pack(centers))
    assert (labels.reshape(times, n) == cuda.to_device(expected[0])).all()
    assert (squares.reshape(times, n) == cuda.to_device(expected[1])).all()
    terms = n * times
    coarse = [grid_magic(terms, largest) for largest in (*[16.0] * d, 1.0)]
    magics = np.array([coarse, [finer_magic(terms, magic) for magic in coarse]])
    grid = SumGrid(magics[:, :-1].copy(), magics[:, -1].copy(), terms)
    once = spec.lloyd(x, None, [PackedRun(spec.pack(centers), spec.new_bounds(n, k))], grid)[0]
    all_times = cuda.lloyd(
        on_device, None, [PackedRun(cuda.pack(centers), cuda.new_bounds(n * times, k))], grid
    )[0]  # fmt: skip
    assert (all_times.sums == once.sums * times).all()
    assert (all_times.weight == once.weight * times).all()


@on_a_gpu
@pytest.mark.parametrize("busy", [False, True], ids=["", "a side stream"])
def test_torch(cuda: Backend, busy: bool) -> None:
    torch = pytest.importorskip("torch")
    x, _ = rows()
    on_gpu, on_cpu = models()
    on_cpu.fit(x)
    tensor = torch.from_numpy(x).cuda()
    with torch.cuda.stream(torch.cuda.Stream() if busy else torch.cuda.default_stream()):
        late = torch.zeros_like(tensor)
        for _ in range(300 if busy else 1):  # not finished when the fit begins
            late += tensor
        late.copy_(tensor)
        on_gpu.fit(late)
    same_fit(cuda, on_gpu, on_cpu)
    with pytest.raises(DataError, match=r"X.detach\(\)"):
        on_gpu.fit(tensor.requires_grad_())


@on_a_gpu
@pytest.mark.parametrize("library", ["numba.cuda", "jax"])
def test_other_libraries(cuda: Backend, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    module = pytest.importorskip(library)
    x, _ = rows()
    on_gpu, on_cpu = models()
    on_device = module.to_device(x) if library == "numba.cuda" else module.device_put(x)
    same_fit(cuda, on_gpu.fit(on_device), on_cpu.fit(x))


def test_device_arrays_are_not_arrays_of_the_host(cuda: Backend) -> None:
    on_device = cuda.to_device(rows()[0])
    assert isinstance(on_device, DeviceArray) == EMULATED
    assert not isinstance(on_device, np.ndarray)
