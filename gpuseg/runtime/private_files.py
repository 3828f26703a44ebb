"""Files that only this user may read."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

_MODE = 0o600


def open_private(path: Path, flags: int) -> BinaryIO:
    """Open a file of bytes that only this user may read; links are not followed."""
    return os.fdopen(os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE), "wb")


def replace_private(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file as a whole: a reader sees the old or the new content, never a part.

    Several processes may write it at the same time: one of them is the last.

    Raises
    ------
    OSError
    """
    part = path.with_name(f"{path.name}.{uuid4().hex}")
    try:
        with open_private(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
            write(file)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
