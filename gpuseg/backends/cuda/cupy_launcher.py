"""Launch kernels on CuPy's current device."""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.cuda import kernel_cache
from gpuseg.backends.cuda.launcher import Kernel, Limits, Struct, Table
from gpuseg.backends.cuda.pinned import PinnedPair, PinnedPairs
from gpuseg.errors import DataError, ResourceError

_NULL = np.uintp(0)

_STATIC_BYTES = 1024
"""Shared memory per block for the variables that kernels declare."""

_LARGE_BYTES = 2**20
"""Arrays from this size on are copied through small page-locked buffers, not through CuPy's."""

_ALL_SHARED = 100
"""Percentage of a multiprocessor's L1 cache that may be shared memory."""

_VERSION_WITH_STREAM = 3
"""The first version of the array interface that names the stream that computes the values."""


class CupyLauncher:
    """See `launcher.Launcher`."""

    def __init__(self) -> None:
        import cupy

        self.xp = cupy
        self._device = cupy.cuda.Device()
        properties = cupy.cuda.runtime.getDeviceProperties(self._device.id)
        capability = self._device.compute_capability
        self.limits = Limits(
            properties["name"].decode(),
            properties["multiProcessorCount"],
            properties["sharedMemPerBlockOptin"] - _STATIC_BYTES,
            properties["sharedMemPerMultiprocessor"],
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
        if getattr(self._local, "stream", None):  # nested: the outer one waits
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
        """Yield an idle stream, after the work of the current stream.

        Streams are kept, and the last one used is taken first: CuPy keeps freed memory for
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
        values = tuple(self._value(argument) for argument in arguments)
        function = self._function(kernel, shared_bytes)
        function((blocks,), (kernel.threads,), values, shared_mem=shared_bytes)

    def free_bytes(self) -> int:
        with self._device:
            free: int = self.xp.cuda.runtime.memGetInfo()[0]
            pooled: int = self.xp.get_default_memory_pool().free_bytes()
        return free + pooled

    def to_device(self, array: Any) -> Any:
        if not isinstance(array, np.ndarray) or array.nbytes < _LARGE_BYTES:
            return self.xp.asarray(array, order="C")
        with self.stream():
            stream = self._local.stream
            stream.pair = stream.pair or self._pairs.take()
            on_device = self.xp.empty(array.shape, array.dtype)
            stream.pair.copy(np.ascontiguousarray(array), on_device)
            return on_device

    def adopt(self, array: Any) -> Any:
        if not isinstance(array, self.xp.ndarray):
            array = self._shared(array)
        # CuPy would silently copy rows from another GPU to the current one.
        pointer = array.__cuda_array_interface__["data"][0]
        gpu = self.xp.cuda.runtime.pointerGetAttributes(pointer).device if pointer else -1
        if gpu >= 0 and gpu != self._device.id:
            raise ResourceError(
                "array.on_other_gpu",
                f"the array is on GPU {gpu}, and this process uses GPU {self._device.id}, the "
                "current one at the first use of a GPU",
                hint="copy the array there, or use one process per GPU, as `cluster` = 'cuda' does",
            )
        return self.xp.asarray(array, order="C")

    def _shared(self, array: Any) -> Any:
        """Return another library's array, once the current stream may read it."""
        if hasattr(array, "__dlpack__"):
            try:
                return self.xp.from_dlpack(array)  # makes our stream wait for the library's
            except BufferError as error:
                kind = f"{type(array).__module__}.{type(array).__name__}"
                raise DataError(
                    "array.not_exportable",
                    f"an array of type {kind} cannot be shared ({error})",
                    rule="must be dense and numeric",
                    hint="convert it, or copy it to the host",
                ) from None
        if array.__cuda_array_interface__.get("version", 0) < _VERSION_WITH_STREAM:
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

    def _value(self, argument: Any) -> Any:
        """Return an argument as CuPy takes it."""
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
        module = self.xp.RawModule(path=str(kernel_cache.cubin_path(kernel, self.arch)))
        function = module.get_function(kernel.name)
        function.max_dynamic_shared_size_bytes = self.limits.shared_bytes
        if shared_bytes:  # by default the driver may run fewer blocks at once than planned
            function.preferred_shared_memory_carveout = _ALL_SHARED
        return function


@dataclass
class _Stream:
    """A stream, and its buffers for rows from the host, once it has copied some."""

    handle: Any
    pair: PinnedPair | None = None
