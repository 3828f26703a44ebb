"""The folder of files that the shards of a run keep for its next attempt.

The caller and all workers reach it. Each file is written as a whole: one that exists is complete,
unless the machine that wrote it has failed since.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from gpuseg.errors import ResourceError
from gpuseg.runtime.private_files import replace_private

_FOLDER_MODE = 0o700


@dataclass(frozen=True)
class CheckpointFolder:
    """A folder of a file system, for this user alone.

    Attributes
    ----------
    fs : fsspec file system
    path : str
        The folder within `fs`.
    is_local : bool
        Whether `fs` is the file system of this machine.
    """

    fs: Any = field(repr=False)
    path: str
    is_local: bool

    def write(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        """Write a file in place of an older one; `write` takes the open file.

        Several processes may write the same file at the same time: one of them is the last.

        Raises
        ------
        ResourceError
        """
        path = f"{self.path}/{name}"
        try:
            if self.is_local:
                Path(path).parent.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
                replace_private(Path(path), write)
            else:
                with self.fs.open(path, "wb") as file:
                    write(file)
        except OSError as error:
            raise ResourceError(
                "checkpoint.not_writable",
                f"{path} cannot be written ({error.strerror or error})",
                hint="a run keeps its progress beside its output: free some space there, and run "
                "again",
            ) from None

    def open(self, name: str) -> BinaryIO:
        """Open a file to read it.

        Raises
        ------
        OSError
            If there is none.
        """
        file: BinaryIO = self.fs.open(f"{self.path}/{name}", "rb")
        return file
