"""The kernels' sources, compiled for a device and kept on disk."""

import hashlib
import os
from pathlib import Path
from tempfile import NamedTemporaryFile

from gpuseg.backends.cuda import nvrtc
from gpuseg.backends.cuda.launcher import Kernel

_PACKAGE = Path(__file__).parents[2]


def folder() -> Path:
    """Return where the kernels are: in the package where it is installed, else beside it."""
    installed = _PACKAGE / "kernels"
    return installed if installed.is_dir() else _PACKAGE.parent / "kernels"


def compiled(kernel: Kernel, arch: str) -> tuple[bytes, str]:
    """Compile a kernel; see `nvrtc.compile_cubin`."""
    path = folder() / f"{kernel.name}.cu"
    macros = [f"-D{name}={value}" for name, value in kernel.macros.items()]
    options = [*macros, f"-I{folder()}", "-Xptxas=-v"]
    return nvrtc.compile_cubin(path.read_text(), path.name, arch, options)


def cubin(kernel: Kernel, arch: str) -> Path:
    """Return the file of a compiled kernel; compile it unless it is there.

    It is kept below ``$GPUSEG_CACHE``, or ``~/.cache/gpuseg``, under a name made of everything
    that it was made from.
    """
    ingredients = [arch, nvrtc.version(), repr(sorted(kernel.macros.items())), kernel.name]
    ingredients += [path.read_text() for path in sorted(folder().glob("*.cu*"))]
    digest = hashlib.sha256("\0".join(ingredients).encode()).hexdigest()[:16]
    home = Path(os.environ.get("GPUSEG_CACHE") or Path.home() / ".cache" / "gpuseg")
    path = home / f"{kernel.name}-{arch}-{digest}.cubin"
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        content = compiled(kernel, arch)[0]
        with NamedTemporaryFile(dir=home, delete=False) as own:  # others may be at it, too
            own.write(content)
        Path(own.name).replace(path)
    return path
