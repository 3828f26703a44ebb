"""Find the sources of the kernels, compile them for a device, and keep the results on disk."""

import errno
import hashlib
import os
import warnings
import zlib
from contextlib import suppress
from functools import cache
from pathlib import Path

from gpuseg.backends.cuda import nvrtc
from gpuseg.backends.cuda.launcher import Kernel

_PACKAGE = Path(__file__).parents[2]

_in_memory: dict[str, Path] = {}
"""Files of compiled kernels that could not be kept on disk, by the start of their names."""


def kernel_folder() -> Path:
    """Return the folder of the kernels: inside the installed package, or next to it."""
    installed = _PACKAGE / "kernels"
    return installed if installed.is_dir() else _PACKAGE.parent / "kernels"


def find_source(name: str, folder: Path) -> Path:
    """Return the source file of a kernel, below a folder; its ``#include`` paths start there.

    Parameters
    ----------
    name : str
        `Kernel.name`; one file below the folder has this name.
    folder : Path
        Such as `kernel_folder()`.
    """
    (path,) = folder.rglob(f"{name}.cu")
    return path


def compile_kernel(kernel: Kernel, arch: str) -> tuple[bytes, str]:
    """Compile a kernel; see `nvrtc.compile_cubin`."""
    folder = kernel_folder()
    path = find_source(kernel.name, folder)
    macros = [f"-D{name}={value}" for name, value in kernel.macros.items()]
    options = [*macros, f"-I{folder}", "-Xptxas=-v"]
    return nvrtc.compile_cubin(path.read_text(), path.name, arch, options)


def cubin_path(kernel: Kernel, arch: str) -> Path:
    """Return the file of a compiled kernel; compile it where there is none, or a damaged one.

    Files are kept in ``$GPUSEG_CACHE`` or ``~/.cache/gpuseg``; where that cannot be written, in
    memory, as long as this process lives. Their names contain a digest of everything that they
    depend on, and a checksum of their content.

    Raises
    ------
    ResourceError
        Where the compiler is missing or fails.
    """
    ingredients = [arch, nvrtc.version(), repr(sorted(kernel.macros.items())), kernel.name]
    ingredients += [path.read_text() for path in sorted(kernel_folder().rglob("*.cu*"))]
    digest = hashlib.sha256("\0".join(ingredients).encode()).hexdigest()[:16]
    stem = f"{kernel.name}-{arch}-{digest}"
    folder = _cache_folder()
    kept = _in_memory.get(stem) or (folder and _find(folder, stem))
    if kept:
        return kept
    content = compile_kernel(kernel, arch)[0]
    try:
        if folder is None:
            raise FileNotFoundError(errno.ENOENT, "there is no home folder")
        return _write(folder, stem, content)
    except OSError as error:  # a full or read-only disk
        _warn_once(error.strerror or str(error))
        return _in_memory.setdefault(stem, _write_to_memory(stem, content))


def _cache_folder() -> Path | None:
    """Return the folder of compiled kernels, which may not exist; None without a home folder."""
    try:
        return Path(os.environ.get("GPUSEG_CACHE") or "~/.cache/gpuseg").expanduser()
    except RuntimeError:
        return None


def _find(folder: Path, stem: str) -> Path | None:
    """Return the file of a compiled kernel, if there is one that is not damaged."""
    for path in sorted(folder.glob(f"{stem}-*.cubin")):
        with suppress(OSError):
            if path.name == _file_name(stem, path.read_bytes()):
                return path
    return None


def _write(folder: Path, stem: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _file_name(stem, content)
    partial = folder / f"{path.name}.{os.urandom(4).hex()}"  # others may write the same one
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _file_name(stem: str, content: bytes) -> str:
    return f"{stem}-{zlib.crc32(content):08x}.cubin"


def _write_to_memory(stem: str, content: bytes) -> Path:
    """Return the path of a file in memory, of which nothing is left when this process ends."""
    handle = os.memfd_create(stem)
    with open(handle, "wb", closefd=False) as file:
        file.write(content)
    return Path(f"/proc/self/fd/{handle}")


@cache
def _warn_once(reason: str) -> None:
    warnings.warn(
        f"compiled CUDA kernels are not kept, so that each run compiles them again: {reason}; set "
        "GPUSEG_CACHE to a folder that can be written",
        RuntimeWarning,
        stacklevel=3,
    )
