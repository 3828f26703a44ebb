"""The CPU in earnest: compiled kernels without the interpreter lock.

Numba keeps compiled kernels on disk and compiles one again when its own file has changed, but
not when a file that it calls into has. So kernels older than any file here are removed first.
"""

from contextlib import suppress
from pathlib import Path


def _remove_stale_kernels() -> None:
    folder = Path(__file__).parent
    sources = [*folder.glob("*.py"), *folder.parent.glob("*.py")]
    newest = max(path.stat().st_mtime for path in sources)
    for index in (folder / "__pycache__").glob("*.nbi"):
        with suppress(OSError):  # another process may be first, or the folder be read-only
            if index.stat().st_mtime < newest:
                index.unlink()


_remove_stale_kernels()
