"""Bits, bytes and predicates: logic, counts, positions, moves."""

from collections.abc import Callable, Mapping

import numpy as np

from machine_code.listing import Instruction
from machine_code.operation import Operation, Step, operation, words
from machine_code.registers import Array, Registers

_HALF = np.uint64(32)


def _move(instruction: Instruction, registers: Registers) -> Step:
    write, read = registers.to_word(instruction.operands[0]), registers.word(
        instruction.operands[1]
    )  # fmt: skip
    return lambda where: write(read(), where)


def _select(instruction: Instruction, registers: Registers) -> Step:
    result, one, other, flag = instruction.operands
    write, (a, b) = registers.to_word(result), words(registers, [one, other])
    choose = registers.flag(flag)
    return lambda where: write(np.where(choose(), a(), b()), where)


def _logic(instruction: Instruction, registers: Registers) -> Step:
    """LOP3: any function of three bits, defined by a table; a predicate is set if any bit is."""
    operands = list(instruction.operands)
    out = registers.to_flag(operands.pop(0)) if registers.is_flag(operands[0]) else None
    write = registers.to_word(operands[0])
    reads, table = words(registers, operands[1:4]), int(operands[4], 0)
    also = registers.flag(operands[5])

    def step(where: Array | None) -> None:
        value = _by_table(table, *(read() for read in reads))
        write(value, where)
        if out is not None:
            out((value != 0) | also(), where)

    return step


def _by_table(table: int, a: Array, b: Array, c: Array) -> Array:
    """Return the function of three bits whose value for (1, 1, 1) is the table's highest bit."""
    value: Array = np.zeros_like(a)
    for position in range(8):
        if table >> position & 1:
            row = zip((a, b, c), (4, 2, 1), strict=True)
            x, y, z = (bits if position & bit else ~bits for bits, bit in row)
            value |= x & y & z
    return value


def _logic_of_flags(instruction: Instruction, registers: Registers) -> Step:
    """PLOP3: two functions of three predicates."""
    writes = [registers.to_flag(text) for text in instruction.operands[:2]]
    reads = [registers.flag(text) for text in instruction.operands[2:5]]
    tables = [int(text, 0) for text in instruction.operands[5:7]]

    def step(where: Array | None) -> None:
        values = [read().copy() for read in reads]
        for write, table in zip(writes, tables, strict=True):
            write(_by_table(table, *values), where)

    return step


def _of_one(function: Callable[[Array], Array]) -> Callable[[Instruction, Registers], Step]:
    """Return how to build an instruction with one source."""

    def build(instruction: Instruction, registers: Registers) -> Step:
        write = registers.to_word(instruction.operands[0])
        read = registers.word(instruction.operands[1])
        return lambda where: write(function(read()), where)

    return build


def _reversed(value: Array) -> Array:
    bits = np.unpackbits(value.view(np.uint8).reshape(-1, 4), axis=1, bitorder="little")
    return np.packbits(bits[:, ::-1], axis=1, bitorder="little").view(np.uint32).ravel()


def _leading(instruction: Instruction, registers: Registers) -> Step:
    """FLO: position of the highest set bit; with SH, the shift that moves it to the top."""
    if "U32" not in instruction.modifiers:
        raise ValueError("of a signed number")
    write = registers.to_word(instruction.operands[0])
    read = registers.word(instruction.operands[1])
    from_top = "SH" in instruction.modifiers

    def step(where: Array | None) -> None:
        value = read()
        position = np.frexp(value.astype(np.float64))[1].astype(np.int32) - 1
        position = np.where(value == 0, -1, 31 - position if from_top else position)
        write(position.astype(np.int32), where)

    return step


def _permute(instruction: Instruction, registers: Registers) -> Step:
    """PRMT: any four of the eight bytes of two words, or copies of their signs."""
    result, *sources = instruction.operands
    write, (a, selector, b) = registers.to_word(result), words(registers, list(sources))

    def step(where: Array | None) -> None:
        both = a().astype(np.uint64) | b().astype(np.uint64) << _HALF
        choice, value = selector().astype(np.uint64), np.zeros(registers.threads, np.uint64)
        for position in range(4):
            field = choice >> np.uint64(4 * position)
            byte = both >> (field & np.uint64(7)) * np.uint64(8) & np.uint64(0xFF)
            sign = np.where(byte >> np.uint64(7), np.uint64(0xFF), np.uint64(0))
            byte = np.where(field & np.uint64(8), sign, byte)
            value |= byte << np.uint64(8 * position)
        write(value.astype(np.uint32), where)

    return step


def _flags_to_register(instruction: Instruction, registers: Registers) -> Step:
    """P2R: the predicates in a mask, as bits."""
    result, _, kept, mask = instruction.operands
    write, (a, bits) = registers.to_word(result), words(registers, [kept, mask])

    def step(where: Array | None) -> None:
        together = np.packbits(registers.predicates[:7], axis=0, bitorder="little")[0]
        write(a() & ~bits() | together.astype(np.uint32) & bits(), where)

    return step


def _register_to_flags(instruction: Instruction, registers: Registers) -> Step:
    """R2P: bits to the predicates in a mask."""
    _, source, mask = instruction.operands
    a, bits = words(registers, [source, mask])
    writes = [registers.to_flag(f"P{i}") for i in range(7)]

    def step(where: Array | None) -> None:
        value, selected = a(), bits()
        for i, write in enumerate(writes):
            is_selected = (selected >> np.uint32(i) & 1).astype(bool)
            write(
                (value >> np.uint32(i) & 1).astype(bool),
                is_selected if where is None else is_selected & where,
            )

    return step


def _zero(instruction: Instruction, registers: Registers) -> Step:
    """CS2R of the register that is zero: two words of zeros."""
    result, source = instruction.operands
    if source != "SRZ":
        raise ValueError(f"{source}: only SRZ is known")
    write = (
        registers.to_word(result) if "32" in instruction.modifiers else registers.to_wide(result)
    )
    size = registers.threads
    zeros = np.zeros(size, np.uint32 if "32" in instruction.modifiers else np.uint64)
    return lambda where: write(zeros, where)


_PLAIN: Mapping[str, Operation] = {
    "LOP3": operation(_logic, "LUT"),
    "PLOP3": operation(_logic_of_flags, "LUT"),
    "SEL": operation(_select),
    "MOV": operation(_move),
    "POPC": operation(_of_one(lambda value: np.bitwise_count(value).astype(np.uint32))),
    "BREV": operation(_of_one(_reversed)),
    "FLO": operation(_leading, "U32 SH"),
    "PRMT": operation(_permute),
}

BITS: Mapping[str, Operation] = {
    **_PLAIN,
    **{f"U{opcode}": entry for opcode, entry in _PLAIN.items()},
    "P2R": operation(_flags_to_register),
    "R2P": operation(_register_to_flags),
    "CS2R": operation(_zero, "32"),
}
