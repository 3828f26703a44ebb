"""Warp instructions: shuffles, votes, and the indices of threads."""

from collections.abc import Callable, Mapping

import numpy as np

from machine_code.block import SHARED_WINDOW, ThreadBlock
from machine_code.listing import Instruction
from machine_code.operation import Operation, Step, access
from machine_code.registers import WARP, Array, of_warps


def _special_register(instruction: Instruction, block: ThreadBlock) -> Step:
    """S2R, S2UR: the numbers of thread and block."""
    result, name = instruction.operands
    write = block.registers.to_word(result)
    threads = np.arange(block.registers.threads, dtype=np.uint32)
    fixed: Mapping[str, Callable[[], Array]] = {
        "SR_TID.X": lambda: threads,
        "SR_LANEID": lambda: threads % np.uint32(WARP),
        "SR_CTAID.X": lambda: np.full_like(threads, block.index),
        "SR_CgaCtaId": lambda: np.zeros_like(threads),
        "SR_SWINHI": lambda: np.full_like(threads, SHARED_WINDOW),
        "SR_LTMASK": lambda: (np.uint32(1) << threads % np.uint32(WARP)) - np.uint32(1),
    }
    if name not in fixed:
        raise ValueError(f"{name}: a special register")
    read = fixed[name]
    return lambda where: write(read(), where)


def _vote(instruction: Instruction, block: ThreadBlock) -> Step:
    """VOTE, VOTEU: the threads for which a predicate holds, and whether for any or all of them."""
    *result, holds, source = instruction.operands
    registers = block.registers
    write = registers.to_word(result[0]) if result else None
    to_flag, read = registers.to_flag(holds), registers.flag(source)
    every = "ALL" in instruction.modifiers

    def step(where: Array | None) -> None:
        predicates, active = read(), _mask(block, where)
        bits = of_warps(predicates & active)
        answer = bits == of_warps(active) if every else bits != 0
        if write is not None:
            write(bits, where)
        to_flag(answer, where)

    return step


def _shuffle(instruction: Instruction, block: ThreadBlock) -> Step:
    """SHFL: a register of another thread."""
    holds, result, source, lane, limit = instruction.operands
    registers = block.registers
    to_flag, write = registers.to_flag(holds), registers.to_word(result)
    value, by, clamp = (registers.word(text) for text in (source, lane, limit))
    way = instruction.modifiers[0]
    threads = np.arange(registers.threads)
    lane = threads % WARP

    def step(where: Array | None) -> None:
        offset, bounds = by().astype(np.int64) & 31, clamp().astype(np.int64)
        segment, last = bounds >> 8 & 31, bounds & 31
        highest = (lane & segment) | (last & ~segment)
        lowest = lane & segment
        if way == "IDX":
            source_lane = lowest | (offset & ~segment)
        else:
            source_lane = {"BFLY": lane ^ offset, "UP": lane - offset, "DOWN": lane + offset}[way]
        inside = source_lane >= highest if way == "UP" else source_lane <= highest
        source_lane = np.where(inside, source_lane, lane)
        write(value()[threads - lane + source_lane], where)
        to_flag(inside, where)
        block.traffic.wavefronts[instruction.index] += _warps(block, where)

    return step


def _to_uniform(instruction: Instruction, block: ThreadBlock) -> Step:
    """R2UR: the value of the first active thread."""
    registers = block.registers
    write, read = registers.to_word(instruction.operands[0]), registers.word(
        instruction.operands[-1]
    )  # fmt: skip

    def step(where: Array | None) -> None:
        first = _mask(block, where).reshape(-1, WARP).argmax(axis=1)
        values = read().reshape(-1, WARP)[np.arange(len(first)), first]
        write(np.repeat(values, WARP), where)

    return step


_REDUCTIONS: Mapping[str, np.ufunc] = {
    "SUM": np.add,
    "MIN": np.minimum,
    "MAX": np.maximum,
    "OR": np.bitwise_or,
    "AND": np.bitwise_and,
    "XOR": np.bitwise_xor,
}


def _reduce(instruction: Instruction, block: ThreadBlock) -> Step:
    """REDUX: reduction of whole numbers over the active threads."""
    registers, mods = block.registers, instruction.modifiers
    write, read = registers.to_word(instruction.operands[0]), registers.word(
        instruction.operands[1]
    )  # fmt: skip
    name = mods[0] if mods else "AND"
    kind = np.int32 if "S32" in mods else np.uint32
    neutral = {"MIN": np.iinfo(kind).max, "MAX": np.iinfo(kind).min, "AND": -1}.get(name, 0)

    def step(where: Array | None) -> None:
        active = _mask(block, where)
        values = np.where(active, read().view(kind), np.array(neutral).astype(kind))
        totals = _REDUCTIONS[name].reduce(values.reshape(-1, WARP), axis=1, dtype=kind)
        write(np.repeat(totals, WARP), where)

    return step


def _match(instruction: Instruction, block: ThreadBlock) -> Step:
    """MATCH.ANY: the active threads that have the same value."""
    registers = block.registers
    result, source = instruction.operands
    write = registers.to_word(result)
    read = (registers.wide if "U64" in instruction.modifiers else registers.word)(source)
    bits = np.uint32(1) << np.arange(WARP, dtype=np.uint32)

    def step(where: Array | None) -> None:
        values, active = read().reshape(-1, WARP), _mask(block, where).reshape(-1, WARP)
        same = (values[:, :, None] == values[:, None, :]) & active[:, None, :]
        write(np.where(same, bits, np.uint32(0)).sum(axis=2, dtype=np.uint32).ravel(), where)

    return step


def _vote_of_block(instruction: Instruction, block: ThreadBlock) -> Step:
    """B2R.RESULT: the result of the last barrier, as a number, a predicate, or both."""
    registers = block.registers
    *results, last = instruction.operands
    write = registers.to_flag(last) if registers.is_flag(last) else registers.to_word(last)
    also = [registers.to_word(text) for text in results]

    def step(where: Array | None) -> None:
        result = np.full(registers.threads, block.voted, np.uint32)
        write(result != 0 if registers.is_flag(last) else result, where)
        for other in also:
            other(result, where)

    return step


def _nothing(instruction: Instruction, block: ThreadBlock) -> Step:
    """Do nothing: hints, and waits for operations that are complete here."""
    return lambda where: None


def _mask(block: ThreadBlock, where: Array | None) -> Array:
    return np.ones(block.registers.threads, bool) if where is None else where


def _warps(block: ThreadBlock, where: Array | None) -> int:
    return int(_mask(block, where).reshape(-1, WARP).any(axis=1).sum())


_IDLE = ("NOP", "YIELD", "WARPSYNC", "LDGDEPBAR", "DEPBAR", "MEMBAR", "ERRBAR", "CCTL", "FENCE")

WARPS: Mapping[str, Operation] = {
    "S2R": access(_special_register),
    "S2UR": access(_special_register),
    "VOTE": access(_vote, "ANY ALL"),
    "VOTEU": access(_vote, "ANY ALL"),
    "SHFL": access(_shuffle, "IDX UP DOWN BFLY"),
    "R2UR": access(_to_uniform),
    "REDUX": access(_reduce, f"{' '.join(_REDUCTIONS)} S32 U32"),
    "B2R": access(_vote_of_block, "RESULT"),
    "MATCH": access(_match, "ANY U64"),
    **dict.fromkeys(_IDLE, access(_nothing, "ALL LE SC GPU SYS CTA VIEW ASYNC IVALL")),
}
