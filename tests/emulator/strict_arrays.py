"""A device with strict arrays, which do not mix with NumPy's.

On a GPU it is an error to pass an array of the host where one of the device is expected; NumPy's
arrays would hide such an error. The arrays here refuse what CuPy's refuse: implicit conversion to
NumPy's, operations with NumPy's, and indexing by NumPy's.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from emulator.launcher import EmulatorLauncher
from gpuseg.backends.cuda.launcher import Kernel, Struct, Table


class DeviceArray(NDArrayOperatorsMixin):
    """An array in the memory of the device.

    Parameters
    ----------
    values : numpy.ndarray
        The memory of the host that holds the values.
    """

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self.values = values
        self.shape, self.dtype, self.nbytes = values.shape, values.dtype, values.nbytes
        self.ndim, self.size = values.ndim, values.size
        self.data = SimpleNamespace(ptr=values.ctypes.data)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: Any) -> Any:
        return type(self)(np.asarray(self.values[_on_device(index)]))

    def __setitem__(self, index: Any, value: Any) -> None:
        self.values[_on_device(index)] = _on_device(value)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("an array of the device is not converted to NumPy's implicitly")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        values = [_on_device(item) for item in inputs]
        return type(self)(np.asarray(getattr(ufunc, method)(*values, **options)))

    def __array_function__(self, function: Any, _: Any, args: Any, options: Any) -> Any:
        assert function is np.concatenate
        return type(self)(np.concatenate([item.values for item in args[0]]))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.data.ptr, False)}

    @property
    def T(self) -> DeviceArray:
        return type(self)(self.values.T)

    def all(self, axis: int) -> DeviceArray:
        return type(self)(self.values.all(axis=axis))

    def astype(self, dtype: Any, copy: bool) -> DeviceArray:
        assert (self.dtype, np.dtype(dtype)) != (np.float64, np.float32), "CuPy loses small values"
        return type(self)(self.values.astype(dtype, copy=copy))

    def copy(self) -> DeviceArray:
        return type(self)(self.values.copy())

    def view(self, dtype: Any) -> DeviceArray:
        return type(self)(self.values.view(dtype))

    def reshape(self, *shape: Any) -> DeviceArray:
        return type(self)(self.values.reshape(*shape))


def _on_device(value: Any) -> Any:
    """Return the operand of an operation on the device; refuse NumPy's arrays."""
    if isinstance(value, DeviceArray):
        return value.values
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError("an array of NumPy is not on the device")
    return value


class StrictLauncher(EmulatorLauncher):
    """An `EmulatorLauncher` with arrays of `DeviceArray`."""

    xp = SimpleNamespace(
        zeros=lambda shape, dtype=float: DeviceArray(np.zeros(shape, dtype)),
        empty=lambda shape, dtype=float: DeviceArray(np.empty(shape, dtype)),
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._streams = threading.local()

    @contextmanager
    def stream(self) -> Iterator[None]:
        self._streams.depth = getattr(self._streams, "depth", 0) + 1
        try:
            yield
        finally:
            self._streams.depth -= 1

    def launch(
        self, kernel: Kernel, blocks: int, arguments: Sequence[Any], shared_bytes: int = 0
    ) -> None:
        assert getattr(self._streams, "depth", 0), "a launch outside of all streams"
        super().launch(kernel, blocks, [_as_argument(item) for item in arguments], shared_bytes)

    def to_device(self, array: Any) -> Any:
        return array if isinstance(array, DeviceArray) else DeviceArray(super().to_device(array))

    def adopt(self, array: Any) -> Any:
        assert isinstance(array, DeviceArray), "an array of the host is adopted"
        return DeviceArray(np.asarray(array.values, order="C"))

    def to_host(self, array: Any) -> Any:
        return array.values.copy() if isinstance(array, DeviceArray) else array

    def address(self, array: Any) -> int:
        return super().address(array.values)

    def upload(self, source: np.ndarray[Any, Any], target: Any) -> None:
        assert (source.shape, source.dtype) == (target.shape, target.dtype)
        target.values[...] = source

    def download(self, source: Any, target: np.ndarray[Any, Any]) -> None:
        assert (source.shape, source.dtype) == (target.shape, target.dtype)
        target[...] = source.values


def _as_argument(argument: Any) -> Any:
    if isinstance(argument, Table):
        return Table([item.values for item in argument.arrays], argument.pointers.values)
    if isinstance(argument, Struct):
        return Struct([_as_argument(member) for member in argument.members])
    assert not isinstance(argument, np.ndarray), "a kernel gets an array of the host"
    return argument.values if isinstance(argument, DeviceArray) else argument
