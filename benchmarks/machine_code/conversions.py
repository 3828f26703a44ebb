"""Conversions between types of numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from machine_code.listing import Instruction
from machine_code.operation import Operation, Step, operation
from machine_code.registers import Array, Registers


def _whole_to_float(instruction: Instruction, registers: Registers) -> Step:
    """I2F, I2FP: from 32 or 64 bits, with or without sign."""
    mods, (result, source) = instruction.modifiers, instruction.operands
    unsigned, long = any(m.startswith("U") for m in mods), bool({"U64", "S64"} & set(mods))
    double = "F64" in mods
    write = registers.to_wide(result) if double else registers.to_word(result)
    read = registers.wide(source) if long else registers.word(source)
    size = "64" if long else "32"
    kind = np.dtype(f"{'u' if unsigned else ''}int{size}")

    def step(where: Array | None) -> None:
        whole = read().view(kind)
        if double:
            write(whole.astype(np.float64), where)
            return
        exact = whole.astype(np.longdouble)
        value = exact.astype(np.float32)
        if "RP" in mods:
            up = np.nextafter(value, np.float32(np.inf))
            value = np.where(value.astype(np.longdouble) < exact, up, value)
        write(value, where)

    return step


def _float_to_whole(instruction: Instruction, registers: Registers) -> Step:
    """F2I: to 32 or 64 bits; values beyond the range saturate."""
    mods, (result, source) = instruction.modifiers, instruction.operands
    read = registers.double(source) if "F64" in mods else registers.real(source)
    long = bool({"U64", "S64"} & set(mods))
    write = registers.to_wide(result) if long else registers.to_word(result)
    unsigned = bool({"U64", "U32"} & set(mods))
    limits = np.iinfo(f"{'u' if unsigned else ''}int{64 if long else 32}")
    round_it: Any = np.rint
    for name, function in (("TRUNC", np.trunc), ("FLOOR", np.floor), ("CEIL", np.ceil)):
        round_it = function if name in mods else round_it

    def step(where: Array | None) -> None:
        value = round_it(read().astype(np.float64))
        inside = (value >= float(limits.min)) & (value < float(limits.max))
        whole = np.where(inside, value, 0).astype(limits.dtype)
        whole = np.where(value >= float(limits.max), limits.dtype.type(limits.max), whole)
        whole = np.where(value < float(limits.min), limits.dtype.type(limits.min), whole)
        write(whole, where)

    return step


def _between_floats(instruction: Instruction, registers: Registers) -> Step:
    """F2F: float32 from float64, or the reverse."""
    result, source = instruction.operands
    if instruction.modifiers[:2] == ("F64", "F32"):
        wide, real = registers.to_wide(result), registers.real(source)
        return lambda where: wide(real().astype(np.float64), where)
    if instruction.modifiers[:2] == ("F32", "F64"):
        narrow, double = registers.to_word(result), registers.double(source)
        return lambda where: narrow(double().astype(np.float32), where)
    raise ValueError("conversion")


CONVERSIONS: Mapping[str, Operation] = {
    "I2F": operation(_whole_to_float, "F64 RP U32 U64 S64"),
    "I2FP": operation(_whole_to_float, "F32 S32 U32"),
    "F2I": operation(_float_to_whole, "FTZ U32 S32 U64 S64 F64 TRUNC FLOOR CEIL NTZ"),
    "F2F": operation(_between_floats, "F32 F64"),
}
