"""Machine code is parsed and run without a GPU, and kernels stay within their budgets.

The listings are written by hand; the counts are those of the kernels.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from machine_code.block import ThreadBlock
from machine_code.cases import CASES, ProfiledCase, difference_of
from machine_code.counts import counts_of, mix_of
from machine_code.disassembly import disassembler
from machine_code.execution import Deadlock, Execution
from machine_code.floating import fused_double
from machine_code.flow import Flow
from machine_code.launcher import MachineCodeLauncher
from machine_code.listing import Listing, SourceLine, parse
from machine_code.memory import Fault, MemorySpace, Traffic, device_wavefronts, shared_wavefronts
from machine_code.model import DEVICES, predict
from machine_code.operation import UnknownInstruction
from machine_code.registers import Registers
from support.helpers import THOROUGH
from support.kernel_cases import KernelCase, try_primitives

from gpuseg.backends.cuda import nvrtc
from gpuseg.backends.cuda.backend import CudaBackend
from gpuseg.backends.cuda.lloyd import PassKind
from gpuseg.errors import ResourceError

NESTED = """
//--------------------- .text.nested --------------------------
        .section        .text.nested,"ax",@progbits
nested:
.text.nested:
	//## File "/a/kernels/nested.cu", line 3
        /*0000*/                   S2R R0, SR_TID.X ;
.L_outer:
	//## File "/a/kernels/inner.cuh", line 8 inlined at "/a/kernels/nested.cu", line 5
	//## File "/a/kernels/nested.cu", line 5
        /*0010*/                   MOV R2, 0x3 ;
.L_inner:
        /*0020*/                   FFMA R4, R2.reuse, -R5, |R6| ;
        /*0030*/                   IADD3 R2, R2, -0x1, RZ ;
        /*0040*/                   ISETP.NE.AND P0, PT, R2, RZ, PT ;
        /*0050*/               @P0 BRA `(.L_inner) ;
	//## File "/a/kernels/nested.cu", line 6
        /*0060*/              @!P1 BRA `(.L_cold) ;
.L_back:
        /*0070*/               @P2 BRA `(.L_outer) ;
        /*0080*/                   EXIT ;
.L_cold:
        /*0090*/                   MUFU.RSQ R4, R4 ;
        /*00a0*/                   BRA `(.L_back) ;
"""

DIVERGED = """
diverged:
        /*0000*/                   S2R R0, SR_TID.X ;
        /*0010*/                   IMAD.MOV.U32 R2, RZ, RZ, RZ ;
        /*0020*/                   LDC.64 R4, c[0x0][0x210] ;
        /*0030*/                   BSSY B0, `(.L_end) ;
        /*0040*/                   ISETP.GE.AND P0, PT, R0, 0x10, PT ;
        /*0050*/               @P0 BRA `(.L_end) ;
.L_loop:
        /*0060*/                   IADD3 R2, R2, 0x1, RZ ;
        /*0070*/                   ISETP.LT.AND P1, PT, R2, R0, PT ;
        /*0080*/               @P1 BRA `(.L_loop) ;
.L_end:
        /*0090*/                   BSYNC B0 ;
        /*00a0*/                   IMAD.WIDE R6, R0, 0x4, R4 ;
        /*00b0*/                   STG.E desc[UR4][R6.64], R2 ;
        /*00c0*/                   EXIT ;
"""
"""Thread t of the first 16 adds one max(1, t) times; the others go past the loop."""

ADDRESS, THREADS = 4096, 64


def test_a_listing_is_read() -> None:
    listing = parse(NESTED)
    code = listing.instructions
    assert [instruction.opcode for instruction in code[:4]] == ["S2R", "MOV", "FFMA", "IADD3"]
    assert code[4].modifiers == ("NE", "AND")
    assert code[2].operands == ("R4", "R2", "-R5", "|R6|")
    assert (code[6].guard, code[8].guard) == ("!P1", "")
    assert [instruction.address for instruction in code[-2:]] == [0x90, 0xA0]
    assert code[0].sources == (SourceLine("nested.cu", 3),)
    assert (
        code[1].sources
        == code[5].sources
        == (SourceLine("inner.cuh", 8), SourceLine("nested.cu", 5))
    )
    assert code[6].sources == (SourceLine("nested.cu", 6),)
    assert (listing.target(code[5]), listing.target(code[6]), listing.target(code[0])) == (
        2,
        9,
        None,
    )
    assert str(code[6]) == "/*0060*/ @!P1 BRA `(.L_cold)"


@pytest.mark.parametrize(("text", "words"), [
    ("", "no instruction"),
    ("/*0000*/ EXIT", "does not end like one"),
    ("/*0010*/ EXIT ;", "is not at 0x0"),
])  # fmt: skip
def test_invalid_listings_are_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(text)


def test_blocks_dominators_and_loops() -> None:
    flow = Flow(parse(NESTED))
    starts = [block.start for block in flow.blocks]
    assert starts == [0, 1, 2, 6, 7, 8, 9]
    assert [block.next for block in flow.blocks] == [(1,), (2,), (2, 3), (6, 4), (1, 5), (), (4,)]
    assert flow.dominators[4] == {0, 1, 2, 3, 4}
    assert flow.dominators[6] == {0, 1, 2, 3, 6}
    outer, inner = flow.loops
    assert (outer.header, outer.blocks) == (1, {1, 2, 3, 4, 6})
    assert (inner.header, inner.blocks) == (2, {2})
    assert [flow.depth(number) for number in range(7)] == [0, 1, 2, 1, 1, 0, 1]


def test_unreachable_code_is_in_no_loop() -> None:
    listing = parse("a:\n/*0000*/ EXIT ;\n.L_x:\n/*0010*/ NOP ;\n/*0020*/ BRA `(.L_x) ;\n")
    flow = Flow(listing)
    assert flow.dominators[1] == frozenset()
    assert flow.loops == ()


def test_kinds_are_added_up() -> None:
    listing = parse(NESTED)
    times = np.arange(11, dtype=np.float64)
    control = 5 + 6 + 7 + 8 + 10
    assert mix_of(listing, times) == {
        "FFMA": 2,
        "MUFU": 9,
        "integer": 1 + 3 + 4,
        "control": control,
    }


def block_of(listing: Listing, memory: npt.NDArray[np.uint8]) -> ThreadBlock:
    """Return a block of two warps; its only argument is the address of the memory."""
    none = [np.zeros(len(listing.instructions), np.int64) for _ in range(2)]
    touched = [np.zeros(len(memory) // 32, bool) for _ in range(2)]
    return ThreadBlock(
        Registers(THREADS, bytes(0x210) + ADDRESS.to_bytes(8, "little")),
        MemorySpace(memory, ADDRESS, "device"),
        MemorySpace(np.zeros(1024, np.uint8), 0, "shared"),
        MemorySpace(np.zeros(1024, np.uint8), 0, "local"),
        16,
        Traffic(*none, *touched),
    )


def test_diverged_threads_converge_and_are_counted() -> None:
    listing, memory = parse(DIVERGED), np.zeros(4 * THREADS, np.uint8)
    block = block_of(listing, memory)
    execution = Execution(listing, block)
    execution.run(0)
    threads = np.arange(THREADS)
    expected = np.where(threads < 16, np.maximum(threads, 1), 0)
    assert (memory.view(np.uint32) == expected).all()
    assert execution.issued.tolist() == [2] * 6 + [15] * 3 + [2] * 4
    assert block.traffic.wavefronts.tolist() == [0] * 11 + [2, 0]
    assert block.traffic.sectors.tolist() == [0] * 11 + [8, 0]
    assert block.traffic.written.all()
    assert not block.traffic.read.any()


@pytest.mark.parametrize(("line", "error", "words"), [
    ("FROB R1, R2", UnknownInstruction, "opcode FROB is not known"),
    ("FADD.SAT R1, R2, R3", UnknownInstruction, "modifier SAT of FADD is not known"),
    ("FADD R1, R2, R3.H0_H0", UnknownInstruction, "its operands are not understood"),
    ("LDS R1, [RZ+0x400]", Fault, "4 bytes at 1024 of 1024 in shared memory"),
    ("LDS.64 R2, [RZ+0x4]", Fault, "LDS.64"),
])  # fmt: skip
def test_unknown_instructions_and_faults_are_reported(
    line: str, error: type[Exception], words: str
) -> None:
    listing = parse(f"broken:\n/*0000*/ {line} ;\n/*0010*/ EXIT ;\n")
    with pytest.raises(error, match=words):
        Execution(listing, block_of(listing, np.zeros(32, np.uint8))).run(0)


def test_deadlocks_are_reported() -> None:
    text = """
        /*0000*/                   S2R R0, SR_TID.X ;
        /*0010*/                   ISETP.EQ.AND P0, PT, R0, RZ, PT ;
        /*0020*/                   BSSY B0, `(.L_end) ;
        /*0030*/               @P0 BRA `(.L_barrier) ;
.L_end:
        /*0040*/                   BSYNC B0 ;
.L_barrier:
        /*0050*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*0060*/                   EXIT ;
"""
    listing = parse(text)
    with pytest.raises(Deadlock, match=r"wait at instructions \[4, 5\]"):
        Execution(listing, block_of(listing, np.zeros(32, np.uint8))).run(0)


@pytest.mark.parametrize(("stride", "width", "wavefronts"), [
    (4, 4, 1), (0, 4, 1), (8, 4, 2), (128, 4, 32), (132, 4, 1),
    (8, 8, 2), (0, 8, 1), (16, 16, 4), (0, 16, 2), (64, 16, 16), (80, 16, 4),
])  # fmt: skip
def test_wavefronts_in_shared_memory(stride: int, width: int, wavefronts: int) -> None:
    every = np.ones(32, bool)
    assert shared_wavefronts(np.arange(32) * stride, every, width, atomic=False) == wavefronts


def test_wavefronts_of_few_threads_of_atomics_and_of_lines() -> None:
    lanes, first = np.arange(32), np.arange(32) < 1
    assert shared_wavefronts(lanes * 128, first, 4, atomic=False) == 1
    assert shared_wavefronts(lanes * 0, np.ones(32, bool), 4, atomic=True) == 32
    assert shared_wavefronts(lanes * 4, np.ones(32, bool), 4, atomic=True) == 1
    assert shared_wavefronts(lanes, ~np.ones(32, bool), 4, atomic=False) == 0
    assert device_wavefronts(lanes * 64, np.ones(32, bool), 4) == (16, 32)
    assert device_wavefronts(lanes * 16, np.ones(32, bool), 16) == (4, 16)


def test_a_fused_product_is_rounded_once() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 500)) * 10.0 ** rng.integers(-9, 9, (2, 500))
    c = np.where(rng.random(500) < 0.5, -a * b * (1 + rng.integers(-2, 3, 500) * 2.0**-52), a)
    exact = [Fraction(x) * Fraction(y) + Fraction(z) for x, y, z in zip(a, b, c, strict=True)]
    assert fused_double(a, b, c).tolist() == [float(value) for value in exact]


@pytest.fixture(scope="module")
def tools() -> None:
    for tool in (nvrtc.library, disassembler):
        try:
            tool()
        except ResourceError as error:
            pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(("passes", "kernel_case"), [
    ("full", KernelCase(70, 33, (40,), start=1)),  # tensor cores
    # The next test checks results of this form, too.
    *[("late", KernelCase(150, 16, (8,), terms=2**18))] * THOROUGH,
])  # fmt: skip
def test_machine_code_gives_the_bits_of_the_specification(
    passes: PassKind, kernel_case: KernelCase
) -> None:
    kernels = {"lloyd_full", "lloyd"}
    try_primitives(CudaBackend(MachineCodeLauncher(), passes), kernel_case, kernels)


@pytest.mark.slow
@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.budget][: None if THOROUGH else 2],
    ids=lambda case: case.name,
)
def test_instructions_per_row_are_within_budget(case: ProfiledCase) -> None:
    """The case also checks the results."""
    difference = difference_of(case)
    counts = [counts_of(profile, difference.units) for profile in difference.profiles]
    assert sum(kernel.spilled for kernel in counts) == 0
    assert 0 < sum(kernel.instructions for kernel in counts) <= case.budget
    assert predict(counts, case.units, DEVICES[0]).milliseconds > 0
