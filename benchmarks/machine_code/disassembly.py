"""From a form of a kernel to its listing: NVRTC compiles it, NVIDIA's disassembler reads it."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from gpuseg.backends.cuda import kernel_cache as sources
from gpuseg.backends.cuda import nvrtc
from gpuseg.backends.cuda.launcher import Kernel
from gpuseg.errors import ResourceError
from machine_code.listing import Listing, parse

ARCH = "sm_90"
"""H100 and H200: what `machine_code` knows the instructions and the parameter space of."""

_PACKAGES = ("nvidia.cu13", "nvidia.cuda_nvdisasm")


@dataclass(frozen=True)
class Compiled:
    """One form of a kernel in machine code.

    Attributes
    ----------
    kernel : Kernel
    listing : Listing
    registers : int
        Of a thread.
    spilled : int
        Bytes a thread stores for want of registers.
    shared_bytes : int
        Shared memory that the kernel declares itself.
    """

    kernel: Kernel
    listing: Listing
    registers: int
    spilled: int
    shared_bytes: int


def compiled(kernel: Kernel, folder: Path | None = None) -> Compiled:
    """Compile a kernel with the lines of its source beside the code; they do not change the code.

    Parameters
    ----------
    kernel : Kernel
    folder : Path
        Where its file is, if not among the project's kernels; the headers are the project's.

    Raises
    ------
    ResourceError
        When NVRTC or nvdisasm is missing, and for what does not compile.
    """
    headers = sources.folder()
    path = (folder or headers) / f"{kernel.name}.cu"
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
    """Return the listing of a file's kernel, and what the compiler said of it."""
    cubin, log = nvrtc.compile_cubin(path.read_text(), path.name, ARCH, options)
    return parse(disassemble(cubin)), log


def disassemble(cubin: bytes, options: Sequence[str] = ("-gi",)) -> str:
    """Return what nvdisasm prints of the code of a cubin.

    Raises
    ------
    ResourceError
        When there is no nvdisasm, or when it fails.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [str(disassembler()), "-c", *options, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ResourceError(f"nvdisasm ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def disassembler() -> Path:
    """Return where nvdisasm is: in a package of NVIDIA's, or on the path.

    Raises
    ------
    ResourceError
        When it is not found.
    """
    for package in _PACKAGES:
        try:
            spec = importlib.util.find_spec(package)
        except ModuleNotFoundError:  # nvidia itself is not there
            continue
        for place in (spec and spec.submodule_search_locations) or ():
            path = Path(place) / "bin" / "nvdisasm"
            if path.exists():
                return path
    path_or_none = shutil.which("nvdisasm")
    if path_or_none is None:
        raise ResourceError(
            "nvdisasm, NVIDIA's disassembler, is not found: pip install nvidia-cuda-nvdisasm"
        )
    return Path(path_or_none)


def _figure(log: str, pattern: str) -> int:
    match = re.search(pattern, log)
    return int(match[1]) if match else 0
