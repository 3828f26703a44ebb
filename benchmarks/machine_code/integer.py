"""Whole numbers: sums, products, shifts, comparisons."""

from collections.abc import Callable, Mapping

import numpy as np

from machine_code.listing import Instruction
from machine_code.operation import Operation, Step, operation, split, words
from machine_code.registers import Array, Registers

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)

COMPARISONS: Mapping[str, Callable[[Array, Array], Array]] = {
    "LT": np.less,
    "EQ": np.equal,
    "LE": np.less_equal,
    "GT": np.greater,
    "NE": np.not_equal,
    "GE": np.greater_equal,
}

JOINS: Mapping[str, Callable[[Array, Array], Array]] = {
    "AND": np.logical_and,
    "OR": np.logical_or,
    "XOR": np.logical_xor,
}
_STRICT: Mapping[str, Callable[[Array, Array], Array]] = {
    "LT": np.less,
    "LE": np.less,
    "GT": np.greater,
    "GE": np.greater,
}
"""Strict forms of comparisons of upper words; equal ones are decided by the lower words."""


def _add(instruction: Instruction, registers: Registers) -> Step:
    """IADD3, VIADD: up to three addends, carries in and out."""
    (result,), out, sources, into = split(instruction, registers)
    write, reads = registers.to_word(result), words(registers, sources)
    if not out and not into:

        def short(where: Array | None) -> None:
            total = reads[0]()
            for read in reads[1:]:
                total = total + read()
            write(total, where)

        return short
    carries = [registers.to_flag(text) for text in out]
    flags = [registers.flag(text) for text in into]
    exact = [_addend(registers, text) for text in sources]

    def step(where: Array | None) -> None:
        total: Array = np.zeros(registers.threads, np.uint64)
        for read in exact:
            total = total + read()
        for flag in flags:
            total = total + flag().astype(np.uint64)
        write((total & _LOW).astype(np.uint32), where)
        over = total >> _HALF
        for least, carry in enumerate(carries, 1):
            carry(over >= least, where)

    return step


def _addend(registers: Registers, text: str) -> Callable[[], Array]:
    """Return a function that reads an addend as 64 bits, with the carry of a subtraction."""
    if text.startswith("-") and not text[1:2].isdigit():
        inverse = registers.word(f"~{text[1:]}")
        return lambda: inverse().astype(np.uint64) + np.uint64(1)
    read = registers.word(text)
    return lambda: read().astype(np.uint64)


def _multiply(instruction: Instruction, registers: Registers) -> Step:
    """IMAD in all forms but WIDE and HI: the low word of a product and a sum."""
    (result,), out, sources, into = split(instruction, registers)
    if out:
        raise ValueError("a carry of 32 bits")
    write, (a, b, c) = registers.to_word(result), words(registers, sources)
    if into:
        carry = registers.flag(into[0])
        return lambda where: write(a() * b() + c() + carry(), where)
    return lambda where: write(a() * b() + c(), where)


def _multiply_wide(instruction: Instruction, registers: Registers) -> Step:
    """IMAD.WIDE and IMAD.HI: a product of 64 bits, and a sum."""
    (result,), out, sources, into = split(instruction, registers)
    a, b = words(registers, sources[:2])
    addend = registers.wide(sources[2])
    carries = [registers.to_flag(text) for text in out]
    flags = [registers.flag(text) for text in into] if "X" in instruction.modifiers else []
    high = "HI" in instruction.modifiers
    write = registers.to_word(result) if high else registers.to_wide(result)
    kind = np.uint32 if "U32" in instruction.modifiers else np.int32
    long = np.uint64 if kind is np.uint32 else np.int64

    def step(where: Array | None) -> None:
        product = (a().view(kind).astype(long) * b().view(kind).astype(long)).view(np.uint64)
        total = product + addend()
        over = total < product
        for flag in flags:
            total = total + flag()
            over |= (total == 0) & flag()
        write((total >> _HALF).astype(np.uint32) if high else total, where)
        for carry in carries:
            carry(over, where)

    return step


def _imad(instruction: Instruction, registers: Registers) -> Step:
    wide = {"WIDE", "HI"} & set(instruction.modifiers)
    return (_multiply_wide if wide else _multiply)(instruction, registers)


def _shift_add(instruction: Instruction, registers: Registers) -> Step:
    """LEA: a << s added to b; with HI the bits that the shift moves out of the low word."""
    (result,), out, sources, into = split(instruction, registers)
    write, mods = registers.to_word(result), instruction.modifiers
    a, b = registers.word(sources[0]), _addend(registers, sources[1])
    extended, high = "SX32" in mods, "HI" in mods
    above = registers.word(sources[2]) if high and not extended else None
    shift = np.uint64(int(sources[-1], 0) if sources[-1] != "RZ" else 0)
    carries = [registers.to_flag(text) for text in out]
    flags = [registers.flag(text) for text in into]

    def step(where: Array | None) -> None:
        low = a()
        value = low.view(np.int32).astype(np.int64).view(np.uint64) if extended else low.astype(
            np.uint64
        )  # fmt: skip
        if above is not None:
            value = value | above().astype(np.uint64) << _HALF
        shifted = value << shift
        total = ((shifted >> _HALF) if high else (shifted & _LOW)) + b()
        for flag in flags:
            total = total + flag().astype(np.uint64)
        write((total & _LOW).astype(np.uint32), where)
        for carry in carries:
            carry(total >> _HALF != 0, where)

    return step


def _shift(instruction: Instruction, registers: Registers) -> Step:
    """SHF: shift two adjacent words; return one of the two words of the result."""
    (result,), _, sources, _ = split(instruction, registers)
    write, (low, amount, high) = registers.to_word(result), words(registers, sources)
    mods = instruction.modifiers
    left, arithmetic, upper = mods[0] == "L", {"S32", "S64"} & set(mods), "HI" in mods
    max_shift = 63 if {"U64", "S64"} & set(mods) else 32
    wraps = "W" in mods

    def step(where: Array | None) -> None:
        both = low().astype(np.uint64) | high().astype(np.uint64) << _HALF
        by = amount().astype(np.uint64)
        mask = np.uint64(max_shift - 1 if max_shift == 32 else max_shift)
        by = by & mask if wraps else np.minimum(by, max_shift)
        if left:
            both = both << by
        elif arithmetic:
            both = (both.view(np.int64) >> by.view(np.int64)).view(np.uint64)
        else:
            both = both >> by
        write(((both >> _HALF) if upper else (both & _LOW)).astype(np.uint32), where)

    return step


def _compare(instruction: Instruction, registers: Registers) -> Step:
    """ISETP; with EX the upper words, after a comparison of the lower words."""
    mods, operands = instruction.modifiers, instruction.operands
    write, inverse = registers.to_flag(operands[0]), registers.to_flag(operands[1])
    a, b = words(registers, list(operands[2:4]))
    flag = registers.flag(operands[4])
    lower = registers.flag(operands[5]) if "EX" in mods else None
    kind = np.uint32 if "U32" in mods else np.int32
    compare, join = COMPARISONS[mods[0]], JOINS[next(m for m in mods if m in JOINS)]

    def step(where: Array | None) -> None:
        left, right = a().view(kind), b().view(kind)
        holds = compare(left, right)
        if lower is not None:
            if mods[0] == "NE":
                holds = holds | lower()
            else:
                strict = _STRICT.get(mods[0])
                equal = (left == right) & lower()
                holds = equal if strict is None else strict(left, right) | equal
        other = flag()
        results = join(holds, other), join(~holds, other)
        write(results[0], where)
        inverse(results[1], where)

    return step


def _extreme(instruction: Instruction, registers: Registers) -> Step:
    """VIMNMX, VIADDMNMX: the minimum where a predicate holds, else the maximum.

    With RELU, 0 where that is negative.
    """
    (result,), _, sources, (flag,) = split(instruction, registers)
    write, reads, least = registers.to_word(result), words(registers, sources), registers.flag(flag)
    kind = np.uint32 if "U32" in instruction.modifiers else np.int32
    floor = np.zeros(1, kind) if "RELU" in instruction.modifiers else None

    def step(where: Array | None) -> None:
        left, right = reads[0](), reads[-1]()
        if len(reads) == 3:
            left = left + reads[1]()
        left, right = left.view(kind), right.view(kind)
        smaller, larger = np.minimum(left, right), np.maximum(left, right)
        extreme = np.where(least(), smaller, larger)
        write(extreme if floor is None else np.maximum(extreme, floor), where)

    return step


def _absolute(instruction: Instruction, registers: Registers) -> Step:
    write = registers.to_word(instruction.operands[0])
    read = registers.word(instruction.operands[1])
    return lambda where: write(np.abs(read().view(np.int32)), where)


_PLAIN: Mapping[str, Operation] = {
    "IADD3": operation(_add, "X"),
    "IMAD": operation(_imad, "MOV U32 IADD SHL X WIDE HI"),
    "LEA": operation(_shift_add, "HI X SX32"),
    "ISETP": operation(_compare, f"{' '.join(COMPARISONS)} {' '.join(JOINS)} U32 EX"),
    "SHF": operation(_shift, "L R U32 S32 U64 S64 HI W"),
}

INTEGER: Mapping[str, Operation] = {
    **_PLAIN,
    **{f"U{opcode}": entry for opcode, entry in _PLAIN.items()},
    "VIADD": operation(_add),
    "VIMNMX": operation(_extreme, "U32 RELU"),
    "VIADDMNMX": operation(_extreme, "U32 RELU"),
    "IABS": operation(_absolute),
}
