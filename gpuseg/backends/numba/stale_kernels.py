"""Remove kernels from numba's cache that were compiled from older sources.

Numba keeps compiled kernels on disk and compiles a kernel again when its file has changed, but not
when a file that it calls into has. So all cached kernels older than any source are removed before
the first one is loaded.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from numba.core.dispatcher import Dispatcher

from gpuseg import backends, numerics

_PACKAGE = __name__.rpartition(".")[0]


def remove_stale_kernels() -> None:
    """Remove cached kernels of the imported modules that are older than any source.

    The sources are those of `gpuseg.backends` and of `gpuseg.numerics`, whose constants the
    kernels contain. The cache is where numba keeps it: in ``__pycache__``, below
    ``NUMBA_CACHE_DIR``, or in the user's cache folder where the package is read-only.
    """
    sources = [path for package in (backends, numerics) for path in _sources(package.__path__)]
    newest = max(path.stat().st_mtime for path in sources)
    for folder in _cache_folders():
        for index in folder.glob("*.nbi"):
            with suppress(OSError):  # another process has removed it, or the folder is read-only
                if index.stat().st_mtime < newest:
                    index.unlink()


def _sources(folders: Iterable[str]) -> Iterator[Path]:
    for folder in folders:
        yield from Path(folder).rglob("*.py")


def _cache_folders() -> set[Path]:
    """Return the folders with the cached kernels of the imported modules."""
    # Copies, which are made in one step: another thread may import a module meanwhile.
    loaded = sys.modules.copy().items()
    modules = [module for name, module in loaded if name.startswith(f"{_PACKAGE}.")]
    kernels = [
        value
        for module in modules
        for value in vars(module).copy().values()
        if isinstance(value, Dispatcher)
    ]
    return {Path(kernel.stats.cache_path) for kernel in kernels if kernel.stats.cache_path}
