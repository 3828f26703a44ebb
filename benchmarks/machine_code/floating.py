"""Floating-point numbers: float32 and float64.

Results are rounded to nearest, as IEEE 754 asks, with two exceptions. A fused float32 product and
sum is rounded to float64 first: one in 2^29 is off by a last bit. What the hardware approximates
(MUFU) is rounded to nearest here: its last bit may differ.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy as np

from machine_code.integer import COMPARISONS, JOINS
from machine_code.listing import Instruction
from machine_code.operation import Operation, Step, operation, split
from machine_code.registers import Array, Read, Registers

_MIN_NORMAL = np.float32(2.0**-126)
_SPLITTER = 2.0**27 + 1


def _flushed(read: Read) -> Read:
    def flush() -> Array:
        value = read()
        return np.where(np.abs(value) < _MIN_NORMAL, np.copysign(np.float32(0), value), value)

    return flush


def _reals(instruction: Instruction, registers: Registers, texts: list[str]) -> list[Read]:
    reads = [registers.real(text) for text in texts]
    return [_flushed(read) for read in reads] if "FTZ" in instruction.modifiers else reads


def _arithmetic(
    function: Callable[..., Array],
) -> Callable[[Instruction, Registers], Step]:
    """Return a builder of instructions with float32 sources and one float32 result."""

    def build(instruction: Instruction, registers: Registers) -> Step:
        (result,), _, sources, _ = split(instruction, registers)
        write, reads = registers.to_word(result), _reals(instruction, registers, sources)
        flush = "FTZ" in instruction.modifiers

        def step(where: Array | None) -> None:
            value = function(*(read() for read in reads))
            write(_flushed(lambda: value)() if flush else value, where)

        return step

    return build


def _multiply(instruction: Instruction, registers: Registers) -> Step:
    """FMUL; with D or M a power of two divides or multiplies the product."""
    scale = np.float64(1.0)
    for name in instruction.modifiers:
        if name[0] in "DM" and name[1:].isdigit():
            scale = np.float64(float(name[1:]) ** (1 if name[0] == "M" else -1))

    def product(a: Array, b: Array) -> Array:
        return (a.astype(np.float64) * b * scale).astype(np.float32)

    return _arithmetic(np.multiply if scale == 1.0 else product)(instruction, registers)


def _fused(a: Array, b: Array, c: Array) -> Array:
    return (a.astype(np.float64) * b + c).astype(np.float32)


def _extreme(instruction: Instruction, registers: Registers) -> Step:
    """FMNMX: the minimum where a predicate holds, else the maximum; a number wins over NaN."""
    (result,), _, sources, (flag,) = split(instruction, registers)
    write, (a, b) = registers.to_word(result), _reals(instruction, registers, sources)
    is_minimum = registers.flag(flag)

    def step(where: Array | None) -> None:
        one, other = a(), b()
        write(np.where(is_minimum(), np.fmin(one, other), np.fmax(one, other)), where)

    return step


def _select(instruction: Instruction, registers: Registers) -> Step:
    result, one, other, flag = instruction.operands
    write, a, b = registers.to_word(result), registers.real(one), registers.real(other)
    choose = registers.flag(flag)
    return lambda where: write(np.where(choose(), a(), b()), where)


def _compare(instruction: Instruction, registers: Registers) -> Step:
    """FSETP, DSETP: comparisons whose names end in U also hold for NaN."""
    mods, operands = instruction.modifiers, instruction.operands
    write, inverse = registers.to_flag(operands[0]), registers.to_flag(operands[1])
    if instruction.opcode == "DSETP":
        a, b = registers.double(operands[2]), registers.double(operands[3])
    else:
        a, b = _reals(instruction, registers, list(operands[2:4]))
    flag, join = registers.flag(operands[4]), JOINS[mods[-1]]
    name = mods[0]

    def step(where: Array | None) -> None:
        left, right = a(), b()
        unordered = np.isnan(left) | np.isnan(right)
        if name == "NAN":
            holds = unordered
        elif name == "NUM":
            holds = ~unordered
        elif name.endswith("U"):
            holds = COMPARISONS[name[:-1]](left, right) | unordered
        else:
            holds = COMPARISONS[name](left, right) & ~unordered
        other = flag()
        results = join(holds, other), join(~holds, other)
        write(results[0], where)
        inverse(results[1], where)

    return step


def _double(function: Callable[..., Array]) -> Callable[[Instruction, Registers], Step]:
    """Return a builder of instructions with float64 sources and one float64 result."""

    def build(instruction: Instruction, registers: Registers) -> Step:
        result, *sources = instruction.operands
        write, reads = registers.to_wide(result), [registers.double(text) for text in sources]
        way = next((m for m in instruction.modifiers), "RN")

        def step(where: Array | None) -> None:
            values = [read() for read in reads]
            rounded = function(*values)
            write(rounded if way == "RN" else _directed(rounded, values, way), where)

        return step

    return build


def _directed(rounded: Array, values: list[Array], way: str) -> Array:
    """Return exact products and sums, rounded up (RP), down (RM) or towards zero (RZ).

    Parameters
    ----------
    rounded : float64
        The same, rounded to nearest.
    values : list
        Two factors, and for a fused operation an addend.
    """
    result = rounded.copy()
    for i in np.flatnonzero(np.isfinite(rounded)):
        exact = Fraction(float(values[0][i])) * Fraction(float(values[1][i]))
        if len(values) == 3:
            exact += Fraction(float(values[2][i]))
        lower = way == "RM" or (way == "RZ" and exact > 0)
        nearest = Fraction(float(rounded[i]))
        if lower and nearest > exact:
            result[i] = np.nextafter(rounded[i], -np.inf)
        if not lower and nearest < exact:
            result[i] = np.nextafter(rounded[i], np.inf)
    return result


def fused_double(a: Array, b: Array, c: Array) -> Array:
    """Return a·b + c, rounded once.

    Two exact sums leave a value and a rest; rounded to odd, the rest tips the last rounding the
    right way (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums", IEEE
    Transactions on Computers, 2008). Where products overflow or underflow, it is rounded twice.
    """
    high, low = _product(a, b)
    high_sum, high_rest = _sum(c, low)
    total, rest = _sum(high, high_sum)
    odd, lost = _sum(high_rest, rest)
    bits = odd.view(np.int64)
    even = (lost != 0) & (bits & 1 == 0)
    towards = np.where((lost > 0) == (odd > 0), 1, -1)
    odd = np.where(even, (bits + towards).view(np.float64), odd)
    simple = a * b + c
    result = total + odd
    return np.where(np.isfinite(result) & (np.abs(high) > 2.0**-900), result, simple)


def _product(a: Array, b: Array) -> tuple[Array, Array]:
    """Return a product and its rounding error."""
    product = a * b
    a_high, b_high = a * _SPLITTER, b * _SPLITTER
    a_high, b_high = a_high - (a_high - a), b_high - (b_high - b)
    a_low, b_low = a - a_high, b - b_high
    rest = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, rest


def _sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Return a sum and its rounding error."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


_FUNCTIONS: Mapping[str, Callable[[Array], Array]] = {
    "RCP": lambda x: 1.0 / x,
    "RSQ": lambda x: 1.0 / np.sqrt(x),
    "SQRT": np.sqrt,
    "EX2": np.exp2,
    "LG2": np.log2,
}


def _special(instruction: Instruction, registers: Registers) -> Step:
    """MUFU: reciprocals, roots and powers of two; with 64H of the high word of a float64."""
    write = registers.to_word(instruction.operands[0])
    name = instruction.modifiers[0]
    if name.endswith("64H"):
        high = registers.word(instruction.operands[1])
        function = _FUNCTIONS[name.removesuffix("64H")]

        def upper(where: Array | None) -> None:
            value = (high().astype(np.uint64) << np.uint64(32)).view(np.float64)
            write((function(value).view(np.uint64) >> np.uint64(32)).astype(np.uint32), where)

        return upper
    function, read = _FUNCTIONS[name], registers.real(instruction.operands[1])
    return lambda where: write(function(read().astype(np.float64)).astype(np.float32), where)


def _check_division(instruction: Instruction, registers: Registers) -> Step:
    """FCHK: whether a division needs the slow path; conservative here."""
    write = registers.to_flag(instruction.operands[0])
    a, b = (registers.real(text) for text in instruction.operands[1:3])

    def step(where: Array | None) -> None:
        above, below = np.abs(a()), np.abs(b())
        sane = (above > 2.0**-60) & (above < 2.0**60) & (below > 2.0**-60) & (below < 2.0**60)
        write(~sane, where)

    return step


_COMPARED = (
    f"{' '.join(COMPARISONS)} {' '.join(f'{name}U' for name in COMPARISONS)} NAN NUM "
    f"{' '.join(JOINS)}"
)

FLOATING: Mapping[str, Operation] = {
    "FADD": operation(_arithmetic(np.add), "FTZ"),
    "FMUL": operation(_multiply, "FTZ D2 D4 D8 M2 M4 M8"),
    "FFMA": operation(_arithmetic(_fused), "FTZ"),
    "FMNMX": operation(_extreme, "FTZ"),
    "FSEL": operation(_select),
    "FSETP": operation(_compare, f"{_COMPARED} FTZ"),
    "DSETP": operation(_compare, _COMPARED),
    "DADD": operation(_double(np.add)),
    "DMUL": operation(_double(np.multiply), "RP RM RZ"),
    "DFMA": operation(_double(fused_double), "RP RM RZ"),
    "MUFU": operation(_special, "RCP RSQ SQRT EX2 LG2 RCP64H RSQ64H"),
    "FCHK": operation(_check_division),
}
