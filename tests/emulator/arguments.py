"""Check the arguments of a launch against the kernel's declaration, and convert them to bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from emulator.report import Report
from gpuseg.backends.cuda.launcher import Struct, Table

Array = npt.NDArray[Any]

CELL_BYTES = 8
"""`cell_bytes` in runtime.h."""


@dataclass(frozen=True)
class Uninitialized:
    """An array that the kernel fills; its old values become garbage.

    In check mode, reading an element before it is written is an error.
    """

    array: Array


@dataclass(frozen=True)
class Parameter:
    """A number or a pointer among the parameters of a kernel.

    Attributes
    ----------
    dtype : dtype
        Of the number, or of the numbers that the pointer leads to.
    constant : tuple of bool
        One for each pointer, the innermost first: whether its target is const.
    """

    dtype: np.dtype[Any]
    constant: tuple[bool, ...]

    @property
    def layout(self) -> np.dtype[Any]:
        """The dtype of the argument itself."""
        return np.dtype(np.uint64) if self.constant else self.dtype

    def __str__(self) -> str:
        return f"{self.dtype}{''.join(' const*' if const else '*' for const in self.constant)}"


@dataclass(frozen=True)
class StructParameter:
    """A struct among the parameters of a kernel, passed by value.

    Attributes
    ----------
    members : tuple of Parameter and StructParameter
    """

    members: tuple[AnyParameter, ...]

    @property
    def layout(self) -> np.dtype[Any]:
        """The dtype of the argument, in the layout of C."""
        members = [(f"member_{i}", member.layout) for i, member in enumerate(self.members)]
        return np.dtype(members, align=True)

    def __str__(self) -> str:
        return f"a struct of {len(self.members)} members"


AnyParameter = Parameter | StructParameter


@dataclass(frozen=True)
class Memory:
    """Memory that the kernel may access, to be registered in check mode."""

    name: str
    array: Array
    writable: bool
    written: bool = True


@dataclass
class Prepared:
    """The arguments in the form of the runtime; `memory` also keeps the arrays alive."""

    cells: bytes = b""
    memory: list[Memory] = field(default_factory=list)


class ArgumentError(Exception):
    """An argument does not fit its parameter."""

    def report(self) -> Report:
        """Return the error as a report."""
        return Report("argument", str(self))


def parse(signature: str) -> tuple[AnyParameter, ...]:
    """Return the parameters that a signature of the runtime describes (export.h)."""
    levels: list[list[AnyParameter]] = [[]]
    for text in signature.split():
        if text == "{":
            levels.append([])
        elif text.startswith("}"):
            struct = StructParameter(tuple(levels.pop()))
            assert struct.layout.itemsize == int(text[1:]), "NumPy lays out a struct as g++ does"
            levels[-1].append(struct)
        else:
            levels[-1].append(_parse_parameter(text))
    (parameters,) = levels
    return tuple(parameters)


def _parse_parameter(text: str) -> Parameter:
    match = re.fullmatch(r"([a-z]\d+)((?:\*c?)*)", text)
    assert match is not None, text
    pointers = re.findall(r"\*(c?)", match.group(2))
    return Parameter(np.dtype(match.group(1)), tuple(const == "c" for const in pointers))


def prepare(parameters: Sequence[AnyParameter], arguments: Sequence[Any]) -> Prepared:
    """Return the arguments in cells, and the memory that they lead to.

    Raises
    ------
    ArgumentError
        If an argument has another type than the kernel declares.
    """
    if len(parameters) != len(arguments):
        raise ArgumentError(f"the kernel takes {len(parameters)} arguments, not {len(arguments)}")
    prepared = Prepared()
    cells = bytearray()
    for i, (parameter, argument) in enumerate(zip(parameters, arguments, strict=True)):
        cells += _content(f"argument {i}", parameter, argument, prepared.memory)
        cells += bytes(-len(cells) % CELL_BYTES)
    prepared.cells = bytes(cells)
    return prepared


def _content(name: str, parameter: AnyParameter, argument: Any, memory: list[Memory]) -> bytes:
    """Return the bytes of an argument; append the memory that it leads to."""
    if isinstance(parameter, StructParameter):
        return _struct(name, parameter, argument, memory)
    if not parameter.constant:
        return _number(name, parameter, argument)
    if argument is None:
        return bytes(CELL_BYTES)
    targets = list(_memory(name, parameter, argument))
    memory += targets
    return _address(targets[0].array).to_bytes(CELL_BYTES, "little")


def _struct(name: str, parameter: StructParameter, argument: Any, memory: list[Memory]) -> bytes:
    if not isinstance(argument, Struct) or len(argument.members) != len(parameter.members):
        raise ArgumentError(f"{name}: the kernel takes {parameter}, not {_kind(argument)}")
    layout = parameter.layout
    content = bytearray(layout.itemsize)
    pairs = zip(parameter.members, argument.members, strict=True)
    for i, (member, value) in enumerate(pairs):
        offset = layout.fields[f"member_{i}"][1] if layout.fields else 0
        part = _content(f"{name}, member {i}", member, value, memory)
        content[offset : offset + len(part)] = part
    return bytes(content)


def _number(name: str, parameter: Parameter, argument: Any) -> bytes:
    if not isinstance(argument, np.generic) or argument.dtype != parameter.dtype:
        raise ArgumentError(f"{name}: the kernel takes {parameter}, not {_kind(argument)}")
    return argument.tobytes()


def _memory(name: str, parameter: Parameter, argument: Any) -> Iterator[Memory]:
    """Yield the array of the argument, and those that a table leads to."""
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
    """Return an array as memory, after checking it against the type of the pointer."""
    written = not isinstance(argument, Uninitialized)
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
    if isinstance(argument, Struct):
        return f"one of {len(argument.members)}"
    return f"{type(argument).__module__}.{type(argument).__qualname__}"
