"""The emulator of the kernel tests: it computes what CUDA defines, and sees what is wrong."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from emulator import build, definitions, examples, planted
from emulator.arguments import Uninitialised
from emulator.launcher import EmulatorLauncher
from emulator.module import SCHEDULES, EmulatedModule
from emulator.report import BuildError, EmulatorError

from gpuseg.backends.cuda.launcher import Kernel, Launcher, Table

pytestmark = pytest.mark.skipif(build.unavailable() is not None, reason=str(build.unavailable()))

Array = npt.NDArray[Any]


Launch = Callable[..., None]
"""Launches an example: its name, blocks, threads, the arguments; options in keywords."""


@functools.cache
def example(folder: Path, name: str, check: bool, width: int = 32) -> EmulatedModule:
    path = folder / f"{name}.cu"
    path.write_text(examples.source(name))
    return EmulatedModule(path, name, {"WIDTH": width}, check)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(params=["fast", "check"])
def check(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "check")


@pytest.fixture(params=SCHEDULES)
def launch(request: pytest.FixtureRequest, folder: Path, check: bool) -> Launch:
    """A function that launches, in each mode and each schedule."""

    def launched(
        name: str, blocks: int, threads: int, *arguments: Any, shared: int = 0, width: int = 32
    ) -> None:
        module = example(folder, name, check, width)
        module.launch(blocks, threads, arguments, shared, request.param, seed=5)

    return launched


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


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


# ---- Kernels that are right


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
    launch("leave_early", 1, 64, x, Uninitialised(out), np.int32(40))
    assert np.array_equal(out, x[::-1])


def test_compact(launch: Launch) -> None:
    x, out = rng().normal(size=500).astype(np.float32), np.empty(500, np.int32)
    count = np.zeros(1, np.int32)
    launch("compact", 4, 128, x, np.float32(0.3), Uninitialised(out), count, np.int32(500))
    assert np.array_equal(np.sort(out[: count[0]]), np.flatnonzero(x > 0.3))


def test_histogram(launch: Launch) -> None:
    keys, counts = rng().integers(0, 9, 301, np.int32), np.zeros(9, np.int32)
    launch("histogram", 3, 128, keys, counts, np.int32(301))
    assert np.array_equal(counts, np.bincount(keys, minlength=9))


def test_bytes_in_one_word(launch: Launch) -> None:
    x, out = rng().integers(0, 9, 200, np.uint8), np.empty(200, np.uint8)
    launch("reverse", 2, 100, x, out, Uninitialised(np.empty(200, np.float32)), shared=100)
    last = np.arange(100)[::-1]
    assert np.array_equal(out.reshape(2, 100), x.reshape(2, 100)[:, ::-1] + last)


def test_tables_and_null_pointers(launch: Launch) -> None:
    rows = rng().normal(size=(3, 40)).astype(np.float32)
    targets = [np.empty(32, np.float32) for _ in rows]
    tables, nothing = Table(list(rows)), np.empty(0, np.int32)
    launch("gather", 1, 32, tables, Table([*targets, None]), None, nothing, np.int32(3))
    other = np.arange(32) ^ 1
    assert np.array_equal(targets, rows[:, other] + other.astype(np.float32))
    launch("gather", 1, 32, Table([]), Table(targets), rows[0], nothing, np.int32(0))
    assert np.array_equal(targets[0], rows[0, :32])


def test_arrays_may_overlap(launch: Launch) -> None:
    rows, out, nothing = np.ones(64, np.float32), np.empty(32, np.float32), np.empty(0, np.int32)
    launch("gather", 1, 32, Table([rows, rows[4:8]]), Table([out]), None, nothing, np.int32(1))
    assert np.array_equal(out, 1 + (np.arange(32) ^ 1))
    x, scratch = np.arange(64, dtype=np.uint8), np.empty(64, np.float32)
    launch("reverse", 2, 32, x, x, scratch, shared=32)
    expected = np.arange(64, dtype=np.uint8).reshape(2, 32)
    for _ in range(3):
        expected = expected[:, ::-1] + np.arange(32, dtype=np.uint8)[::-1]
    assert np.array_equal(x, expected.ravel())


# ---- Kernels that are wrong


@pytest.mark.parametrize("name", planted.ALL)
def test_errors_are_reported(name: str, tmp_path: Path) -> None:
    wrong = planted.ALL[name]
    path = tmp_path / "planted.cu"
    path.write_text(wrong.source)
    module = EmulatedModule(path, "planted", {}, check=True)
    places = {f"planted.cu:{line}" for line in wrong.lines}
    for schedule in SCHEDULES:
        x, y = np.arange(64, dtype=np.float32), np.zeros(64, np.float32)
        arguments = (x, y, np.zeros(64, np.int32), np.int32(64))
        with pytest.raises(EmulatorError) as error:
            module.launch(wrong.blocks, 64, arguments, wrong.shared_bytes, schedule)
        assert wrong.kind in {report.kind for report in error.value.reports}
        assert {report.place for report in error.value.reports} <= places


@pytest.mark.parametrize("name", planted.TOGETHER)
def test_fast_mode_reports_what_threads_do_together(name: str, tmp_path: Path) -> None:
    wrong = planted.TOGETHER[name]
    path = tmp_path / "planted.cu"
    path.write_text(wrong.source)
    module = EmulatedModule(path, "planted", {}, check=False)
    arguments = (*np.zeros((2, 64), np.float32), np.zeros(64, np.int32), np.int32(64))
    for _ in range(2):
        with pytest.raises(EmulatorError, match=rf"^planted .*\n  {wrong.kind} at planted.cu:"):
            module.launch(wrong.blocks, 64, arguments, wrong.shared_bytes)


def test_report_names_argument_element_and_threads(tmp_path: Path) -> None:
    path = tmp_path / "planted.cu"
    path.write_text(planted.RACES["plain sum of two blocks"].source)
    module = EmulatedModule(path, "planted", {}, check=True)
    arguments = (*np.zeros((2, 64), np.float32), np.zeros(64, np.int32), np.int32(64))
    with pytest.raises(EmulatorError) as error:
        module.launch(2, 64, arguments)
    assert str(error.value).split("\n")[:2] == [
        "planted (check mode, schedule up, seed 1)",
        "  race at planted.cu:4: block 1, thread 0: read of argument 1, element 0 of 64; nothing "
        "orders it after the write to it by block 0, thread 0 in planted.cu:4",
    ]


def test_shared_memory_starts_as_garbage(tmp_path: Path) -> None:
    path = tmp_path / "planted.cu"
    x, y, z = np.zeros(64, np.float32), np.zeros(64, np.float32), np.zeros(64, np.int32)
    for name in ("shared memory of the block before", "shared memory never written"):
        path.write_text(planted.MEMORY[name].source)
        module = EmulatedModule(path, "planted", {}, check=False)
        module.launch(2, 64, (x, y, z, np.int32(64)), shared_bytes=64)
    assert (z == 0xFF).all()
    assert np.isnan(y[0])


def test_output_read_before_it_is_written(folder: Path) -> None:
    module = example(folder, "block_sum", True)
    x, out = np.ones(64, np.float32), np.zeros(1, np.float32)
    with pytest.raises(EmulatorError, match=r"uninitialised at block_sum.cu:14: .* argument 1"):
        module.launch(1, 64, (x, Uninitialised(out), np.int32(64)))
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
        ("argument 1: .*float32\\*, not a table", (x, Table([out]), n)),
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


def test_processes_may_build_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fill.cu"
    path.write_text('extern "C" __global__ void fill(int* x) { x[threadIdx.x] = 3; }')
    monkeypatch.setenv("GPUSEG_EMULATOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{Path(__file__).parent.parent}")
    command = [sys.executable, "-c", BUILD, str(path)]
    builds = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in builds] == [0, 0]
    kept = sorted(file.suffix for file in (tmp_path / "cache").iterdir())
    assert kept == ["", ".gch", ".h", ".o", ".so"]


def test_where_there_is_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "there is no no-such-compiler" in str(build.unavailable.__wrapped__())


# ---- The launcher


def test_launcher(folder: Path, check: bool) -> None:
    example(folder, "reverse", check)
    emulator = EmulatorLauncher(check=check, schedule="random", folder=folder)
    launcher: Launcher = emulator
    x = launcher.to_device(np.arange(64, dtype=np.uint8)[::-1])
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
