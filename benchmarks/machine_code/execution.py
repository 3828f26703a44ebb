"""Runs the machine code of a block, and counts how often a warp issues each instruction.

Threads that are at the same instruction go on together, those farthest back first, so that parted
threads of a warp meet again as early as the code lets them; convergence barriers (BSSY, BSYNC)
hold threads until all that they name have come. An instruction counts once for each warp that has
a thread at it, whatever its guard says.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from machine_code.accesses import ACCESSES
from machine_code.bits import BITS
from machine_code.conversions import CONVERSIONS
from machine_code.floating import FLOATING
from machine_code.halves import HALVES
from machine_code.integer import INTEGER
from machine_code.listing import INSTRUCTION_BYTES, Instruction, Listing
from machine_code.memory import Fault
from machine_code.operation import Operation, Step, UnknownInstruction, step_of
from machine_code.place import Block
from machine_code.registers import WARP, Array, of_warps
from machine_code.tensor import TENSOR
from machine_code.warps import WARPS

KNOWN: Mapping[str, Operation] = {
    **INTEGER, **BITS, **FLOATING, **CONVERSIONS, **HALVES, **TENSOR, **ACCESSES, **WARPS,
}  # fmt: skip

Control = Callable[[Array], None]
"""Say where the threads of a mask go; `Execution._ready` takes it."""


_VOTES: Mapping[str, Callable[[Array], int]] = {
    "OR": lambda said: int(said.any()),
    "AND": lambda said: int(said.all()),
    "POPC": lambda said: int(said.sum()),
}
"""What a barrier tells of a predicate of all threads."""


class Deadlock(Exception):
    """All threads that are left wait."""


class Execution:
    """Runs blocks of one launch, one after the other.

    Parameters
    ----------
    listing : Listing
    block : Block

    Attributes
    ----------
    issued : int64
        How often a warp has issued each instruction.
    """

    def __init__(self, listing: Listing, block: Block) -> None:
        self.issued: NDArray[np.int64] = np.zeros(len(listing.instructions), np.int64)
        self._listing, self._block = listing, block
        self._steps: dict[int, Step] = {}
        self._controls: dict[int, Control] = {}
        self._alive = np.zeros(block.registers.threads, bool)
        self._ready: dict[int, Array] = {}
        self._parked: dict[int, Array] = {}
        self._at_barrier: dict[int, Array] = {}
        self._said = np.zeros(block.registers.threads, bool)

    def run(self, index: int) -> None:
        """Run one block to its end.

        Raises
        ------
        Deadlock, Fault, UnknownInstruction
        """
        block = self._block
        block.index = index
        block.registers.clear()
        self._alive[:] = True
        self._ready = {0: self._alive.copy()}
        self._parked, self._at_barrier = {}, {}
        with np.errstate(all="ignore"):
            while self._ready or self._release():
                at = min(self._ready)
                self._go(at, self._ready.pop(at))
        if self._alive.any():
            raise Deadlock(
                f"block {index}: {int(self._alive.sum())} threads wait at instructions "
                f"{sorted({*self._parked, *self._at_barrier})}"
            )

    def _go(self, at: int, mask: Array) -> None:
        """Let threads go on until they jump, wait, or reach others."""
        where = None if mask.all() else mask
        warps = int(mask.reshape(-1, WARP).any(axis=1).sum())
        while True:
            self.issued[at] += warps
            step = self._steps.get(at)
            if step is None:
                if at in self._controls or self._prepare(at):
                    self._controls[at](mask)
                    return
                step = self._steps[at]
            try:
                step(where)
            except Fault as fault:
                instruction = self._listing.instructions[at]
                lines = " in ".join(str(place) for place in instruction.places)
                raise Fault(f"{instruction} ({lines}): {fault}") from fault
            at += 1
            if at in self._ready:
                self._add(at, mask)
                return

    def _add(self, at: int, mask: Array) -> None:
        if mask.any():
            there = self._ready.get(at)
            self._ready[at] = mask if there is None else there | mask

    def _prepare(self, at: int) -> bool:
        """Make the step or the control of an instruction; return whether it is a control."""
        instruction = self._listing.instructions[at]
        make = {
            "BRA": self._branch, "EXIT": self._exit, "CALL": self._call, "RET": self._return,
            "BSSY": self._begin, "BSYNC": self._meet, "BREAK": self._leave, "BAR": self._barrier,
        }.get(instruction.opcode)  # fmt: skip
        if make is not None:
            self._controls[at] = make(instruction)
            return True
        step = step_of(instruction, self._block, KNOWN)
        if instruction.guard:
            step = self._guarded(step, instruction.guard)
        self._steps[at] = step
        return False

    def _guarded(self, step: Step, guard: str) -> Step:
        holds = self._block.registers.flag(guard)

        def guarded(where: Array | None) -> None:
            asked = holds() if where is None else holds() & where
            count = np.count_nonzero(asked)
            if count:
                step(None if count == len(asked) else asked.copy())

        return guarded

    def _condition(self, instruction: Instruction) -> Callable[[Array], Array]:
        """Return how to tell which threads of a mask do an instruction."""
        flag = self._block.registers.flag
        texts = [instruction.guard] if instruction.guard else []
        texts += [text for text in instruction.operands if self._block.registers.is_flag(text)]
        reads = [flag(text) for text in texts]

        def holding(mask: Array) -> Array:
            for read in reads:
                mask = mask & read()
            return mask

        return holding

    def _branch(self, instruction: Instruction) -> Control:
        target = self._listing.target(instruction)
        if target is None or set(instruction.modifiers) - {"DIV", "U"}:
            raise UnknownInstruction(f"{instruction}: this kind of branch is not known")
        behind = instruction.index + 1
        if "DIV" in instruction.modifiers:
            return self._branch_where_parted(instruction)
        holding = self._condition(instruction)

        def branch(mask: Array) -> None:
            taken = holding(mask)
            self._add(target, taken)
            self._add(behind, mask & ~taken)

        return branch

    def _branch_where_parted(self, instruction: Instruction) -> Control:
        """BRA.DIV: to where a warp is brought together for what it has to do together."""
        expected = self._block.registers.word(instruction.operands[0])

        def branch(mask: Array) -> None:
            together = of_warps(mask) == (expected() & of_warps(self._alive))
            if not together[mask].all():
                raise UnknownInstruction(f"{instruction}: a warp is parted where it should not be")
            self._add(instruction.index + 1, mask)

        return branch

    def _exit(self, instruction: Instruction) -> Control:
        holding = self._condition(instruction)

        def leave(mask: Array) -> None:
            over = holding(mask)
            self._alive &= ~over
            self._add(instruction.index + 1, mask & ~over)

        return leave

    def _call(self, instruction: Instruction) -> Control:
        target = self._listing.target(instruction)
        if target is None or instruction.guard:
            raise UnknownInstruction(f"{instruction}: this kind of call is not known")
        return lambda mask: self._add(target, mask)

    def _return(self, instruction: Instruction) -> Control:
        """RET: to an offset from the kernel's first instruction."""
        read = self._block.registers.word(instruction.operands[0])
        holding = self._condition(instruction)

        def back(mask: Array) -> None:
            offsets, over = read(), holding(mask)
            for offset in np.unique(offsets[over]):
                self._add(int(offset) // INSTRUCTION_BYTES, over & (offsets == offset))
            self._add(instruction.index + 1, mask & ~over)

        return back

    def _begin(self, instruction: Instruction) -> Control:
        """BSSY: note who is to meet."""
        barrier = self._block.registers.barriers[int(instruction.operands[0][1:])]
        holding = self._condition(instruction)

        def begin(mask: Array) -> None:
            named = holding(mask)
            np.copyto(barrier, of_warps(named).astype(np.int64), where=named)
            self._add(instruction.index + 1, mask)

        return begin

    def _leave(self, instruction: Instruction) -> Control:
        """BREAK: wait no more for threads that go another way."""
        barrier = self._block.registers.barriers[int(instruction.operands[-1][1:])]
        holding = self._condition(instruction)

        def leave(mask: Array) -> None:
            barrier[:] &= ~of_warps(holding(mask)).astype(np.int64)
            self._add(instruction.index + 1, mask)

        return leave

    def _meet(self, instruction: Instruction) -> Control:
        """BSYNC: wait for all that were noted."""
        at = instruction.index

        def meet(mask: Array) -> None:
            waiting = self._parked.get(at)
            self._parked[at] = mask if waiting is None else waiting | mask
            self._let_meet(at)

        return meet

    def _let_meet(self, at: int) -> bool:
        """Let those go on who have met; return whether there are any."""
        number = int(self._listing.instructions[at].operands[0][1:])
        waiting = self._parked[at]
        named = self._block.registers.barriers[number] & of_warps(self._alive)
        met = waiting & (named & ~of_warps(waiting).astype(np.int64) == 0)
        self._add(at + 1, met)
        self._parked[at] = waiting & ~met
        if not self._parked[at].any():
            del self._parked[at]
        return bool(met.any())

    def _barrier(self, instruction: Instruction) -> Control:
        """BAR: wait for all threads of the block; with RED, for how many a predicate holds."""
        known = {"SYNC", "RED", *_VOTES, "DEFER_BLOCKING"}
        if set(instruction.modifiers) - known or instruction.operands[0] != "0x0":
            raise UnknownInstruction(f"{instruction}: this kind of barrier is not known")
        vote = next((_VOTES[m] for m in instruction.modifiers if m in _VOTES), None)
        holds = None if vote is None else self._block.registers.flag(instruction.operands[1])

        def wait(mask: Array) -> None:
            there = self._at_barrier.get(instruction.index)
            self._at_barrier[instruction.index] = mask if there is None else there | mask
            if holds is not None:
                np.copyto(self._said, holds(), where=mask)
            self._let_pass(vote)

        return wait

    def _let_pass(self, vote: Callable[[Array], int] | None = None) -> bool:
        """Let the threads at the block's barrier go on if all are there; return whether."""
        waiting = np.logical_or.reduce(list(self._at_barrier.values()))
        if not np.array_equal(waiting, self._alive):
            return False
        for at, mask in self._at_barrier.items():
            self._add(at + 1, mask)
        self._at_barrier = {}
        if vote is not None:
            self._block.voted = vote(self._said[waiting])
        return True

    def _release(self) -> bool:
        """Let threads go on that need no longer wait, since others have ended."""
        released = [self._let_meet(at) for at in list(self._parked)]
        waiting = bool(self._at_barrier) and bool(self._alive.any())
        return any(released) or (waiting and self._let_pass())
