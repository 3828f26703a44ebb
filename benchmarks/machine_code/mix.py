"""The kinds of instructions, and the units of a multiprocessor that execute them."""

from collections.abc import Mapping

from machine_code.bits import BITS
from machine_code.execution import KNOWN
from machine_code.integer import INTEGER
from machine_code.listing import Instruction

KINDS = (
    *("FFMA", "FADD", "FP64", "MUFU", "HMMA", "integer", "LDS", "STS", "LDGSTS", "LDG", "STG"),
    *("ATOMS", "RED", "SHFL", "control", "other"),
)
"""FADD: FMUL, too. MUFU: conversions, too. LDS: LDSM, too. RED: all atomic operations on global
memory. SHFL: votes, too. other: comparisons and moves of floats, constants, local memory, waiting
for copies."""

_KIND_OF: Mapping[str, str] = {
    "FFMA": "FFMA", "FADD": "FADD", "FMUL": "FADD",
    **dict.fromkeys(("DADD", "DMUL", "DFMA", "DSETP"), "FP64"),
    **dict.fromkeys(("MUFU", "I2F", "F2I", "F2F"), "MUFU"),
    "HMMA": "HMMA", "LDS": "LDS", "LDSM": "LDS", "STS": "STS", "LDGSTS": "LDGSTS",
    "LDG": "LDG", "LD": "LDG", "STG": "STG", "ST": "STG", "ATOMS": "ATOMS",
    **dict.fromkeys(("ATOMG", "ATOM", "REDG", "RED"), "RED"),
    **dict.fromkeys(("SHFL", "VOTE", "VOTEU", "MATCH", "REDUX"), "SHFL"),
    **dict.fromkeys((*INTEGER, *BITS), "integer"),
}  # fmt: skip

UNITS: Mapping[str, float] = {
    "issue": 4.0, "fma": 4.0, "alu": 2.0, "fp64": 2.0, "special": 0.5, "tensor": 0.62,
}  # fmt: skip
"""Warp instructions per clock on a multiprocessor of compute capability 9.0: 128, 64,
64 and 16 results (CUDA C++ Programming Guide, "Arithmetic Instructions"). A whole-number product
goes through half of the units for float32 and is counted as two. Of HMMA.16816, with 2048 products
and sums, the tensor cores execute one per clock; `mma.sync` reaches about 62 % of that."""

_FMA = ("FFMA", "FADD", "FMUL")
_SPECIAL = ("POPC", "FLO", "BREV", "UPOPC", "UFLO", "UBREV")


def kind_of(instruction: Instruction) -> str:
    """Return one of `KINDS`."""
    if instruction.opcode not in KNOWN:
        return "control"
    return _KIND_OF.get(instruction.opcode, "other")


def unit_of(instruction: Instruction) -> tuple[str, float]:
    """Return which of `UNITS` executes an instruction, and how many slots it takes.

    Loads, stores and shuffles are counted elsewhere, by their wavefronts.
    """
    opcode, kind = instruction.opcode, kind_of(instruction)
    if opcode in _FMA:
        return "fma", 1.0
    if opcode == "IMAD":
        return "fma", 2.0
    if opcode == "HFMA2":
        return "fma", 1.0
    if opcode == "HMMA":
        return "tensor", 0.5 if "1688" in instruction.modifiers else 1.0
    if kind == "FP64":
        return "fp64", 1.0
    if kind == "MUFU" or opcode in _SPECIAL:
        return "special", 1.0
    if kind in ("integer", "other") and not opcode.startswith(("U", "LD", "ST")):
        return "alu", 1.0
    return "issue", 0.0
