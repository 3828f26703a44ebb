"""The local metadata files of a table: regular files, before a library opens them.

A library would wait for ever for the content of a named pipe.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from gpuseg.io.regular_files import refuse_special_file


def refuse_special_files_below(folder: str, suffix: str = "") -> None:
    """Refuse a folder of metadata with a pipe, a device or a socket, however deep.

    Only names with the suffix are looked at.

    Raises
    ------
    DataError
    """
    for parent, _, names in os.walk(folder):
        refuse_special_files(f"{parent}/{name}" for name in names if name.endswith(suffix))


def refuse_special_files(paths: Iterable[str]) -> None:
    """Refuse paths, or URLs of this machine, that are not of regular files; missing ones pass.

    Raises
    ------
    DataError
    """
    for path in paths:
        local = path.removeprefix("file://").removeprefix("file:")
        if "://" not in local:
            with suppress(OSError):
                refuse_special_file(Path(local).name, Path(local).stat().st_mode)
