"""The forms of every kernel that a plan may use compile for GPUs, within their budgets.

A default run compiles half of the forms of each kernel, so that each value of each macro is in one
of them: most for sm_90, and the others for the other architectures in turn. A run with
``--thorough`` compiles every form for all of them. NVRTC needs no GPU. Its numbers of registers and
spilled bytes are compared with a budget: with 128 registers a thread, four blocks of 128 threads
fit on a multiprocessor.
"""

from __future__ import annotations

import errno
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import pytest
from support.errors import raises
from support.helpers import THOROUGH

from gpuseg.backends.cuda import kernel_cache, nvrtc
from gpuseg.backends.cuda import launch_plans as plan
from gpuseg.backends.cuda.launcher import Kernel
from gpuseg.errors import ResourceError

MAIN = "sm_90"
OTHERS = ("sm_75", "sm_80", "sm_100", "sm_120")
ARCHITECTURES = (MAIN, *OTHERS)

N_PARTS = dict.fromkeys(ARCHITECTURES, 4) if THOROUGH else {MAIN: 4, **dict.fromkeys(OTHERS, 1)}
"""Parts of the forms for each architecture, which the processes of the tests share."""

BUDGET = {
    "lloyd": (128, 96),
    "lloyd_full": (128, 0),
    "lloyd_probe": (64, 0),
    "assign": (128, 0),
    **dict.fromkeys(plan.TILE_KERNELS, (128, 0)),
    **dict.fromkeys(plan.SIMPLE_KERNELS, (64, 0)),
    "power_sums": (64, 16),  # around the calls of a division
}
"""Maximum registers of a thread, and maximum spilled bytes."""

FRAGMENTS = {2: (168, 0), 3: (255, 0), 4: (255, 0)}
"""Budgets for tensor cores by KSTEPS: more fragments need more registers, at fewer blocks."""


@pytest.fixture(scope="module", autouse=True)
def compiler() -> None:
    try:
        nvrtc.library()
    except ResourceError as error:
        pytest.skip(str(error))


def forms_for(arch: str) -> list[Kernel]:
    """Return the forms that this run compiles for an architecture."""
    forms = plan.variants()
    if THOROUGH:
        return forms
    main, others = list[Kernel](), list[Kernel]()
    for _, of_kernel in groupby(forms, lambda form: form.name):
        forms_of_kernel = list(of_kernel)
        for i, form in enumerate(forms_of_kernel):
            if i % 6 in (0, 5) or form is forms_of_kernel[-1]:
                main.append(form)
            elif i % 6 == 3:
                others.append(form)
    return main if arch == MAIN else others[OTHERS.index(arch) :: len(OTHERS)]


def test_every_value_of_every_macro_is_compiled() -> None:
    compiled = [form for arch in ARCHITECTURES for form in forms_for(arch)]
    assert not THOROUGH or all(form in compiled for form in plan.variants())
    values = [
        {(form.name, *macro) for form in forms for macro in form.macros.items()}
        for forms in (compiled, plan.variants())
    ]
    assert values[0] == values[1]
    assert {form.name for form in forms_for(MAIN)} == {form.name for form in plan.variants()}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("arch", "part"), [(arch, part) for arch in ARCHITECTURES for part in range(N_PARTS[arch])]
)
def test_kernels_compile_within_budget(arch: str, part: int) -> None:
    forms = forms_for(arch)[part :: N_PARTS[arch]]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda kernel: kernel_cache.compile_kernel(kernel, arch), forms))
    over_budget = []
    for kernel, (cubin, log) in zip(forms, results, strict=True):
        assert cubin[:4] == b"\x7fELF"
        assert kernel.name.encode() in cubin
        registers, spilled = usage(log)
        budget = FRAGMENTS.get(kernel.shape.get("KSTEPS", 0), BUDGET[kernel.name])
        if registers > budget[0] or spilled > budget[1]:
            over_budget.append(f"{kernel.name} {kernel.macros}: {registers}, {spilled} spilled")
    assert not over_budget


def test_the_compiler_is_of_the_cuda_version_of_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc.metadata, "version", lambda name: "14.0")
    assert nvrtc._packages() == ("nvidia.cuda_nvrtc", "nvidia.cu13")


PROBE = """
#include "common/async_copy.cuh"
#include "common/mma.cuh"

extern "C" __global__ void probe(const float* x, float* y) {
  __shared__ __align__(16) float all[224];
  const int t = threadIdx.x;
  copy_async<4>(all + t, x + t);
  copy_async<8>(all + 32 + 2 * t, x + 32 + 2 * t);
  commit_copies();
  copy_async<16>(all + 96 + 4 * t, x + 96 + 4 * t);
  commit_copies();
  wait_for_copies<1>();
  __syncwarp();
  const unsigned a[4] = {bf16_pair(all[0], all[1]), bf16_pair(all[2], all[t]), 1, 2}, b[2] = {a[0]};
  wait_for_copies<0>();
  float d[4] = {bf16_low(a[1]), bf16_high(a[1]), all[96 + t], 1};
  mma_bf16(d, a, b, d);
  for (int i = 0; i < 4; ++i) y[4 * t + i] = approximate_sqrt(d[i]);
}
"""


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_copies_and_tensor_cores_compile(arch: str) -> None:
    options = [f"-I{kernel_cache.kernel_folder()}", "-Xptxas=-v"]
    cubin, log = nvrtc.compile_cubin(PROBE, "probe.cu", arch, options)
    assert b"probe" in cubin
    assert usage(log)[1] == 0


def usage(log: str) -> tuple[int, int]:
    """Return registers a thread and bytes spilled, as the assembler reports them."""
    registers = re.findall(r"Used (\d+) registers", log)
    spilled = re.findall(r"(\d+) bytes spill stores", log)
    assert len(registers) == len(spilled) == 1
    return int(registers[0]), int(spilled[0])


def test_compiled_kernels_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUSEG_CACHE", str(tmp_path))
    kernel, calls = Kernel("distances", 256), []
    compile_kernel = kernel_cache.compile_kernel

    def record(kernel: Kernel, arch: str) -> tuple[bytes, str]:
        calls.append(kernel)
        return compile_kernel(kernel, arch)

    monkeypatch.setattr(kernel_cache, "compile_kernel", record)
    paths = [kernel_cache.cubin_path(kernel, arch) for arch in ("sm_90", "sm_90", "sm_80")]
    assert paths[0] == paths[1] != paths[2]
    assert len(calls) == 2
    assert sorted(tmp_path.iterdir()) == sorted(set(paths))
    content = paths[0].read_bytes()
    paths[0].write_bytes(content[:-100])
    assert kernel_cache.cubin_path(kernel, "sm_90").read_bytes() == content
    assert len(calls) == 3


def test_kernels_that_cannot_be_kept_are_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GPUSEG_CACHE", str(tmp_path / "file" / "folder"))
    monkeypatch.setattr(kernel_cache, "_in_memory", {})
    kernel_cache._warn_once.cache_clear()
    contents = [b"\x7fELF"]
    monkeypatch.setattr(kernel_cache, "compile_kernel", lambda *_: (contents.pop(), ""))
    kernel = Kernel("distances", 256)
    with pytest.warns(RuntimeWarning, match="GPUSEG_CACHE"):
        path = kernel_cache.cubin_path(kernel, "sm_90")
    assert kernel_cache.cubin_path(kernel, "sm_90") == path
    assert path.read_bytes() == path.read_bytes() == b"\x7fELF"
    with pytest.raises(IndexError):  # an error of the compiler is not one of the disk
        kernel_cache.cubin_path(kernel, "sm_80")


def test_a_full_disk_leaves_no_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        kernel_cache._write(tmp_path, "kernel", b"content")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("source", "message"), [
    ("__global__ void broken( {", "error"),
    ('#include "nowhere.cuh"\n', "nowhere.cuh"),
])  # fmt: skip
def test_compiler_errors_are_reported(source: str, message: str) -> None:
    with raises("kernel.compile_failed") as error:
        nvrtc.compile_cubin(source, "broken.cu", "sm_90", [])
    assert "broken.cu" in error.value.problem
    assert "sm_90" in error.value.problem
    assert message in error.value.rule


def test_a_kernel_is_in_one_file() -> None:
    """Include paths start in the folder of the kernels, and each name is used once."""
    folder = kernel_cache.kernel_folder()
    paths = [path for path in folder.rglob("*.cu*") if path.is_file()]
    assert len({path.name for path in paths}) == len(paths)
    assert {path.stem for path in paths if path.suffix == ".cu"} == {
        k.name for k in plan.variants()
    }
    for path in paths:
        for include in re.findall(r'#include "(.+)"', path.read_text()):
            assert (folder / include).is_file(), f"{path.name} includes {include}"
