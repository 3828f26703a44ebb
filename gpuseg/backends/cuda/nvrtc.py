"""Bindings of NVRTC, NVIDIA's run-time compiler, by ctypes.

They need neither a GPU, nor a driver, nor CuPy. CuPy could compile too, but it flushes denormal
numbers to zero, which loses the last bits of small distances. And tests could not compile with the
same options on a machine without a GPU.
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

from gpuseg.errors import ResourceError, literal

_PACKAGES = ("nvidia.cu13", "nvidia.cuda_nvrtc")
"""Packages that contain NVRTC in the wheels of CUDA 13 and of CUDA 12."""

_CUPY_12 = "cupy-cuda12x"
"""With this distribution, the driver may be of CUDA 12 and unable to load code of CUDA 13."""


def compile_cubin(source: str, name: str, arch: str, options: Sequence[str]) -> tuple[bytes, str]:
    """Compile CUDA C++ to machine code.

    Parameters
    ----------
    source : str
    name : str
        Name of the source in messages.
    arch : str
        Architecture, such as "sm_90".
    options : sequence of str
        Options of NVRTC.

    Returns
    -------
    (bytes, str)
        The cubin, and the compiler's log.

    Raises
    ------
    ResourceError
        If NVRTC is not found, or the source does not compile.
    """
    nvrtc = library()
    program = ctypes.c_void_p()
    _check(nvrtc, nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), name.encode(), 0, None, None
    ))  # fmt: skip
    try:
        encoded = [option.encode() for option in (f"-arch={arch}", "-std=c++17", *options)]
        flags = (ctypes.c_char_p * len(encoded))(*encoded)
        failed = nvrtc.nvrtcCompileProgram(program, len(encoded), flags)
        log = _text(nvrtc, program, "ProgramLog").rstrip(b"\0").decode()
        if failed:
            raise ResourceError(
                "kernel.compile_failed", f"{name} does not compile for {arch}",
                rule=literal(log.strip()),
            )  # fmt: skip
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
        If it is not found.
    """
    for folder in _library_folders():
        for path in sorted(folder.glob("libnvrtc.so*")):
            for builtins in folder.glob("libnvrtc-builtins.so*"):  # NVRTC would not find them
                ctypes.CDLL(str(builtins))
            return ctypes.CDLL(str(path))
    name = find_library("nvrtc")
    if name is None:
        searched = ", ".join([*_PACKAGES, "CUDA_PATH", "the system's libraries"])
        raise ResourceError("nvrtc.missing", f"NVRTC, the CUDA compiler, is not in {searched}")
    return ctypes.CDLL(name)


def _library_folders() -> Iterator[Path]:
    for package in _packages():
        try:
            spec = importlib.util.find_spec(package)
        except ModuleNotFoundError:  # there is no package `nvidia`
            continue
        for location in (spec and spec.submodule_search_locations) or ():
            yield Path(location) / "lib"
    toolkit = os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    yield from (Path(toolkit) / "lib64", Path(toolkit) / "lib")


def _packages() -> tuple[str, ...]:
    try:
        metadata.version(_CUPY_12)
    except metadata.PackageNotFoundError:
        return _PACKAGES
    return _PACKAGES[::-1]


def _text(nvrtc: ctypes.CDLL, program: Any, kind: str) -> bytes:
    size = ctypes.c_size_t()
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{kind}Size")(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{kind}")(program, text))
    return text.raw


def _check(nvrtc: ctypes.CDLL, status: int) -> None:
    if status:
        nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        message = nvrtc.nvrtcGetErrorString(status).decode()
        raise ResourceError("nvrtc.failed", f"NVRTC failed: {message}")
