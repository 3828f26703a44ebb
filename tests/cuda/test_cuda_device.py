"""Rows reach a device, and launches, copies and streams are ordered there.

CuPy's launcher runs here on a stand-in for CuPy that defers all work (`emulator.deferred_cupy`).
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from emulator.build import unavailable
from emulator.deferred_cupy import Device, LateArray, StandIn, Stream, current_stream
from emulator.strict_arrays import StrictLauncher
from support.errors import raises
from support.helpers import ON_GPU, Array

import gpuseg
from gpuseg.backends import registry
from gpuseg.backends.backend import Backend
from gpuseg.backends.cuda import cupy_launcher, gpus, kernel_cache, pinned
from gpuseg.backends.cuda.backend import CudaBackend
from gpuseg.backends.cuda.cupy_launcher import CupyLauncher
from gpuseg.backends.cuda.launcher import Kernel
from gpuseg.errors import DataError, ResourceError
from gpuseg.estimators._inputs.gpu import is_on_gpu
from gpuseg.runtime.executor import BLOCK_ROWS, TaskContext
from gpuseg.sharding import row_passes as passes
from gpuseg.sharding.chunked_shard import ChunkedShard
from gpuseg.sharding.shard import Shard

pytestmark = [
    pytest.mark.skipif(unavailable() is not None, reason=str(unavailable())),
    pytest.mark.skipif(ON_GPU, reason="only on the emulator"),
]


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """CuPy's stand-in; gpuseg uses the first of its GPUs."""
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "cupy", stand_in.cupy)
    monkeypatch.setattr(kernel_cache, "cubin_path", lambda kernel, _: _as_path(kernel))
    monkeypatch.setattr(gpus, "unavailable", lambda: None)
    launcher = CupyLauncher()
    monkeypatch.setattr(gpus, "launcher", lambda: launcher)
    registry.get.cache_clear()
    registry.get_neighbors.cache_clear()
    yield stand_in
    registry.get.cache_clear()
    registry.get_neighbors.cache_clear()


def _as_path(kernel: Kernel) -> str:
    return json.dumps({"name": kernel.name, "threads": kernel.threads, "shape": {**kernel.shape}})


@pytest.fixture
def launcher(two_gpus: StandIn) -> CupyLauncher:
    """The launcher that the backend uses."""
    current = gpus.launcher()
    assert isinstance(current, CupyLauncher)
    return current


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all but the smallest arrays take many pieces."""
    monkeypatch.setattr(pinned, "PIECE_BYTES", 1000)
    monkeypatch.setattr(cupy_launcher, "_LARGE_BYTES", 500)


def rows(n: int = 600, d: int = 3) -> Array:
    rng = np.random.default_rng(n)
    return (rng.normal(size=(n, d)) + 4 * rng.integers(0, 2, (n, d))).astype(np.float32)


def fit(x: Any, backend: str = "auto", **options: Any) -> gpuseg.KMeans:
    weight = options.pop("sample_weight", None)
    settings = {"n_clusters": 4, "random_state": 1, "max_iter": 5, **options}
    return gpuseg.KMeans(backend=backend, **settings).fit(x, sample_weight=weight)


def run_in_threads(function: Callable[[int], Any], n_threads: int) -> list[Any]:
    """Call a function with 0, 1, …, each in a thread; fail if a call never returns."""
    results: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda i=i: results.update({i: function(i)}), daemon=True)
        for i in range(n_threads)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(results) == n_threads
    return [results[i] for i in range(n_threads)]


def on_host(values: Any) -> Array:
    return values.values if isinstance(values, LateArray) else values


def same(actual: gpuseg.KMeans, expected: gpuseg.KMeans) -> None:
    assert actual.backend_ == "cuda"
    assert actual.cluster_centers_.tobytes() == expected.cluster_centers_.tobytes()
    assert on_host(actual.labels_).tobytes() == on_host(expected.labels_).tobytes()
    assert actual.inertia_ == expected.inertia_


class Tensor:
    """An array of another library, which computes its values late, in another stream.

    Parameters
    ----------
    values : array
    protocols : str
        Supported protocols: "dlpack", "interface 2", "interface 3".
    """

    def __init__(
        self, values: Array, protocols: tuple[str, ...] = ("dlpack", "interface 2"), gpu: int = 0
    ) -> None:
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim
        self.requires_grad = False
        self.streams_seen: list[int] = []
        self._memory, self._gpu, self._protocols = np.zeros_like(values), gpu, protocols
        self.stream = Stream()
        self.stream.add(lambda: np.copyto(self._memory, values))

    def __len__(self) -> int:
        return len(self._memory)

    def __getattr__(self, name: str) -> Any:
        if name == "__dlpack_device__" and "dlpack" in self._protocols:
            return lambda: (2, self._gpu)
        if name == "__dlpack__" and "dlpack" in self._protocols:
            return self._dlpack
        if name == "__cuda_array_interface__" and self._protocols[-1].startswith("interface"):
            return self._interface()
        raise AttributeError(name)

    def _dlpack(self, stream: int, **_: Any) -> Array:
        if self.requires_grad:
            raise BufferError("Can't export tensors that require gradient")
        self.streams_seen.append(stream)
        self.stream.synchronize()
        return self._memory

    def _interface(self) -> dict[str, Any]:
        if self.requires_grad:
            raise RuntimeError("requires grad")
        version = int(self._protocols[-1][-1])
        return {
            "version": version, "shape": self.shape, "typestr": self.dtype.str,
            "strides": self._memory.strides, "data": (self._memory.ctypes.data, False),
            **({"stream": self.stream.ptr} if version > 2 else {}),
        }  # fmt: skip


# Rows in another order.


def test_threads_that_ask_at_the_same_time_share_a_launcher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together = threading.Barrier(4)

    class SlowLauncher:
        def __init__(self) -> None:
            with suppress(threading.BrokenBarrierError):
                together.wait(0.2)  # for others, which would be a second launcher

    def ask(_: int) -> object:
        together.wait()
        return gpus.launcher()

    monkeypatch.setattr(cupy_launcher, "CupyLauncher", SlowLauncher)
    gpus._launcher.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        launchers = set(pool.map(ask, range(4)))
    gpus._launcher.cache_clear()
    assert len(launchers) == 1


@pytest.mark.parametrize("large", [False, True])
def test_rows_reach_the_device_in_c_order(
    launcher: CupyLauncher, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    monkeypatch.setattr(cupy_launcher, "_LARGE_BYTES", 0 if large else 1 << 20)
    x = rows(50, 7)
    for array in (np.asfortranarray(x), x[:, ::2], x[::-3], x.T, x):
        on_device = launcher.to_device(array)
        assert on_device.memory.flags.c_contiguous
        assert on_device.values.tobytes() == array.tobytes()


def test_rows_on_the_device_are_adopted_in_c_order(launcher: CupyLauncher) -> None:
    x = rows(50, 7)
    for array in (np.asfortranarray(x), x[:, ::2], x[::-3], x.T):
        for on_device in (LateArray(array), Tensor(array), Tensor(array, ("interface 3",))):
            with launcher.stream():
                adopted = launcher.adopt(on_device)
            assert adopted.memory.flags.c_contiguous
            assert adopted.values.tobytes() == array.tobytes()
    on_device = LateArray(x)
    assert launcher.adopt(on_device) is on_device


def test_the_emulator_refuses_rows_in_another_order() -> None:
    for array in (np.asfortranarray(rows()), rows()[:, ::2], np.ones((5, 2))[:, 1]):
        with pytest.raises(AssertionError, match="not C-contiguous"):
            StrictLauncher().to_device(array)


def test_weights_that_are_a_column(cuda: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "unavailable", lambda: None)
    x, weight = rows(), np.random.default_rng(1).integers(0, 4, (600, 2)) * 1.0
    expected = fit(x, "numba", sample_weight=weight[:, 1].copy())
    same(fit(x, sample_weight=weight[:, 1]), expected)


# Rows of other libraries.


@pytest.mark.slow
@pytest.mark.parametrize("protocols", [
    ("dlpack", "interface 2"), ("dlpack",), ("interface 3",), ("interface 2",),
], ids=str)  # fmt: skip
def test_rows_that_another_library_is_still_computing(
    two_gpus: StandIn, protocols: tuple[str, ...]
) -> None:
    x = rows()
    tensor = Tensor(x, protocols)
    same(fit(tensor), fit(x, "numba"))
    if "dlpack" in protocols:
        assert tensor.streams_seen
        assert set(tensor.streams_seen) <= {stream.ptr for stream in two_gpus.streams}


def test_rows_computed_in_the_callers_stream(two_gpus: StandIn) -> None:
    x = rows()
    with Stream():
        on_device = two_gpus.cupy.asarray(x)
        actual = fit(on_device)
        assert on_device.memory.tobytes() == x.tobytes()
    same(actual, fit(x, "numba"))


@pytest.mark.parametrize("on_device", [True, False])
def test_tensors_that_require_a_gradient(two_gpus: StandIn, on_device: bool) -> None:
    tensor = Tensor(rows(), ("dlpack", "interface 2") if on_device else ("none",))
    tensor.requires_grad = True
    assert is_on_gpu(tensor) == on_device
    with raises("x.requires_gradient", DataError):
        fit(tensor)
    with raises("x.requires_gradient", DataError):
        gpuseg.DBSCAN().fit(tensor)
    with raises("sample_weight.requires_gradient", DataError):
        fit(rows(), sample_weight=tensor)


def test_arrays_that_are_not_exported(two_gpus: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise BufferError("not of a dense layout")

    monkeypatch.setattr(Tensor, "_dlpack", refuse)
    with raises("array.not_exportable", DataError) as caught:
        fit(Tensor(rows()))
    assert "not of a dense layout" in caught.value.problem


# More than one GPU.


@pytest.mark.parametrize("kind", ["CuPy", "dlpack", "interface 3"])
def test_rows_on_another_gpu_are_refused(two_gpus: StandIn, kind: str) -> None:
    values = two_gpus.assign_gpu(rows(), gpu=1)
    on_device: Any = LateArray(values, gpu=1) if kind == "CuPy" else Tensor(values, (kind,), gpu=1)
    if kind != "CuPy":
        two_gpus.assign_gpu(on_device._memory, gpu=1)
    with raises("array.on_other_gpu", ResourceError) as caught:
        fit(on_device)
    assert "GPU 1" in caught.value.problem and "GPU 0" in caught.value.problem


def test_free_memory_is_that_of_the_gpu_in_use(launcher: CupyLauncher, two_gpus: StandIn) -> None:
    assert launcher.free_bytes() == two_gpus.free[0]
    with Device(1):
        assert launcher.free_bytes() == two_gpus.free[0]
        assert Device().id == 1


# Launches.


def test_kernels_with_shared_memory_may_use_all_of_it(two_gpus: StandIn) -> None:
    fit(two_gpus.cupy.asarray(rows()))
    parts = {f.kernel.name: f.preferred_shared_memory_carveout for f in two_gpus.functions}
    assert parts["lloyd"] == parts["lloyd_full"] == parts["assign"] == 100
    assert parts["summarize"] == -1


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"metric": "cosine"}, {"n_init": 2}], ids=str)
def test_fits_on_late_streams(two_gpus: StandIn, options: dict[str, Any]) -> None:
    x, weight = rows(), np.random.default_rng(1).integers(0, 4, 600) * 1.0
    actual, expected = (fit(x, name, sample_weight=weight, **options) for name in ("auto", "numba"))
    same(actual, expected)
    assert actual.transform(x).tobytes() == expected.transform(x).tobytes()
    assert actual.score(x) == expected.score(x)


@pytest.mark.slow
def test_dbscan_on_late_streams(two_gpus: StandIn) -> None:
    x = rows(300, 2)
    actual, expected = (gpuseg.DBSCAN(0.3, backend=name).fit(x) for name in ("cuda", "numba"))
    assert actual.labels_.tobytes() == expected.labels_.tobytes()
    assert actual.predict(x).tobytes() == expected.predict(x).tobytes()


# Rows that stay in the memory of the host.


def test_page_locked_memory_is_read_before_it_is_reused(
    launcher: CupyLauncher, small_pieces: None, two_gpus: StandIn
) -> None:
    arrays = [np.random.default_rng(i).integers(0, 255, 5000 + i, np.uint8) for i in range(40)]

    def copy_rows(i: int) -> list[tuple[Any, Any]]:
        copies = []
        for array in arrays[i::4]:
            with launcher.stream():
                copies.append((launcher.to_device(array), launcher.to_device(array[::-1])))
                assert current_stream() in two_gpus.streams
        return copies

    for i, copies in enumerate(run_in_threads(copy_rows, 4)):
        for array, (first, second) in zip(arrays[i::4], copies, strict=True):
            assert first.memory.tobytes() == array.tobytes()
            assert second.memory.tobytes() == array[::-1].tobytes()
    assert 2 <= len(two_gpus.pinned) <= 2 * 4


def test_no_more_threads_than_pairs_copy_rows(
    launcher: CupyLauncher, small_pieces: None, two_gpus: StandIn
) -> None:
    x = np.arange(1000)
    busy, max_busy, lock = 0, 0, threading.Lock()
    full = threading.Event()

    def copy_rows(_: int) -> None:
        nonlocal busy, max_busy
        with launcher.stream():
            launcher.to_device(x)
            with lock:
                busy += 1
                max_busy = max(max_busy, busy)
                if busy == pinned.N_PAIRS:
                    full.set()
            assert full.wait(20)
            with lock:
                busy -= 1

    run_in_threads(copy_rows, 3 * pinned.N_PAIRS)
    assert max_busy == pinned.N_PAIRS
    assert len(two_gpus.pinned) == 2 * pinned.N_PAIRS


def test_a_stream_that_fails_returns_its_memory(
    launcher: CupyLauncher, small_pieces: None, two_gpus: StandIn
) -> None:
    x = np.arange(1000)
    for _ in range(3 * pinned.N_PAIRS):
        with pytest.raises(ZeroDivisionError), launcher.stream():
            launcher.to_device(x)
            raise ZeroDivisionError
    assert len(two_gpus.streams) == 1
    assert len(two_gpus.pinned) == 2
    assert launcher.to_device(x[::2]).memory.tobytes() == x[::2].tobytes()


@pytest.mark.parametrize("n_values", [1, 2, 16, 17, 64, 5000, 100_000])
def test_blocks_of_the_host_are_large(n_values: int) -> None:
    n_rows = CudaBackend(StrictLauncher()).block_rows(n_values)
    assert n_rows % 1024 == 0
    n_bytes = n_rows * (4 * n_values + 12)
    assert 2**24 < n_bytes <= 2**25 or n_rows == 1024
    assert registry.get("numba").block_rows(n_values) is None


def keep_on_host(monkeypatch: pytest.MonkeyPatch, block_rows: int) -> None:
    """Keep rows on the host, in blocks of that size."""
    backend = registry.get("cuda")
    monkeypatch.setattr(backend, "fits", lambda *_: False)
    monkeypatch.setattr(backend, "block_rows", lambda *_: block_rows)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"metric": "cosine"}, {"n_init": 2}], ids=str)
def test_rows_on_the_host_give_the_same_bits(
    two_gpus: StandIn, small_pieces: None, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    keep_on_host(monkeypatch, 128)
    x, weight = rows(), np.random.default_rng(1).integers(0, 4, 600) * 1.0
    actual = fit(x, sample_weight=weight, n_threads=3, **options)
    expected = fit(x, "numba", sample_weight=weight, **options)
    same(actual, expected)
    assert two_gpus.pinned
    assert actual.predict(x).tobytes() == expected.predict(x).tobytes()
    assert actual.transform(x).tobytes() == expected.transform(x).tobytes()
    assert actual.score(x) == expected.score(x)
    for model in (actual, expected):
        model.partial_fit(x[::-1].copy())
    same(actual, expected)


@pytest.mark.parametrize("make", [
    lambda x: Shard(x), lambda x: ChunkedShard([(x[:200], None), (x[200:], None)]),
], ids=["one matrix", "chunks"])  # fmt: skip
def test_shards_yield_blocks_of_the_size_for_the_device(
    cuda: Backend, monkeypatch: pytest.MonkeyPatch, make: Callable[[Array], Shard]
) -> None:
    keep_on_host(monkeypatch, 150)
    shard = make(rows())
    sizes = [len(x) for x in shard.map_blocks(TaskContext(), lambda block: block.x)]
    assert max(sizes) <= BLOCK_ROWS and len(sizes) <= 2
    passes.to_device(shard, TaskContext(), "cuda")
    blocks = list(shard.map_blocks(TaskContext(), lambda block: block))
    assert max(len(block.x) for block in blocks) == 150
    assert np.concatenate([block.x for block in blocks]).tobytes() == rows().tobytes()
    assert [block.rows.start for block in blocks[1:]] == [block.rows.stop for block in blocks[:-1]]


# Selection of the number of clusters.


@pytest.mark.slow
@pytest.mark.parametrize("has_memory", [True, False])
def test_select_k_without_free_memory(
    cuda: Backend, monkeypatch: pytest.MonkeyPatch, has_memory: bool
) -> None:
    monkeypatch.setattr(gpus, "unavailable", lambda: None)
    to_device = cuda.to_device

    def full(array: Array) -> Any:
        return array if array.dtype == np.int64 and not has_memory else to_device(array)

    monkeypatch.setattr(cuda, "to_device", full)
    x = rows(300)
    actual, expected = (
        gpuseg.select_k(x, [2, 3], random_state=1, backend=b) for b in ("cuda", "numba")
    )
    assert actual.table == expected.table
