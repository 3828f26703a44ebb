"""Machine code as NVIDIA's disassembler prints it, and what stands in a line of it.

A listing may carry the places in the source that an instruction comes from (``-lineinfo``,
``nvdisasm -gi``): comments before it, the innermost function first.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

INSTRUCTION_BYTES = 16

_LABEL = re.compile(r"^\s*([.$\w]+):\s*$")
_PLACE = re.compile(r'^\s*//## File "([^"]*)", line (\d+)')
_CODE = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:@(!?U?P[T0-9]+)\s+)?([A-Z0-9_.]+)\s*([^;]*);")


@dataclass(frozen=True)
class Place:
    """A line of the source.

    Attributes
    ----------
    file : str
        Without its folder.
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
        The predicate without which it does nothing, such as "!P3"; "": none.
    opcode : str
        Such as "ISETP".
    modifiers : tuple of str
        Such as ("GE", "AND").
    operands : tuple of str
        As they are printed, but for hints to the register cache.
    places : tuple of Place
        Where it comes from: the innermost function first, then where that was inlined.
    """

    index: int
    guard: str
    opcode: str
    modifiers: tuple[str, ...]
    operands: tuple[str, ...]
    places: tuple[Place, ...] = ()

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
        The index of the instruction behind each label.
    """

    instructions: tuple[Instruction, ...]
    labels: Mapping[str, int]

    def target(self, instruction: Instruction) -> int | None:
        """Return the index that an instruction may jump to, None where it names no label."""
        for operand in instruction.operands:
            if operand.startswith("`("):
                return self.labels[operand[2:-1]]
        return None


def parse(text: str) -> Listing:
    """Read what nvdisasm prints of one kernel.

    Raises
    ------
    ValueError
        For a line that begins like an instruction and is none, for one that is not where its
        predecessors put it, and where there is no instruction at all.
    """
    labels: dict[str, int] = {}
    instructions: list[Instruction] = []
    places: tuple[Place, ...] = ()
    gathering = False
    for line in text.splitlines():
        if place := _PLACE.match(line):
            here = Place(place[1].rsplit("/", 1)[-1], int(place[2]))
            places = (*places, here) if gathering else (here,)
            gathering = True
            continue
        gathering = False
        if label := _LABEL.match(line):
            labels[label[1]] = len(instructions)
        elif re.match(r"^\s*/\*[0-9a-f]{4,}\*/", line):
            instructions.append(_instruction(line, len(instructions), places))
    if not instructions:
        raise ValueError("no instruction in the listing: is it what `nvdisasm -c` printed?")
    return Listing(tuple(instructions), labels)


def _instruction(line: str, index: int, places: tuple[Place, ...]) -> Instruction:
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
        index, code[2] or "", opcode, tuple(modifiers), tuple(_operands(code[4])), places
    )


def _operands(text: str) -> Iterator[str]:
    for operand in text.replace(".reuse", "").split(","):
        yield from operand.split()  # "R10 `(label)" are two
