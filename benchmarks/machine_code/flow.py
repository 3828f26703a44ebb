"""The control flow of a listing: basic blocks, dominators, and loops."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from machine_code.listing import Instruction, Listing

_JUMPS = ("BRA", "CALL", "RET", "EXIT")


@dataclass(frozen=True)
class BasicBlock:
    """A basic block: instructions that are entered at the first and left after the last.

    Attributes
    ----------
    start, stop : int
        The instructions from `start` up to, not including, `stop`.
    next : tuple of int
        Numbers of the possible successors. The successors of a call are its function and the
        instruction after the call.
    """

    start: int
    stop: int
    next: tuple[int, ...]


@dataclass(frozen=True)
class Loop:
    """A natural loop.

    Attributes
    ----------
    header : int
        The block that each iteration begins with.
    blocks : frozenset of int
        All its blocks, including the header.
    """

    header: int
    blocks: frozenset[int]


class Flow:
    """The graph of a listing's basic blocks.

    Parameters
    ----------
    listing : Listing

    Attributes
    ----------
    blocks : tuple of Block
        In the order of the listing; the kernel begins with the first.
    """

    def __init__(self, listing: Listing) -> None:
        self.blocks = _blocks(listing)

    @cached_property
    def before(self) -> tuple[tuple[int, ...], ...]:
        """The predecessors of each block."""
        before: list[list[int]] = [[] for _ in self.blocks]
        for number, block in enumerate(self.blocks):
            for successor in block.next:
                before[successor].append(number)
        return tuple(tuple(numbers) for numbers in before)

    @cached_property
    def dominators(self) -> tuple[frozenset[int], ...]:
        """The blocks on all paths to a block, including itself.

        Empty for an unreachable block.
        """
        order = _reached(self.blocks)
        everything = frozenset(order)
        dominators = dict.fromkeys(order, everything)
        dominators[0] = frozenset([0])
        changed = True
        while changed:
            changed = False
            for number in order[1:]:
                paths = [dominators[p] for p in self.before[number] if p in dominators]
                now = frozenset.intersection(*paths) | {number}
                changed |= now != dominators[number]
                dominators[number] = now
        return tuple(dominators.get(number, frozenset()) for number in range(len(self.blocks)))

    @cached_property
    def loops(self) -> tuple[Loop, ...]:
        """The natural loops, outer ones first; those with one header are one loop."""
        bodies: dict[int, set[int]] = {}
        for number, block in enumerate(self.blocks):
            for header in block.next:
                if header in self.dominators[number]:
                    bodies.setdefault(header, {header}).update(self._body(number, header))
        loops = [Loop(header, frozenset(body)) for header, body in bodies.items()]
        return tuple(sorted(loops, key=lambda loop: (-len(loop.blocks), loop.header)))

    def depth(self, block: int) -> int:
        """Return the number of loops that contain a block."""
        return sum(block in loop.blocks for loop in self.loops)

    def _body(self, last: int, header: int) -> set[int]:
        """Return the blocks from which `last` is reached without passing `header`."""
        body, pending = {last}, [last]
        while pending:
            block = pending.pop()
            if block != header:
                new = set(self.before[block]) - body
                body |= new
                pending += new
        return body


def _blocks(listing: Listing) -> tuple[BasicBlock, ...]:
    code = listing.instructions
    starts = {0, *(index for index in listing.labels.values() if index < len(code))}
    for instruction in code:
        if instruction.opcode in _JUMPS and instruction.index + 1 < len(code):
            starts.add(instruction.index + 1)
    ordered = sorted(starts)
    number = {start: i for i, start in enumerate(ordered)}
    blocks = []
    for start, stop in zip(ordered, [*ordered[1:], len(code)], strict=True):
        after = [index for index in _after(listing, code[stop - 1]) if index in number]
        blocks.append(
            BasicBlock(start, stop, tuple(number[index] for index in dict.fromkeys(after)))
        )
    return tuple(blocks)


def _after(listing: Listing, last: Instruction) -> list[int]:
    """Return the indices of the possible successors of a block's last instruction."""
    following = last.index + 1
    if last.opcode == "BRA":
        target = listing.target(last)
        always = not last.guard and not last.modifiers and len(last.operands) == 1
        jumps = [] if target is None else [target]
        return jumps if always else [*jumps, following]
    if last.opcode == "CALL":
        target = listing.target(last)
        return [following] if target is None else [target, following]
    if last.opcode in ("EXIT", "RET"):
        return [following] if last.guard else []
    return [following]


def _reached(blocks: Sequence[BasicBlock]) -> list[int]:
    """Return the blocks that are reachable from the first, in reverse postorder.

    In this order, dominators converge after few rounds.
    """
    seen, order = {0}, []
    stack = [(0, iter(blocks[0].next))]
    while stack:
        number, successors = stack[-1]
        for successor in successors:
            if successor not in seen:
                seen.add(successor)
                stack.append((successor, iter(blocks[successor].next)))
                break
        else:
            order.append(number)
            stack.pop()
    return order[::-1]
