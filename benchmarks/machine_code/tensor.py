"""Tensor cores: products of small matrices in the registers of a warp.

Thread t of a warp holds, in groups of four threads, rows t/4 and t/4 + 8 of the 16-row matrices
and column t/4 of the 8-column ones, two neighbors of 16 bits a register ("Warp-level matrix
fragments", PTX ISA). Sums are computed in float64 here and rounded once; the order and the
roundings of the hardware are not known.
"""

from collections.abc import Mapping

import numpy as np

from machine_code.accesses import address_of
from machine_code.block import ThreadBlock
from machine_code.halves import from_bfloat, from_half
from machine_code.listing import Instruction
from machine_code.operation import Operation, Step, access
from machine_code.registers import WARP, Array

_ROW_BYTES = 16
"""Bytes of a row of an 8 × 8 matrix of 16-bit numbers."""


def _multiply(instruction: Instruction, block: ThreadBlock) -> Step:
    """HMMA: (16 × depth)·(depth × 8) + (16 × 8), sums in float32."""
    result, *sources = instruction.operands
    mods, registers = instruction.modifiers, block.registers
    depth = {"16816": 16, "1688": 8}[mods[0]]
    if "F32" not in mods:
        raise ValueError("sums in float16")
    convert = from_bfloat if "BF16" in mods else from_half
    a_rows = [registers.row(sources[0], i) for i in range(depth // 4)]
    b_rows = [registers.row(sources[1], i) for i in range(depth // 8)]
    c_rows = [registers.row(sources[2], i) for i in range(4)]
    writes = [registers.to_word(result, i) for i in range(4)]

    def halves(row: Array) -> Array:
        """Return both numbers of each thread's word, float64 (warps, 8, 4, 2)."""
        pairs = np.stack([convert(row & np.uint32(0xFFFF)), convert(row >> np.uint32(16))], axis=1)
        return pairs.astype(np.float64).reshape(-1, 8, 4, 2)

    def step(where: Array | None) -> None:
        # Registers 0 and 1 of a are rows t/4 and t/4 + 8 of columns 0 … 7, 2 and 3 of the rest.
        a = np.concatenate([
            np.concatenate([halves(row).reshape(-1, 8, 8) for row in a_rows[i::2]], axis=2)
            for i in range(2)
        ], axis=1)  # fmt: skip
        b = np.concatenate([halves(row).reshape(-1, 8, 8) for row in b_rows], axis=2)
        c = np.stack(
            [row.view(np.float32).astype(np.float64) for row in c_rows], axis=1
        ).reshape(-1, 8, 4, 2, 2).transpose(0, 3, 1, 2, 4).reshape(-1, 16, 8)  # fmt: skip
        total = (a @ b.transpose(0, 2, 1) + c).astype(np.float32)
        parts = total.reshape(-1, 2, 8, 4, 2).transpose(0, 2, 3, 1, 4).reshape(-1, 4)
        for i, write in enumerate(writes):
            write(np.ascontiguousarray(parts[:, i]), where)

    return step


def _load_matrices(instruction: Instruction, block: ThreadBlock) -> Step:
    """LDSM: one, two or four 8 × 8 matrices from shared memory; 8 threads address each one."""
    result, source = instruction.operands
    mods, registers = instruction.modifiers, block.registers
    count = int(mods[-1]) if mods[-1] in ("2", "4") else 1
    turned = "MT88" in mods
    writes = [registers.to_word(result, i) for i in range(count)]
    address = address_of(block, source)

    def step(where: Array | None) -> None:
        naming = np.arange(registers.threads) % WARP < 8 * count
        naming = naming if where is None else naming & where
        rows = block.shared.offsets_of(address(), _ROW_BYTES, naming)
        block.traffic.shared(instruction.index, rows, _ROW_BYTES, naming, atomic=False)
        words = np.stack(block.shared.load(rows, _ROW_BYTES), axis=1)  # (threads, 4)
        matrices = words.view(np.uint16).reshape(-1, 4, 8, 8)  # warp, matrix, row, column
        if turned:
            matrices = matrices.transpose(0, 1, 3, 2)
        for i, write in enumerate(writes):
            write(np.ascontiguousarray(matrices[:, i]).view(np.uint32).ravel(), where)

    return step


TENSOR: Mapping[str, Operation] = {
    "HMMA": access(_multiply, "16816 1688 F32 BF16"),
    "LDSM": access(_load_matrices, "16 M88 MT88 2 4"),
}
