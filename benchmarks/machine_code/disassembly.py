"""Get the listing of a form of a kernel: NVRTC compiles it, NVIDIA's disassembler prints it."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from gpuseg.backends.cuda import kernel_cache, nvrtc
from gpuseg.backends.cuda.launcher import Kernel
from gpuseg.errors import ResourceError
from machine_code.listing import Listing, parse

ARCH = "sm_90"
"""H100 and H200, the only architecture that `machine_code` can interpret."""

_PACKAGES = ("nvidia.cu13", "nvidia.cuda_nvdisasm")


@dataclass(frozen=True)
class Compiled:
    """One form of a kernel in machine code.

    Attributes
    ----------
    kernel : Kernel
    listing : Listing
    registers : int
        Registers of a thread.
    spilled : int
        Bytes that a thread spills.
    shared_bytes : int
        Shared memory that the kernel declares itself.
    """

    kernel: Kernel
    listing: Listing
    registers: int
    spilled: int
    shared_bytes: int


def compiled(kernel: Kernel, folder: Path | None = None) -> Compiled:
    """Compile a kernel with line information, which does not change the code.

    Parameters
    ----------
    kernel : Kernel
    folder : Path
        Folder of its file, by default the project's kernels; the headers are the project's.

    Raises
    ------
    ResourceError
        If NVRTC or nvdisasm is missing, or the kernel does not compile.
    """
    headers = kernel_cache.kernel_folder()
    path = kernel_cache.find_source(kernel.name, folder or headers)
    macros = tuple(f"-D{name}={value}" for name, value in kernel.macros.items())
    listing, log = _listing(path, (*macros, f"-I{headers}", "-lineinfo", "-Xptxas=-v"))
    return Compiled(
        kernel,
        listing,
        _figure(log, r"Used (\d+) registers"),
        _figure(log, r"(\d+) bytes spill stores"),
        _figure(log, r"(\d+) bytes smem"),
    )


@cache
def _listing(path: Path, options: tuple[str, ...]) -> tuple[Listing, str]:
    """Return the listing of a file's kernel, and the log of the compiler."""
    cubin, log = nvrtc.compile_cubin(path.read_text(), path.name, ARCH, options)
    return parse(disassemble(cubin)), log


def disassemble(cubin: bytes, options: Sequence[str] = ("-gi",)) -> str:
    """Return the listing of a cubin by nvdisasm.

    Raises
    ------
    ResourceError
        If nvdisasm is missing or fails.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [str(disassembler()), "-c", *options, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ResourceError(
            "nvdisasm.failed", f"nvdisasm ended with {done.returncode}: {done.stderr.strip()}"
        )
    return done.stdout


def disassembler() -> Path:
    """Return the path of nvdisasm, in a package of NVIDIA or on PATH.

    Raises
    ------
    ResourceError
        If it is not found.
    """
    for package in _PACKAGES:
        try:
            spec = importlib.util.find_spec(package)
        except ModuleNotFoundError:  # there is no package `nvidia`
            continue
        for location in (spec and spec.submodule_search_locations) or ():
            path = Path(location) / "bin" / "nvdisasm"
            if path.exists():
                return path
    path_or_none = shutil.which("nvdisasm")
    if path_or_none is None:
        raise ResourceError(
            "nvdisasm.missing",
            "nvdisasm, NVIDIA's disassembler, is not found",
            hint="pip install nvidia-cuda-nvdisasm",
        )
    return Path(path_or_none)


def _figure(log: str, pattern: str) -> int:
    match = re.search(pattern, log)
    return int(match[1]) if match else 0
