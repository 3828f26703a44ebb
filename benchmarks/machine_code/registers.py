"""The registers of all threads of a block, and the meaning of operands in a listing.

A register is a row with one 32-bit word for each thread; wide values take two rows, the low word
first. The registers of a warp (UR, UP) are kept once for each of its threads.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Read = Callable[[], Array]
Write = Callable[[Array, Array | None], None]
"""Writes a value where a mask is set; None: everywhere."""

WARP = 32

_ZERO, _UNIFORM_ZERO, _TRUE = 255, 63, 7
_OPERAND = re.compile(r"^([-~!]?)(\|?)([^|]+?)(\|?)$")
_REGISTER = re.compile(r"^(U?)(R|P)(Z|T|\d+)$")
_CONSTANT = re.compile(r"^c\[0x0\]\[(0x[0-9a-f]+)\]$")
_NAMED = {"+INF": np.inf, "-INF": -np.inf, "+QNAN": np.nan, "-QNAN": -np.nan}


class Registers:
    """Registers of a block's threads.

    Parameters
    ----------
    threads : int
    constants : bytes
        The constant bank that holds the arguments of the launch.

    Attributes
    ----------
    general, uniform : uint32 (256, threads) and (64, threads)
    predicates, uniform_predicates : bool (8, threads)
    barriers : int64 (16, threads)
        For each thread, the members of its warp's convergence barriers, as bits.
    """

    def __init__(self, threads: int, constants: bytes) -> None:
        self.threads = threads
        self.constants = constants
        self.general = np.zeros((_ZERO + 1, threads), np.uint32)
        self.uniform = np.zeros((_UNIFORM_ZERO + 1, threads), np.uint32)
        self.predicates = np.zeros((_TRUE + 1, threads), bool)
        self.uniform_predicates = np.zeros((_TRUE + 1, threads), bool)
        self.barriers = np.zeros((16, threads), np.int64)
        self.clear()

    def clear(self) -> None:
        """Reset all registers for a new block."""
        for values in (self.general, self.uniform, self.barriers):
            values[:] = 0
        for flags in (self.predicates, self.uniform_predicates):
            flags[:] = False
            flags[_TRUE] = True

    def row(self, text: str, offset: int = 0) -> Array:
        """Return the row of a register, or of a later one.

        Raises
        ------
        ValueError
            If the operand is no register.
        """
        match = _REGISTER.match(text)
        if match is None or match[2] != "R":
            raise ValueError(f"{text} is not a register")
        file, zero = (self.uniform, _UNIFORM_ZERO) if match[1] else (self.general, _ZERO)
        row: Array = file[zero if match[3] == "Z" else int(match[3]) + offset]
        return row

    def word(self, text: str) -> Read:
        """Return a function that reads 32 bits; a sign before the operand negates it."""
        sign, _, name, _ = _parts(text)
        value = self._bits(name)
        if sign == "-":
            return lambda: np.uint32(0) - value
        if sign == "~":
            return lambda: ~value
        return lambda: value

    def wide(self, text: str) -> Read:
        """Return a function that reads 64 bits, uint64; a 32-bit immediate is sign-extended."""
        sign, _, name, _ = _parts(text)
        low, high = self._pair(name)
        read = _joined(low, high)
        if sign == "-":
            return lambda: np.uint64(0) - read()
        return read

    def real(self, text: str) -> Read:
        """Return a function that reads a float32."""
        sign, bar, name, _ = _parts(text)
        number = _number(text)
        value = self._bits(name).view(np.float32) if number is None else self._all(
            np.float32(number)
        )  # fmt: skip
        return _signed(lambda: value, "" if number is not None else sign, bar)

    def double(self, text: str) -> Read:
        """Return a function that reads a float64."""
        sign, bar, name, _ = _parts(text)
        number = _number(text)
        if number is not None:
            value = self._all(np.float64(number))
            return lambda: value
        read = _joined(*self._pair(name))
        return _signed(lambda: read().view(np.float64), sign, bar)

    def flag(self, text: str) -> Read:
        """Return a function that reads a predicate.

        Raises
        ------
        ValueError
            If the operand is no predicate.
        """
        row = self._flags(text.removeprefix("!"))
        return (lambda: ~row) if text.startswith("!") else (lambda: row)

    def to_word(self, text: str, offset: int = 0) -> Write:
        """Return a function that writes 32 bits."""
        row = self.row(text, offset)
        if text.endswith("RZ"):
            return _nowhere
        if text.startswith("U"):
            return lambda value, where: _store(row, value, _whole_warps(where))
        return lambda value, where: _store(row, value, where)

    def to_wide(self, text: str) -> Write:
        """Return a function that writes 64 bits, of any type."""
        low, high = self.to_word(text), self.to_word(text, 1)

        def write(value: Array, where: Array | None) -> None:
            words = np.ascontiguousarray(value).view(np.uint32)
            low(words[0::2], where)
            high(words[1::2], where)

        return write

    def to_flag(self, text: str) -> Write:
        """Return a function that writes a predicate."""
        row = self._flags(text)
        if text.endswith("PT"):
            return _nowhere
        if text.startswith("U"):
            return lambda value, where: _store(row, value, _whole_warps(where))
        return lambda value, where: _store(row, value, where)

    def is_flag(self, text: str) -> bool:
        """Return whether an operand is a predicate."""
        match = _REGISTER.match(text.removeprefix("!"))
        return match is not None and match[2] == "P"

    def constant(self, offset: int, dtype: Any) -> Array:
        """Return a number of the constant bank, for all threads."""
        return self._all(np.frombuffer(self.constants, dtype, 1, offset)[0])

    def _bits(self, name: str) -> Array:
        if match := _CONSTANT.match(name):
            return self.constant(int(match[1], 16), np.uint32)
        if name.startswith(("R", "UR")):
            return self.row(name)
        return self._all(np.uint32(int(name, 0) & 0xFFFFFFFF))

    def _pair(self, name: str) -> tuple[Array, Array]:
        if match := _CONSTANT.match(name):
            offset = int(match[1], 16)
            low, high = self.constant(offset, np.uint32), self.constant(offset + 4, np.uint32)
            return low, high
        if name.startswith(("R", "UR")):
            return self.row(name), self.row(name, 0 if name.endswith("RZ") else 1)
        value = int(name, 0)
        return self._all(np.uint32(value & 0xFFFFFFFF)), self._all(np.uint32(-(value < 0) % 2**32))

    def _flags(self, name: str) -> Array:
        match = _REGISTER.match(name)
        if match is None or match[2] != "P":
            raise ValueError(f"{name} is not a predicate")
        file = self.uniform_predicates if match[1] else self.predicates
        row: Array = file[_TRUE if match[3] == "T" else int(match[3])]
        return row

    def _all(self, value: Any) -> Array:
        return np.full(self.threads, value)


def of_warps(mask: Array) -> Array:
    """Return the masks of each warp as 32 bits, for each of its threads, uint32."""
    bits = np.packbits(mask.reshape(-1, WARP), axis=1, bitorder="little").view(np.uint32)
    return np.repeat(bits.ravel(), WARP)


def _parts(text: str) -> tuple[str, str, str, str]:
    match = _OPERAND.match(text)
    if match is None:
        raise ValueError(f"{text} is not an operand")
    sign, bar, name, end = match.groups()
    if sign == "-" and re.match(r"^(0x|\d)", name):
        return "", bar, f"-{name}", end
    return sign, bar, name, end


def _number(text: str) -> float | None:
    """Return the value of a floating-point immediate; None for a register or a constant."""
    if text in _NAMED:
        return float(_NAMED[text])
    try:
        return float(text)
    except ValueError:
        return None


def _signed(read: Read, sign: str, bar: str) -> Read:
    if bar:
        return (lambda: -np.abs(read())) if sign == "-" else (lambda: np.abs(read()))
    return (lambda: -read()) if sign == "-" else read


def _joined(low: Array, high: Array) -> Read:
    def read() -> Array:
        words = np.empty((len(low), 2), np.uint32)
        words[:, 0], words[:, 1] = low, high
        return words.view(np.uint64)[:, 0]

    return read


def _store(row: Array, value: Array, where: Array | None) -> None:
    if value.dtype != row.dtype:
        value = value.view(row.dtype)
    if where is None:
        row[:] = value
    else:
        np.copyto(row, value, where=where)


def _nowhere(value: Array, where: Array | None) -> None:
    """Write to the register that is always zero, or the predicate that is always true."""


def _whole_warps(where: Array | None) -> Array | None:
    return None if where is None else np.repeat(where.reshape(-1, WARP).any(axis=1), WARP)
