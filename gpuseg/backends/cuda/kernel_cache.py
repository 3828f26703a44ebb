"""Find the sources of the kernels, compile them for a device, and keep the results on disk."""

import atexit
import hashlib
import os
import shutil
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile, mkdtemp

from gpuseg.backends.cuda import nvrtc
from gpuseg.backends.cuda.launcher import Kernel

_PACKAGE = Path(__file__).parents[2]


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
    """Return the file of a compiled kernel; compile it where the file is missing.

    Files are kept in ``$GPUSEG_CACHE`` or ``~/.cache/gpuseg``; where that cannot be written, in a
    folder of this process. Their names contain a digest of everything that they depend on.
    """
    ingredients = [arch, nvrtc.version(), repr(sorted(kernel.macros.items())), kernel.name]
    ingredients += [path.read_text() for path in sorted(kernel_folder().rglob("*.cu*"))]
    digest = hashlib.sha256("\0".join(ingredients).encode()).hexdigest()[:16]
    name = f"{kernel.name}-{arch}-{digest}.cubin"
    folder = Path(os.environ.get("GPUSEG_CACHE") or Path("~/.cache/gpuseg"))
    try:
        return _compiled(kernel, arch, folder.expanduser() / name)
    except (OSError, RuntimeError):  # a full or read-only disk, or no home
        return _compiled(kernel, arch, _folder_of_process() / name)


def _compiled(kernel: Kernel, arch: str, path: Path) -> Path:
    """Return a path, after writing the compiled kernel there if it is missing or empty."""
    if path.exists() and path.stat().st_size:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    content = compile_kernel(kernel, arch)[0]
    with NamedTemporaryFile(dir=path.parent, delete=False) as file:  # others may write it too
        file.write(content)
    Path(file.name).replace(path)
    return path


@cache
def _folder_of_process() -> Path:
    """Return a folder that is removed when this process ends."""
    folder = mkdtemp(prefix="gpuseg-kernels-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
