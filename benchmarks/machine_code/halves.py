"""Pairs of half-precision numbers in a word: float16 and bfloat16, the upper one first."""

from collections.abc import Mapping

import numpy as np

from machine_code.listing import Instruction
from machine_code.operation import Operation, Step, operation
from machine_code.registers import Array, Read, Registers

_NOT_A_NUMBER = np.uint32(0x7FFF)


def from_bfloat(bits: Array) -> Array:
    """Return bfloat16 numbers, the low 16 bits of words, as float32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_bfloat(value: Array) -> Array:
    """Return float32 numbers rounded to bfloat16, ties to even, in the low 16 bits of words."""
    bits = np.ascontiguousarray(value).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(value), _NOT_A_NUMBER, rounded)


def from_half(bits: Array) -> Array:
    """Return float16 numbers, the low 16 bits of words, as float32."""
    return bits.astype(np.uint16).view(np.float16).astype(np.float32)


def to_half(value: Array) -> Array:
    """Return float32 numbers rounded to float16, in the low 16 bits of words."""
    return value.astype(np.float16).view(np.uint16).astype(np.uint32)


def _pack(instruction: Instruction, registers: Registers) -> Step:
    """F2FP: two float32 numbers, rounded, into one word."""
    result, upper, lower = instruction.operands
    write, a, b = registers.to_word(result), registers.real(upper), registers.real(lower)
    convert = to_bfloat if "BF16" in instruction.modifiers else to_half

    def step(where: Array | None) -> None:
        write(convert(a()) << np.uint32(16) | convert(b()), where)

    return step


def _fused(instruction: Instruction, registers: Registers) -> Step:
    """HFMA2: two products and sums of float16; of a pair of immediates the first is the upper."""
    result, *sources = instruction.operands
    write = registers.to_word(result)
    reads, at = [], 0
    while at < len(sources):
        immediate = not sources[at].lstrip("-|").startswith(("R", "UR", "c["))
        size = 2 if immediate else 1
        reads.append(_pair(registers, sources[at : at + size]))
        at += size
    if len(reads) != 3:
        raise ValueError("three sources are needed")

    def step(where: Array | None) -> None:
        (a, a_low), (b, b_low), (c, c_low) = [(high(), low()) for high, low in reads]
        write(to_half(a * b + c) << np.uint32(16) | to_half(a_low * b_low + c_low), where)

    return step


def _pair(registers: Registers, texts: list[str]) -> tuple[Read, Read]:
    """Return functions that read the upper and the lower half of a source."""
    if len(texts) == 2:
        upper, lower = (registers.real(text) for text in texts)
        return upper, lower
    sign = -1.0 if texts[0].startswith("-") else 1.0
    word = registers.word(texts[0].removeprefix("-"))
    return (
        lambda: np.float32(sign) * from_half(word() >> np.uint32(16)),
        lambda: np.float32(sign) * from_half(word() & np.uint32(0xFFFF)),
    )


HALVES: Mapping[str, Operation] = {
    "F2FP": operation(_pack, "BF16 F16 F32 PACK_AB"),
    "HFMA2": operation(_fused, "MMA"),
}
