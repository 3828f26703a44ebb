"""Parse machine code as NVIDIA's disassembler prints it.

A listing may contain the source lines of an instruction (``-lineinfo``, ``nvdisasm -gi``), as
comments before it, the innermost function first.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

INSTRUCTION_BYTES = 16

_LABEL = re.compile(r"^\s*([.$\w]+):\s*$")
_SOURCE = re.compile(r'^\s*//## File "([^"]*)", line (\d+)')
_CODE = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:@(!?U?P[T0-9]+)\s+)?([A-Z0-9_.]+)\s*([^;]*);")


@dataclass(frozen=True)
class SourceLine:
    """A line of the source.

    Attributes
    ----------
    file : str
        Name without the folder.
    line : int
    """

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes
    ----------
    index : int
        Its number in the listing.
    guard : str
        The predicate that enables it, such as "!P3"; "": none.
    opcode : str
        Such as "ISETP".
    modifiers : tuple of str
        Such as ("GE", "AND").
    operands : tuple of str
        As printed, without hints to the register cache.
    sources : tuple of SourceLine
        Its source lines: the innermost function first, then the callers that inline it.
    """

    index: int
    guard: str
    opcode: str
    modifiers: tuple[str, ...]
    operands: tuple[str, ...]
    sources: tuple[SourceLine, ...] = ()

    @property
    def address(self) -> int:
        """Its offset from the first instruction, in bytes."""
        return self.index * INSTRUCTION_BYTES

    def __str__(self) -> str:
        guard = f"@{self.guard} " if self.guard else ""
        name = ".".join([self.opcode, *self.modifiers])
        return f"/*{self.address:04x}*/ {guard}{name} {', '.join(self.operands)}"


@dataclass(frozen=True)
class Listing:
    """The machine code of one kernel, with the functions that it calls.

    Attributes
    ----------
    instructions : tuple of Instruction
    labels : mapping of str to int
        The index of the instruction after each label.
    """

    instructions: tuple[Instruction, ...]
    labels: Mapping[str, int]

    def target(self, instruction: Instruction) -> int | None:
        """Return the index of an instruction's jump target, or None if it names no label."""
        for operand in instruction.operands:
            if operand.startswith("`("):
                return self.labels[operand[2:-1]]
        return None


def parse(text: str) -> Listing:
    """Parse the listing of one kernel by nvdisasm.

    Raises
    ------
    ValueError
        For a line that begins like an instruction but is none, for an instruction at an unexpected
        address, and for a listing without instructions.
    """
    labels: dict[str, int] = {}
    instructions: list[Instruction] = []
    sources: tuple[SourceLine, ...] = ()
    continues = False
    for line in text.splitlines():
        if match := _SOURCE.match(line):
            source = SourceLine(match[1].rsplit("/", 1)[-1], int(match[2]))
            sources = (*sources, source) if continues else (source,)
            continues = True
            continue
        continues = False
        if label := _LABEL.match(line):
            labels[label[1]] = len(instructions)
        elif re.match(r"^\s*/\*[0-9a-f]{4,}\*/", line):
            instructions.append(_instruction(line, len(instructions), sources))
    if not instructions:
        raise ValueError("no instruction in the listing: is it what `nvdisasm -c` printed?")
    return Listing(tuple(instructions), labels)


def _instruction(line: str, index: int, sources: tuple[SourceLine, ...]) -> Instruction:
    code = _CODE.match(line)
    if code is None:
        raise ValueError(f"{line.strip()!r} begins like an instruction, but does not end like one")
    if int(code[1], 16) != index * INSTRUCTION_BYTES:
        raise ValueError(
            f"{line.strip()!r} is not at {index * INSTRUCTION_BYTES:#x}: "
            "a listing of one kernel, without gaps, is needed"
        )
    opcode, *modifiers = code[3].split(".")
    return Instruction(
        index, code[2] or "", opcode, tuple(modifiers), tuple(_operands(code[4])), sources
    )


def _operands(text: str) -> Iterator[str]:
    for operand in text.replace(".reuse", "").split(","):
        yield from operand.split()  # "R10 `(label)" are two
