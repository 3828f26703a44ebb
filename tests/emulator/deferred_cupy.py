"""A stand-in for the parts of CuPy that `cuda.cupy_launcher` uses; the emulator runs the kernels.

Copies to the device and launches are deferred until a thread waits for their stream, or reads
through it. So values that are read too early, or overwritten before they are read, give wrong
results, as on a GPU. There are two GPUs, and a thread starts on the first one.
"""

from __future__ import annotations

import ctypes
import json
import threading
from collections import deque
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any, ClassVar, Generic, TypeVar
from weakref import ref

import numpy as np

from emulator.arguments import AnyParameter, StructParameter
from emulator.launcher import SMALL, EmulatorLauncher
from emulator.strict_arrays import DeviceArray
from gpuseg.backends.cuda.launcher import Kernel, Struct, Table

Array = np.ndarray[Any, Any]

T = TypeVar("T")

_thread = threading.local()


class Living(Generic[T]):
    """The objects of a class that still exist; other threads may add some during a listing.

    A `WeakSet` and a `WeakValueDictionary` raise there: they iterate in Python code. One call of
    a built-in dictionary is never interrupted.
    """

    def __init__(self) -> None:
        self._references: dict[int, ref[T]] = {}

    def add(self, item: T) -> None:
        """Remember an object, for as long as somebody else keeps it."""
        key = next(_keys)
        self._references[key] = ref(item, lambda _: self._references.pop(key, None))

    def existing(self) -> list[T]:
        """Return the objects that exist now."""
        items = [reference() for reference in list(self._references.values())]
        return [item for item in items if item is not None]


_keys = count()


class Stream:
    """A queue of deferred work.

    Parameters
    ----------
    non_blocking : bool
        As in CuPy; streams here never wait for each other.
    """

    living: ClassVar[Living[Stream]] = Living()
    _numbers = count(1000)

    def __init__(self, non_blocking: bool = False) -> None:
        self.ptr = next(self._numbers)
        self._work: deque[Callable[[], object]] = deque()
        self._lock = threading.RLock()
        self.living.add(self)

    def add(self, work: Callable[[], object]) -> None:
        """Defer work."""
        self._work.append(work)

    def synchronize(self, until: Callable[[], bool] = lambda: False) -> None:
        """Do the deferred work, all of it or until a condition holds."""
        with self._lock:
            while self._work and not until():
                self._work.popleft()()

    def __enter__(self) -> Stream:
        _streams().append(self)
        return self

    def __exit__(self, *_: object) -> None:
        assert _streams().pop() is self


NULL = Stream()


def _streams() -> list[Stream]:
    streams: list[Stream] = _thread.__dict__.setdefault("streams", [NULL])
    return streams


def current_stream() -> Stream:
    """Return the current stream of this thread."""
    return _streams()[-1]


class Event:
    """A position in the queue of a stream."""

    def __init__(self, disable_timing: bool = False) -> None:
        self._stream, self._reached = NULL, [True]

    def record(self) -> None:
        """Mark the end of the current stream's queue."""
        self._stream, reached = current_stream(), [False]
        self._reached = reached
        self._stream.add(lambda: reached.__setitem__(0, True))

    def synchronize(self) -> None:
        """Wait until the stream has reached the mark."""
        reached = self._reached
        self._stream.synchronize(until=lambda: reached[0])


class Device:
    """A GPU; as a context manager, the current GPU of this thread."""

    compute_capability = "90"

    def __init__(self, number: int | None = None) -> None:
        self.id: int = _devices()[-1] if number is None else number

    def __enter__(self) -> Device:
        _devices().append(self.id)
        return self

    def __exit__(self, *_: object) -> None:
        assert _devices().pop() == self.id


def _devices() -> list[int]:
    devices: list[int] = _thread.__dict__.setdefault("devices", [0])
    return devices


class Pinned(np.ndarray[Any, Any]):
    """Page-locked memory, full of garbage."""

    living: ClassVar[Living[Pinned]] = Living()

    @classmethod
    def allocate(cls, n_bytes: int) -> Pinned:
        """Return new memory of that size."""
        memory = np.full(n_bytes, 0xFF, np.uint8).view(cls)
        cls.living.add(memory)
        return memory

    @property
    def ptr(self) -> int:
        return int(self.ctypes.data)


class Pointer:
    """An address in the memory of a device."""

    def __init__(self, memory: Array, offset: int = 0) -> None:
        self._memory, self._offset = memory, offset
        self.ptr = memory.ctypes.data + offset

    def __add__(self, offset: int) -> Pointer:
        return Pointer(self._memory, self._offset + offset)

    def copy_from_host_async(self, source: int, n_bytes: int) -> None:
        """Copy page-locked memory when the stream gets there, and other memory immediately."""
        assert self._offset + n_bytes <= self._memory.nbytes
        pinned = Pinned.living.existing()
        is_pinned = any(memory.ptr <= source < memory.ptr + memory.nbytes for memory in pinned)
        content = source if is_pinned else ctypes.string_at(source, n_bytes)
        current_stream().add(lambda: ctypes.memmove(self.ptr, content, n_bytes))


class LateArray(DeviceArray):
    """An array of the stand-in; reading it waits for the current stream, and for no other."""

    def __init__(self, values: Array, gpu: int | None = None) -> None:
        super().__init__(values)
        self.gpu = Device().id if gpu is None else gpu
        self.data = Pointer(values)

    @property
    def values(self) -> Array:
        current_stream().synchronize()
        return self.memory

    @values.setter
    def values(self, values: Array) -> None:
        self.memory = values

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice | tuple):
            return LateArray(self.memory[index], self.gpu)
        return super().__getitem__(index)

    def set(self, array: Array) -> None:
        assert (self.shape, self.dtype) == (array.shape, array.dtype)
        self.data.copy_from_host_async(array.ctypes.data, self.nbytes)

    def get(self, out: Array, blocking: bool) -> None:
        assert blocking
        assert (self.shape, self.dtype) == (out.shape, out.dtype)
        out[...] = self.values

    def view(self, dtype: Any) -> LateArray:
        return LateArray(self.memory.view(dtype), self.gpu)

    def reshape(self, *shape: Any) -> LateArray:
        return LateArray(self.memory.reshape(*shape), self.gpu)


class StandIn:
    """CuPy on two GPUs.

    Attributes
    ----------
    cupy : module
    free : list of int
        Free bytes of each GPU, for tests to set.
    functions : list
        Loaded functions.
    streams : list of Stream
        Created streams.
    pinned : list of Pinned
        Allocated page-locked memory.
    """

    def __init__(self) -> None:
        self.free = [1 << 30, 1 << 29]
        self.functions: list[_Function] = []
        self.streams: list[Stream] = []
        self.pinned: list[Pinned] = []
        self._emulator = EmulatorLauncher()
        self._gpu_of_address: dict[int, int] = {}
        pool = SimpleNamespace(free_bytes=lambda: 0)
        runtime = SimpleNamespace(
            getDeviceProperties=lambda _: {
                "name": b"emulator",
                "multiProcessorCount": SMALL.multiprocessors,
                "sharedMemPerBlockOptin": SMALL.shared_bytes,
                "sharedMemPerMultiprocessor": SMALL.shared_bytes_per_multiprocessor,
            },
            memGetInfo=lambda: (self.free[Device().id], 1 << 31),
            pointerGetAttributes=lambda p: SimpleNamespace(device=self._gpu_of_address.get(p, 0)),
        )
        device = type("Device", (Device,), {"synchronize": lambda _: self.wait()})
        self.cupy = SimpleNamespace(
            ndarray=LateArray, empty=_empty, zeros=_zeros, asarray=self._asarray,
            array=lambda values, dtype: self._asarray(np.array(values, dtype)),
            asnumpy=lambda array: array.values.copy(), from_dlpack=_from_dlpack,
            get_default_memory_pool=lambda: pool, RawModule=self._module,
            cuda=SimpleNamespace(
                Device=device, Event=Event, Stream=self._stream, runtime=runtime,
                get_current_stream=current_stream, alloc_pinned_memory=self._alloc_pinned,
            ),
        )  # fmt: skip

    def wait(self) -> None:
        """Do all deferred work."""
        for stream in Stream.living.existing():
            stream.synchronize()

    def assign_gpu(self, values: Array, gpu: int) -> Array:
        """Register memory as that of a GPU; return it."""
        self._gpu_of_address[values.ctypes.data] = gpu
        return values

    def _stream(self, non_blocking: bool) -> Stream:
        self.streams.append(Stream(non_blocking))
        return self.streams[-1]

    def _alloc_pinned(self, n_bytes: int) -> Pinned:
        self.pinned.append(Pinned.allocate(n_bytes))
        return self.pinned[-1]

    def _module(self, path: str) -> SimpleNamespace:
        return SimpleNamespace(get_function=lambda _: self._function(**json.loads(path)))

    def _function(self, name: str, threads: int, shape: dict[str, int]) -> _Function:
        self.functions.append(_Function(Kernel(name, threads, shape), self._emulator))
        return self.functions[-1]

    def _asarray(self, array: Any, order: str | None = None) -> LateArray:
        """Return an array on the current GPU; without an order, in its present order."""
        if isinstance(array, np.ndarray):
            source, target = array.copy("K"), _garbage(np.empty_like(array, order=order or "K"))
            current_stream().add(lambda: np.copyto(target, source))
            return LateArray(target)
        if not isinstance(array, LateArray):
            array = LateArray(*self._of_interface(array.__cuda_array_interface__))
        if array.gpu == Device().id and (order is None or array.memory.flags.c_contiguous):
            return array
        return LateArray(array.values.copy(order or "K"))

    def _of_interface(self, described: dict[str, Any]) -> tuple[Array, int]:
        """Return an array at an address, after the stream of the interface, if it has one."""
        pointer, strides = described["data"][0], described.get("strides")
        dtype, shape = np.dtype(described["typestr"]), described["shape"]
        if described.get("stream") is not None:
            next(s for s in Stream.living.existing() if s.ptr == described["stream"]).synchronize()
        n_bytes = int(np.prod(shape)) * dtype.itemsize
        memory = (ctypes.c_char * n_bytes).from_address(pointer)
        return np.ndarray(shape, dtype, memory, 0, strides), self._gpu_of_address.get(pointer, 0)


class _Function:
    """A kernel as CuPy loads it."""

    def __init__(self, kernel: Kernel, emulator: EmulatorLauncher) -> None:
        self.kernel = kernel
        self.preferred_shared_memory_carveout = -1
        self._emulator = emulator

    def __call__(self, grid: Any, block: Any, arguments: Any, shared_mem: int) -> None:
        assert block == (self.kernel.threads,)
        parameters = self._emulator._module(self.kernel).parameters

        def launch() -> None:
            converted = [_argument(*pair) for pair in zip(parameters, arguments, strict=True)]
            self._emulator.launch(self.kernel, grid[0], converted, shared_mem)

        current_stream().add(launch)


def _argument(parameter: AnyParameter, argument: Any) -> Any:
    """Return an argument as the emulator takes it."""
    if isinstance(parameter, StructParameter):
        assert argument.dtype == parameter.layout
        assert argument.size == 1, "CuPy passes only arrays of one element by value"
        return _struct(parameter, argument)
    if isinstance(argument, LateArray) and len(parameter.constant) == 2:
        pointers = argument.memory
        arrays = [_number_at(address, parameter.dtype) for address in pointers.tolist()]
        return Table(arrays, pointers)
    if isinstance(argument, LateArray):
        return argument.memory
    return None if parameter.constant else argument


def _struct(parameter: StructParameter, value: Any) -> Struct:
    """Return a struct, of which the members that are pointers lead to one number each."""
    members: list[Any] = []
    for member, name in zip(parameter.members, value.dtype.names, strict=True):
        if isinstance(member, StructParameter):
            members.append(_struct(member, value[name]))
        elif member.constant:
            address = int(value[name])
            members.append(_number_at(address, member.dtype) if address else None)
        else:
            members.append(value[name][()])
    return Struct(members)


def _number_at(address: int, dtype: np.dtype[Any]) -> Array:
    return np.frombuffer((ctypes.c_char * dtype.itemsize).from_address(address), dtype)


def _garbage(memory: Array) -> Array:
    """Fill memory with garbage, so that no test sees values of an earlier one."""
    memory.ravel("K").view(np.uint8)[:] = 0xFF
    return memory


def _empty(shape: Any, dtype: Any = float) -> LateArray:
    return LateArray(_garbage(np.empty(shape, dtype)))


def _zeros(shape: Any, dtype: Any = float) -> LateArray:
    array = _empty(shape, dtype)
    current_stream().add(lambda: array.memory.fill(0))
    return array


def _from_dlpack(array: Any) -> LateArray:
    """Return another library's array; the library gets the stream that will read it."""
    gpu = array.__dlpack_device__()[1]
    with Device(gpu):
        capsule = array.__dlpack__(stream=current_stream().ptr, max_version=(1, 0), copy=None)
    return LateArray(capsule, gpu)
