"""CuPy's current device: the only place that imports CuPy."""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.cuda import kernel_cache as sources
from gpuseg.backends.cuda import nvrtc
from gpuseg.backends.cuda.launcher import Kernel, Launcher, Limits, Struct, Table
from gpuseg.backends.cuda.pinned import PinnedPair, PinnedPairs
from gpuseg.errors import DataError, ResourceError

_NULL = np.uintp(0)

_STATIC_BYTES = 1024
"""Shared memory left for what kernels declare themselves."""

_LARGE_BYTES = 2**20
"""From here on arrays go through page-locked memory of our own: CuPy's is as large as they are."""

_ALL_SHARED = 100
"""Per cent of a multiprocessor's L1 cache that may be shared memory."""

_STREAM_IS_TOLD = 3
"""The first version of the array interface that says in which stream values are made."""


@dataclass(frozen=True)
class Unavailable:
    """What keeps the CUDA backend from running here, and what would help."""

    what: str
    step: str


_INSTALL = "pip install 'gpuseg[cuda13]'"


def unavailable() -> Unavailable | None:
    """Look for CuPy, a device and NVRTC; return the first that is missing, None if none is."""
    try:
        import cupy
    except ImportError as error:
        return Unavailable(f"CuPy cannot be imported ({error})", _INSTALL)
    try:
        if cupy.cuda.runtime.getDeviceCount() == 0:
            return Unavailable("CUDA finds no device", "look at CUDA_VISIBLE_DEVICES")
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return Unavailable(f"CUDA finds no device ({error})", "a GPU and its driver are needed")
    try:
        nvrtc.library()
    except ResourceError as error:
        return Unavailable(str(error), f"{_INSTALL}, or set CUDA_PATH to a CUDA toolkit")
    return None


def devices() -> list[str]:
    """Return the devices that CUDA finds, each in words."""
    if unavailable():
        return []
    from cupy.cuda import runtime

    found = [runtime.getDeviceProperties(i) for i in range(runtime.getDeviceCount())]
    return [
        f"{own['name'].decode()}, {own['totalGlobalMem'] / 2**30:.0f} GiB, "
        f"compute capability {own['major']}.{own['minor']}"
        for own in found
    ]


@cache
def launcher() -> Launcher:
    """Return the launcher of this process: of the device that is current at the first call."""
    return CupyLauncher()


class CupyLauncher:
    """See `launcher.Launcher`."""

    def __init__(self) -> None:
        import cupy

        self.xp = cupy
        self._device = cupy.cuda.Device()
        about = cupy.cuda.runtime.getDeviceProperties(self._device.id)
        capability = self._device.compute_capability
        self.limits = Limits(
            about["name"].decode(),
            about["multiProcessorCount"],
            about["sharedMemPerBlockOptin"] - _STATIC_BYTES,
            about["sharedMemPerMultiprocessor"],
            int(capability),
        )
        self.arch = f"sm_{capability}"
        self._functions: dict[tuple[Any, ...], Any] = {}
        self._lock = threading.Lock()
        self._local = threading.local()
        self._idle: deque[_Stream] = deque()
        self._pairs = PinnedPairs(cupy)

    @contextmanager
    def stream(self) -> Iterator[None]:
        if getattr(self._local, "stream", None):  # stream in stream: the outer one waits
            yield
            return
        with self._device, self._next_stream() as stream, stream.handle:
            self._local.stream = stream
            try:
                yield
                stream.handle.synchronize()
            finally:
                self._local.stream = None

    @contextmanager
    def _next_stream(self) -> Iterator["_Stream"]:
        """Give an idle stream, after what was asked of the current stream.

        Lanes are kept, and the last one used is taken first: what CuPy has freed it keeps for
        the stream that it was allocated in.
        """
        self.xp.cuda.get_current_stream().synchronize()
        try:
            stream = self._idle.pop()
        except IndexError:
            stream = _Stream(self.xp.cuda.Stream(non_blocking=True))
        try:
            yield stream
        finally:
            if stream.pair is not None:
                self._pairs.give_back(stream.pair)
                stream.pair = None
            self._idle.append(stream)

    def launch(
        self, kernel: Kernel, blocks: int, arguments: Sequence[Any], shared_bytes: int = 0
    ) -> None:
        ready = tuple(self._ready(argument) for argument in arguments)
        function = self._function(kernel, shared_bytes)
        function((blocks,), (kernel.threads,), ready, shared_mem=shared_bytes)

    def free_bytes(self) -> int:
        with self._device:
            free: int = self.xp.cuda.runtime.memGetInfo()[0]
            kept: int = self.xp.get_default_memory_pool().free_bytes()
        return free + kept

    def to_device(self, array: Any) -> Any:
        if not isinstance(array, np.ndarray) or array.nbytes < _LARGE_BYTES:
            return self.xp.asarray(array, order="C")
        with self.stream():
            stream = self._local.stream
            stream.pair = stream.pair or self._pairs.take()
            there = self.xp.empty(array.shape, array.dtype)
            stream.pair.copy(np.ascontiguousarray(array), there)
            return there

    def adopt(self, array: Any) -> Any:
        if not isinstance(array, self.xp.ndarray):
            array = self._shared(array)
        # CuPy would copy rows from another GPU to the current one, unasked.
        pointer = array.__cuda_array_interface__["data"][0]
        place = self.xp.cuda.runtime.pointerGetAttributes(pointer).device if pointer else -1
        if place >= 0 and place != self._device.id:
            raise ResourceError(
                f"X lies on GPU {place}, and this process uses GPU {self._device.id}, "
                "the current one when gpuseg first needed it: copy X there, or give each GPU a "
                "process of its own, as cluster = 'cuda' does"
            )
        return self.xp.asarray(array, order="C")

    def _shared(self, array: Any) -> Any:
        """Return another library's array, once the current stream may read it."""
        if hasattr(array, "__dlpack__"):
            try:
                return self.xp.from_dlpack(array)  # the library has our stream wait for its own
            except BufferError as error:
                kind = f"{type(array).__module__}.{type(array).__name__}"
                raise DataError(
                    f"an array of type {kind} does not give its values away ({error}): must be "
                    "dense and of numbers; convert it, or copy it to the host"
                ) from None
        if array.__cuda_array_interface__.get("version", 0) < _STREAM_IS_TOLD:
            self._device.synchronize()
        return array

    def to_host(self, array: Any) -> Any:
        return self.xp.asnumpy(array)

    def address(self, array: Any) -> int:
        pointer: int = array.data.ptr
        return pointer

    def staging(self, n_bytes: int) -> NDArray[np.uint8]:
        return np.frombuffer(self.xp.cuda.alloc_pinned_memory(n_bytes), np.uint8, n_bytes)

    def upload(self, source: NDArray[Any], target: Any) -> None:
        target.set(source)

    def download(self, source: Any, target: NDArray[Any]) -> None:
        source.get(out=target, blocking=True)

    def _ready(self, argument: Any) -> Any:
        if argument is None:
            return _NULL
        if isinstance(argument, Struct):
            return argument.to_array(self.address)  # CuPy passes an array of NumPy's by value
        return argument.pointers if isinstance(argument, Table) else argument

    def _function(self, kernel: Kernel, shared_bytes: int) -> Any:
        key = (kernel.name, *sorted(kernel.macros.items()))
        with self._lock:
            if key not in self._functions:
                self._functions[key] = self._load(kernel, shared_bytes)
            return self._functions[key]

    def _load(self, kernel: Kernel, shared_bytes: int) -> Any:
        module = self.xp.RawModule(path=str(sources.cubin_path(kernel, self.arch)))
        function = module.get_function(kernel.name)
        function.max_dynamic_shared_size_bytes = self.limits.shared_bytes
        if shared_bytes:  # left alone, the driver may make room for fewer blocks than planned
            function.preferred_shared_memory_carveout = _ALL_SHARED
        return function


@dataclass
class _Stream:
    """A stream, and what it brings rows through once it has to bring some."""

    handle: Any
    pair: PinnedPair | None = None
