"""How control flows through a listing: basic blocks, what must come before what, and loops."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from machine_code.listing import Instruction, Listing

_JUMPS = ("BRA", "CALL", "RET", "EXIT")


@dataclass(frozen=True)
class Block:
    """Instructions that are entered at the first and left after the last.

    Attributes
    ----------
    start, stop : int
        The instructions from `start` up to, not including, `stop`.
    next : tuple of int
        Numbers of the blocks that may come after it. A call goes to its function and, once that
        is over, to what stands behind the call; both are named.
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
        The block that every round enters by.
    blocks : frozenset of int
        All blocks of it, the header among them.
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
        """The blocks that every way to a block leads through, itself among them.

        Empty for a block that no way leads to.
        """
        order = _reached(self.blocks)
        everything = frozenset(order)
        dominators = dict.fromkeys(order, everything)
        dominators[0] = frozenset([0])
        changed = True
        while changed:
            changed = False
            for number in order[1:]:
                ways = [dominators[p] for p in self.before[number] if p in dominators]
                now = frozenset.intersection(*ways) | {number}
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
        """Return how many loops a block lies in."""
        return sum(block in loop.blocks for loop in self.loops)

    def _body(self, last: int, header: int) -> set[int]:
        """Return the blocks from which `last` is reached without passing `header`."""
        body, left = {last}, [last]
        while left:
            block = left.pop()
            if block != header:
                new = set(self.before[block]) - body
                body |= new
                left += new
        return body


def _blocks(listing: Listing) -> tuple[Block, ...]:
    code = listing.instructions
    starts = {0, *(at for at in listing.labels.values() if at < len(code))}
    for instruction in code:
        if instruction.opcode in _JUMPS and instruction.index + 1 < len(code):
            starts.add(instruction.index + 1)
    ordered = sorted(starts)
    number = {start: i for i, start in enumerate(ordered)}
    blocks = []
    for start, stop in zip(ordered, [*ordered[1:], len(code)], strict=True):
        after = [at for at in _after(listing, code[stop - 1]) if at in number]
        blocks.append(Block(start, stop, tuple(number[at] for at in dict.fromkeys(after))))
    return tuple(blocks)


def _after(listing: Listing, last: Instruction) -> list[int]:
    """Return the indices that control may go to after a block's last instruction."""
    behind = last.index + 1
    if last.opcode == "BRA":
        target = listing.target(last)
        always = not last.guard and not last.modifiers and len(last.operands) == 1
        jumps = [] if target is None else [target]
        return jumps if always else [*jumps, behind]
    if last.opcode == "CALL":
        target = listing.target(last)
        return [behind] if target is None else [target, behind]
    if last.opcode in ("EXIT", "RET"):
        return [behind] if last.guard else []
    return [behind]


def _reached(blocks: Sequence[Block]) -> list[int]:
    """Return the blocks that the first leads to, each after a predecessor where that is possible.

    That is reverse postorder, in which dominators are known after few rounds.
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
