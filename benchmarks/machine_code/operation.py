"""Instructions as functions that execute them for the threads of a mask."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from machine_code.block import ThreadBlock
from machine_code.listing import Instruction
from machine_code.registers import Array, Read, Registers

Step = Callable[[Array | None], None]
"""Executes an instruction for the threads of a mask; None: for all."""


@dataclass(frozen=True)
class Operation:
    """The implementation of an opcode.

    Attributes
    ----------
    build : callable
        Makes a step of an instruction.
    modifiers : frozenset of str
        Modifiers that it implements, or that have no effect here. Others are refused.
    """

    build: Callable[[Instruction, ThreadBlock], Step]
    modifiers: frozenset[str]


class UnknownInstruction(Exception):
    """An instruction, or a modifier, that the interpreter does not know."""


def operation(build: Callable[[Instruction, Registers], Step], modifiers: str = "") -> Operation:
    """Return an operation on registers, with its modifiers separated by spaces."""
    return access(lambda instruction, block: build(instruction, block.registers), modifiers)


def access(build: Callable[[Instruction, ThreadBlock], Step], modifiers: str = "") -> Operation:
    """Return an operation on registers and memory."""
    return Operation(build, frozenset(modifiers.split()))


def step_of(instruction: Instruction, block: ThreadBlock, known: Mapping[str, Operation]) -> Step:
    """Build the step of a computing instruction, without its guard.

    Raises
    ------
    UnknownInstruction
        For an opcode, a modifier or an operand that is not known.
    """
    entry = known.get(instruction.opcode)
    if entry is None:
        raise UnknownInstruction(
            f"{instruction}: opcode {instruction.opcode} is not known; "
            "add it to the tables of benchmarks/machine_code"
        )
    unknown = set(instruction.modifiers) - entry.modifiers
    if unknown:
        raise UnknownInstruction(
            f"{instruction}: modifier {', '.join(sorted(unknown))} of {instruction.opcode} is not "
            "known; add it to the tables of benchmarks/machine_code"
        )
    try:
        return entry.build(instruction, block)
    except (ValueError, IndexError) as error:
        raise UnknownInstruction(f"{instruction}: its operands are not understood") from error


def split(
    instruction: Instruction, registers: Registers, results: int = 1
) -> tuple[list[str], list[str], list[str], list[str]]:
    """Return the operands as results, predicates set, sources, and predicates read.

    Predicates set stand behind the results, predicates read at the end.
    """
    operands = list(instruction.operands)
    written, rest = operands[:results], operands[results:]
    first = next((i for i, text in enumerate(rest) if not registers.is_flag(text)), len(rest))
    last = len(rest)
    while last > first and registers.is_flag(rest[last - 1]):
        last -= 1
    return written, rest[:first], rest[first:last], rest[last:]


def words(registers: Registers, texts: list[str]) -> list[Read]:
    """Return functions that read 32-bit operands."""
    return [registers.word(text) for text in texts]
