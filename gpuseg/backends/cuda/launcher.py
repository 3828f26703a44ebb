"""The interface of a device: its memory, and launches of kernels on it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Kernel:
    """One compiled form of a kernel.

    Attributes
    ----------
    name : str
        Name of the function, and of its ``.cu`` file in a folder of ``kernels/``.
    threads : int
        Threads per block.
    shape : mapping of str to int
        Macros of the file: the shape of its tiles, and the selected variant.
    """

    name: str
    threads: int
    shape: Mapping[str, int] = field(default_factory=dict)

    @property
    def macros(self) -> dict[str, int]:
        """All macros that the compiler defines."""
        return {"THREADS": self.threads, **self.shape}


class Table(NamedTuple):
    """An argument that is an array of pointers, one to each array.

    Attributes
    ----------
    arrays : sequence of arrays of the device
    pointers : uint64 (len(arrays),) of the device
        `Launcher.address` of each array.
    """

    arrays: Sequence[Any]
    pointers: Any


class Struct(NamedTuple):
    """An argument that is a struct, passed by value.

    Attributes
    ----------
    members : sequence
        In the order of their declaration: arrays of the device for pointers, None for a null
        pointer, NumPy scalars, and `Struct` for a struct inside the struct.
    """

    members: Sequence[Any]

    def to_array(self, address: Callable[[Any], int]) -> NDArray[Any]:
        """Return an array of one element in the layout of C, () of a structured dtype.

        Parameters
        ----------
        address : callable
            Returns the address of an array of the device, see `Launcher.address`.
        """
        values = [_member(member, address) for member in self.members]
        layout = np.dtype([(f"member_{i}", v.dtype) for i, v in enumerate(values)], align=True)
        struct = np.zeros((), layout)
        for name, value in zip(layout.names or (), values, strict=True):
            struct[name] = value
        return struct


def _member(member: Any, address: Callable[[Any], int]) -> Any:
    if isinstance(member, Struct):
        return member.to_array(address)
    if isinstance(member, np.generic):
        return member
    return np.uint64(0 if member is None else address(member))


@dataclass(frozen=True)
class Limits:
    """The properties of a device that launch plans depend on.

    Attributes
    ----------
    name : str
    multiprocessors : int
    shared_bytes : int
        Shared memory that a block may use.
    shared_bytes_per_multiprocessor : int
        Shared memory of all blocks on a multiprocessor together.
    capability : int
        Compute capability, such as 90 for 9.0.
    """

    name: str
    multiprocessors: int
    shared_bytes: int
    shared_bytes_per_multiprocessor: int
    capability: int


class Launcher(Protocol):
    """A device: CuPy's current one, or the emulator of the tests.

    Attributes
    ----------
    xp : module
        NumPy's interface to arrays in the memory of the device.
    limits : Limits
    """

    xp: Any
    limits: Limits

    def stream(self) -> AbstractContextManager[None]:
        """Return a context in which one thread uses the device, concurrently with other threads.

        It begins once the device has finished the thread's earlier work, and ends once the work
        inside is finished; the copies of one stream overlap the kernels of another.
        """
        ...

    def launch(
        self, kernel: Kernel, blocks: int, arguments: Sequence[Any], shared_bytes: int = 0
    ) -> None:
        """Launch `blocks` blocks; does not wait for them.

        Arguments are arrays of `xp` for pointers, `Table` for pointers to pointers, None for a
        null pointer, `Struct` for structs, and NumPy scalars of the width that the kernel declares.
        """
        ...

    def free_bytes(self) -> int:
        """Return the free memory of the device."""
        ...

    def to_device(self, array: Any) -> Any:
        """Return a NumPy array, C-order, as one of `xp`; one of `xp` is returned itself.

        The NumPy array may change once the call returns, even before the copy is complete.
        """
        ...

    def adopt(self, array: Any) -> Any:
        """Return another library's array on the device as a C-order one of `xp`.

        The stream uses it once that library has computed its values.

        Raises
        ------
        DataError
            For an array that its library cannot share.
        ResourceError
            For an array on another GPU.
        """
        ...

    def to_host(self, array: Any) -> Any:
        """Return an array of `xp` as one of NumPy, once all launches of the stream are done."""
        ...

    def address(self, array: Any) -> int:
        """Return the address of an array of `xp`."""
        ...

    def staging(self, n_bytes: int) -> NDArray[np.uint8]:
        """Return host memory, uint8 (n_bytes,), that `upload` and `download` copy fast."""
        ...

    def upload(self, source: NDArray[Any], target: Any) -> None:
        """Copy staging memory to an array of `xp` of the same shape and dtype, asynchronously."""
        ...

    def download(self, source: Any, target: NDArray[Any]) -> None:
        """Copy an array of `xp` to staging memory, once all launches of the stream are done."""
        ...
