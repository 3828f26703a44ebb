"""NVIDIA's run-time compiler, bound by ctypes: it needs neither a GPU, nor a driver, nor CuPy.

CuPy would compile, too, but with denormal numbers flushed to zero, which loses the last bits of
small distances; and tests could not compile with the very same options where there is no GPU.
"""

import ctypes
import importlib.util
import os
from collections.abc import Iterator, Sequence
from ctypes.util import find_library
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from gpuseg.errors import ResourceError

_PACKAGES = ("nvidia.cu13", "nvidia.cuda_nvrtc")
"""Where the wheels of CUDA 13 and of CUDA 12 put it."""

_CUPY_12 = "cupy-cuda12x"
"""Where this is installed, drivers may be of CUDA 12 and cannot load what CUDA 13 compiles."""


def compile_cubin(source: str, name: str, arch: str, options: Sequence[str]) -> tuple[bytes, str]:
    """Compile CUDA C++ to machine code.

    Parameters
    ----------
    source : str
    name : str
        What messages call the source.
    arch : str
        Such as "sm_90".
    options : of NVRTC

    Returns
    -------
    (bytes, str)
        The cubin, and what the compiler had to say.

    Raises
    ------
    ResourceError
        When NVRTC is not found, and for what it cannot compile.
    """
    nvrtc = library()
    program = ctypes.c_void_p()
    _check(nvrtc, nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), name.encode(), 0, None, None
    ))  # fmt: skip
    try:
        asked = [option.encode() for option in (f"-arch={arch}", "-std=c++17", *options)]
        flags = (ctypes.c_char_p * len(asked))(*asked)
        failed = nvrtc.nvrtcCompileProgram(program, len(asked), flags)
        log = _text(nvrtc, program, "ProgramLog").rstrip(b"\0").decode()
        if failed:
            raise ResourceError(f"{name} does not compile for {arch}: {log.strip()}")
        return _text(nvrtc, program, "CUBIN"), log
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def version() -> str:
    """Return the version of NVRTC, such as "13.0"."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(library(), library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return f"{major.value}.{minor.value}"


@cache
def library() -> ctypes.CDLL:
    """Return the library.

    Raises
    ------
    ResourceError
        When it is not found.
    """
    for folder in _folders():
        for found in sorted(folder.glob("libnvrtc.so*")):
            for builtins in folder.glob("libnvrtc-builtins.so*"):  # else it does not find them
                ctypes.CDLL(str(builtins))
            return ctypes.CDLL(str(found))
    name = find_library("nvrtc")
    if name is None:
        looked = ", ".join([*_PACKAGES, "CUDA_PATH", "the system's libraries"])
        raise ResourceError(f"NVRTC, the CUDA compiler, is not found in {looked}")
    return ctypes.CDLL(name)


def _folders() -> Iterator[Path]:
    for package in _packages():
        try:
            found = importlib.util.find_spec(package)
        except ModuleNotFoundError:  # nvidia itself is not there
            continue
        for place in (found and found.submodule_search_locations) or ():
            yield Path(place) / "lib"
    toolkit = os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    yield from (Path(toolkit) / "lib64", Path(toolkit) / "lib")


def _packages() -> tuple[str, ...]:
    try:
        metadata.version(_CUPY_12)
    except metadata.PackageNotFoundError:
        return _PACKAGES
    return _PACKAGES[::-1]


def _text(nvrtc: ctypes.CDLL, program: Any, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, text))
    return text.raw


def _check(nvrtc: ctypes.CDLL, failed: int) -> None:
    if failed:
        nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise ResourceError(f"NVRTC: {nvrtc.nvrtcGetErrorString(failed).decode()}")
