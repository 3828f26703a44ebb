"""Every kernel, in every form that a plan may ask for, compiles for GPUs, in bounds.

With ``--thorough`` every form does for every kind of GPU, else for sm_90 and another in turn.
NVRTC needs no GPU. What it says of registers and spilled bytes is held against a budget: with
128 registers a thread, four blocks of 128 threads are at home on a multiprocessor.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.helpers import THOROUGH

from gpuseg.backends.cuda import kernel_cache as sources
from gpuseg.backends.cuda import launch_plans as plan
from gpuseg.backends.cuda import nvrtc
from gpuseg.backends.cuda.launcher import Kernel
from gpuseg.errors import ResourceError

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100", "sm_120")

BUDGET = {
    "lloyd": (128, 96),
    "lloyd_full": (128, 0),
    "lloyd_probe": (64, 0),
    "assign": (128, 0),
    **dict.fromkeys(("count", "link_inside", "link", "claim", "nearest"), (128, 0)),
    **dict.fromkeys(
        (
            *("distances", "summarize", "digest", "histogram", "narrow", "column"),
            *("prepare", "normalize", "project", "gram", "distance_sums"),
        ),
        (64, 0),
    ),
    "powers": (64, 16),  # around the calls of a division
}
"""Registers of a thread and spilled bytes, at most."""

FRAGMENTS = {2: (168, 0), 3: (255, 0), 4: (255, 0)}
"""The same for tensor cores, with fragments of so many times 16 features: fewer blocks at once."""


@pytest.fixture(scope="module", autouse=True)
def compiler() -> None:
    try:
        nvrtc.library()
    except ResourceError as error:
        pytest.skip(str(error))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_kernels_compile_within_budget(arch: str) -> None:
    """All forms for sm_90, and each for one of the others in turn."""
    others = [other for other in ARCHITECTURES if other != "sm_90"]
    every = THOROUGH or arch == "sm_90"
    forms = plan.variants() if every else plan.variants()[others.index(arch) :: len(others)]
    with ThreadPoolExecutor(2) as pool:
        outcome = list(pool.map(lambda kernel: sources.compiled(kernel, arch), forms))
    too_many = []
    for kernel, (cubin, log) in zip(forms, outcome, strict=True):
        assert cubin[:4] == b"\x7fELF"
        assert kernel.name.encode() in cubin
        registers, spilled = used(log)
        most = FRAGMENTS.get(kernel.shape.get("KSTEPS", 0), BUDGET[kernel.name])
        if registers > most[0] or spilled > most[1]:
            too_many.append(f"{kernel.name} {kernel.macros}: {registers}, {spilled} spilled")
    assert not too_many


def test_the_compiler_is_of_the_cuda_that_cupy_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc.metadata, "version", lambda name: "14.0")
    assert nvrtc._packages() == ("nvidia.cuda_nvrtc", "nvidia.cu13")


PROBE = """
#include "async_copy.cuh"
#include "mma.cuh"

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
    options = [f"-I{sources.folder()}", "-Xptxas=-v"]
    cubin, log = nvrtc.compile_cubin(PROBE, "probe.cu", arch, options)
    assert b"probe" in cubin
    assert used(log)[1] == 0


def used(log: str) -> tuple[int, int]:
    """Return registers a thread and bytes spilled, as the assembler reports them."""
    registers = re.findall(r"Used (\d+) registers", log)
    spilled = re.findall(r"(\d+) bytes spill stores", log)
    assert len(registers) == len(spilled) == 1
    return int(registers[0]), int(spilled[0])


def test_compiled_kernels_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUSEG_CACHE", str(tmp_path))
    kernel, calls = Kernel("distances", 256), []
    compile_it = sources.compiled

    def counting(own: Kernel, arch: str) -> tuple[bytes, str]:
        calls.append(own)
        return compile_it(own, arch)

    monkeypatch.setattr(sources, "compiled", counting)
    paths = [sources.cubin(kernel, arch) for arch in ("sm_90", "sm_90", "sm_80")]
    assert paths[0] == paths[1] != paths[2]
    assert len(calls) == 2
    assert sorted(tmp_path.iterdir()) == sorted(set(paths))


@pytest.mark.parametrize(("source", "words"), [
    ("__global__ void broken( {", ["broken.cu does not compile for sm_90", "error"]),
    ('#include "nowhere.cuh"\n', ["broken.cu does not compile for sm_90", "nowhere.cuh"]),
])  # fmt: skip
def test_what_does_not_compile_is_told(source: str, words: Sequence[str]) -> None:
    with pytest.raises(ResourceError) as error:
        nvrtc.compile_cubin(source, "broken.cu", "sm_90", [])
    assert all(word in str(error.value) for word in words)
