"""Holds the arguments of a launch against the kernel's declaration, and makes bytes of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from emulator.report import Report
from gpuseg.backends.cuda.launcher import Table

Array = npt.NDArray[Any]

CELL_BYTES = 8
"""As `cell_bytes` in runtime.h."""


@dataclass(frozen=True)
class Uninitialised:
    """An array that the kernel is to fill: what it held before is made garbage.

    In check mode, to read an element before it is written is an error.
    """

    array: Array


@dataclass(frozen=True)
class Parameter:
    """A parameter of the kernel.

    Attributes
    ----------
    dtype : dtype
        Of the number, or of the numbers pointed to.
    constant : tuple of bool
        One for each pointer, from the numbers outwards: is its target const?
    """

    dtype: np.dtype[Any]
    constant: tuple[bool, ...]

    def __str__(self) -> str:
        return f"{self.dtype}{''.join(' const*' if const else '*' for const in self.constant)}"


@dataclass(frozen=True)
class Memory:
    """Memory that the kernel may touch, to be registered in check mode."""

    name: str
    array: Array
    writable: bool
    written: bool = True


@dataclass
class Prepared:
    """The arguments as the runtime wants them; `memory` also keeps the arrays alive."""

    cells: bytes = b""
    memory: list[Memory] = field(default_factory=list)


class ArgumentError(Exception):
    """An argument does not fit its parameter."""

    def report(self) -> Report:
        """Return what is wrong, as a report."""
        return Report("argument", str(self))


def parse(signature: str) -> tuple[Parameter, ...]:
    """Return the parameters that a signature of the runtime describes (export.h)."""
    parameters = []
    for text in signature.split():
        found = re.fullmatch(r"([a-z]\d+)((?:\*c?)*)", text)
        assert found is not None, signature
        pointers = re.findall(r"\*(c?)", found.group(2))
        dtype = np.dtype(found.group(1))
        parameters.append(Parameter(dtype, tuple(const == "c" for const in pointers)))
    return tuple(parameters)


def prepare(parameters: Sequence[Parameter], arguments: Sequence[Any]) -> Prepared:
    """Return the arguments in cells, and the memory that they lead to.

    Raises
    ------
    ArgumentError
        If an argument is not of the type that the kernel declares.
    """
    if len(parameters) != len(arguments):
        raise ArgumentError(f"the kernel takes {len(parameters)} arguments, not {len(arguments)}")
    prepared = Prepared()
    cells = bytearray()
    for i, (parameter, argument) in enumerate(zip(parameters, arguments, strict=True)):
        name = f"argument {i}"
        if not parameter.constant:
            cell = _number(name, parameter, argument)
        elif argument is None:
            cell = bytes(CELL_BYTES)
        else:
            found = list(_memory(name, parameter, argument))
            prepared.memory += found
            cell = _address(found[0].array).to_bytes(CELL_BYTES, "little")
        cells += cell.ljust(CELL_BYTES, b"\0")
    prepared.cells = bytes(cells)
    return prepared


def _number(name: str, parameter: Parameter, argument: Any) -> bytes:
    if not isinstance(argument, np.generic) or argument.dtype != parameter.dtype:
        raise ArgumentError(f"{name}: the kernel takes {parameter}, not {_kind(argument)}")
    return argument.tobytes()


def _memory(name: str, parameter: Parameter, argument: Any) -> Iterator[Memory]:
    """Yield the array that the argument is, and those that a table leads to."""
    if isinstance(argument, Table):
        if len(parameter.constant) != 2:
            raise ArgumentError(f"{name}: the kernel takes {parameter}, not a table of arrays")
        addresses = [0 if array is None else _address(array) for array in argument.arrays]
        if argument.pointers.tolist() != addresses:
            raise ArgumentError(f"{name}: the pointers do not lead to the arrays of the table")
        yield Memory(f"the table of {name}", np.array(addresses, np.uint64), writable=False)
        for i, array in enumerate(argument.arrays):
            if array is not None:
                yield _target(f"{name}, array {i} of its table", parameter, array)
    elif len(parameter.constant) != 1:
        raise ArgumentError(f"{name}: the kernel takes {parameter}, not {_kind(argument)}")
    else:
        yield _target(name, parameter, argument)


def _target(name: str, parameter: Parameter, argument: Any) -> Memory:
    """Return an array as memory, having held it against the numbers pointed to."""
    written = not isinstance(argument, Uninitialised)
    array = argument if written else argument.array
    constant = parameter.constant[0]
    if not isinstance(array, np.ndarray) or array.dtype != parameter.dtype:
        raise ArgumentError(f"{name}: the kernel takes {parameter}, not {_kind(array)}")
    if not array.flags.c_contiguous:
        raise ArgumentError(f"{name}: the array is not C-contiguous")
    if not (array.flags.writeable or constant):
        raise ArgumentError(f"{name}: the array is read-only, and the kernel may write to it")
    if not written:
        array.reshape(-1).view(np.uint8)[:] = 0xFF
    return Memory(name, array, not constant, written)


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _kind(argument: Any) -> str:
    if isinstance(argument, np.ndarray):
        return f"an array of {argument.dtype}"
    return f"{type(argument).__module__}.{type(argument).__qualname__}"
