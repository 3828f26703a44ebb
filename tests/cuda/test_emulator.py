"""The emulator of the kernel tests computes what CUDA defines, and reports errors."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from emulator import build, definitions, examples, seeded_bugs
from emulator.arguments import Uninitialized
from emulator.launcher import EmulatorLauncher
from emulator.module import SCHEDULES, EmulatedModule, draws
from emulator.report import BuildError, EmulatorError
from support.helpers import THOROUGH

from gpuseg.backends.cuda.launcher import Kernel, Launcher, Struct, Table

pytestmark = [
    pytest.mark.slow,  # a quick run does not prove the tool that proves the kernels
    pytest.mark.skipif(build.unavailable() is not None, reason=str(build.unavailable())),
]

Array = npt.NDArray[Any]


Launch = Callable[..., None]
"""Launches an example: its name, blocks, threads, the arguments; options in keywords."""


@functools.cache
def example(folder: Path, name: str, check: bool, width: int = 32) -> EmulatedModule:
    path = folder / f"{name}.cu"
    path.write_text(examples.source(name))
    examples.copy_headers(folder)
    return EmulatedModule(path, name, {"WIDTH": width}, check)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(params=["fast", "check"])
def check(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "check")


@pytest.fixture(params=SCHEDULES)
def launch(request: pytest.FixtureRequest, folder: Path, check: bool) -> Launch:
    """A function that launches an example, in each mode and each schedule."""

    def launch_example(
        name: str, blocks: int, threads: int, *arguments: Any, shared: int = 0, width: int = 32
    ) -> None:
        module = example(folder, name, check, width)
        module.launch(blocks, threads, arguments, shared, request.param, seed=5)

    return launch_example


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def table(arrays: list[Any]) -> Table:
    """A table of arrays, with their addresses."""
    addresses = [0 if array is None else array.__array_interface__["data"][0] for array in arrays]
    return Table(arrays, np.array(addresses, np.uint64))


# ---- Intrinsics


@pytest.mark.parametrize("width", [32, 8])
@pytest.mark.parametrize("by", [0, 1, 3, 7])
def test_shuffles(launch: Launch, width: int, by: int) -> None:
    x, y = rng().integers(0, 1000, 96, np.int32), rng().normal(size=96)
    out, wide = np.empty((96, 4), np.int32), np.empty(96)
    launch("shuffles", 1, 96, x, y, np.int32(by), out, wide, width=width)
    sources = definitions.shuffle_sources(96, by, width)
    assert np.array_equal(out, np.stack([x[source] for source in sources], axis=1))
    assert np.array_equal(wide, y[sources[2]])


def test_votes(launch: Launch) -> None:
    x, out = rng().integers(0, 100, 70, np.int32), np.empty((70, 12), np.int32)
    launch("votes", 1, 70, x, out)
    assert np.array_equal(out, definitions.votes(x))


def test_atomics(launch: Launch) -> None:
    x = rng().integers(1, 1 << 20, 300, np.int32)
    i = np.array([0, 1 << 30, -5, 0, -1, 0], np.int32)
    u = np.array([0, 1 << 31, 0, 0], np.uint32)
    w = np.array([0, (1 << 64) - 1, 0, (1 << 63) - 1, (1 << 64) - 3, 0], np.uint64)
    f, d = np.zeros(1, np.float32), np.zeros(1)
    launch("atomics", 3, 128, x, i, u, w, f, d, np.int32(300))
    assert (i.tolist(), u.tolist(), w.tolist()) == definitions.atomics(x)
    assert np.isclose(f[0], x.sum(), rtol=1e-5)
    assert d[0] == x.sum()


@np.errstate(all="ignore")
def test_rounding(launch: Launch) -> None:
    a, b = definitions.numbers(np.float32)
    out = np.empty((len(a), 12), np.float32)
    launch("rounding", 6, 128, a, b, out, np.int32(len(a)))
    for column, expected in enumerate(definitions.rounding(a, b)):
        assert definitions.same_bits(out[:, column], expected), column
    assert (out[:, 9] != out[:, 11]).any()  # a × b + a, rounded twice and once


@np.errstate(all="ignore")
def test_doubles(launch: Launch) -> None:
    a, b = definitions.numbers(np.float64)
    n = len(a)
    out, integers, f = np.empty((n, 9)), np.empty(n, np.int64), np.empty(n, np.float32)
    launch("doubles", 6, 128, a, b, out, integers, f, np.int32(n))
    expected = [
        *(a * b + a, a * b - b, a / b, np.sqrt(np.abs(a)), np.fmin(a, b), np.fmax(a, b)),
        *(np.rint(a), a.view(np.int64).astype(np.float64)),
    ]
    for column, values in enumerate(expected):
        assert definitions.same_bits(out[:, column], values), column
    fused = np.array(definitions.fused(a, b))
    assert np.array_equal(out[:, 8][~np.isnan(fused)], fused[~np.isnan(fused)])
    ends = np.iinfo(np.int64)
    assert integers.tolist() == [min(max(round(x), ends.min), ends.max) for x in a.tolist()]
    assert definitions.same_bits(f, a.astype(np.float32))


def test_bits(launch: Launch) -> None:
    x = rng().integers(0, 1 << 64, 64, np.uint64) >> rng().integers(0, 64, 64, np.uint64)
    x[:3] = [0, 1, (1 << 64) - 1]
    y = rng().integers(0, 1 << 64, 64, np.uint64)
    out = np.empty((64, 11), np.uint64)
    launch("bits", 1, 64, x, y, out)
    assert out.tolist() == list(map(definitions.bits, x.tolist(), y.tolist()))


def test_vectors(launch: Launch) -> None:
    x, p = rng().normal(size=(8, 4)).astype(np.float32), rng().normal(size=(8, 2))
    c = rng().integers(0, 256, (8, 4), np.uint8)
    y, q, d = np.empty_like(x), np.empty(8), np.empty(8, np.int32)
    launch("vectors", 1, 8, x, y, p, q, c, d)
    assert np.array_equal(y, x[:, ::-1])
    assert np.array_equal(q, p[:, 0] * p[:, 1])
    assert np.array_equal(d, np.maximum(c[:, 0], c[:, 3]).astype(int) - np.minimum(c[:, 1], 100))


# ---- Asynchronous copies


@pytest.mark.parametrize("size", [4, 8, 16])
@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_copies_in_stages(launch: Launch, size: int, pieces: int) -> None:
    x = rng().normal(size=(pieces, 96 * size // 4)).astype(np.float32)
    out = np.empty_like(x)
    launch("stages", 1, 96, x, Uninitialized(out), np.int32(pieces), width=size)
    assert np.array_equal(out, x[:, ::-1])


def test_groups_of_copies(launch: Launch) -> None:
    x, out = rng().normal(size=256).astype(np.float32), np.empty(256, np.float32)
    launch("groups", 1, 32, x, Uninitialized(out))
    other = np.arange(32) ^ 1
    pairs, fours = x[32:96].reshape(32, 2)[other], x[96:224].reshape(32, 4)[other]
    assert np.array_equal(out[:224], np.concatenate([x[other], pairs.ravel(), fours.ravel()]))
    assert np.array_equal(out[224:], x[224:])


def test_the_source_of_a_copy_is_read_at_either_end(folder: Path) -> None:
    seen = set[float]()
    for seed in range(3):
        x, out = np.arange(64, dtype=np.float32), np.empty(64, np.float32)
        example(folder, "changing_source", False).launch(1, 64, (x, out), seed=seed)
        assert ((out == np.arange(64)) | (out == -1)).all()
        seen |= set((out == -1).tolist())
    assert seen == {False, True}


@pytest.mark.parametrize("name", ["wait left out", "wait for one group too few"])
def test_copies_that_are_not_waited_for_are_garbage(name: str, tmp_path: Path) -> None:
    module = EmulatedModule(seeded_bugs.COPIES[name].write(tmp_path), "seeded", {}, check=False)
    for schedule in SCHEDULES:
        x, y = np.ones(64, np.float32), np.zeros(64, np.float32)
        module.launch(1, 64, (x, y, np.zeros(64, np.int32), np.int32(64)), 256, schedule)
        assert np.isnan(y).all()


# ---- Tensor cores, and roots


@np.errstate(all="ignore")
def test_pairs_of_bf16(launch: Launch) -> None:
    a, b = definitions.numbers(np.float32)
    bits = rng().integers(0, 1 << 32, 400, np.uint32)
    ties = bits & 0xFFFF0000 | 0x8000
    extremes = np.array([0x7F7F7FFF, 0x7F7F8000, 0x7F800000, 0xFF800000, 0x7FC00001], np.uint32)
    tiny = np.array([1, 0x7FFF, 0x8000, 0x8001, 0x18000, 0x80008001, 0x80000000], np.uint32)
    x = np.concatenate([a, b, *(part.view(np.float32) for part in (bits, ties, extremes, tiny))])
    low, high = x, x[::-1].copy()
    pair, back = np.empty(len(x), np.uint32), np.empty((len(x), 2), np.float32)
    launch("pairs", len(x) // 128 + 1, 128, low, high, pair, back, np.int32(len(x)))
    assert np.array_equal(pair, definitions.bf16(low) | definitions.bf16(high) << 16)
    halves = np.stack([pair << 16, pair & 0xFFFF0000], axis=1)
    assert np.array_equal(back.view(np.uint32), halves)


@dataclass
class Products:
    """One product of matrices for each warp.

    Attributes
    ----------
    a, b, c : array
        Matrices whose numbers bfloat16 holds, or float32 those of c.
    exact, magnitude : array
        D, and the sums of the magnitudes of the terms of its elements.
    """

    a: Array
    b: Array
    c: Array
    exact: Array = field(init=False)
    magnitude: Array = field(init=False)

    def __post_init__(self) -> None:
        a, b, c = (part.astype(np.float64) for part in (self.a, self.b, self.c))
        self.exact = a @ b + c
        self.magnitude = np.abs(a) @ np.abs(b) + np.abs(c)

    def arguments(self) -> tuple[Array, Array, Array, Array]:
        """Return the registers of all lanes, and those that take D."""
        rows, columns = definitions.positions_of_c()
        a, b = definitions.fragments_of_a(self.a), definitions.fragments_of_b(self.b)
        a, b, c = map(np.ascontiguousarray, (a, b, self.c[:, rows, columns]))
        return a, b, c, np.empty_like(c)

    def matrices(self, d: Array) -> Array:
        """Return D of each warp, from registers."""
        result = np.empty_like(self.c)
        result[:, *definitions.positions_of_c()] = d
        return result


@functools.cache
def products() -> Products:
    """Matrices of all magnitudes, with some rows and columns of zeros."""
    scales = np.ldexp(1.0, rng().integers(-70, 50, (64, 2)))[:, :, None, None]
    a, b = rng().normal(size=(64, 16, 16)), rng().normal(size=(64, 16, 8))
    a, b = a * scales[:, 0], b * scales[:, 1]
    a[1, 3], b[2, :, 5] = 0, 0
    a, b = ((definitions.bf16(part.astype(np.float32)) << 16).view(np.float32) for part in (a, b))
    c = rng().normal(size=(64, 16, 8)) * scales[:, 0] * scales[:, 1]
    c[1:3] = 0
    return Products(a, b, c.astype(np.float32))


def test_products_are_within_the_bound(launch: Launch) -> None:
    all_of_them = products()
    *inputs, d = all_of_them.arguments()
    launch("products", 16, 128, *inputs, Uninitialized(d), width=1)
    error = np.abs(all_of_them.matrices(d).astype(np.float64) - all_of_them.exact)
    bound = definitions.product_bound(all_of_them.magnitude)
    assert (error <= bound).all()
    assert (error > 0.9 * bound).sum() > 100
    assert (error < 0.1 * bound).sum() > 100


def test_lanes_hold_their_elements(launch: Launch) -> None:
    numbers = np.arange(128, dtype=np.float32)
    zeros = np.zeros((16, 8), np.float32)
    one = np.eye(16, dtype=np.float32)
    all_of_them = Products(
        np.stack([one, numbers[:, None] @ one[:1], np.arange(256).reshape(16, 16)][::2]),
        np.stack([numbers.reshape(16, 8), one[:, :8]]),
        np.stack([zeros, numbers.reshape(16, 8)]),
    )
    *inputs, d = all_of_them.arguments()
    launch("products", 1, 64, *inputs, d, width=1)
    assert np.array_equal(np.rint(all_of_them.matrices(d)), all_of_them.exact)


def test_draws_differ_between_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, roots = example(folder, "products", False, 1), example(folder, "roots", False)
    inputs = products().arguments()[:3]
    x = np.arange(1, 301, dtype=np.float32)

    def drawn(number: int) -> tuple[bytes, bytes]:
        monkeypatch.setenv("GPUSEG_EMULATOR_DRAWS", str(number))
        d, root = np.empty_like(inputs[2]), np.empty_like(x)
        module.launch(16, 128, (*inputs, d))
        roots.launch(3, 128, (x, root, np.int32(300)))
        return d.tobytes(), root.tobytes()

    assert drawn(1) == drawn(1)
    assert all(one != other for one, other in zip(drawn(1), drawn(2), strict=True))


def test_errors_of_many_products_can_add_up(folder: Path) -> None:
    all_of_them = products()
    *inputs, d = all_of_them.arguments()
    example(folder, "products", False, 12).launch(16, 128, (*inputs, d))
    a, b, c = (part.astype(np.float64) for part in (all_of_them.a, all_of_them.b, all_of_them.c))
    magnitude = 12 * (np.abs(a) @ np.abs(b)) + np.abs(c)
    error = np.abs(all_of_them.matrices(d) - (12 * (a @ b) + c))
    bound = 12 * definitions.product_bound(magnitude)
    assert (error <= 1.001 * bound).all()  # the error of one product is a term of the next
    assert (error > 0.3 * bound).any()


@np.errstate(all="ignore")
def test_products_that_are_not_finite(launch: Launch) -> None:
    a, b = np.ones((4, 16, 16), np.float32), np.ones((4, 16, 8), np.float32)
    c = np.ones((4, 16, 8), np.float32)
    c[0, 2, 3], c[0, 4, 5] = np.inf, np.nan
    a[1, 5], b[1, :, 6] = 0, np.inf
    a[2, 0, :2], b[2] = (2.0**100, -(2.0**100)), 2.0**100
    all_of_them = Products(a, b, c)
    *inputs, d = all_of_them.arguments()
    launch("products", 1, 128, *inputs, d, width=1)
    product = all_of_them.matrices(d)
    close = np.isclose(product, all_of_them.exact, rtol=1e-4, equal_nan=True)
    close[2, 0] = True  # 2^200 - 2^200 is undefined
    assert close.all()
    assert np.isnan(product[1, 5, 6])
    assert np.isinf(product[0, 2, 3])


@np.errstate(all="ignore")
def test_roots(launch: Launch) -> None:
    x = np.abs(np.concatenate(definitions.numbers(np.float32)))
    special = np.array([0, -0.0, np.inf, np.nan, -1, -1e-44], np.float32)
    out, ends = np.empty_like(x), np.empty_like(special)
    launch("roots", len(x) // 128 + 1, 128, x, out, np.int32(len(x)))
    launch("roots", 1, 32, special, ends, np.int32(len(special)))
    root = np.sqrt(x.astype(np.float64))
    assert (np.abs(out - root) <= root * 2.0**-23).all()
    assert (out != np.sqrt(x)).any()
    assert definitions.same_bits(ends, np.sqrt(special))


# ---- Correct kernels


def test_block_sum(launch: Launch) -> None:
    x, out = rng().normal(size=1000).astype(np.float32), np.zeros(1, np.float32)
    launch("block_sum", 3, 96, x, out, np.int32(1000))
    assert np.isclose(out[0], x.sum(dtype=np.float64), atol=1e-3)


def test_warp_sum(launch: Launch) -> None:
    x, out = rng().integers(0, 99, 128).astype(np.float32), np.empty(4, np.float32)
    launch("warp_sum", 1, 128, x, out)
    assert np.array_equal(out, x.reshape(4, 32).sum(axis=1))


def test_threads_may_end_before_a_barrier(launch: Launch) -> None:
    x, out = np.arange(40, dtype=np.int32), np.empty(40, np.int32)
    launch("leave_early", 1, 64, x, Uninitialized(out), np.int32(40))
    assert np.array_equal(out, x[::-1])


def test_compact(launch: Launch) -> None:
    x, out = rng().normal(size=500).astype(np.float32), np.empty(500, np.int32)
    count = np.zeros(1, np.int32)
    launch("compact", 4, 128, x, np.float32(0.3), Uninitialized(out), count, np.int32(500))
    assert np.array_equal(np.sort(out[: count[0]]), np.flatnonzero(x > 0.3))


def test_histogram(launch: Launch) -> None:
    keys, counts = rng().integers(0, 9, 301, np.int32), np.zeros(9, np.int32)
    launch("histogram", 3, 128, keys, counts, np.int32(301))
    assert np.array_equal(counts, np.bincount(keys, minlength=9))


def test_bytes_in_one_word(launch: Launch) -> None:
    x, out = rng().integers(0, 9, 200, np.uint8), np.empty(200, np.uint8)
    launch("reverse", 2, 100, x, out, Uninitialized(np.empty(200, np.float32)), shared=100)
    last = np.arange(100)[::-1]
    assert np.array_equal(out.reshape(2, 100), x.reshape(2, 100)[:, ::-1] + last)


def test_tables_and_null_pointers(launch: Launch) -> None:
    rows = rng().normal(size=(3, 40)).astype(np.float32)
    targets = [np.empty(32, np.float32) for _ in rows]
    tables, nothing = table(list(rows)), np.empty(0, np.int32)
    launch("gather", 1, 32, tables, table([*targets, None]), None, nothing, np.int32(3))
    other = np.arange(32) ^ 1
    assert np.array_equal(targets, rows[:, other] + other.astype(np.float32))
    launch("gather", 1, 32, table([]), table(targets), rows[0], nothing, np.int32(0))
    assert np.array_equal(targets[0], rows[0, :32])


def test_arrays_may_overlap(launch: Launch) -> None:
    rows, out, nothing = np.ones(64, np.float32), np.empty(32, np.float32), np.empty(0, np.int32)
    launch("gather", 1, 32, table([rows, rows[4:8]]), table([out]), None, nothing, np.int32(1))
    assert np.array_equal(out, 1 + (np.arange(32) ^ 1))
    x, scratch = np.arange(64, dtype=np.uint8), np.empty(64, np.float32)
    launch("reverse", 2, 32, x, x, scratch, shared=32)
    expected = np.arange(64, dtype=np.uint8).reshape(2, 32)
    for _ in range(3):
        expected = expected[:, ::-1] + np.arange(32, dtype=np.uint8)[::-1]
    assert np.array_equal(x, expected.ravel())


# ---- Wrong kernels


@pytest.mark.slow
@pytest.mark.parametrize("name", seeded_bugs.ALL)
def test_errors_are_reported(name: str, tmp_path: Path) -> None:
    wrong = seeded_bugs.ALL[name]
    module = EmulatedModule(wrong.write(tmp_path), "seeded", {}, check=True)
    locations = {f"seeded.cu:{line}" for line in wrong.lines}
    for schedule in SCHEDULES if THOROUGH else ("up", "fuzz"):
        x, y = np.arange(64, dtype=np.float32), np.zeros(64, np.float32)
        arguments = (x, y, np.zeros(64, np.int32), np.int32(64))
        with pytest.raises(EmulatorError) as error:
            module.launch(wrong.blocks, 64, arguments, wrong.shared_bytes, schedule)
        assert wrong.kind in {report.kind for report in error.value.reports}
        assert {report.location for report in error.value.reports} <= locations


@pytest.mark.parametrize("name", seeded_bugs.TOGETHER)
def test_fast_mode_reports_collective_operations(name: str, tmp_path: Path) -> None:
    wrong = seeded_bugs.TOGETHER[name]
    module = EmulatedModule(wrong.write(tmp_path), "seeded", {}, check=False)
    arguments = (*np.zeros((2, 64), np.float32), np.zeros(64, np.int32), np.int32(64))
    for _ in range(2):
        with pytest.raises(EmulatorError, match=rf"^seeded .*\n  {wrong.kind} at seeded.cu:"):
            module.launch(wrong.blocks, 64, arguments, wrong.shared_bytes)


def test_report_names_argument_element_and_threads(tmp_path: Path) -> None:
    wrong = seeded_bugs.RACES["plain sum of two blocks"]
    module = EmulatedModule(wrong.write(tmp_path), "seeded", {}, check=True)
    arguments = (*np.zeros((2, 64), np.float32), np.zeros(64, np.int32), np.int32(64))
    with pytest.raises(EmulatorError) as error:
        module.launch(2, 64, arguments)
    assert str(error.value).split("\n")[:2] == [
        f"seeded (check mode, schedule up, seed 1, GPUSEG_EMULATOR_DRAWS={draws()})",
        "  race at seeded.cu:4: block 1, thread 0: read of argument 1, element 0 of 64; nothing "
        "orders it after the write to it by block 0, thread 0 in seeded.cu:4",
    ]


def test_shared_memory_starts_as_garbage(tmp_path: Path) -> None:
    x, y, z = np.zeros(64, np.float32), np.zeros(64, np.float32), np.zeros(64, np.int32)
    for name in ("shared memory of the block before", "shared memory never written"):
        module = EmulatedModule(seeded_bugs.MEMORY[name].write(tmp_path), "seeded", {}, check=False)
        module.launch(2, 64, (x, y, z, np.int32(64)), shared_bytes=64)
    assert (z == 0xFF).all()
    assert np.isnan(y[0])


def test_output_read_before_it_is_written(folder: Path) -> None:
    module = example(folder, "block_sum", True)
    x, out = np.ones(64, np.float32), np.zeros(1, np.float32)
    with pytest.raises(EmulatorError, match=r"uninitialized at block_sum.cu:14: .* argument 1"):
        module.launch(1, 64, (x, Uninitialized(out), np.int32(64)))
    assert np.isnan(out).all()


# ---- Arguments


def test_arguments_must_fit(folder: Path, check: bool) -> None:
    module = example(folder, "block_sum", check)
    x, out, n = np.ones(64, np.float32), np.zeros(1, np.float32), np.int32(64)
    read_only = out.copy()
    read_only.flags.writeable = False
    wrong: list[tuple[str, tuple[Any, ...]]] = [
        ("takes 3 arguments, not 2", (x, out)),
        ("argument 2: the kernel takes int32, not builtins.int", (x, out, 64)),
        ("argument 2: the kernel takes int32, not numpy.int64", (x, out, np.int64(64))),
        ("argument 2: the kernel takes int32, not numpy.float32", (x, out, np.float32(64))),
        ("argument 2: the kernel takes int32, not an array of int32", (x, out, np.ones(1, "i4"))),
        ("argument 0: .*float32 const\\*, not an array of float64", (np.ones(64), out, n)),
        ("argument 0: the array is not C-contiguous", (np.ones(128, "f4")[::2], out, n)),
        ("argument 1: the array is read-only", (x, read_only, n)),
        ("argument 1: .*float32\\*, not a table", (x, table([out]), n)),
        ("argument 1: .*float32\\*, not numpy.float32", (x, np.float32(0), n)),
    ]
    for message, arguments in wrong:
        with pytest.raises(EmulatorError, match=message) as error:
            module.launch(1, 64, arguments)
        assert [report.kind for report in error.value.reports] == ["argument"]
    x.flags.writeable = False
    module.launch(1, 64, (x, out, n))
    assert out[0] == 64


@pytest.mark.parametrize(
    ("blocks", "threads", "shared"), [(0, 32, 0), (1, 0, 0), (1, 1025, 0), (1, 32, 227 * 1024)]
)
def test_launches_must_fit(folder: Path, blocks: int, threads: int, shared: int) -> None:
    arguments = (np.ones(64, np.float32), np.zeros(1, np.float32), np.int32(64))
    with pytest.raises(EmulatorError, match="launch: "):
        example(folder, "block_sum", False).launch(blocks, threads, arguments, shared)


def test_structs_are_passed_by_value(launch: Launch) -> None:
    x, y = np.arange(32, dtype=np.float32), np.zeros(32, np.float64)
    scale = Struct([np.float32(2), np.float64(0.5)])
    launch("structs", 1, 32, np.int8(3), Struct([x, None, scale, np.int32(1)]), y)
    assert np.array_equal(y, 2 * x + 0.5 + 3 + 1)


def test_members_of_structs_must_fit(folder: Path, check: bool) -> None:
    module = example(folder, "structs", check)
    x, y = np.zeros(32, np.float32), np.zeros(32)
    scale, n = Struct([np.float32(2), np.float64(0.5)]), np.int32(1)
    wrong: list[tuple[str, Any]] = [
        ("argument 1: the kernel takes a struct of 4 members, not numpy.int32", n),
        ("argument 1: .* of 4 members, not one of 3", Struct([x, None, scale])),
        ("argument 1, member 0: .*float32 const\\*, not an array of float64", Struct([y] * 4)),
        ("argument 1, member 2, member 1: .*float64, not numpy.float32",
         Struct([x, None, Struct([n.astype("f4")] * 2), n])),
    ]  # fmt: skip
    for message, argument in wrong:
        with pytest.raises(EmulatorError, match=message):
            module.launch(1, 32, (np.int8(3), argument, y))


def test_arrays_in_structs_are_watched(folder: Path) -> None:
    scale = Struct([np.float32(2), np.float64(0.5)])
    short = Struct([np.zeros(20, np.float32), None, scale, np.int32(1)])
    with pytest.raises(EmulatorError, match=r"out of bounds at structs.cu:.*argument 1, member 0"):
        example(folder, "structs", True).launch(1, 32, (np.int8(3), short, np.zeros(32)))


# ---- Builds


def test_a_change_of_header_or_macro_is_a_new_build(tmp_path: Path, check: bool) -> None:
    path = tmp_path / "fill.cu"
    path.write_text(
        '#include "value.cuh"\n'
        'extern "C" __global__ void fill(int* x) { x[threadIdx.x] = VALUE + OFFSET; }\n'
    )
    for value, offset in ((1, 0), (2, 0), (2, 10)):
        (tmp_path / "value.cuh").write_text(f"#define VALUE {value}\n")
        x = np.zeros(4, np.int32)
        EmulatedModule(path, "fill", {"OFFSET": offset}, check).launch(1, 4, (x,))
        assert (x == value + offset).all()


def test_a_file_that_does_not_compile(tmp_path: Path) -> None:
    path = tmp_path / "broken.cu"
    path.write_text('extern "C" __global__ void broken(int* x) { y[0] = 1; }')
    with pytest.raises(BuildError, match=r"broken.cu:1:45: error: 'y' was not declared"):
        EmulatedModule(path, "broken", {}, check=False)


BUILD = """
import sys, pathlib, numpy as np
from emulator.module import EmulatedModule
x = np.zeros(4, np.int32)
EmulatedModule(pathlib.Path(sys.argv[1]), "fill", {}, False).launch(1, 4, (x,))
assert (x == 3).all()
"""


@pytest.mark.slow
def test_processes_may_build_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fill.cu"
    path.write_text('extern "C" __global__ void fill(int* x) { x[threadIdx.x] = 3; }')
    monkeypatch.setenv("GPUSEG_EMULATOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[1]}:{Path(__file__).parents[2]}")
    command = [sys.executable, "-c", BUILD, str(path)]
    builds = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in builds] == [0, 0]
    kept = sorted(file.suffix for file in (tmp_path / "cache").iterdir())
    assert kept == ["", ".gch", ".h", ".o", ".so"]


def test_missing_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "there is no no-such-compiler" in str(build.unavailable.__wrapped__())


# ---- The launcher


def test_launcher(folder: Path, check: bool) -> None:
    example(folder, "reverse", check)
    emulator = EmulatorLauncher(check=check, schedule="random", folder=folder)
    launcher: Launcher = emulator
    down = np.arange(64, dtype=np.uint8)[::-1]
    with pytest.raises(AssertionError, match="not C-contiguous"):
        launcher.to_device(down)
    x = launcher.to_device(down.copy())
    out = launcher.xp.empty(64, np.uint8)
    scratch = launcher.xp.empty(64, np.float32)
    launcher.launch(Kernel("reverse", 64), 1, (x, out, scratch), shared_bytes=64)
    assert np.array_equal(launcher.to_host(out), np.arange(64) + np.arange(64)[::-1])
    emulator.free = 12345
    assert launcher.free_bytes() == 12345
    with pytest.raises(EmulatorError, match="240000 bytes of shared memory, of 232448"):
        launcher.launch(Kernel("reverse", 64), 1, (x, out, scratch), shared_bytes=240000)


def test_threads_may_launch_at_once(folder: Path, check: bool) -> None:
    example(folder, "block_sum", check)
    launcher = EmulatorLauncher(check=check, folder=folder)

    def total(length: int) -> float:
        out = np.zeros(1, np.float32)
        arguments = (np.ones(length, np.float32), out, np.int32(length))
        launcher.launch(Kernel("block_sum", 64), 2, arguments)
        return float(out[0])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(total, range(200))) == list(range(200))
