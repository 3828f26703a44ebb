"""Run the machine code of a block, and count how often a warp issues each instruction.

Threads at the same instruction continue together, the lowest instruction first, so that diverged
threads of a warp converge as early as the code allows; convergence barriers (BSSY, BSYNC) hold
threads until all their members have arrived. An instruction counts once for each warp that has a
thread at it, regardless of its guard.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from machine_code.accesses import ACCESSES
from machine_code.bits import BITS
from machine_code.block import ThreadBlock
from machine_code.conversions import CONVERSIONS
from machine_code.floating import FLOATING
from machine_code.halves import HALVES
from machine_code.integer import INTEGER
from machine_code.listing import INSTRUCTION_BYTES, Instruction, Listing
from machine_code.memory import Fault
from machine_code.operation import Operation, Step, UnknownInstruction, step_of
from machine_code.registers import WARP, Array, of_warps
from machine_code.tensor import TENSOR
from machine_code.warps import WARPS

KNOWN: Mapping[str, Operation] = {
    **INTEGER, **BITS, **FLOATING, **CONVERSIONS, **HALVES, **TENSOR, **ACCESSES, **WARPS,
}  # fmt: skip

Control = Callable[[Array], None]
"""Moves the threads of a mask to their next instructions, in `Execution._runnable`."""


_VOTES: Mapping[str, Callable[[Array], int]] = {
    "OR": lambda predicates: int(predicates.any()),
    "AND": lambda predicates: int(predicates.all()),
    "POPC": lambda predicates: int(predicates.sum()),
}
"""Reductions of a predicate over all threads at a barrier."""


class Deadlock(Exception):
    """All remaining threads wait."""


class Execution:
    """Runs blocks of one launch, one after the other.

    Parameters
    ----------
    listing : Listing
    block : ThreadBlock

    Attributes
    ----------
    issued : int64
        How often a warp has issued each instruction.
    """

    def __init__(self, listing: Listing, block: ThreadBlock) -> None:
        self.issued: NDArray[np.int64] = np.zeros(len(listing.instructions), np.int64)
        self._listing, self._block = listing, block
        self._steps: dict[int, Step] = {}
        self._controls: dict[int, Control] = {}
        self._alive = np.zeros(block.registers.threads, bool)
        self._runnable: dict[int, Array] = {}
        self._parked: dict[int, Array] = {}
        self._at_barrier: dict[int, Array] = {}
        self._predicates = np.zeros(block.registers.threads, bool)

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
        self._runnable = {0: self._alive.copy()}
        self._parked, self._at_barrier = {}, {}
        with np.errstate(all="ignore"):
            while self._runnable or self._release():
                pc = min(self._runnable)
                self._advance(pc, self._runnable.pop(pc))
        if self._alive.any():
            raise Deadlock(
                f"block {index}: {int(self._alive.sum())} threads wait at instructions "
                f"{sorted({*self._parked, *self._at_barrier})}"
            )

    def _advance(self, pc: int, mask: Array) -> None:
        """Run threads until they jump, wait, or meet others."""
        where = None if mask.all() else mask
        warps = int(mask.reshape(-1, WARP).any(axis=1).sum())
        while True:
            self.issued[pc] += warps
            step = self._steps.get(pc)
            if step is None:
                if pc in self._controls or self._prepare(pc):
                    self._controls[pc](mask)
                    return
                step = self._steps[pc]
            try:
                step(where)
            except Fault as fault:
                instruction = self._listing.instructions[pc]
                lines = " in ".join(str(source) for source in instruction.sources)
                raise Fault(f"{instruction} ({lines}): {fault}") from fault
            pc += 1
            if pc in self._runnable:
                self._add(pc, mask)
                return

    def _add(self, pc: int, mask: Array) -> None:
        if mask.any():
            others = self._runnable.get(pc)
            self._runnable[pc] = mask if others is None else others | mask

    def _prepare(self, pc: int) -> bool:
        """Build the step or the control of an instruction; return whether it is a control."""
        instruction = self._listing.instructions[pc]
        make = {
            "BRA": self._branch, "EXIT": self._exit, "CALL": self._call, "RET": self._return,
            "BSSY": self._begin, "BSYNC": self._meet, "BREAK": self._leave, "BAR": self._barrier,
        }.get(instruction.opcode)  # fmt: skip
        if make is not None:
            self._controls[pc] = make(instruction)
            return True
        step = step_of(instruction, self._block, KNOWN)
        if instruction.guard:
            step = self._guarded(step, instruction.guard)
        self._steps[pc] = step
        return False

    def _guarded(self, step: Step, guard: str) -> Step:
        holds = self._block.registers.flag(guard)

        def guarded(where: Array | None) -> None:
            active = holds() if where is None else holds() & where
            count = np.count_nonzero(active)
            if count:
                step(None if count == len(active) else active.copy())

        return guarded

    def _condition(self, instruction: Instruction) -> Callable[[Array], Array]:
        """Return a function for the threads of a mask that execute an instruction."""
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
        following = instruction.index + 1
        if "DIV" in instruction.modifiers:
            return self._branch_if_diverged(instruction)
        holding = self._condition(instruction)

        def branch(mask: Array) -> None:
            taken = holding(mask)
            self._add(target, taken)
            self._add(following, mask & ~taken)

        return branch

    def _branch_if_diverged(self, instruction: Instruction) -> Control:
        """BRA.DIV: branches if the warp has diverged before a collective instruction."""
        expected = self._block.registers.word(instruction.operands[0])

        def branch(mask: Array) -> None:
            together = of_warps(mask) == (expected() & of_warps(self._alive))
            if not together[mask].all():
                raise UnknownInstruction(f"{instruction}: a warp has diverged unexpectedly")
            self._add(instruction.index + 1, mask)

        return branch

    def _exit(self, instruction: Instruction) -> Control:
        holding = self._condition(instruction)

        def leave(mask: Array) -> None:
            ending = holding(mask)
            self._alive &= ~ending
            self._add(instruction.index + 1, mask & ~ending)

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
            offsets, active_threads = read(), holding(mask)
            for offset in np.unique(offsets[active_threads]):
                self._add(int(offset) // INSTRUCTION_BYTES, active_threads & (offsets == offset))
            self._add(instruction.index + 1, mask & ~active_threads)

        return back

    def _begin(self, instruction: Instruction) -> Control:
        """BSSY: store the members of a convergence barrier."""
        barrier = self._block.registers.barriers[int(instruction.operands[0][1:])]
        holding = self._condition(instruction)

        def begin(mask: Array) -> None:
            members = holding(mask)
            np.copyto(barrier, of_warps(members).astype(np.int64), where=members)
            self._add(instruction.index + 1, mask)

        return begin

    def _leave(self, instruction: Instruction) -> Control:
        """BREAK: remove threads from a convergence barrier."""
        barrier = self._block.registers.barriers[int(instruction.operands[-1][1:])]
        holding = self._condition(instruction)

        def leave(mask: Array) -> None:
            barrier[:] &= ~of_warps(holding(mask)).astype(np.int64)
            self._add(instruction.index + 1, mask)

        return leave

    def _meet(self, instruction: Instruction) -> Control:
        """BSYNC: wait for all members of a convergence barrier."""
        pc = instruction.index

        def meet(mask: Array) -> None:
            waiting = self._parked.get(pc)
            self._parked[pc] = mask if waiting is None else waiting | mask
            self._let_meet(pc)

        return meet

    def _let_meet(self, pc: int) -> bool:
        """Release the threads that have met; return whether there are any."""
        number = int(self._listing.instructions[pc].operands[0][1:])
        waiting = self._parked[pc]
        members = self._block.registers.barriers[number] & of_warps(self._alive)
        met = waiting & (members & ~of_warps(waiting).astype(np.int64) == 0)
        self._add(pc + 1, met)
        self._parked[pc] = waiting & ~met
        if not self._parked[pc].any():
            del self._parked[pc]
        return bool(met.any())

    def _barrier(self, instruction: Instruction) -> Control:
        """BAR: wait for all threads of the block; with RED, reduce a predicate."""
        known = {"SYNC", "RED", *_VOTES, "DEFER_BLOCKING"}
        if set(instruction.modifiers) - known or instruction.operands[0] != "0x0":
            raise UnknownInstruction(f"{instruction}: this kind of barrier is not known")
        vote = next((_VOTES[m] for m in instruction.modifiers if m in _VOTES), None)
        holds = None if vote is None else self._block.registers.flag(instruction.operands[1])

        def wait(mask: Array) -> None:
            others = self._at_barrier.get(instruction.index)
            self._at_barrier[instruction.index] = mask if others is None else others | mask
            if holds is not None:
                np.copyto(self._predicates, holds(), where=mask)
            self._let_pass(vote)

        return wait

    def _let_pass(self, vote: Callable[[Array], int] | None = None) -> bool:
        """Release the threads at the block's barrier if all have arrived; return whether."""
        waiting = np.logical_or.reduce(list(self._at_barrier.values()))
        if not np.array_equal(waiting, self._alive):
            return False
        for pc, mask in self._at_barrier.items():
            self._add(pc + 1, mask)
        self._at_barrier = {}
        if vote is not None:
            self._block.voted = vote(self._predicates[waiting])
        return True

    def _release(self) -> bool:
        """Release threads whose barriers are complete because other threads have ended."""
        released = [self._let_meet(pc) for pc in list(self._parked)]
        waiting = bool(self._at_barrier) and bool(self._alive.any())
        return any(released) or (waiting and self._let_pass())
