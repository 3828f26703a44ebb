"""Memory instructions: loads, stores, asynchronous copies and atomic operations.

An asynchronous copy is complete immediately here.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from machine_code.block import SHARED_WINDOW, ThreadBlock
from machine_code.listing import Instruction
from machine_code.memory import MemorySpace
from machine_code.operation import Operation, Step, access
from machine_code.registers import Array, Read

_ADDRESS = re.compile(r"^(?:desc\[UR\d+\])?\[([^\]]+)\]$")
_SIZES = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16}
_CACHING = (
    "E CONSTANT STRONG WEAK GPU SYS CTA SM EF EL LU NA BYPASS ACCESS LTC64B LTC128B LTC256B "
    "EVICT_FIRST EVICT_LAST"
)
_WIDTHS = " ".join(_SIZES)
_WINDOW = SHARED_WINDOW << 32

Build = Callable[[Instruction, ThreadBlock], Step]


def address_of(block: ThreadBlock, text: str, long: bool = False) -> Read:
    """Return a function that reads an address, int64: registers, shifted or not, and an offset.

    Parameters
    ----------
    long : bool
        Whether addresses have 64 bits: a register without a word about it is two.

    Raises
    ------
    ValueError
        For a form that is not known.
    """
    match = _ADDRESS.match(text)
    if match is None:
        raise ValueError(f"{text} is not an address")
    parts = match[1].split("+")
    if long and any(part.startswith("UR") for part in parts) and "64" in match[1]:
        raise ValueError(f"{text}: a register of the warp beside one of 64 bits")
    terms = [_term(block, part, long) for part in parts]

    def read() -> Array:
        total = terms[0]()
        for term in terms[1:]:
            total = total + term()
        return total

    return read


def _term(block: ThreadBlock, text: str, long: bool) -> Read:
    name, _, how = text.partition(".")
    if not name.startswith(("R", "UR")):  # an offset has a sign
        offset = np.full(block.registers.threads, int(name, 0))
        return lambda: offset
    if how == "64" or (long and not how):
        wide = block.registers.wide(name)
        return lambda: wide().view(np.int64)
    word = block.registers.word(name)
    if how.startswith("X"):
        factor = int(how[1:])
        return lambda: word().astype(np.int64) * factor
    if how not in ("", "U32"):
        raise ValueError(f"{text}: an address")
    return lambda: word().astype(np.int64)


def _is_long(space: str) -> bool:
    return space in ("device", "any")


def _width(instruction: Instruction) -> int:
    return next((_SIZES[m] for m in instruction.modifiers if m in _SIZES), 4)


def _load(space: str) -> Build:
    """Return a builder of loads from global ("device"), shared, local or any memory."""

    def build(instruction: Instruction, block: ThreadBlock) -> Step:
        result, source = instruction.operands
        width, address = _width(instruction), address_of(block, source, _is_long(space))
        writes = [block.registers.to_word(result, i) for i in range(max(width // 4, 1))]
        signed = "S8" in instruction.modifiers or "S16" in instruction.modifiers

        def step(where: Array | None) -> None:
            for part, memory, offsets in _reached(block, space, address(), width, where):
                _count(block, instruction, memory, offsets, width, part, "read")
                for write, value in zip(writes, memory.load(offsets, width), strict=True):
                    if signed:
                        value = value.astype(f"i{width}").astype(np.int32)
                    write(value, part)

        return step

    return build


def _store(space: str) -> Build:
    """Return a builder of stores."""

    def build(instruction: Instruction, block: ThreadBlock) -> Step:
        target, source = instruction.operands
        width, address = _width(instruction), address_of(block, target, _is_long(space))
        zero = source.endswith("RZ")
        names = [source] * max(width // 4, 1) if zero else _following(source, max(width // 4, 1))
        reads = [block.registers.word(name) for name in names]

        def step(where: Array | None) -> None:
            values = [read() for read in reads]
            for part, memory, offsets in _reached(block, space, address(), width, where):
                _count(block, instruction, memory, offsets, width, part, "write")
                selected = slice(None) if part is None else part
                memory.store(offsets[selected], [value[selected] for value in values], width)

        return step

    return build


def _following(name: str, count: int) -> list[str]:
    first = int(name[1:])
    return [f"R{first + i}" for i in range(count)]


def _reached(
    block: ThreadBlock, space: str, addresses: Array, width: int, where: Array | None
) -> list[tuple[Array | None, MemorySpace, Array]]:
    """Return the threads that access each memory, and their offsets in it."""
    if space == "any":
        in_window = addresses >> 32 == SHARED_WINDOW
        parts = []
        for memory, holds in ((block.shared, in_window), (block.device, ~in_window)):
            threads = holds if where is None else holds & where
            if threads.any():
                relative = addresses - (_WINDOW if memory is block.shared else 0)
                parts.append((threads, memory, memory.offsets_of(relative, width, threads)))
        return parts
    if space == "local":
        addresses = addresses + np.arange(len(addresses)) * block.local_bytes
    memory = {"device": block.device, "shared": block.shared, "local": block.local}[space]
    return [(where, memory, memory.offsets_of(addresses, width, where))]


def _count(
    block: ThreadBlock,
    instruction: Instruction,
    memory: MemorySpace,
    offsets: Array,
    width: int,
    where: Array | None,
    kind: str,
    atomic: bool = False,
) -> None:
    if memory is block.shared:
        block.traffic.shared(instruction.index, offsets, width, where, atomic)
    elif memory is block.device:
        block.traffic.device(instruction.index, offsets, width, where, kind)


def _copy(instruction: Instruction, block: ThreadBlock) -> Step:
    """LDGSTS: from global to shared memory."""
    width = _width(instruction)
    to = address_of(block, instruction.operands[0])
    source = address_of(block, instruction.operands[1], long=True)
    flags = [block.registers.flag(text) for text in instruction.operands[2:]]

    def step(where: Array | None) -> None:
        for flag in flags:
            where = flag().copy() if where is None else where & flag()
        ((_, _, source_offsets),) = _reached(block, "device", source(), width, where)
        ((_, _, target_offsets),) = _reached(block, "shared", to(), width, where)
        _count(block, instruction, block.device, source_offsets, width, where, "read")
        _count(block, instruction, block.shared, target_offsets, width, where, "write")
        selected = slice(None) if where is None else where
        words = block.device.load(source_offsets, width)
        block.shared.store(target_offsets[selected], [word[selected] for word in words], width)

    return step


_CHANGES: Mapping[str, Callable[[Any, Any], Any]] = {
    "ADD": lambda old, value: old + value,
    "MIN": min,
    "MAX": max,
    "OR": lambda old, value: old | value,
    "AND": lambda old, value: old & value,
    "XOR": lambda old, value: old ^ value,
    "EXCH": lambda old, value: value,
}


def _atomic(space: str) -> Build:
    """Return a builder of atomic operations; threads execute them in their order."""

    def build(instruction: Instruction, block: ThreadBlock) -> Step:
        operands, mods = list(instruction.operands), instruction.modifiers
        if instruction.opcode in ("ATOMG", "ATOM"):
            operands.pop(0)  # an unused predicate
        result = None if instruction.opcode.startswith("RED") else operands.pop(0)
        address = address_of(block, operands[0], _is_long(space))
        width = 8 if {"64", "S64"} & set(mods) else 4
        kind = np.dtype(f"{'i' if {'S32', 'S64'} & set(mods) else 'u'}{width}")
        read = block.registers.wide if width == 8 else block.registers.word
        sources = [read(text) for text in operands[1:]]
        change = next((_CHANGES[m] for m in mods if m in _CHANGES), None)
        if change is None and "CAS" not in mods and "INC" not in mods:
            raise ValueError("an atomic operation")
        silent = result is None or result.endswith("RZ")
        write = None if silent or result is None else (
            block.registers.to_wide(result) if width == 8 else block.registers.to_word(result)
        )  # fmt: skip

        def step(where: Array | None) -> None:
            values = [source().view(kind) for source in sources]
            for part, memory, offsets in _reached(block, space, address(), width, where):
                _count(block, instruction, memory, offsets, width, part, "both", atomic=True)
                target, items = memory.view(kind), offsets // width
                threads = np.arange(len(items)) if part is None else np.flatnonzero(part)
                if write is None and "ADD" in mods:
                    np.add.at(target, items[threads], values[0][threads])
                    continue
                before = np.zeros(len(items), kind)
                for i in threads:
                    old = target[items[i]]
                    before[i] = old
                    target[items[i]] = _changed(old, [value[i] for value in values], change)
                if write is not None:
                    write(before, part)

        return step

    return build


def _changed(old: Any, values: list[Any], change: Callable[[Any, Any], Any] | None) -> Any:
    if change is not None:
        return change(old, values[0])
    if len(values) == 2:  # compare and swap
        return values[1] if old == values[0] else old
    return old + 1  # POPC.INC


def _constant(instruction: Instruction, block: ThreadBlock) -> Step:
    """LDC, ULDC: from the constant bank."""
    result, source = instruction.operands
    match = re.match(r"^c\[0x0\]\[(0x[0-9a-f]+)\]$", source)
    if match is None:
        raise ValueError(f"{source}: only fixed offsets in bank 0 are known")
    registers, offset = block.registers, int(match[1], 16)
    wide = "64" in instruction.modifiers
    value = registers.constant(offset, np.uint64 if wide else np.uint32)
    write = registers.to_wide(result) if wide else registers.to_word(result)
    return lambda where: write(value, where)


_PLACED = f"{_CACHING} {_WIDTHS}"
_CHANGING = f"{' '.join(_CHANGES)} CAS 64 S32 S64"

ACCESSES: Mapping[str, Operation] = {
    "LDG": access(_load("device"), _PLACED),
    "LD": access(_load("any"), _PLACED),
    "LDS": access(_load("shared"), _WIDTHS),
    "LDL": access(_load("local"), _WIDTHS),
    "STG": access(_store("device"), _PLACED),
    "ST": access(_store("any"), _PLACED),
    "STS": access(_store("shared"), _WIDTHS),
    "STL": access(_store("local"), _WIDTHS),
    "LDGSTS": access(_copy, _PLACED),
    "ATOMS": access(_atomic("shared"), f"{_CHANGING} POPC INC 32 CAST SPIN"),
    "ATOMG": access(_atomic("device"), f"{_CHANGING} {_CACHING}"),
    "ATOM": access(_atomic("any"), f"{_CHANGING} {_CACHING}"),
    "REDG": access(_atomic("device"), f"{_CHANGING} {_CACHING}"),
    "RED": access(_atomic("any"), f"{_CHANGING} {_CACHING}"),
    "LDC": access(_constant, "64"),
    "ULDC": access(_constant, "64"),
}
